//! Mends a replica of which some table is damaged, from another replica, while it goes on.
//!
//! - Tables differ between replicas, so what is fetched is a checkpoint; tables that both have and that are found to be right here do
//!   not travel. Any other replica can give it: each holds a prefix of what was agreed on.
//! - The copy is brought by this node's Raft log to exactly where the replica stands and must then have the same content
//!   hash; only then it takes the place of the damaged one, between two entries. Raft does not notice, for nothing
//!   that it knows changes.
//! - Meanwhile the log is not shortened, so that it reaches back to the copy.
//! - Reads that meet the damage fail until then. Nothing is served from a block whose checksum is wrong.

use crate::group::Core;
use crate::home::Home;
use crate::message::Header;
use crate::raft_snapshot::{Destination, Progress, Received, receive, send};
use crate::replica::{Replica, index_of};
use crate::transport::{Channel, Duplex, Transport};
use crate::{GroupId, NodeId};
use engine::versionstamp::version_of;
use std::sync::Arc;

/// Gives another node a copy of all data of a group.
pub(crate) async fn give_copy(home: &Home, replica: &Replica, to: NodeId, mut duplex: Duplex) {
    let Some(_one_at_a_time) = home.giving() else {
        tracing::debug!(%to, "a copy is being given already");
        return;
    };
    let outgoing = match home.prepare(replica).await {
        Ok(outgoing) => outgoing,
        Err(reason) => {
            tracing::warn!(%to, reason, "cannot make a copy for another node");
            return;
        }
    };
    let progress = Progress::default();
    match send(&outgoing, &mut duplex, home.rate(), &progress).await {
        Ok(()) => tracing::info!(%to, bytes = progress.get().moved, "gave a copy to another node"),
        Err(error) => tracing::info!(%to, %error, "another node did not get a copy"),
    }
}

/// Fetches a copy from the first of `peers` that can give one.
///
/// # Errors
///
/// What each of them said.
pub(crate) async fn fetch_copy(
    transport: &Arc<dyn Transport>,
    group: GroupId,
    peers: &[NodeId],
    into: &Destination,
) -> Result<Received, String> {
    let mut reasons = Vec::new();
    for peer in peers {
        match fetch_from(transport, group, *peer, into).await {
            Ok(received) => return Ok(received),
            Err(reason) => reasons.push(format!("node {peer}: {reason}")),
        }
    }
    if reasons.is_empty() { Err("there is no other replica".to_owned()) } else { Err(reasons.join("; ")) }
}

async fn fetch_from(
    transport: &Arc<dyn Transport>,
    group: GroupId,
    peer: NodeId,
    into: &Destination,
) -> Result<Received, String> {
    let opened = transport.open(peer, Channel::Snapshot, Header::Copy(group).encode()).await;
    let mut duplex = opened.map_err(|error| error.to_string())?;
    let progress = Progress::default();
    let received = receive(into, &mut duplex, &progress).await.map_err(|error| error.to_string())?;
    let moved = progress.get();
    tracing::info!(%group, node = %peer, bytes = moved.moved, held = moved.held, "received a copy");
    Ok(received)
}

/// Mends this node's replica from another one.
///
/// # Errors
///
/// Why not; it can be tried again.
pub(crate) async fn mend(core: &Arc<Core>) -> Result<(), String> {
    let (_receiving, incoming) = core.home.receiving().await;
    let _log_stays = core.home.keep_log();
    let engine = core.replica.engine();
    let purged = core.purged_index();
    let into = Destination::in_place_of(&engine, &incoming)
        .checking_all()
        .from_version(version_of(engine.lineage().epoch, purged));
    drop(engine);
    let received = fetch_copy(core.transport(), core.id, &others(core), &into).await?;
    // The log may have been shortened by what was under way when it was to stay.
    if index_of(received.checkpoint.applied.version) < core.purged_index() {
        return Err("the Raft log no longer reaches back to the copy".to_owned());
    }
    core.home
        .exchange(&core.replica, core.log(), &received)
        .await
        .map_err(|error| format!("cannot take the place of the damaged replica: {error}"))
}

/// The other members, the leader last: it has most to do.
fn others(core: &Core) -> Vec<NodeId> {
    let membership = core.replica.membership();
    let leader = core.raft.metrics().borrow().current_leader;
    let mut others: Vec<u64> =
        membership.nodes().map(|(id, _)| *id).filter(|id| *id != core.node.0).collect();
    others.sort_by_key(|id| (Some(*id) == leader, *id));
    others.into_iter().map(NodeId).collect()
}

/// Sets the engine of a group that has ended aside when damage ended it and another replica can give a copy: the next
/// start rebuilds it then, instead of meeting the same damage.
pub(crate) fn set_aside_if_damaged(core: &Core) {
    if !core.replica.is_damaged() || others(core).is_empty() {
        return;
    }
    match core.home.set_aside() {
        Ok(dir) => {
            tracing::error!(group = %core.id, dir = %dir.display(), "the replica is damaged: the next start rebuilds it")
        }
        Err(error) => tracing::error!(group = %core.id, %error, "cannot set the damaged replica aside"),
    }
}
