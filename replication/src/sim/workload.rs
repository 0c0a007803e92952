//! Clients that do what programs do, at random from a seed, and take down what they see.
//!
//! - Workers write and read, each through a node that it changes now and then; watchers watch. What they ask for is in
//!   [`draw`], how a node is asked behind [`Client`].
//! - A worker does one thing at a time and waits for the answer, at most for [`PATIENCE`]; then nobody knows.
//! - Times are those of the simulation.
//!
//! [`Workload::start`] writes the first accounts and goes on until [`Running::stop`]; then [`Running::drain`] has watchers say
//! the last, once the nodes agree; and [`Done::check`] decides.

mod client;
pub mod draw;
mod groups;
mod keys;
mod memory;
mod watcher;
mod worker;

#[cfg(test)]
mod tests;

pub use client::{Ask, Client, Shown, Watching};
pub use groups::Groups;
pub use keys::{ACCOUNT_START, ACCOUNTS};

use crate::check::{self, Event, Last, Recorder, Verdict, Violation, conserved};
use crate::runtime::sim::{self, SplitMix};
use crate::runtime::{self, JoinHandle, watch};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use worker::Worker;

/// How long a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a watch must have said nothing to have said all.
const SILENCE: Duration = Duration::from_secs(10);
/// How often the first write is tried before it counts as a failure.
const SETUP_TRIES_MAX: usize = 1_000;

/// How many clients there are, and how fast they are.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Clients that write and read.
    pub workers: u64,
    /// Clients that watch.
    pub watchers: u64,
    /// How long a worker thinks between two operations, at most.
    pub think_max: Duration,
}

impl Default for Workload {
    fn default() -> Self {
        Self { workers: 6, watchers: 2, think_max: Duration::from_millis(40) }
    }
}

/// What all clients of a workload share.
#[derive(Debug)]
struct Shared<C> {
    client: C,
    recorder: Recorder,
    next_id: AtomicU64,
}

impl<C> Shared<C> {
    fn now_ns(&self) -> u64 {
        u64::try_from(sim::elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// How far a workload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Work,
    /// No more writes and reads; watches go on.
    Listen,
    /// Everybody ends who has said all.
    Drain,
}

/// Clients at work.
#[derive(Debug)]
pub struct Running<C> {
    shared: Arc<Shared<C>>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Starts the clients. Nodes may come and go from here on.
    pub fn start<C: Client>(self, client: C) -> Running<C> {
        let shared = Arc::new(Shared { client, recorder: Recorder::default(), next_id: AtomicU64::new(1) });
        let (phase, phases) = watch::channel(Phase::Work);
        let mut number = 0;
        let mut next = || {
            number += 1;
            (number, SplitMix(sim::random_u64()))
        };
        let workers = (0..self.workers).map(|_| {
            let (number, random) = next();
            let worker = Worker::new(number, random, shared.clone(), self.think_max);
            runtime::spawn(worker.run(phases.clone()))
        });
        let workers = workers.collect();
        let watchers = (0..self.watchers).map(|_| {
            let (number, random) = next();
            runtime::spawn(watcher::run(number, random, shared.clone(), phases.clone()))
        });
        let watchers = watchers.collect();
        Running { shared, phase, workers, watchers }
    }
}

/// Why a workload came to no end. The cluster has lost its liveness, or the client is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// The last read did not succeed.
    #[error("what is there in the end cannot be read at node {0}")]
    Unreadable(u64),
    /// A client's task died.
    #[error("a client died: {0}")]
    Died(String),
}

impl<C: Client> Running<C> {
    /// Has the workers end what they do, and waits for them.
    ///
    /// # Errors
    ///
    /// When one died.
    pub async fn stop(&mut self) -> Result<(), Stuck> {
        self.phase.send_replace(Phase::Listen);
        join(std::mem::take(&mut self.workers)).await
    }

    /// Has the watches say what is left to say, reads everything at `node`, and ends. To be called when all nodes have all.
    ///
    /// # Errors
    ///
    /// When the read fails or a client died.
    pub async fn drain(mut self, node: u64) -> Result<Done, Stuck> {
        self.stop().await?;
        self.phase.send_replace(Phase::Drain);
        join(std::mem::take(&mut self.watchers)).await?;
        let last = self.shared.client.last(node).await.ok_or(Stuck::Unreadable(node))?;
        Ok(Done { events: self.shared.recorder.events(), last })
    }
}

async fn join(tasks: Vec<JoinHandle<()>>) -> Result<(), Stuck> {
    for task in tasks {
        task.await.map_err(|error| Stuck::Died(error.to_string()))?;
    }
    Ok(())
}

/// What the clients saw, and what there is in the end.
#[derive(Debug, Clone)]
pub struct Done {
    /// What the clients saw.
    pub events: Vec<Event>,
    /// What there is in the end.
    pub last: Last,
}

impl Done {
    /// Decides.
    ///
    /// # Errors
    ///
    /// The first contradiction.
    pub fn check(&self) -> Result<Verdict, Violation> {
        let verdict = check::check(&self.events, &self.last)?;
        conserved::check(&self.events, &keys::accounts(), u128::from(ACCOUNTS * ACCOUNT_START))?;
        Ok(verdict)
    }

    /// Every state that there was.
    ///
    /// # Errors
    ///
    /// When what was seen does not hold.
    pub fn model(&self) -> Result<check::Model, Violation> {
        check::model(&self.events, &self.last)
    }
}
