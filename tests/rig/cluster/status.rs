//! How a cluster stands, as `cairn cluster status --json` tells it.

use crate::rig::TestResult;
use anyhow::Context;
use cairn::cluster::status::{ClusterStatus, NodeStatus};

/// The group whose leader is meant by "the leader": the one that holds the default database.
const GROUP: u64 = 1;
/// Entries that a node may lack and still count as caught up, for clients go on writing.
const LAG_MAX: u64 = 1000;
/// Silence after which a node counts as gone, in milliseconds.
const SILENCE_MS_MAX: u64 = 1000;

/// What one node knows of its cluster.
#[derive(Debug, Clone)]
pub(crate) struct Status(ClusterStatus);

impl Status {
    pub(crate) fn parse(text: &str) -> TestResult<Status> {
        serde_json::from_str(text).map(Status).with_context(|| format!("not the status of a cluster: {text}"))
    }

    /// Whether there are this many voters, each group has a leader, and nobody is silent, far behind or half way in or out.
    pub(crate) fn is_whole(&self, voters: usize) -> bool {
        let present = |node: &NodeStatus| {
            let heard = !node.leads.is_empty() || node.heard_ms.is_some_and(|ms| ms <= SILENCE_MS_MAX);
            node.state == "voter" && heard && node.lag.is_some_and(|lag| lag <= LAG_MAX)
        };
        let settled = self
            .0
            .groups
            .iter()
            .all(|group| group.leader.is_some() && !group.changing && group.voters().count() == voters);
        self.0.nodes.len() == voters && self.0.nodes.iter().all(present) && settled
    }

    /// Where other nodes reach the leader.
    pub(crate) fn leader(&self) -> Option<String> {
        let group = self.0.groups.iter().find(|group| group.group == GROUP)?;
        let node = self.0.nodes.iter().find(|node| Some(node.node) == group.leader)?;
        Some(node.address.clone())
    }

    /// The id of the node that others reach there.
    pub(crate) fn id_at(&self, address: &str) -> Option<u64> {
        self.0.nodes.iter().find(|node| node.address == address).map(|node| node.node)
    }
}
