//! What keeps an engine in order between writes: sealing, flushing, and removing what is not needed.

use super::Core;
use crate::{Error, Result};
use std::path::Path;

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
