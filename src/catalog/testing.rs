//! A catalog on a simulated disk, for tests.

use super::{Change, View};
use crate::testing::FakeClock;
use engine::fs::sim::Sim;
use engine::{Engine, Options, Snapshot};
use replication::{AtomicWrite, Entry, Outcome, RequestId};

/// The replica of group 0 of a cluster of one.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) engine: Engine,
}

impl Store {
    pub(crate) fn new() -> engine::Result<Store> {
        let options = Options { disk_reserve_bytes: Some(0), ..Options::default() };
        Ok(Store { engine: crate::testing::engine(&Sim::new(), &FakeClock::at(1), options)? })
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.engine.snapshot()
    }

    /// Decides on what is there now.
    pub(crate) fn decide<T>(&self, decide: impl FnOnce(&View<'_>) -> T) -> T {
        decide(&View::new(&self.snapshot()))
    }

    pub(crate) fn write(&self, write: AtomicWrite) -> engine::Result<Outcome> {
        let mut outcomes = self.apply(&Entry::Batch { time_ms: 1, writes: vec![write] })?;
        Ok(outcomes.remove(0))
    }

    pub(crate) fn apply(&self, entry: &Entry) -> engine::Result<Vec<Outcome>> {
        let applied = self.engine.applied();
        let applied = replication::apply(&self.engine.newest(), &applied, self.engine.next_version(), entry)?;
        self.engine.append(&applied.record)?;
        self.engine.publish(self.engine.sync()?);
        Ok(applied.outcomes)
    }

    /// Writes a change that must be committed.
    pub(crate) fn commit(&self, change: Change) -> Result<(), String> {
        match self.write(change.into_write(RequestId { node: 1, boot: 1, counter: 0 })) {
            Ok(Outcome::Committed(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}
