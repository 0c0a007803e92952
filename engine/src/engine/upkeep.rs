//! What keeps an engine in order between writes: sealing, flushing, and removing what is not needed.

use super::Core;
use super::append::salt;
use crate::{Error, Result};
use std::path::Path;

/// Sealed segments that replay may have to read; with more, a memtable is flushed before it is full. A
/// database with a write a second seals a segment a second.
const REPLAYED_SEGMENTS_MAX: usize = 512;
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
        self.disk.refresh(&*self.env.fs, &self.dir).map_err(|error| self.stop_on(error))?;
        self.seal_by_age()?;
        self.make_segment_ahead()?;
        self.shorten_log();
        let flushed = if self.may_flush() { self.unless_full(self.flush_step())? } else { Progress::Idle };
        self.remove_segments()?;
        Ok(flushed)
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
        let mut appender = self.appender.lock();
        let view = self.view.load();
        let in_tables = view
            .sealed
            .last()
            .map_or_else(|| self.manifest.lock().state().flushed.version, |sealed| sealed.end.version);
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
