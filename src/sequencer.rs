//! The write pipeline: one thread that drains a bounded queue and makes what it took durable at once.
//!
//! - A write that finds nobody waiting and nobody committing commits itself, where it is: that saves a
//!   lone client two changes of threads. It holds one thread of the runtime for one sync, and only where
//!   the runtime has another.
//! - Writes are applied in the order they were taken; while one batch is synced, the next one fills.
//! - An answer is given only when the batch is durable and published.
//! - After a failed append or sync nothing more is taken. The failed batch's outcome is unknown; what
//!   was still in the queue was certainly not applied.
//! - A full disk refuses writes and stops nothing.

mod commit;

use crate::metrics::WriteMetrics;
use commit::Committer;
use engine::{Engine, Mark};
use parking_lot::Mutex;
use replication::Hub;
use replication::ServingClock;
use replication::{AtomicWrite, Outcome};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// Commands that wait, at most.
const QUEUE_COMMANDS_MAX: usize = 8_192;
/// Bytes of writes that wait, at most.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Writes in one log entry, at most: the stamp's order counts them.
const BATCH_WRITES_MAX: usize = engine::record::BATCHES_MAX;
/// Bytes of writes in one log entry, at most, unless one write alone is larger.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Why a write has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The disk is full up to its reserve; nothing was written. Free space.
    #[error("{reason}")]
    DiskFull {
        /// The engine's words.
        reason: String,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// What the write depends on cannot be read; nothing was written. Look at the log.
    #[error("stored data cannot be read: {0}")]
    Storage(String),
    /// The write may or may not be durable. Reopen the data directory and look.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The write was not taken. Send it again, elsewhere or later.
    #[error("writes are stopping")]
    Stopping,
}

/// How writes stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// They are taken.
    Open,
    /// The disk is full: they are refused until more than `reserve` bytes are free.
    DiskFull {
        /// The engine's words.
        reason: String,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// The engine failed: the process has to end.
    Failed(String),
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// What waits in the queue.
#[derive(Debug)]
pub(crate) enum Command {
    Write { write: AtomicWrite, bytes: usize, reply: Reply<Outcome>, _room: OwnedSemaphorePermit },
    Progress { mark: Mark, reply: Reply<()> },
    Close,
}

impl Command {
    const fn bytes(&self) -> usize {
        match self {
            Command::Write { bytes, .. } => *bytes,
            Command::Progress { .. } | Command::Close => 0,
        }
    }
}

/// Who holds the lock commits; nobody does any more once it is empty.
type Lead = Arc<Mutex<Option<Committer>>>;

/// The way into the pipeline. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Sequencer {
    queue: mpsc::Sender<Command>,
    lead: Lead,
    room: Arc<Semaphore>,
    state: watch::Receiver<State>,
    metrics: WriteMetrics,
}

/// The thread behind the queue, and the right to end it.
#[derive(Debug)]
pub struct Pipeline {
    queue: mpsc::Sender<Command>,
    thread: JoinHandle<()>,
}

/// Starts the thread.
///
/// # Errors
///
/// When the system gives no thread.
pub fn start(
    engine: Engine,
    clock: ServingClock,
    hub: Hub,
    metrics: WriteMetrics,
) -> std::io::Result<(Sequencer, Pipeline)> {
    let (queue, commands) = mpsc::channel(QUEUE_COMMANDS_MAX);
    let (state_sender, state) = watch::channel(State::Open);
    let committer = Committer::new(engine, clock, hub, state_sender, metrics.clone());
    let lead = Arc::new(Mutex::new(Some(committer)));
    let drained = Arc::clone(&lead);
    let thread =
        std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || drain(commands, &drained))?;
    let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
    let pipeline = Pipeline { queue: queue.clone(), thread };
    Ok((Sequencer { queue, lead, room, state, metrics }, pipeline))
}

impl Sequencer {
    /// Applies a write of about `bytes` bytes and returns its outcome once that is durable.
    ///
    /// # Errors
    ///
    /// See [`WriteError`]. If the caller stops waiting, the write may still be applied.
    pub async fn write(&self, write: AtomicWrite, bytes: usize) -> Result<Outcome, WriteError> {
        let permits = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(permits).await;
        let _room = room.map_err(|_closed| WriteError::Stopping)?;
        self.ask(|reply| Command::Write { write, bytes, reply, _room }).await
    }

    /// Records a mark in the log and returns once it is durable.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn record(&self, mark: Mark) -> Result<(), WriteError> {
        self.ask(|reply| Command::Progress { mark, reply }).await
    }

    /// How writes stand, and how that changes.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.metrics.waiting.inc();
        let sent = match self.commit_here(command(reply)) {
            Ok(()) => Ok(()),
            Err(command) => self.queue.send(command).await,
        };
        let answered = match sent {
            Ok(()) => {
                let gone = |_gone| Err(WriteError::Unknown("its thread ended".to_owned()));
                answer.await.unwrap_or_else(gone)
            }
            Err(_closed) => Err(WriteError::Stopping),
        };
        self.metrics.waiting.dec();
        answered
    }
}

impl Sequencer {
    /// Commits a command on this thread when nobody else waits or commits; otherwise gives it back.
    fn commit_here(&self, command: Command) -> Result<(), Command> {
        let nobody_waits = self.queue.capacity() == self.queue.max_capacity();
        let others_run = Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() > 1);
        let lead = if nobody_waits && others_run { self.lead.try_lock() } else { None };
        match lead {
            Some(mut lead) if lead.is_some() => {
                lead_with(&mut lead, vec![command]);
                Ok(())
            }
            _ => Err(command),
        }
    }
}

/// Commits a batch; after a failure nobody leads any more.
fn lead_with(lead: &mut Option<Committer>, batch: Vec<Command>) {
    match lead {
        Some(committer) => {
            if committer.commit(batch).is_err() {
                *lead = None;
            }
        }
        None => batch.into_iter().for_each(|command| commit::refuse(command, &WriteError::Stopping)),
    }
}

impl Pipeline {
    /// Answers every write that was taken before the call, refuses those that come after, and ends.
    /// Blocks: call it outside of asynchronous code.
    ///
    /// # Panics
    ///
    /// If the thread panicked.
    pub fn close(self) {
        // An error means that the thread has ended by itself, after a failure.
        drop(self.queue.blocking_send(Command::Close));
        self.thread.join().expect("the sequencer answers everything and ends");
    }
}

fn drain(mut commands: mpsc::Receiver<Command>, lead: &Mutex<Option<Committer>>) {
    let mut ahead = None;
    while let Some(first) = ahead.take().or_else(|| commands.blocking_recv()) {
        if matches!(first, Command::Close) {
            break;
        }
        // Locked before the batch is filled: what comes while another thread commits goes along.
        let mut lead = lead.lock();
        let (batch, next) = fill(first, &mut commands);
        ahead = next;
        lead_with(&mut lead, batch);
        if lead.is_none() {
            break;
        }
    }
    *lead.lock() = None;
    // Nothing is taken from here on: what waits is told so, and what comes finds the queue closed.
    commands.close();
    for command in ahead.into_iter().chain(std::iter::from_fn(|| commands.blocking_recv())) {
        commit::refuse(command, &WriteError::Stopping);
    }
}

/// Takes what waits, up to the bounds of a batch; also returns the first command that did not fit.
fn fill(first: Command, commands: &mut mpsc::Receiver<Command>) -> (Vec<Command>, Option<Command>) {
    let mut bytes = first.bytes();
    let mut batch = vec![first];
    while batch.len() < BATCH_WRITES_MAX {
        let Ok(next) = commands.try_recv() else { break };
        bytes += next.bytes();
        if bytes > BATCH_BYTES_MAX || matches!(next, Command::Close) {
            return (batch, Some(next));
        }
        batch.push(next);
    }
    (batch, None)
}

#[cfg(test)]
mod tests;
