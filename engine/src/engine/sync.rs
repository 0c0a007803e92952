//! What of the log is durable.
//!
//! - [`Engine::durable_version`] never says more than the disk was made to keep, and never falls.
//! - Records that recovery finds are durable before the engine is open: it cuts and seals the log first.

use super::{Core, Engine};
use crate::Result;
use crate::bugs::{self, Bug};
use std::sync::atomic::Ordering;

impl Engine {
    /// The version up to which all records are durable, at least: they are there after any crash. Who keeps a log of
    /// his own may forget it up to here.
    pub fn durable_version(&self) -> u64 {
        self.core.durable.load(Ordering::Acquire)
    }
}

impl Core {
    pub(super) fn sync(&self) -> Result<u64> {
        self.running()?;
        let (handle, version) = {
            let appender = self.appender.lock();
            (appender.log.sync_handle(), appender.applied.version)
        };
        if bugs::seeded(Bug::SyncSkipped) {
            return Ok(version);
        }
        let start_ns = self.env.clock.elapsed_ns();
        handle.sync().map_err(|error| self.stop_on(error))?;
        self.made_durable(version);
        self.counters.sync_times.took(self.env.clock.elapsed_ns().saturating_sub(start_ns));
        if handle.seals() {
            self.appender.lock().log.note_sealed();
        }
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(version)
    }

    /// Seals the segment that takes no more records, durably, if there is one; appends go on meanwhile.
    pub(super) fn seal_ending(&self) -> Result<()> {
        let ending = self.appender.lock().log.ending();
        match ending {
            Some(ending) => {
                let segment = ending.finish().map_err(|error| self.stop_on(error))?;
                self.made_durable(segment.last);
                // Whoever else finished it may be about to note it: on return it is among the sealed in any case.
                self.appender.lock().log.note_finished(&ending, segment);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn made_durable(&self, version: u64) {
        self.durable.fetch_max(version, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use crate::env::sim;
    use crate::fs::sim::Unsynced;
    use crate::testing::TestResult;
    use crate::{Engine, Env, Options, WriteBatch};
    use std::path::Path;

    fn open(env: &Env) -> crate::Result<Engine> {
        Engine::open(env.clone(), Path::new("/data"), Options::default()).map(|(engine, _)| engine)
    }

    fn put(engine: &Engine, key: u8) -> crate::Result<u64> {
        let mut batch = WriteBatch::new();
        batch.put(&[key], b"value", None)?;
        engine.commit_unsynced(batch).map(|stamp| stamp.version())
    }

    #[test]
    fn what_is_only_appended_is_not_said_to_be_durable() -> TestResult {
        let (env, disk, _clock) = sim::env(1);
        let engine = open(&env)?;
        let first = put(&engine, 1)?;
        assert_eq!(engine.durable_version(), 0);
        engine.sync()?;
        assert_eq!(engine.durable_version(), first);
        put(&engine, 2)?;
        assert_eq!(engine.durable_version(), first);
        disk.crash(Unsynced::Lost);
        drop(engine);
        let engine = open(&env)?;
        assert_eq!((engine.applied().version, engine.durable_version()), (first, first));
        Ok(())
    }

    #[test]
    fn a_sealed_segment_is_durable_and_so_is_what_recovery_finds() -> TestResult {
        let (env, disk, _clock) = sim::env(2);
        let engine = open(&env)?;
        let sealed = put(&engine, 1)?;
        engine.seal_segment()?;
        assert_eq!(engine.durable_version(), sealed);
        let kept = put(&engine, 2)?;
        disk.crash(Unsynced::Kept);
        drop(engine);
        let engine = open(&env)?;
        assert_eq!((engine.applied().version, engine.durable_version()), (kept, kept));
        disk.crash(Unsynced::Lost);
        drop(engine);
        assert_eq!(open(&env)?.applied().version, kept, "recovery made it durable");
        Ok(())
    }
}
