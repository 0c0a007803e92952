//! How a group stands, as this node sees it.

use super::{ChangeError, Core, Group};
use crate::message::{Answer, Request};
use crate::raft::{LogId, Peer};
use crate::replica::index_of;
use crate::runtime::{self, Instant};
use crate::transport::Channel;
use crate::{GroupId, NodeId};
use engine::ContentHash;
use openraft::ServerState;
use parking_lot::Mutex;
use std::time::Duration;

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

/// When the leader was heard, and what it said was committed.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    state: Mutex<(Option<(Instant, u64)>, Option<Instant>)>,
}

impl Heard {
    /// The leader said, at this moment, that entries up to `committed` are.
    pub(crate) fn note(&self, committed: Option<LogId>, applied: u64) {
        let mut state = self.state.lock();
        settle(&mut state, applied);
        // What was said before and is not applied yet is the older, and so the better, witness.
        if state.0.is_none() {
            state.0 = Some((runtime::now(), committed.map_or(0, |id| id.index)));
            settle(&mut state, applied);
        }
    }

    /// The newest moment of which everything committed by then is applied here.
    fn fresh_at(&self, applied: u64) -> Option<Instant> {
        let mut state = self.state.lock();
        settle(&mut state, applied);
        state.1
    }
}

fn settle(state: &mut (Option<(Instant, u64)>, Option<Instant>), applied: u64) {
    if let Some((at, committed)) = state.0
        && applied >= committed
    {
        *state = (None, Some(at));
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

    /// How old what this replica shows may be, in milliseconds; `None` when no leader was heard.
    pub fn staleness_ms(&self) -> Option<u64> {
        let millis = |elapsed: std::time::Duration| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if self.core.leadership.own_term().is_some() {
            let metrics = self.core.raft.data_metrics();
            let acked = metrics.borrow().last_quorum_acked;
            return acked.map(|at| millis(runtime::now() - at.into_inner()));
        }
        let fresh_at = self.core.heard.fresh_at(self.core.replica.applied().index())?;
        Some(millis(runtime::now() - fresh_at))
    }
}

impl Core {
    /// Notes what a leader said.
    pub(crate) fn hear(&self, committed: Option<LogId>) {
        self.heard.note(committed, self.replica.applied().index());
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
