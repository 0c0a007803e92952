//! Who leads a group, as far as this node knows.

use crate::NodeId;
use crate::raft::{Raft, TypeConfig};
use crate::runtime;
use openraft::ServerState;
use openraft::metrics::RaftServerMetrics;

/// The leader of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) node: NodeId,
    pub(crate) term: u64,
}

/// Follows who leads.
#[derive(Debug, Clone)]
pub(super) struct Leadership {
    metrics: runtime::watch::Receiver<RaftServerMetrics<TypeConfig>>,
}

impl Leadership {
    pub(super) fn of(raft: &Raft) -> Self {
        Self { metrics: raft.server_metrics() }
    }

    /// The leader, if one is known.
    pub(super) fn now(&self) -> Option<Leader> {
        leader(&self.metrics.borrow())
    }

    /// Whether this node leads, and in which term.
    pub(super) fn own_term(&self) -> Option<u64> {
        let metrics = self.metrics.borrow();
        (metrics.state == ServerState::Leader).then_some(metrics.vote.leader_id.term)
    }

    /// The term in which this node leads a group in which nobody else votes.
    ///
    /// Before another node can lead without the vote of this one, a change of members has been committed that this node
    /// had in its log, and showed, before.
    pub(super) fn term_alone(&self, node: NodeId) -> Option<u64> {
        let metrics = self.metrics.borrow();
        let mut voters = metrics.membership_config.membership().voter_ids();
        let alone = voters.next() == Some(node.0) && voters.next().is_none();
        (alone && metrics.state == ServerState::Leader).then_some(metrics.vote.leader_id.term)
    }

    /// The leader, as soon as one is known; `None` at the deadline.
    pub(super) async fn known_by(&self, deadline: runtime::Instant) -> Option<Leader> {
        if let Some(leader) = self.now() {
            return Some(leader);
        }
        let mut metrics = self.metrics.clone();
        let known = async {
            loop {
                let leader = leader(&metrics.borrow_and_update());
                if leader.is_some() {
                    return leader;
                }
                if metrics.changed().await.is_err() {
                    return None;
                }
            }
        };
        runtime::timeout_at(deadline, known).await.ok().flatten()
    }

    /// Waits until `node` leads. False at the deadline, or when this node's part in the group ends before.
    pub(super) async fn is_led_by(&self, node: NodeId, deadline: runtime::Instant) -> bool {
        let mut metrics = self.metrics.clone();
        let led = metrics.wait_for(|metrics| leader(metrics).is_some_and(|leader| leader.node == node));
        matches!(runtime::timeout_at(deadline, led).await, Ok(Ok(_)))
    }
}

fn leader(metrics: &RaftServerMetrics<TypeConfig>) -> Option<Leader> {
    let node = metrics.current_leader?;
    Some(Leader { node: NodeId(node), term: metrics.vote.leader_id.term })
}
