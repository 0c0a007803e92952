//! One Raft group on this node: any node takes writes and strong reads, wherever the leader is.
//!
//! - A write is handed to the leader of some term, and waits until this replica applies it, or is certain that it never
//!   will be (see [`crate::pending`]); in that case it is handed to the next leader, within its deadline. So an election
//!   is waited for, and nothing is applied twice.
//! - A strong read waits until a leader has confirmed, after the read began, how far the log is committed, and this
//!   replica has applied it. Many reads share one confirmation.
//! - Everything else is read from this replica, which may be behind.

mod counters;
mod forward;
mod leader;
mod members;
mod peers;
mod propose;
mod read;
mod status;
mod upkeep;

use crate::bugs::{self, Bug};
use crate::pending::Verdict;
use crate::raft::Raft;
use crate::replica::Replica;
use crate::runtime::{self, AbortOnDrop, JoinHandle};
use crate::transport::Transport;
use crate::{
    AtomicWrite, Entry, GroupId, Hub, NodeId, Outcome, ReadError, RequestId, ServingClock, Subscription,
    WriteError,
};
use engine::{Engine, Mark, Snapshot};
use leader::{Leader, Leadership};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

pub use crate::message::Change;
pub use counters::Counters;
pub use members::ChangeError;
pub use status::{GroupStatus, Member, Role};

/// Bytes of writes that wait on this node for one group, at most.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// Writes that wait to be proposed or forwarded, at most.
const QUEUE_LEN_MAX: usize = 8_192;

/// How a group reads and keeps its log.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Strong reads on the leader trust its lease instead of asking the others. A machine whose clock stood still lies.
    pub lease_reads: bool,
    /// Bytes of the newest entries that stay in the log for followers that are a little behind.
    pub log_bytes_kept: u64,
    /// Bytes of entries that stay for a follower that is known and further behind; past it, it gets a snapshot.
    pub log_bytes_max: u64,
    /// How often the log is looked at.
    pub upkeep: Duration,
    /// Bytes of tables that are read again in a second, to find damage; 0 is never.
    pub scrub_bytes_per_s: u64,
    /// From the beginning of one reading of all tables to that of the next, at least.
    pub scrub_every: Duration,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            lease_reads: false,
            log_bytes_kept: 64 << 20,
            log_bytes_max: 256 << 20,
            upkeep: Duration::from_millis(500),
            scrub_bytes_per_s: 8 << 20,
            scrub_every: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// One group. Clones are the same.
#[derive(Debug, Clone)]
pub struct Group {
    core: Arc<Core>,
    _tasks: Arc<Vec<AbortOnDrop<()>>>,
}

pub(crate) struct Core {
    pub(crate) id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) replica: Arc<Replica>,
    pub(crate) home: Arc<crate::home::Home>,
    log: crate::log::LogStore,
    transport: Arc<dyn Transport>,
    clock: ServingClock,
    leadership: Leadership,
    proposer: mpsc::Sender<propose::Item>,
    forwarder: mpsc::Sender<forward::Item>,
    rounds: read::Rounds,
    freshness: status::Freshness,
    pub(crate) scrubbed: crate::scrub::Counts,
    seen: Mutex<propose::Seen>,
    room: Arc<Semaphore>,
    requests: AtomicU64,
    counts: counters::Counts,
    stopping: AtomicBool,
    options: GroupOptions,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("id", &self.id).field("node", &self.node).finish_non_exhaustive()
    }
}

/// What a group is made of.
pub(crate) struct Parts {
    pub(crate) id: GroupId,
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) replica: Arc<Replica>,
    pub(crate) home: Arc<crate::home::Home>,
    pub(crate) log: crate::log::LogStore,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: ServingClock,
    pub(crate) options: GroupOptions,
}

/// What is to be decided by the log.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// An atomic write; it shares an entry with others.
    Write(AtomicWrite),
    /// An entry of its own, at any time.
    Entry(Entry),
}

impl Work {
    /// The same, asked for under this id.
    fn by(self, request: RequestId) -> Work {
        match self {
            Work::Write(write) => Work::Write(AtomicWrite { request, ..write }),
            Work::Entry(entry) => Work::Entry(entry.by(request)),
        }
    }
}

impl Group {
    pub(crate) fn start(parts: Parts) -> Group {
        let (proposer, proposals) = mpsc::channel(QUEUE_LEN_MAX);
        let (forwarder, forwards) = mpsc::channel(QUEUE_LEN_MAX);
        let (rounds, reads) = read::Rounds::new();
        let core = Arc::new(Core {
            id: parts.id,
            node: parts.node,
            leadership: Leadership::of(&parts.raft),
            raft: parts.raft,
            replica: parts.replica,
            home: parts.home,
            log: parts.log,
            transport: parts.transport,
            clock: parts.clock,
            proposer,
            forwarder,
            rounds,
            freshness: status::Freshness::default(),
            scrubbed: crate::scrub::Counts::default(),
            seen: Mutex::default(),
            room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)),
            requests: AtomicU64::new(0),
            counts: counters::Counts::default(),
            stopping: AtomicBool::new(false),
            options: parts.options,
        });
        let tasks = [
            runtime::spawn(propose::run(Arc::clone(&core), proposals)),
            runtime::spawn(forward::run(Arc::clone(&core), forwards)),
            runtime::spawn(read::run(Arc::clone(&core), reads)),
            runtime::spawn(upkeep::run(Arc::clone(&core))),
            runtime::spawn(status::keep_fresh(Arc::clone(&core))),
            runtime::spawn(crate::scrub::run(Arc::clone(&core))),
            runtime::spawn(peers::run(Arc::clone(&core))),
        ];
        Group { core, _tasks: Arc::new(tasks.map(JoinHandle::abort_on_drop).into_iter().collect()) }
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Which group.
    pub fn id(&self) -> GroupId {
        self.core.id
    }

    /// An id for a request that has come in. The log names it by another, a new one each time that it is handed to a leader.
    pub fn request_id(&self) -> RequestId {
        let counter = self.core.requests.fetch_add(1, Ordering::Relaxed);
        RequestId { node: self.core.node.0, boot: self.core.replica.boot(), counter }
    }

    /// The clock that this node serves by; it never falls.
    pub fn clock(&self) -> &ServingClock {
        &self.core.clock
    }

    /// Applies a write of about `bytes` bytes, made with an id of [`request_id`](Self::request_id), and returns its outcome.
    /// It is durable on a majority and applied here by then.
    ///
    /// # Errors
    ///
    /// See [`WriteError`]. If the caller stops waiting, the write may still be applied.
    pub async fn write(
        &self,
        write: AtomicWrite,
        bytes: usize,
        within: Duration,
    ) -> Result<Outcome, WriteError> {
        match self.core.decide(&Work::Write(write), bytes, within).await? {
            Verdict::Outcome(outcome) => Ok(outcome),
            other => Err(WriteError::Unknown(format!("the log says {other:?} of a write"))),
        }
    }

    /// Sets a mark in the log.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn record(&self, mark: Mark, within: Duration) -> Result<(), WriteError> {
        let request = self.request_id();
        let bytes = mark.value.len();
        self.entry(Entry::Progress { time_ms: 0, request, mark }, bytes, within).await
    }

    /// Has an entry that is not a batch decided; its time is that of the leader.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub async fn entry(&self, entry: Entry, bytes: usize, within: Duration) -> Result<(), WriteError> {
        self.core.decide(&Work::Entry(entry), bytes, within).await.map(drop)
    }

    /// Waits until [`snapshot`](Self::snapshot) shows every write that was acknowledged anywhere before the call.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn barrier(&self, within: Duration) -> Result<(), ReadError> {
        self.core.barrier(within).await
    }

    /// What this replica has applied, read now. It may be behind.
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = self.engine().snapshot();
        let time_ms = snapshot.time_ms().max(self.core.clock.now_ms());
        snapshot.at_time(time_ms)
    }

    /// The engine under this replica. Another takes its place when a Raft snapshot is installed: do not keep it.
    pub fn engine(&self) -> Engine {
        self.core.replica.engine()
    }

    /// Who waits for which key.
    pub fn hub(&self) -> &Hub {
        self.core.replica.hub()
    }

    /// Subscribes to engine keys; `None` when too many are open.
    pub fn subscribe(&self, keys: Vec<Vec<u8>>) -> Option<Subscription> {
        self.hub().subscribe(keys)
    }

    /// What reading all tables again has come to.
    pub fn scrub_status(&self) -> crate::ScrubStatus {
        self.core.scrubbed.status()
    }

    /// Takes no more writes: those that wait are still decided.
    pub fn stop_writes(&self) {
        self.core.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits until this node's part in the group has ended by itself; returns why.
    pub(crate) async fn failure(&self) -> String {
        let mut metrics = self.core.raft.metrics();
        let reason = loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                break format!("group {} ended: {fatal}", self.core.id);
            }
            if metrics.changed().await.is_err() {
                break format!("group {} ended", self.core.id);
            }
        };
        crate::repair::set_aside_if_damaged(&self.core);
        reason
    }

    /// Hands leadership to another node, if this one has it and there is one that can take it.
    pub async fn hand_over(&self) {
        self.core.hand_over().await;
    }

    /// Ends this group on this node, after handing leadership to another one if it has it.
    pub async fn close(&self) {
        self.stop_writes();
        self.core.hand_over().await;
        if let Err(error) = self.core.raft.shutdown().await {
            tracing::warn!(group = %self.core.id, %error, "the Raft group did not end in order");
        }
    }
}

impl Core {
    pub(crate) const fn log(&self) -> &crate::log::LogStore {
        &self.log
    }

    pub(crate) const fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    pub(crate) const fn scrub_pace(&self) -> (u64, Duration) {
        (self.options.scrub_bytes_per_s, self.options.scrub_every)
    }

    /// The last index that is no longer in the log; 0 when all are.
    pub(crate) fn purged_index(&self) -> u64 {
        self.log.purged().map_or(0, |id| id.index)
    }

    /// Hands work to leaders until its outcome is certain.
    async fn decide(
        self: &Arc<Self>,
        work: &Work,
        bytes: usize,
        within: Duration,
    ) -> Result<Verdict, WriteError> {
        let deadline = runtime::now() + within;
        let permits = u32::try_from(bytes.clamp(1, WAITING_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = runtime::timeout_at(deadline, Arc::clone(&self.room).acquire_many_owned(permits)).await;
        let room = match room {
            Ok(Ok(room)) => Arc::new(room),
            Ok(Err(_closed)) => return Err(WriteError::Stopping),
            Err(_elapsed) => return Err(WriteError::Unavailable("too many writes wait already".to_owned())),
        };
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(WriteError::Stopping);
            }
            let Some(leader) = self.leadership.known_by(deadline).await else {
                return Err(WriteError::Unavailable(format!("group {} has no leader", self.id)));
            };
            match self.hand_to(leader, work, &room, deadline).await? {
                Verdict::NotApplied => {}
                Verdict::Hidden => {
                    let reason = "this node was caught up by a snapshot, which hides what became of it";
                    return Err(WriteError::Unknown(reason.to_owned()));
                }
                Verdict::Refused(error) => return Err(error),
                verdict => return Ok(verdict),
            }
        }
    }

    /// Hands work to one leader and waits for the verdict.
    async fn hand_to(
        self: &Arc<Self>,
        leader: Leader,
        work: &Work,
        room: &Arc<OwnedSemaphorePermit>,
        deadline: runtime::Instant,
    ) -> Result<Verdict, WriteError> {
        let (counter, verdict) = self.replica.pending().register(leader.term);
        // However the wait ends, nothing is left behind.
        let _waiting = Waiting { core: self, counter };
        let request = RequestId { node: self.node.0, boot: self.replica.boot(), counter };
        let (work, room) = (work.clone().by(request), Arc::clone(room));
        let handed = async {
            if leader.node == self.node {
                let item =
                    propose::Item { term: leader.term, work, counter: Some(counter), _room: Some(room) };
                self.proposer.send(item).await.map_err(drop)
            } else {
                self.forwarder.send(forward::Item { leader, work, counter, _room: room }).await.map_err(drop)
            }
        };
        match runtime::timeout_at(deadline, handed).await {
            Ok(Ok(())) => {}
            Ok(Err(())) => return Err(WriteError::Stopping),
            Err(_elapsed) => return Err(WriteError::Unavailable("too many writes wait already".to_owned())),
        }
        if bugs::seeded(Bug::ProposedAgain) {
            let soon = runtime::timeout(Duration::from_millis(100), verdict).await;
            return Ok(soon.map_or(Verdict::NotApplied, |told| told.unwrap_or(Verdict::NotApplied)));
        }
        match runtime::timeout_at(deadline, verdict).await {
            Ok(Ok(verdict)) => Ok(verdict),
            Ok(Err(_gone)) => Err(WriteError::Unknown("this node stopped".to_owned())),
            Err(_elapsed) => Err(WriteError::Unknown("no leader told in time".to_owned())),
        }
    }
}

struct Waiting<'a> {
    core: &'a Core,
    counter: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.core.replica.pending().forget(self.counter);
    }
}
