//! Moving memtables to tables.
//!
//! - The log is synced through what a flush covers before the manifest says so.
//! - A table is durable before the manifest names it.
//! - What nobody can see any more is not written.

use super::Core;
use super::open::TABLES_DIR;
use crate::Applied;
use crate::Result;
use crate::compaction::Bounds;
use crate::compaction::retention::Retention;
use crate::entry::Direction;
use crate::erasure::Erasure;
use crate::levels::Levels;
use crate::manifest::State;
use crate::manifest::edit::Edit;
use crate::record::Mark;
use crate::source::KeyRange;
use crate::table;
use crate::view::SealedMemtable;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Core {
    /// Flushes everything appended before the call; returns where the tables then stand.
    pub(super) fn flush_all(&self) -> Result<Applied> {
        self.running()?;
        {
            let mut appender = self.appender.lock();
            let flushed = self.manifest.lock().state().flushed;
            let view = self.view.load();
            let end = view.sealed.last().map_or(flushed, |sealed| sealed.end);
            if end != appender.applied {
                self.seal_memtable(&mut appender);
            }
        }
        while self.flush_one()? {}
        Ok(self.manifest.lock().state().flushed)
    }

    /// Writes the oldest sealed memtable to level 0.
    pub(super) fn flush_one(&self) -> Result<bool> {
        let _flushing = self.flush.lock();
        let Some(sealed) = self.view.load().sealed.first().cloned() else {
            return Ok(false);
        };
        let view = self.view.load_full();
        let bounds = self.due_bounds(&view);
        self.sync()?;
        let written =
            self.write_level0(&sealed, &bounds, &view.levels).map_err(|error| self.stop_on(error))?;
        let mut manifest = self.manifest.lock();
        let state = manifest.state();
        let levels =
            self.view.load().levels.with(written.iter().map(|table| (0, Arc::clone(table))).collect(), &[]);
        let raised = self.raise(state, &bounds, &levels, self.erased_through(state, &sealed.end));
        let mut edits = flush_edits(state, &sealed, written.as_deref());
        edits.push(Edit::Times(self.new_times(state, &sealed.end)));
        edits.extend(raised.edits.iter().cloned());
        manifest.commit(edits).map_err(|error| self.stop_on(error))?;
        let bytes = written.as_ref().map_or(0, |table| table.meta().bytes);
        self.show_raised(manifest.state_mut(), &raised, levels, |view| drop(view.sealed.remove(0)));
        drop(manifest);
        self.counters.flushed(bytes);
        self.remove_segments()?;
        Ok(true)
    }

    /// The erasures up to `end` that the manifest may lack.
    fn erased_through(&self, state: &State, end: &Applied) -> Vec<Erasure> {
        let new = state.flushed.version + 1..=end.version;
        let view = self.view.load();
        view.erasures.iter().filter(|erasure| new.contains(&erasure.stamp.version())).cloned().collect()
    }

    fn write_level0(
        &self,
        sealed: &SealedMemtable,
        bounds: &Bounds,
        levels: &Levels,
    ) -> Result<Option<Arc<table::Reader>>> {
        if sealed.memtable.is_empty() {
            return Ok(None);
        }
        let dir = self.dir.join(TABLES_DIR);
        let mut retention = Retention::new(bounds.clone());
        let below = |key: &[u8]| levels.meeting_range(&KeyRange::closed(key, key)).next().is_some();
        let mut writer = None;
        let mut source = sealed.memtable.source(KeyRange::all(), Direction::Forward);
        while let Some(entry) = source.next()? {
            let Some(entry) = retention.keep(entry, below) else {
                continue;
            };
            let writer = match &mut writer {
                Some(writer) => writer,
                None => writer.insert(self.new_level0(&dir)?.counting_under(Arc::clone(&bounds.horizons))),
            };
            writer.add(&entry)?;
        }
        let Some(writer) = writer else {
            return Ok(None);
        };
        let meta = writer.finish()?;
        let table = table::Reader::open(&self.env.fs, &dir, meta, Arc::clone(&self.cache))?;
        Ok(Some(Arc::new(table.written_under(Arc::clone(&bounds.horizons)))))
    }

    fn new_level0(&self, dir: &Path) -> Result<table::Writer> {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        table::Writer::create(&self.env.fs, dir, number, table::Settings::upper(&self.options))
    }

    fn new_times(&self, state: &State, end: &Applied) -> Vec<crate::times::Point> {
        let times = self.times.read();
        // What the manifest has forgotten below its horizon must not come back out of order.
        let known = state.flushed.version;
        times.after(known).iter().filter(|point| point.version <= end.version).copied().collect()
    }
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
