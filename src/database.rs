//! One served database: an engine, the clock it is read by, its write pipeline and its watches.
//!
//! - Reads see the newest published commit, at a time that never falls.
//! - Closing drains: every write that was taken is answered before the engine closes.

use crate::metrics::Metrics;
use crate::sequencer::{self, Pipeline, Sequencer, State, WriteError};
use engine::background::{self, Background};
use engine::{Engine, Mark, Snapshot};
use replication::ServingClock;
use replication::{AtomicWrite, Outcome, RequestId};
use replication::{Hub, Subscription};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a strong read cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No majority could be reached in time. Read again later, or eventually.
    #[error("no majority of the cluster answered: {0}")]
    Unavailable(String),
}

/// A database as the endpoints use it. Clones are the same database.
#[derive(Debug, Clone)]
pub struct Database {
    engine: Engine,
    clock: ServingClock,
    hub: Hub,
    sequencer: Sequencer,
    boot: u64,
    requests: Arc<AtomicU64>,
}

/// What has to be closed at the end: the write pipeline, then maintenance, then the engine.
#[derive(Debug)]
pub struct Opened {
    engine: Engine,
    pipeline: Pipeline,
    background: Option<Background>,
}

impl Database {
    /// Starts to serve an engine. `boot` tells this run of the process from others.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        engine: Engine,
        wall: Arc<dyn engine::Clock>,
        boot: u64,
        metrics: &Metrics,
    ) -> std::io::Result<(Database, Opened)> {
        let clock = ServingClock::new(wall, engine.applied().time_ms);
        let hub = Hub::default();
        let (sequencer, pipeline) =
            sequencer::start(engine.clone(), clock.clone(), hub.clone(), metrics.writes.clone())?;
        metrics.add_engine(engine.clone(), hub.clone());
        let requests = Arc::new(AtomicU64::new(0));
        let opened = Opened { engine: engine.clone(), pipeline, background: None };
        Ok((Database { engine, clock, hub, sequencer, boot, requests }, opened))
    }

    /// The clock that everything is served by.
    pub const fn clock(&self) -> &ServingClock {
        &self.clock
    }

    /// The newest published state, read now.
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = self.engine.snapshot();
        let time_ms = snapshot.time_ms().max(self.clock.now_ms());
        snapshot.at_time(time_ms)
    }

    /// Returns when [`snapshot`](Self::snapshot) shows every write that was acknowledged anywhere before the call.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn barrier(&self) -> Result<(), ReadError> {
        Ok(())
    }

    /// How old the newest state here may be, in milliseconds; `None` when that is not known.
    pub const fn staleness_ms(&self) -> Option<u64> {
        Some(0)
    }

    /// An id for a write that has come in.
    pub fn request_id(&self) -> RequestId {
        let counter = self.requests.fetch_add(1, Ordering::Relaxed);
        RequestId { node: 1, boot: self.boot, counter }
    }

    /// Applies a write of about `bytes` bytes and returns its outcome once that is durable.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn write(&self, write: AtomicWrite, bytes: usize) -> Result<Outcome, WriteError> {
        self.sequencer.write(write, bytes).await
    }

    /// Records a mark in the log, such as how far the archive got.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn record(&self, mark: Mark) -> Result<(), WriteError> {
        self.sequencer.record(mark).await
    }

    /// Subscribes to engine keys; `None` when too many are open.
    pub fn subscribe(&self, engine_keys: Vec<Vec<u8>>) -> Option<Subscription> {
        self.hub.subscribe(engine_keys)
    }

    /// How writes stand, and how that changes.
    pub fn state(&self) -> tokio::sync::watch::Receiver<State> {
        self.sequencer.state()
    }

    /// Why writes are refused now; `None` when they are taken.
    pub fn refuses_writes(&self) -> Option<String> {
        match &*self.sequencer.state().borrow() {
            State::Open => None,
            State::Failed(reason) => Some(reason.clone()),
            // No write has come since space was freed: what is free now decides.
            State::DiskFull { reason, reserve } => {
                let free = self.engine.statistics().disk_available_bytes;
                (free <= *reserve).then(|| reason.clone())
            }
        }
    }
}

impl Opened {
    /// Starts flushes, compactions and the removal of log segments. Whoever wants segments kept says so
    /// to the engine before.
    pub fn maintain(&mut self) {
        self.background = Some(background::start(&self.engine));
    }

    /// Answers every write that was taken, refuses later ones, and closes the engine. Blocks: call it
    /// outside of asynchronous code.
    ///
    /// # Errors
    ///
    /// When the log cannot be synced and sealed.
    pub fn close(self) -> engine::Result<()> {
        self.pipeline.close();
        // The last batches may have waited for a flush, so flushing ends after them.
        drop(self.background);
        self.engine.close()
    }
}
