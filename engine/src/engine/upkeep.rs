//! What keeps an engine in order between writes: sealing, flushing, and removing what is not needed.

use super::Core;
use super::append::salt;
use crate::{Error, Result};
use std::path::Path;
use std::sync::atomic::Ordering;

/// Sealed segments that replay may have to read; with more, a memtable is flushed before it is full. A
/// database with a write a second seals a segment a second.
const REPLAYED_SEGMENTS_MAX: usize = 512;
/// While a flush is under way everything else is done this often, in milliseconds.
const UPKEEP_MS: u64 = 20;

/// What one maintenance step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Something: there may be more.
    Worked,
    /// Nothing: nothing was due.
    Idle,
}

impl Core {
    pub(super) fn maintain(&self) -> Result<Progress> {
        self.running()?;
        let now_ms = self.env.clock.now_ms();
        if !self.flush_is_under_way() || self.upkeep_is_due(now_ms) {
            self.last_upkeep_ms.store(now_ms, Ordering::Relaxed);
            self.keep_up()?;
        }
        if self.may_flush() { self.unless_full(self.flush_step()) } else { Ok(Progress::Idle) }
    }

    /// Between the steps of a flush the rest can wait a little: it takes locks that writers need.
    fn upkeep_is_due(&self, now_ms: u64) -> bool {
        let last_ms = self.last_upkeep_ms.load(Ordering::Relaxed);
        !(last_ms..last_ms.saturating_add(UPKEEP_MS)).contains(&now_ms)
    }

    /// Everything but flushing.
    fn keep_up(&self) -> Result<()> {
        self.disk.refresh(&*self.env.fs, &self.dir).map_err(|error| self.stop_on(error))?;
        self.seal_by_age()?;
        self.make_segment_ahead()?;
        self.shorten_log();
        self.remove_segments()
    }

    /// Makes the next segment of the log before it is needed; in quiet times gives back what is reserved in vain.
    fn make_segment_ahead(&self) -> Result<()> {
        let slot = self.appender.lock().log.slot();
        match slot.fill(|| salt(&self.env)) {
            Err(error) if error.is_disk_full() => {
                tracing::debug!("no room for the next log segment: it is made when it is needed");
            }
            made => drop(made.map_err(|error| self.stop_on(error))?),
        }
        if self.pressure.is_quiet(self.env.clock.now_ms()) {
            self.appender.lock().log.trim().map_err(|error| self.stop_on(error))?;
        }
        Ok(())
    }

    /// Seals the memtable when the log that holds it has come to many segments.
    fn shorten_log(&self) {
        // Before the appender: an edit of the manifest takes a sync, and writers must not wait for it.
        let flushed = self.manifest.lock().state().flushed.version;
        let mut appender = self.appender.lock();
        let in_tables = self.view.load().sealed.last().map_or(flushed, |sealed| sealed.end.version);
        let replayed = appender.log.sealed().iter().filter(|segment| segment.last > in_tables).count();
        if replayed > REPLAYED_SEGMENTS_MAX {
            self.seal_memtable(&mut appender);
        }
    }

    /// A full disk puts a step off; it does not fail it.
    pub(super) fn unless_full(&self, done: Result<bool>) -> Result<Progress> {
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

    /// Removes segments that are flushed and that nobody keeps.
    pub(super) fn remove_segments(&self) -> Result<()> {
        let flushed = self.manifest.lock().state().flushed.version;
        let kept = self.keep_after.lock().unwrap_or(u64::MAX);
        let removed = self.appender.lock().log.take_through(flushed.min(kept));
        removed.iter().try_for_each(|segment| self.remove(&segment.path))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        self.env.fs.remove(path).map_err(|error| self.stop_on(Error::io("remove", path)(error)))
    }
}
