//! Moving data from memtables to tables and between levels, and copying them.
//!
//! - The log is synced through what a flush covers before the manifest says so.
//! - A table is durable before the manifest names it, and removed after the manifest dropped it.
//! - The horizon is in the manifest before anything below it is gone.

use super::Core;
use super::open::{TABLES_DIR, WAL_DIR};
use crate::Applied;
use crate::compaction::{Horizon, plan, rewrite};
use crate::entry::Direction;
use crate::lineage::Lineage;
use crate::manifest::edit::Edit;
use crate::manifest::{Manifest, State};
use crate::record::Mark;
use crate::source::KeyRange;
use crate::table;
use crate::view::SealedMemtable;
use crate::{Error, Result, Versionstamp};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sealed memtables that may wait; a writer that would add one more flushes first.
const SEALED_MEMTABLES_MAX: usize = 2;
/// Sealed segments that replay may have to read; with more, a memtable is flushed before it is full. A
/// database with a write a second seals a segment a second.
const REPLAYED_SEGMENTS_MAX: usize = 512;
/// Level 0 may hold this many times `level0_tables_max`; a writer that finds more compacts first.
const LEVEL0_STALL_FACTOR: usize = 4;

/// What one maintenance step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something: there may be more.
    Worked,
    /// Nothing: nothing was due.
    Idle,
}

/// A durable, self-contained copy in a directory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it holds.
    pub applied: Applied,
    /// Whose history it is.
    pub lineage: Lineage,
    /// Its table files below `tables/`: name (BLAKE3 of the content and a suffix) and length in bytes.
    pub tables: Vec<(String, u64)>,
}

impl Core {
    pub(super) fn maintain(&self) -> Result<Progress> {
        self.running()?;
        self.disk.refresh(&*self.env.fs, &self.dir)?;
        self.seal_by_age()?;
        self.shorten_log();
        let flushed = self.unless_full(self.flush_one())?;
        self.remove_segments()?;
        Ok(flushed)
    }

    /// Seals the memtable when the log that holds it has come to many segments.
    fn shorten_log(&self) {
        let appender = self.appender.lock();
        let view = self.view.load();
        let in_tables = view
            .sealed
            .last()
            .map_or_else(|| self.manifest.lock().state().flushed.version, |sealed| sealed.end.version);
        let replayed = appender.log.sealed().iter().filter(|segment| segment.last > in_tables).count();
        if replayed > REPLAYED_SEGMENTS_MAX {
            self.seal_memtable(&appender);
        }
    }

    /// A full disk puts a step off; it does not fail it.
    fn unless_full(&self, done: Result<bool>) -> Result<Progress> {
        match done {
            Ok(true) => Ok(Progress::Worked),
            Ok(false) => Ok(Progress::Idle),
            Err(error) if error.is_disk_full() => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no room on the disk for a table");
                Ok(Progress::Idle)
            }
            Err(error) => Err(error),
        }
    }

    /// What a writer does itself when the background does not keep up.
    pub(super) fn make_room(&self) -> Result<()> {
        while self.view.load().sealed.len() >= SEALED_MEMTABLES_MAX {
            self.flush_one()?;
        }
        let level0_max = self.options.level0_tables_max * LEVEL0_STALL_FACTOR;
        while self.view.load().levels.level(0).len() > level0_max {
            if !self.compact_one()? {
                break;
            }
        }
        Ok(())
    }

    /// Flushes everything appended before the call; returns where the tables then stand.
    pub(super) fn flush_all(&self) -> Result<Applied> {
        self.running()?;
        {
            let appender = self.appender.lock();
            let flushed = self.manifest.lock().state().flushed;
            let view = self.view.load();
            let end = view.sealed.last().map_or(flushed, |sealed| sealed.end);
            if end != appender.applied {
                self.seal_memtable(&appender);
            }
        }
        while self.flush_one()? {}
        Ok(self.manifest.lock().state().flushed)
    }

    /// Writes the oldest sealed memtable to level 0.
    fn flush_one(&self) -> Result<bool> {
        let _flushing = self.flush.lock();
        let Some(sealed) = self.view.load().sealed.first().cloned() else {
            return Ok(false);
        };
        self.sync()?;
        let written = self.write_level0(&sealed).map_err(|error| self.stop_on(error))?;
        let mut manifest = self.manifest.lock();
        let edits = flush_edits(manifest.state(), &sealed, written.as_deref());
        let edits = [edits, vec![Edit::Times(self.new_times(manifest.state(), &sealed.end))]].concat();
        manifest.commit(edits).map_err(|error| self.stop_on(error))?;
        let bytes = written.as_ref().map_or(0, |table| table.meta().bytes);
        self.change_view(|view| {
            view.sealed.remove(0);
            view.levels =
                Arc::new(view.levels.with(written.into_iter().map(|table| (0, table)).collect(), &[]));
        });
        drop(manifest);
        self.counters.flushed(bytes);
        self.remove_segments()?;
        Ok(true)
    }

    fn write_level0(&self, sealed: &SealedMemtable) -> Result<Option<Arc<table::Reader>>> {
        if sealed.memtable.is_empty() {
            return Ok(None);
        }
        let dir = self.dir.join(TABLES_DIR);
        let settings = table::Settings::upper(&self.options);
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        let mut writer = table::Writer::create(&self.env.fs, &dir, number, settings)?;
        let mut source = sealed.memtable.source(KeyRange::all(), Direction::Forward);
        while let Some(entry) = source.next()? {
            writer.add(&entry)?;
        }
        let meta = writer.finish()?;
        let table = table::Reader::open(&self.env.fs, &dir, meta, Arc::clone(&self.cache))?;
        Ok(Some(Arc::new(table)))
    }

    fn new_times(&self, state: &State, end: &Applied) -> Vec<crate::times::Point> {
        let times = self.times.read();
        // What the manifest has forgotten below its horizon must not come back out of order.
        let known = state.flushed.version;
        times.after(known).iter().filter(|point| point.version <= end.version).copied().collect()
    }

    /// Removes segments that are flushed and that nobody keeps.
    fn remove_segments(&self) -> Result<()> {
        let flushed = self.manifest.lock().state().flushed.version;
        let kept = self.keep_after.lock().unwrap_or(u64::MAX);
        let removed = self.appender.lock().log.take_through(flushed.min(kept));
        removed.iter().try_for_each(|segment| self.remove(&segment.path))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.env.fs.remove(path).map_err(|error| self.stop_on(Error::io("remove", path)(error)))
    }

    pub(super) fn compact(&self) -> Result<Progress> {
        self.running()?;
        self.unless_full(self.compact_one())
    }

    /// The stamp below which only the newest version of each key is still needed.
    fn due_horizon(&self, current: Horizon) -> Horizon {
        let published = *self.published.read();
        let now_ms = self.env.clock.now_ms().max(published.time_ms);
        let oldest_kept_ms = now_ms.saturating_sub(self.options.history_ms);
        let times = self.times.read();
        let Some(version) = times.last_at(oldest_kept_ms, published.version) else {
            return current;
        };
        let stamp = Versionstamp::new(version.min(published.version), 0);
        let time_ms = times.at(stamp.version()).unwrap_or(current.time_ms);
        if stamp > current.stamp { Horizon { stamp, time_ms } } else { current }
    }

    fn compact_one(&self) -> Result<bool> {
        let _compacting = self.compaction.lock();
        let view = self.view.load_full();
        let horizon = self.due_horizon(view.horizon);
        let Some(choice) = plan::choose(&view.levels, &self.options, horizon) else {
            return Ok(false);
        };
        let dir = self.dir.join(TABLES_DIR);
        let target =
            rewrite::Target { fs: &self.env.fs, dir: &dir, numbers: &self.next_file, options: &self.options };
        let metas =
            rewrite::run(&target, &choice, &view.levels, horizon).map_err(|error| self.stop_on(error))?;
        let open = |meta: &table::Meta| {
            let table = table::Reader::open(&self.env.fs, &dir, meta.clone(), Arc::clone(&self.cache))?;
            Ok((choice.to, Arc::new(table)))
        };
        let added =
            metas.iter().map(open).collect::<Result<Vec<_>>>().map_err(|error| self.stop_on(error))?;
        self.install(&choice, &metas, added, horizon)?;
        // A table that only moved was not written.
        let inputs = choice.removed();
        let written = metas.iter().filter(|meta| !inputs.contains(&meta.digest));
        self.counters.compacted(written.map(|meta| meta.bytes).sum());
        Ok(true)
    }

    fn install(
        &self,
        choice: &plan::Choice,
        metas: &[table::Meta],
        added: Vec<(u8, Arc<table::Reader>)>,
        horizon: Horizon,
    ) -> Result<()> {
        let removed = choice.removed();
        let drop_inputs = removed.iter().map(|digest| Edit::RemoveTable { digest: *digest });
        let add = metas.iter().map(|meta| Edit::AddTable { level: choice.to, meta: meta.clone() });
        let edits = [Edit::Horizon(horizon)].into_iter().chain(drop_inputs).chain(add).collect();
        let mut manifest = self.manifest.lock();
        manifest.commit(edits).map_err(|error| self.stop_on(error))?;
        manifest.state_mut().times.forget_before(horizon.stamp.version());
        self.change_view(|view| {
            view.levels = Arc::new(view.levels.with(added, &removed));
            view.horizon = horizon;
        });
        self.times.write().forget_before(horizon.stamp.version());
        // Still under the manifest's lock: a checkpoint links what the manifest names.
        let live: BTreeSet<_> = manifest.state().tables.iter().map(|(_, meta)| meta.digest).collect();
        let gone = removed.iter().filter(|digest| !live.contains(digest));
        gone.map(|digest| self.dir.join(TABLES_DIR).join(digest.file_name()))
            .try_for_each(|path| self.remove(&path))
    }

    pub(super) fn checkpoint(&self, to: &Path) -> Result<Checkpoint> {
        let fs = &*self.env.fs;
        fs.create_dir_all(&to.join(TABLES_DIR)).map_err(Error::io("create", to))?;
        fs.create_dir_all(&to.join(WAL_DIR)).map_err(Error::io("create", to))?;
        let names = fs.read_dir(to).map_err(Error::io("list", to))?;
        let tables = fs.read_dir(&to.join(TABLES_DIR)).map_err(Error::io("list", to))?;
        if !tables.is_empty() || names != [TABLES_DIR, WAL_DIR] {
            let reason = "a checkpoint needs an empty directory".to_owned();
            return Err(Error::NotADataDirectory { path: to.to_path_buf(), reason });
        }
        self.flush_all()?;
        let manifest = self.manifest.lock();
        let state = State { first_segment: 0, ..manifest.state().clone() };
        let mut linked = BTreeSet::new();
        for (_, meta) in &state.tables {
            let name = meta.digest.file_name();
            if linked.insert(name.clone()) {
                let (from, to) = (self.dir.join(TABLES_DIR).join(&name), to.join(TABLES_DIR).join(&name));
                fs.hard_link(&from, &to).map_err(Error::io("link", &to))?;
            }
        }
        drop(manifest);
        fs.sync_dir(&to.join(TABLES_DIR)).map_err(Error::io("sync", to))?;
        let salt = super::append::salt(&self.env);
        let checkpoint = describe(&state);
        Manifest::create(Arc::clone(&self.env.fs), to, state, salt)?;
        Ok(checkpoint)
    }
}

fn describe(state: &State) -> Checkpoint {
    let named: std::collections::BTreeMap<String, u64> =
        state.tables.iter().map(|(_, meta)| (meta.digest.file_name(), meta.bytes)).collect();
    Checkpoint { applied: state.flushed, lineage: state.lineage, tables: named.into_iter().collect() }
}

fn flush_edits(state: &State, sealed: &SealedMemtable, written: Option<&table::Reader>) -> Vec<Edit> {
    let table = written.map(|table| Edit::AddTable { level: 0, meta: table.meta().clone() });
    let set = sealed.marks.iter().filter(|(name, value)| state.marks.get(*name) != Some(*value));
    let set = set.map(|(name, value)| Mark { name: name.clone(), value: value.clone() });
    let removed = state.marks.keys().filter(|name| !sealed.marks.contains_key(*name));
    let removed = removed.map(|name| Mark { name: name.clone(), value: Vec::new() });
    let marks = set.chain(removed).map(Edit::Mark);
    [Edit::Flushed(sealed.end)].into_iter().chain(table).chain(marks).collect()
}
