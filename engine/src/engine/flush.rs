//! Moving memtables to tables.
//!
//! - The log is synced through what a flush covers before the manifest says so.
//! - A table is durable before the manifest names it.

use super::Core;
use super::open::TABLES_DIR;
use crate::Applied;
use crate::Result;
use crate::entry::Direction;
use crate::manifest::State;
use crate::manifest::edit::Edit;
use crate::record::Mark;
use crate::source::KeyRange;
use crate::table;
use crate::view::SealedMemtable;
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
