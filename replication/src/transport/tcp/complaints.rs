//! Keeps the log readable: what is wrong with a node is said once, and again each minute while it lasts.

use crate::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long the same complaint is not repeated, in milliseconds.
const REPEAT_MS: u64 = 60_000;
/// Nodes that are remembered, at most: anybody may claim to be any node.
const NODES_MAX: usize = 256;

/// What was said last of each node, and when.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<BTreeMap<NodeId, (String, Instant)>>);

impl Complaints {
    /// Whether this is to be said now.
    pub(crate) fn is_new(&self, node: NodeId, words: &str) -> bool {
        let (mut said, now) = (self.0.lock(), Instant::now());
        if let Some((last, at)) = said.get(&node)
            && last == words
            && now.duration_since(*at) < Duration::from_millis(REPEAT_MS)
        {
            return false;
        }
        if said.len() >= NODES_MAX {
            said.clear();
        }
        said.insert(node, (words.to_owned(), now));
        true
    }

    /// All is well with this node.
    pub(crate) fn settle(&self, node: NodeId) {
        self.0.lock().remove(&node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_complaint_is_said_once_a_minute() {
        let complaints = Complaints::default();
        assert!(complaints.is_new(NodeId(1), "lost"));
        assert!(!complaints.is_new(NodeId(1), "lost"));
        assert!(complaints.is_new(NodeId(2), "lost"), "another node");
        assert!(complaints.is_new(NodeId(1), "refused"), "other words");
        assert!(complaints.is_new(NodeId(1), "lost"));
        tokio::time::advance(Duration::from_millis(REPEAT_MS)).await;
        assert!(complaints.is_new(NodeId(1), "lost"));
        complaints.settle(NodeId(1));
        assert!(complaints.is_new(NodeId(1), "lost"));
    }

    #[test]
    fn made_up_nodes_do_not_fill_the_memory() {
        let complaints = Complaints::default();
        (0..10_000).for_each(|node| assert!(complaints.is_new(NodeId(node), "who?")));
        assert!(complaints.0.lock().len() <= NODES_MAX);
    }
}
