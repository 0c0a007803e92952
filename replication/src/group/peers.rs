//! Tells the network where the members of a group are.
//!
//! - Members of the catalog are the members of the cluster: who leaves it is not answered any more.

use super::Core;
use crate::{GroupId, NodeId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Follows the membership until the group ends.
pub(super) async fn run(core: Arc<Core>) {
    let mut metrics = core.raft.server_metrics();
    let mut known = BTreeSet::new();
    loop {
        let membership = metrics.borrow_and_update().membership_config.membership().clone();
        let mut members = BTreeSet::new();
        for (id, peer) in membership.nodes().filter(|(id, _)| **id != core.node.0) {
            // The first node of a cluster may have had no address when it began it.
            if !peer.address.is_empty() {
                core.transport.set_address(NodeId(*id), peer.address.clone());
            }
            members.insert(*id);
        }
        if core.id == GroupId::CATALOG {
            known.difference(&members).for_each(|gone| core.transport.forget(NodeId(*gone)));
        }
        known = members;
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
