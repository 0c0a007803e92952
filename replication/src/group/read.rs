//! Strong reads: one confirmation of the newest state for all reads that wait for one.
//!
//! - A read joins a round that begins after it. A round asks the leader, who asks a majority (or trusts its lease, when
//!   told to), for the index up to which everything is committed; the read then waits until this replica is there.
//! - Two rounds may be on their way at once, so that a read waits for at most one that began before it.
//! - A group of one voter needs no confirmation: nobody else can lead.

use super::Core;
use super::leader::Leader;
use crate::ReadError;
use crate::bugs::{self, Bug};
use crate::message::{Answer, Request};
use crate::runtime;
use crate::transport::Channel;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use openraft::ReadPolicy;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Rounds on their way at once, at most.
const ROUNDS_MAX: usize = 2;
/// Reads that wait for a round, at most.
const READS_MAX: usize = 65_536;
/// How long a round may take, in milliseconds.
const ROUND_MS_MAX: u64 = 1_000;
/// Pause after a round that came to nothing, in milliseconds.
const RETRY_MS: u64 = 10;

type Index = Result<u64, String>;

/// The way into the rounds.
#[derive(Debug)]
pub(super) struct Rounds {
    reads: mpsc::Sender<oneshot::Sender<Index>>,
}

pub(super) type Reads = mpsc::Receiver<oneshot::Sender<Index>>;

impl Rounds {
    pub(super) fn new() -> (Self, Reads) {
        let (reads, waiting) = mpsc::channel(READS_MAX);
        (Self { reads }, waiting)
    }

    /// Joins the next round.
    pub(super) async fn join(&self) -> Index {
        let (reply, index) = oneshot::channel();
        let ended = |_| "the group ended".to_owned();
        self.reads.send(reply).await.map_err(ended)?;
        index.await.unwrap_or_else(|_gone| Err("the round was given up".to_owned()))
    }
}

/// Runs rounds until the group ends.
pub(super) async fn run(core: Arc<Core>, mut reads: Reads) {
    let mut rounds: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    loop {
        while rounds.len() >= ROUNDS_MAX {
            rounds.next().await;
        }
        let first = if rounds.is_empty() {
            reads.recv().await
        } else {
            tokio::select! {
                biased;
                _done = rounds.next() => continue,
                first = reads.recv() => first,
            }
        };
        let Some(first) = first else { return };
        let mut joined = vec![first];
        while let Ok(read) = reads.try_recv() {
            joined.push(read);
        }
        core.counts.confirm(joined.len());
        let core = Arc::clone(&core);
        rounds.push(Box::pin(async move {
            let index = core.round().await;
            // A read that was given up needs no answer.
            joined.into_iter().for_each(|read| drop(read.send(index.clone())));
        }));
    }
}

impl Core {
    pub(super) async fn barrier(&self, within: Duration) -> Result<(), ReadError> {
        if bugs::seeded(Bug::NoBarrier) {
            return Ok(());
        }
        let deadline = runtime::now() + within;
        let mut reason = "no leader is known".to_owned();
        while runtime::now() < deadline {
            if self.is_alone_and_leads() {
                return Ok(());
            }
            match runtime::timeout_at(deadline, self.rounds.join()).await {
                Ok(Ok(_)) if bugs::seeded(Bug::BarrierWithoutApply) => return Ok(()),
                Ok(Ok(index)) => {
                    let applied = runtime::timeout_at(deadline, self.replica.applied().wait_for(index)).await;
                    let behind =
                        |_elapsed| ReadError::Unavailable(format!("index {index} is not applied here yet"));
                    return applied.map_err(behind);
                }
                Ok(Err(why)) => {
                    reason = why;
                    runtime::sleep(Duration::from_millis(RETRY_MS)).await;
                }
                Err(_elapsed) => break,
            }
        }
        Err(ReadError::Unavailable(reason))
    }

    /// Whether this node leads a group in which nobody else votes, and has applied an entry of its own term.
    pub(super) fn is_alone_and_leads(&self) -> bool {
        let Some(term) = self.leadership.term_alone(self.node) else { return false };
        self.replica.position().is_some_and(|id| id.leader_id.term == term)
    }

    async fn round(&self) -> Index {
        let deadline = runtime::now() + Duration::from_millis(ROUND_MS_MAX);
        let leader = self.leadership.known_by(deadline).await.ok_or("no leader is known")?;
        if leader.node == self.node { self.read_index().await } else { self.ask(leader).await }
    }

    /// The index up to which everything was committed after the call, if this node leads.
    pub(crate) async fn read_index(&self) -> Index {
        if bugs::seeded(Bug::ReadUnconfirmed) && self.leadership.own_term().is_some() {
            return Ok(self.replica.applied().index());
        }
        let policy = if self.options.lease_reads { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        let confirmed = self.raft.get_read_log_id(policy).await;
        confirmed.map(|(id, _applied)| id.index()).map_err(|error| error.to_string())
    }

    async fn ask(&self, leader: Leader) -> Index {
        let request = Request::ReadIndex.encode(self.id);
        let within = Duration::from_millis(ROUND_MS_MAX);
        let answer = self.transport.call(leader.node, Channel::Log, request, within).await;
        let answer = answer.map_err(|error| error.to_string())?;
        match Answer::decode(&answer).map_err(|error| error.to_string())? {
            Answer::ReadIndex(index) => Ok(index),
            Answer::NotTheLeader => Err(format!("node {} does not lead", leader.node)),
            Answer::Failed(reason) => Err(reason),
            other => Err(format!("node {} answered {other:?}", leader.node)),
        }
    }
}
