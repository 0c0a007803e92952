//! Decisions about nodes: who may join, under which id, and what is to become of them.

use super::change::Change;
use super::rows::{Intent, NodeRow};
use super::view::{Found, LINEAGE, NEXT_NODE, PRIMARY_REGION, View, node_key, peer_key};
use super::{CatalogError, Result};
use crate::cluster::identity::Identity;
use crate::config::cluster::{check_address, check_region};
use replication::NodeId;

/// The most nodes of a cluster, inclusive.
pub const NODES_MAX: usize = 64;

/// A node that wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Where it is reached, as `host:port`.
    pub address: String,
    /// Where it stands; may be empty.
    pub region: String,
    /// Whether it is to vote.
    pub votes: bool,
    /// Its attempt: the same when it asks again.
    pub attempt: [u8; 16],
}

/// Lets a node join. Returns its id; no change when it had been given one by the same attempt.
///
/// # Errors
///
/// When another node is, or was, at its address, or the cluster is full.
pub fn admit(view: &View<'_>, asks: &Admission, now_ms: u64) -> Result<(NodeId, Option<Change>)> {
    check_place(&asks.address, &asks.region)?;
    let intent = if asks.votes { Intent::Voter } else { Intent::Learner };
    let row = NodeRow {
        intent,
        since_ms: now_ms,
        attempt: asks.attempt,
        address: asks.address.clone(),
        region: asks.region.clone(),
    };
    let Some(peer) = view.node_at(&asks.address)? else {
        return new_node(view, &row).map(|(id, change)| (id, Some(change)));
    };
    let id = NodeId(peer.row);
    let there = existing(view, id)?;
    match there.row.intent {
        Intent::Expected => {
            let region = if row.region.is_empty() { there.row.region.clone() } else { row.region };
            let key = node_key(id);
            let row = NodeRow { region, ..row };
            Ok((id, Some(Change::default().if_still(&key, &there).set(&key, row.encode()))))
        }
        _ if there.row.attempt == asks.attempt => Ok((id, None)),
        _ => Err(CatalogError::Conflict(format!(
            "{} is the address of node {id}: if that node is gone for good, remove it first (cairn cluster remove {id})",
            asks.address
        ))),
    }
}

/// Announces a node that will join from this address. Returns the id that it will get.
///
/// # Errors
///
/// When a node is at that address, or the cluster is full.
pub fn expect(view: &View<'_>, address: &str, region: &str, now_ms: u64) -> Result<(NodeId, Change)> {
    check_place(address, region)?;
    if let Some(peer) = view.node_at(address)? {
        return Err(CatalogError::Conflict(format!("{address} is the address of node {}", peer.row)));
    }
    let (address, region) = (address.to_owned(), region.to_owned());
    new_node(view, &NodeRow { intent: Intent::Expected, since_ms: now_ms, attempt: [0; 16], address, region })
}

fn check_place(address: &str, region: &str) -> Result<()> {
    check_address(address).map_err(CatalogError::Invalid)?;
    if region.is_empty() { Ok(()) } else { check_region(region).map_err(CatalogError::Invalid) }
}

fn new_node(view: &View<'_>, row: &NodeRow) -> Result<(NodeId, Change)> {
    if view.nodes()?.len() >= NODES_MAX {
        return Err(CatalogError::Conflict(format!(
            "the cluster has {NODES_MAX} nodes, and that is the most"
        )));
    }
    // Before its beginning is written down, the catalog does not know the id of the node that began it.
    let begun = || CatalogError::Conflict("the cluster is only beginning: ask again".to_owned());
    let last = view.number(NEXT_NODE)?.ok_or_else(begun)?;
    let id = NodeId(last.row + 1);
    let change = Change::default()
        .if_still(NEXT_NODE, &last)
        .if_absent(&peer_key(&row.address))
        .if_absent(&node_key(id))
        .set_u64(NEXT_NODE, id.0)
        .set_u64(&peer_key(&row.address), id.0)
        .set(&node_key(id), row.encode());
    Ok((id, change))
}

fn existing(view: &View<'_>, id: NodeId) -> Result<Found<NodeRow>> {
    view.node(id)?.ok_or_else(|| CatalogError::NotFound(format!("there is no node {id}")))
}

/// Writes down the first node of a lineage of the cluster: after a bootstrap, after the adoption of a directory of an earlier
/// version, and after a forced recovery, when every other node of the lineage before is forgotten. `None` when that was done.
///
/// # Errors
///
/// When the catalog cannot be read.
pub fn begin(view: &View<'_>, own: &Identity, now_ms: u64) -> Result<Option<Change>> {
    let lineage = view.lineage()?;
    if lineage.as_ref().is_some_and(|found| found.row == own.lineage) {
        return Ok(None);
    }
    let last = view.number(NEXT_NODE)?;
    let next = last.as_ref().map_or(0, |last| last.row).max(own.node.0);
    let mut change = Change::default()
        .if_stamp(LINEAGE, lineage.map(|found| found.stamp))
        .if_stamp(NEXT_NODE, last.map(|last| last.stamp))
        .set(LINEAGE, own.lineage.0.to_vec())
        .set_u64(NEXT_NODE, next);
    for (id, found) in view.nodes()? {
        change = change.delete(&node_key(id)).delete(&peer_key(&found.row.address));
    }
    let row = NodeRow {
        intent: Intent::Voter,
        since_ms: now_ms,
        attempt: [0; 16],
        address: own.address.clone(),
        region: own.region.clone(),
    };
    Ok(Some(with_peer(change.set(&node_key(own.node), row.encode()), own)))
}

/// Writes down where this node is now. `None` when that is known.
///
/// # Errors
///
/// When another node is there, or this one is unknown.
pub fn announce(view: &View<'_>, own: &Identity) -> Result<Option<Change>> {
    let there = existing(view, own.node)?;
    if there.row.address == own.address && there.row.region == own.region {
        return Ok(None);
    }
    let at = if own.address.is_empty() { None } else { view.node_at(&own.address)? };
    if let Some(other) = at.as_ref().filter(|other| other.row != own.node.0) {
        let reason = format!("{} is the address of node {}", own.address, other.row);
        return Err(CatalogError::Conflict(reason));
    }
    let key = node_key(own.node);
    let mut change = Change::default().if_still(&key, &there);
    if there.row.address != own.address {
        change = change.delete(&peer_key(&there.row.address));
        change = with_peer(change.if_stamp(&peer_key(&own.address), at.map(|at| at.stamp)), own);
    }
    let row = NodeRow { address: own.address.clone(), region: own.region.clone(), ..there.row };
    Ok(Some(change.set(&key, row.encode())))
}

/// A node without an address is found by nobody.
fn with_peer(change: Change, own: &Identity) -> Change {
    if own.address.is_empty() { change } else { change.set_u64(&peer_key(&own.address), own.node.0) }
}

/// Says what is to become of a node. `None` when that was said.
///
/// # Errors
///
/// When there is no such node, or it is not one that has joined and stays.
pub fn set_intent(view: &View<'_>, id: NodeId, intent: Intent) -> Result<Option<Change>> {
    let there = existing(view, id)?;
    match there.row.intent {
        now if now == intent => return Ok(None),
        Intent::Leaving => return Err(CatalogError::Conflict(format!("node {id} is being removed"))),
        Intent::Expected => return Err(CatalogError::Conflict(format!("node {id} has not joined yet"))),
        Intent::Learner | Intent::Voter => {}
    }
    let key = node_key(id);
    let row = NodeRow { intent, ..there.row.clone() };
    Ok(Some(Change::default().if_still(&key, &there).set(&key, row.encode())))
}

/// Says that a node is to leave. `None` when that was said. One that has not joined is forgotten at once.
///
/// # Errors
///
/// When there is no such node.
pub fn leave(view: &View<'_>, id: NodeId) -> Result<Option<Change>> {
    let there = existing(view, id)?;
    match there.row.intent {
        Intent::Leaving => Ok(None),
        Intent::Expected => forget_node(view, id).map(Some),
        Intent::Learner | Intent::Voter => set_intent(view, id, Intent::Leaving),
    }
}

/// Forgets a node that is in no group any more.
///
/// # Errors
///
/// When there is no such node.
pub fn forget_node(view: &View<'_>, id: NodeId) -> Result<Change> {
    let there = existing(view, id)?;
    let key = node_key(id);
    let change = Change::default().if_still(&key, &there).delete(&key);
    Ok(if there.row.address.is_empty() { change } else { change.delete(&peer_key(&there.row.address)) })
}

/// Says where leaders are kept; `None` is wherever they are. No change when that was said.
///
/// # Errors
///
/// When no node stands there.
pub fn set_primary_region(view: &View<'_>, region: Option<&str>) -> Result<Option<Change>> {
    let now = view.primary_region()?;
    if now.as_ref().map(|found| found.row.as_str()) == region {
        return Ok(None);
    }
    let change = Change::default().if_stamp(PRIMARY_REGION, now.map(|found| found.stamp));
    let Some(region) = region else { return Ok(Some(change.delete(PRIMARY_REGION))) };
    check_region(region).map_err(CatalogError::Invalid)?;
    if view.nodes()?.iter().all(|(_, found)| found.row.region != region) {
        return Err(CatalogError::NotFound(format!("no node stands in region {region}")));
    }
    Ok(Some(change.set(PRIMARY_REGION, region.as_bytes().to_vec())))
}

#[cfg(test)]
mod tests;
