//! One data group as the endpoints use it: strong and eventual reads, writes, watches.
//!
//! - Every bound on how long a request may wait for the cluster stands here.

use crate::metrics::Metrics;
use crate::sealed::{self, Seal};
use engine::{Engine, LineageId, Mark, Snapshot};
use prometheus_client::metrics::gauge::Gauge;
use replication::{AtomicWrite, Group, Outcome, RequestId, ServingClock, Subscription};
use std::time::Duration;

pub use replication::{ReadError, WriteError};

/// How long a write may wait for a leader and its majority. Deno sends a write again after a 5xx, to the same endpoint: it is
/// better to wait through an election.
const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// How long a strong read may wait for a leader and its majority.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// A data group. Clones are the same.
#[derive(Debug, Clone)]
pub struct Database {
    group: Group,
    /// It changes only while nobody serves it.
    lineage: LineageId,
    waiting: Gauge,
}

impl Database {
    /// The databases of a group.
    pub fn new(group: Group, metrics: &Metrics) -> Database {
        let lineage = group.engine().lineage().id;
        Database { group, lineage, waiting: metrics.writes_waiting.clone() }
    }

    /// The group itself.
    pub const fn group(&self) -> &Group {
        &self.group
    }

    /// The engine under the replica. Another takes its place when a Raft snapshot is installed: do not keep it.
    pub fn engine(&self) -> Engine {
        self.group.engine()
    }

    /// The clock that everything is served by.
    pub fn clock(&self) -> &ServingClock {
        self.group.clock()
    }

    /// The newest state of this replica, read now.
    pub fn snapshot(&self) -> Snapshot {
        self.group.snapshot()
    }

    /// Returns when [`snapshot`](Self::snapshot) shows every write that was acknowledged anywhere before the call.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn barrier(&self) -> Result<(), ReadError> {
        self.group.barrier(READ_WITHIN).await
    }

    /// How old the newest state here may be, in milliseconds; `None` when that is not known.
    pub fn staleness_ms(&self) -> Option<u64> {
        self.group.staleness_ms()
    }

    /// An id for a write that has come in.
    pub fn request_id(&self) -> RequestId {
        self.group.request_id()
    }

    /// Applies a write of about `bytes` bytes and returns its outcome once that is durable on a majority.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn write(&self, write: AtomicWrite, bytes: usize) -> Result<Outcome, WriteError> {
        self.waiting.inc();
        let outcome = self.group.write(write, bytes, WRITE_WITHIN).await;
        self.waiting.dec();
        outcome
    }

    /// Why no write may be taken, or acknowledged that was under way; `None` when they may.
    pub fn sealed(&self) -> Option<Seal> {
        sealed::of(&self.snapshot(), self.lineage)
    }

    /// Records a mark in the log, such as how far the archive got.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn record(&self, mark: Mark) -> Result<(), WriteError> {
        self.group.record(mark, WRITE_WITHIN).await
    }

    /// Subscribes to engine keys; `None` when too many are open.
    pub fn subscribe(&self, engine_keys: Vec<Vec<u8>>) -> Option<Subscription> {
        self.group.subscribe(engine_keys)
    }

    /// Why this node takes no writes now; `None` when it does.
    pub fn refuses_writes(&self) -> Option<String> {
        let full = self.engine().check_room().err().map(|error| error.to_string());
        full.or_else(|| self.sealed().map(|seal| format!("the cluster is sealed: {}", seal.reason)))
    }
}
