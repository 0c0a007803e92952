//! Changes of who belongs to a group and who leads it, asked for on any node and done by the leader.
//!
//! - A node is first a learner: it gets everything and does not vote. It is promoted when it has caught up, through joint
//!   consensus.
//! - Each change waits until it is committed. One at a time; a second one is refused until then.
//! - Handing over leadership goes to a voter that has everything.

use super::Core;
use super::{Change, Group};
use crate::NodeId;
use crate::message::{Answer, Request};
use crate::raft::TypeConfig;
use crate::runtime;
use crate::transport::Channel;
use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How far behind a learner may be to be promoted, in log entries.
const PROMOTABLE_LAG_MAX: u64 = 1_000;
/// How long a handing over of leadership is waited for when a node stops, in milliseconds.
const HAND_OVER_MS_MAX: u64 = 3_000;
/// Who has not answered for longer, in milliseconds, is not handed leadership.
const CANDIDATE_SILENT_MS_MAX: u64 = 1_000;
/// Pause between looks at whether a change has come about, in milliseconds.
const RETRY_MS: u64 = 20;

/// Why a change did not come about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// It cannot be done as things are. Look at the status of the group.
    #[error("{0}")]
    Refused(String),
    /// No leader did it in time. It may still come about: look at the status, and ask again.
    #[error("no leader made the change in time: {0}")]
    Unavailable(String),
}

type Done = Result<(), ChangeError>;

impl Group {
    /// Makes a change and waits until it is committed.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`].
    pub async fn change(&self, change: Change, within: Duration) -> Done {
        let deadline = runtime::now() + within;
        let mut reason = "no leader is known".to_owned();
        while runtime::now() < deadline {
            let Some(leader) = self.core.leadership.known_by(deadline).await else { break };
            let done = if leader.node == self.core.node {
                self.core.change(change.clone()).await
            } else {
                self.core.ask_for(leader.node, &change, deadline - runtime::now()).await
            };
            match done {
                Err(ChangeError::Unavailable(why)) => reason = why,
                done => return done,
            }
            runtime::sleep(Duration::from_millis(RETRY_MS)).await;
        }
        Err(ChangeError::Unavailable(reason))
    }
}

impl Core {
    async fn ask_for(&self, leader: NodeId, change: &Change, within: Duration) -> Done {
        let request = Request::Change(change.clone()).encode(self.id);
        let unavailable = |reason: String| ChangeError::Unavailable(reason);
        let answer = self.transport.call(leader, Channel::Log, request, within).await;
        let answer = answer.map_err(|error| unavailable(error.to_string()))?;
        match Answer::decode(&answer).map_err(|error| unavailable(error.to_string()))? {
            Answer::Done => Ok(()),
            Answer::Failed(reason) => Err(ChangeError::Refused(reason)),
            _ => Err(unavailable(format!("node {leader} does not lead"))),
        }
    }

    /// Makes a change, if this node leads.
    pub(crate) async fn change(self: &Arc<Self>, change: Change) -> Done {
        if self.leadership.own_term().is_none() {
            return Err(ChangeError::Unavailable("this node does not lead".to_owned()));
        }
        let membership = self.raft.server_metrics().borrow().membership_config.membership().clone();
        let is_node = |node: NodeId| membership.get_node(&node.0).is_some();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let is_joint = membership.get_joint_config().len() > 1;
        let refuse = |reason: String| Err(ChangeError::Refused(reason));
        let members = match change {
            Change::Add(node, peer) if is_node(node) => {
                ChangeMembers::SetNodes(BTreeMap::from([(node.0, peer)]))
            }
            Change::Add(node, peer) => ChangeMembers::AddNodes(BTreeMap::from([(node.0, peer)])),
            // Half way, as a leader that was lost leaves it, the old voters are needed as well as the new ones.
            Change::Promote(node) if voters.contains(&node.0) && is_joint => {
                ChangeMembers::AddVoterIds(BTreeSet::from([node.0]))
            }
            Change::Promote(node) if voters.contains(&node.0) => return Ok(()),
            Change::Promote(node) if !is_node(node) => {
                return refuse(format!("node {node} is not in group {}", self.id));
            }
            Change::Promote(node) => {
                self.check_caught_up(node)?;
                ChangeMembers::AddVoterIds(BTreeSet::from([node.0]))
            }
            Change::Remove(node) if !is_node(node) => return Ok(()),
            Change::Remove(node) if voters.len() == 1 && voters.contains(&node.0) => {
                return refuse(format!("node {node} is the only voter of group {}", self.id));
            }
            Change::Remove(node) if voters.contains(&node.0) => {
                self.commit(ChangeMembers::RemoveVoters(BTreeSet::from([node.0]))).await?;
                ChangeMembers::RemoveNodes(BTreeSet::from([node.0]))
            }
            Change::Remove(node) => ChangeMembers::RemoveNodes(BTreeSet::from([node.0])),
            Change::Transfer(node) => return self.transfer(node, &voters).await,
        };
        self.commit(members).await
    }

    async fn commit(&self, members: ChangeMembers<u64, crate::raft::Peer>) -> Done {
        // A removed voter stays a learner until it is removed as a node, in a change of its own.
        match self.raft.change_membership(members, true).await {
            Ok(_committed) => Ok(()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ChangeError::Unavailable(forward.to_string()))
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                Err(ChangeError::Refused(error.to_string()))
            }
            Err(error) => Err(ChangeError::Unavailable(error.to_string())),
        }
    }

    fn check_caught_up(&self, node: NodeId) -> Done {
        let status = self.status();
        let member = status.members.iter().find(|member| member.node == node);
        match member.and_then(|member| member.lag) {
            Some(lag) if lag <= PROMOTABLE_LAG_MAX => Ok(()),
            Some(lag) => Err(ChangeError::Unavailable(format!("node {node} is {lag} entries behind"))),
            None => Err(ChangeError::Unavailable(format!("node {node} has not been heard of yet"))),
        }
    }

    async fn transfer(&self, to: NodeId, voters: &BTreeSet<u64>) -> Done {
        if !voters.contains(&to.0) {
            return Err(ChangeError::Refused(format!("node {to} does not vote in group {}", self.id)));
        }
        if to == self.node {
            return Ok(());
        }
        let deadline = runtime::now() + Duration::from_millis(HAND_OVER_MS_MAX);
        let ended = |error: openraft::errors::Fatal<TypeConfig>| ChangeError::Unavailable(error.to_string());
        self.raft.trigger().transfer_leader(to.0).await.map_err(ended)?;
        if self.leadership.is_led_by(to, deadline).await {
            return Ok(());
        }
        Err(ChangeError::Unavailable(format!("node {to} has not taken over")))
    }

    /// Hands leadership to the voter that has most of the log, if this node has it and there is another one.
    pub(super) async fn hand_over(self: &Arc<Self>) {
        let status = self.status();
        let others = status.members.iter().filter(|member| member.is_voter && member.node != self.node);
        let heard = others.filter(|member| member.silent_ms.is_some_and(|ms| ms <= CANDIDATE_SILENT_MS_MAX));
        let candidates = heard.filter_map(|member| Some((member.lag?, member.node)));
        let Some((_, next)) = candidates.min() else { return };
        if self.leadership.own_term().is_none() {
            return;
        }
        match self.change(Change::Transfer(next)).await {
            Ok(()) => tracing::info!(group = %self.id, to = %next, "handed leadership over"),
            Err(error) => tracing::warn!(group = %self.id, to = %next, %error, "cannot hand leadership over"),
        }
    }
}
