//! Moving memtables to tables, a step at a time.
//!
//! - The log is synced through what a flush covers before the manifest says so.
//! - A table is durable before the manifest names it.
//! - What nobody can see any more is not written; the horizon that hides it is in the manifest in the same step.
//! - A flush that is given up leaves nothing behind, and its memtable stays as it was.

use super::Core;
use super::open::TABLES_DIR;
use crate::Applied;
use crate::budget::Purpose;
use crate::compaction::Bounds;
use crate::compaction::retention::Retention;
use crate::entry::Direction;
use crate::erasure::Erasure;
use crate::levels::Levels;
use crate::manifest::State;
use crate::manifest::edit::Edit;
use crate::record::Mark;
use crate::source::{KeyRange, Source};
use crate::table::{self, Meta};
use crate::view::SealedMemtable;
use crate::{Options, Result};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of keys and values that one step reads, at most.
const STEP_BYTES_MAX: u64 = 256 << 10;
/// A step reads at least one part in this many of a full memtable.
const STEPS_MAX: u64 = 128;

/// How much one step of a flush or compaction reads, in bytes.
pub(super) fn step_bytes(options: &Options) -> u64 {
    (options.memtable_bytes_max as u64 / STEPS_MAX).clamp(512, STEP_BYTES_MAX)
}

/// A flush under way.
pub(super) struct Flush {
    sealed: Arc<SealedMemtable>,
    source: Box<dyn Source>,
    retention: Retention,
    bounds: Bounds,
    /// As they were when the flush began: nothing older than the memtable has come to them since.
    levels: Arc<Levels>,
    writer: Option<table::Writer>,
    read_bytes: u64,
}

impl Flush {
    /// Reads about `bytes` more; whether there is more to read.
    fn step(&mut self, core: &Core, bytes: u64) -> Result<bool> {
        let end = self.read_bytes + bytes;
        while self.read_bytes < end {
            let Some(entry) = self.source.next()? else {
                return Ok(false);
            };
            self.read_bytes += (entry.key.len() + entry.version.value_len()) as u64;
            let levels = &self.levels;
            let Some(entry) = self.retention.keep(entry, |key| levels.may_hold(0, key)) else {
                continue;
            };
            let writer = match &mut self.writer {
                Some(writer) => writer,
                None => {
                    let writer = core.target().create(table::Settings::upper(&core.options))?;
                    self.writer.insert(writer.counting_under(Arc::clone(&self.bounds.horizons)))
                }
            };
            writer.add(&entry)?;
        }
        Ok(true)
    }

    fn written_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, table::Writer::bytes)
    }

    /// Bytes of memory in use, about.
    fn memory_bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, table::Writer::memory_bytes)
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("end", &self.sealed.end).field("read_bytes", &self.read_bytes).finish()
    }
}

impl Core {
    /// Flushes everything appended before the call; returns where the tables then stand.
    pub(super) fn flush_all(&self) -> Result<Applied> {
        self.running()?;
        let target = {
            let mut appender = self.appender.lock();
            let flushed = self.manifest.lock().state().flushed;
            let view = self.view.load();
            let end = view.sealed.last().map_or(flushed, |sealed| sealed.end);
            if end != appender.applied {
                self.seal_memtable(&mut appender);
            }
            appender.applied
        };
        loop {
            // What is appended meanwhile may be sealed as well: it is not waited for.
            let flushed = self.manifest.lock().state().flushed;
            if flushed.version >= target.version || !self.flush_step()? {
                return Ok(flushed);
            }
        }
    }

    /// One step of the flush of the oldest sealed memtable; whether there was anything to do.
    pub(super) fn flush_step(&self) -> Result<bool> {
        let mut slot = self.flush.lock();
        let done = self.flush_step_of(&mut slot);
        if let Err(error) = &done {
            *slot = None;
            self.account.change(|amounts| amounts.flushed = 0);
            if error.is_disk_full() {
                // Whoever waits for the memory must hear of it.
                self.disk.full();
            }
        }
        let memory = slot.as_ref().map_or(0, Flush::memory_bytes);
        self.counters.flush_memory.store(memory, Ordering::Relaxed);
        drop(slot);
        self.account.write_off(self.disk.is_full() || self.stopped.get().is_some());
        self.budget.moved.happened();
        done.map_err(|error| self.stop_on(error))
    }

    fn flush_step_of(&self, slot: &mut Option<Flush>) -> Result<bool> {
        if slot.is_none() {
            let Some(sealed) = self.view.load().sealed.first().cloned() else {
                return Ok(false);
            };
            *slot = Some(self.begin_flush(sealed)?);
        }
        let Some(flush) = slot else {
            return Ok(false);
        };
        let before = flush.written_bytes();
        let more = flush.step(self, step_bytes(&self.options))?;
        self.budget.io().charge(flush.written_bytes().saturating_sub(before), self.env.clock.now_ms());
        let memtable_bytes = flush.sealed.memtable.bytes() as u64;
        // The end of a flush takes a while in which nothing is read: writers may then use what is left.
        let flushed = if more { flush.read_bytes.min(memtable_bytes / 3 * 2) } else { memtable_bytes };
        self.account.change(|amounts| amounts.flushed = flushed);
        if !more && let Some(flush) = slot.take() {
            self.budget.moved.happened();
            self.end_flush(flush)?;
        }
        Ok(true)
    }

    fn begin_flush(&self, sealed: Arc<SealedMemtable>) -> Result<Flush> {
        self.sync()?;
        let view = self.view.load();
        let bounds = self.due_bounds(&view, sealed.end);
        let source = sealed.memtable.source(KeyRange::all(), Direction::Forward);
        let (levels, retention) = (Arc::clone(&view.levels), Retention::new(bounds.clone()));
        Ok(Flush { sealed, source, retention, bounds, levels, writer: None, read_bytes: 0 })
    }

    fn end_flush(&self, flush: Flush) -> Result<()> {
        let counted = flush.written_bytes();
        let Flush { sealed, bounds, writer, .. } = flush;
        let written = match writer {
            Some(writer) => Some(self.open_table(writer.finish()?, &bounds)?),
            None => None,
        };
        let mut manifest = self.manifest.lock();
        let state = manifest.state();
        let added = written.iter().map(|table| (0, Arc::clone(table))).collect();
        let levels = self.view.load().levels.with(added, &[]);
        let raised = self.raise(state, &bounds, &levels, self.erased_through(state, &sealed.end));
        let mut edits = flush_edits(state, &sealed, written.as_deref());
        edits.push(Edit::Times(self.new_times(state, &sealed.end)));
        edits.extend(raised.edits.iter().cloned());
        manifest.commit(edits)?;
        let bytes = written.as_ref().map_or(0, |table| table.meta().bytes);
        self.budget.io().charge(bytes.saturating_sub(counted), self.env.clock.now_ms());
        self.show_raised(manifest.state_mut(), &raised, levels, |view| drop(view.sealed.remove(0)));
        drop(manifest);
        let memtable_bytes = sealed.memtable.bytes() as u64;
        self.account.change(|amounts| {
            amounts.sealed -= memtable_bytes;
            amounts.flushed = 0;
        });
        self.counters.flushed(bytes);
        self.levels_changed();
        self.budget.work.happened();
        self.remove_segments()
    }

    /// The erasures up to `end` that the manifest may lack.
    fn erased_through(&self, state: &State, end: &Applied) -> Vec<Erasure> {
        let new = state.flushed.version + 1..=end.version;
        let view = self.view.load();
        view.erasures.iter().filter(|erasure| new.contains(&erasure.stamp.version())).cloned().collect()
    }

    /// Opens a table that was written under these bounds.
    pub(super) fn open_table(&self, meta: Meta, bounds: &Bounds) -> Result<Arc<table::Reader>> {
        let dir = self.dir.join(TABLES_DIR);
        let table = table::Reader::open(&self.env.fs, &dir, meta, Arc::clone(&self.cache))?;
        Ok(Arc::new(table.written_under(Arc::clone(&bounds.horizons))))
    }

    fn new_times(&self, state: &State, end: &Applied) -> Vec<crate::times::Point> {
        let times = self.times.read();
        // What the manifest has forgotten below its horizon must not come back out of order.
        let known = state.flushed.version;
        times.after(known).iter().filter(|point| point.version <= end.version).copied().collect()
    }

    /// Whether a flush has begun and has not ended.
    pub(super) fn flush_is_under_way(&self) -> bool {
        self.flush.lock().is_some()
    }

    /// Whether a flush may do a step now.
    pub(super) fn may_flush(&self) -> bool {
        self.budget.io().allows(Purpose::Flush, self.env.clock.now_ms())
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
