//! How a group stands, as this node sees it.

use super::{ChangeError, Core, Group};
use crate::bugs::{self, Bug};
use crate::message::{Answer, Request};
use crate::raft::Peer;
use crate::replica::index_of;
use crate::runtime::{self, Instant};
use crate::transport::Channel;
use crate::{GroupId, NodeId};
use engine::ContentHash;
use openraft::ServerState;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Pause between two rounds that are there to know how old the replica is.
const REFRESH: Duration = Duration::from_millis(50);

/// What a node is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It decides.
    Leader,
    /// It votes and follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows and does not vote.
    Learner,
    /// It has ended.
    Ended,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which node.
    pub node: NodeId,
    /// Where it is.
    pub peer: Peer,
    /// Whether it votes.
    pub is_voter: bool,
    /// Entries that it lacks; `None` when unknown, as it is on all nodes but the leader.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered the leader; `None` when unknown.
    pub silent_ms: Option<u64>,
}

/// How a group stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which group.
    pub group: GroupId,
    /// The node that says this.
    pub node: NodeId,
    /// What this node is in it.
    pub role: Role,
    /// Who leads, if that is known.
    pub leader: Option<NodeId>,
    /// The term.
    pub term: u64,
    /// The index of the last entry in this node's log.
    pub last_index: u64,
    /// The index up to which entries are known to be committed.
    pub committed_index: u64,
    /// The index up to which this replica has applied.
    pub applied_index: u64,
    /// The version of the last record, see [`engine::versionstamp::version_of`].
    pub version: u64,
    /// The content hash there.
    pub hash: ContentHash,
    /// Whether a change of members is half way.
    pub is_changing: bool,
    /// Everybody, by id.
    pub members: Vec<Member>,
    /// Why this node's part in the group has ended by itself.
    pub failed: Option<String>,
}

/// How old what this replica shows may be: since when nothing was committed that it lacks.
///
/// A moment counts when everything that was committed by then is known to be applied here. Only a round that began then
/// shows that, for what a leader says may have been long on its way.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    moments: Mutex<Moments>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Moments {
    /// When a round began, and the index that it found, which is not applied yet.
    coming: Option<(Instant, u64)>,
    /// When the last round began whose index is applied.
    reached: Option<Instant>,
}

impl Freshness {
    /// Everything that was committed at this moment is applied once `index` is.
    fn note(&self, at: Instant, index: u64, applied: u64) {
        let mut moments = self.moments.lock();
        moments.settle(applied);
        // What was found before and is not applied yet is reached earlier.
        moments.coming.get_or_insert((at, index));
        moments.settle(applied);
    }

    fn reached(&self, applied: u64) -> Option<Instant> {
        let mut moments = self.moments.lock();
        moments.settle(applied);
        moments.reached
    }
}

impl Moments {
    fn settle(&mut self, applied: u64) {
        if let Some((at, _)) = self.coming.take_if(|(_, index)| applied >= *index) {
            self.reached = Some(at);
        }
    }
}

/// Has a round of its own run now and then while somebody asks how old the replica is, until the group ends.
pub(super) async fn keep_fresh(core: Arc<Core>) {
    loop {
        core.freshness.asked.notified().await;
        core.refresh().await;
        runtime::sleep(REFRESH).await;
    }
}

impl Group {
    /// How the group stands.
    pub fn status(&self) -> GroupStatus {
        self.core.status()
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.core.leadership.own_term().is_some()
    }

    /// How the group stands as its leader sees it, which alone knows of the progress of others.
    ///
    /// # Errors
    ///
    /// When no leader answers in time.
    pub async fn leader_status(&self, within: Duration) -> Result<GroupStatus, ChangeError> {
        let core = &self.core;
        let deadline = runtime::now() + within;
        let Some(leader) = core.leadership.known_by(deadline).await else {
            return Err(ChangeError::Unavailable(format!("group {} has no leader", core.id)));
        };
        if leader.node == core.node {
            return Ok(core.status());
        }
        let unavailable = |reason: String| ChangeError::Unavailable(reason);
        let request = Request::Status.encode(core.id);
        let answer = core.transport.call(leader.node, Channel::Log, request, deadline - runtime::now()).await;
        let answer = answer.map_err(|error| unavailable(error.to_string()))?;
        match Answer::decode(&answer).map_err(|error| unavailable(error.to_string()))? {
            Answer::Status(status) => Ok(*status),
            _ => Err(unavailable(format!("node {} does not lead", leader.node))),
        }
    }

    /// How old what this replica shows may be, in milliseconds; `None` when that is unknown: no leader has confirmed
    /// anything yet. Asking has it found out anew, so that the next answer is smaller.
    pub fn staleness_ms(&self) -> Option<u64> {
        if bugs::seeded(Bug::StalenessLies) {
            return Some(0);
        }
        if self.core.is_alone_and_leads() {
            return Some(0);
        }
        let freshness = &self.core.freshness;
        freshness.asked.notify_one();
        let reached = freshness.reached(self.core.replica.applied().index())?;
        // Rounded up: it is a bound.
        Some(u64::try_from(reached.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1))
    }
}

impl Core {
    /// Finds out how far the log is committed now, and notes when that was asked.
    async fn refresh(&self) {
        let began = runtime::now();
        if let Ok(index) = self.rounds.join().await {
            self.freshness.note(began, index, self.replica.applied().index());
        }
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics().borrow().clone();
        let applied = self.replica.engine().applied();
        let membership = metrics.membership_config.membership();
        let last_index = metrics.last_log_index.unwrap_or(0);
        let voters: Vec<u64> = membership.voter_ids().collect();
        let lag = |id: &u64| {
            let matched = metrics.replication.as_ref()?.get(id)?.as_ref()?.index;
            Some(last_index.saturating_sub(matched))
        };
        let silent = |id: &u64| {
            let heard = *metrics.heartbeat.as_ref()?.get(id)?.as_ref()?;
            u64::try_from((runtime::now() - heard.into_inner()).as_millis()).ok()
        };
        let mut members: Vec<Member> = membership
            .nodes()
            .map(|(id, peer)| Member {
                node: NodeId(*id),
                peer: peer.clone(),
                is_voter: voters.contains(id),
                lag: if *id == self.node.0 { Some(0) } else { lag(id) },
                silent_ms: if *id == self.node.0 { Some(0) } else { silent(id) },
            })
            .collect();
        members.sort_by_key(|member| member.node);
        GroupStatus {
            group: self.id,
            node: self.node,
            role: role(metrics.state),
            leader: metrics.current_leader.map(NodeId),
            term: metrics.current_term,
            last_index,
            committed_index: metrics.local_committed.map_or(0, |id| id.index),
            applied_index: index_of(applied.version),
            version: applied.version,
            hash: applied.hash,
            is_changing: membership.get_joint_config().len() > 1,
            members,
            failed: metrics.running_state.err().map(|fatal| fatal.to_string()),
        }
    }
}

const fn role(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Ended,
    }
}
