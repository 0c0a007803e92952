//! Brings the groups that this node leads to what the catalog says, step by step, for as long as the node serves.
//!
//! - Every node has one and looks after the groups that it leads; the leader of the catalog also forgets nodes that are in no
//!   group any more, and databases whose data is gone.
//! - A step is decided on a catalog that a majority has confirmed: an old one could take out a node that has just joined.
//! - It also writes down where its own node is, when that has changed.
//! - A step that fails is tried again at the next look. Nothing is remembered but for how long a better leader was there.

use super::operator::Operator;
use super::policy::{Step, Wanted, better_leader, next_step};
use super::seam::Cluster;
use crate::catalog::{self, DatabaseState, Intent, View};
use replication::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

/// How often it looks, in milliseconds.
const LOOK_EVERY_MS: u64 = 500;
/// Looks in a row at which a better leader must be there before it is handed the lead, so that nothing swings to and fro.
const LOOKS_BEFORE_HANDOVER: u32 = 6;
/// How long after the end of a database a write to it may still be under way, in milliseconds.
pub const LAST_WRITES_MS: u64 = 60_000;
/// The most ids of forgotten nodes that are told to the transport.
const FORGOTTEN_MAX: u64 = 4_096;

/// What looks after the groups of a node.
#[derive(Debug)]
pub struct Steward {
    operator: Operator,
    /// At how many looks in a row this node was the better leader of a group.
    better: BTreeMap<GroupId, (NodeId, u32)>,
    /// What the transport was told.
    addresses: BTreeMap<NodeId, String>,
    forgotten: BTreeSet<NodeId>,
    /// Where leaders are to be kept, until that was written down.
    primary_region: Option<String>,
}

impl Steward {
    /// A steward of the operator's node. If the catalog does not say where leaders are kept, it is to say `primary_region`.
    pub const fn new(operator: Operator, primary_region: Option<String>) -> Steward {
        Steward {
            operator,
            better: BTreeMap::new(),
            addresses: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            primary_region,
        }
    }

    /// Looks until `stopping` is true.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut looks = tokio::time::interval(Duration::from_millis(LOOK_EVERY_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changed = self.operator.changed();
        loop {
            tokio::select! {
                _stopped = stopping.wait_for(|stopping| *stopping) => return,
                _now = looks.tick() => {}
                () = changed.notified() => {}
            }
            tokio::select! {
                _stopped = stopping.wait_for(|stopping| *stopping) => return,
                () = self.look() => {}
            }
        }
    }

    /// Looks once, and does at most one step for each group.
    pub(super) async fn look(&mut self) {
        let Some(seen) = self.wanted() else { return };
        self.tell_transport(&seen);
        self.announce(&seen).await;
        for group in self.cluster().groups() {
            self.look_after(group, &seen).await;
        }
        if self.leads(GroupId::CATALOG) {
            self.keep_leaders(&seen).await;
            self.forget_nodes(&seen).await;
            self.forget_databases().await;
        }
    }

    fn cluster(&self) -> &dyn Cluster {
        &**self.operator.cluster()
    }

    fn leads(&self, group: GroupId) -> bool {
        let status = self.cluster().status(group);
        status.is_some_and(|status| status.leader == Some(status.node))
    }

    /// What the catalog here says.
    fn wanted(&self) -> Option<Wanted> {
        let snapshot = self.cluster().catalog();
        match View::new(&snapshot).wanted() {
            Ok(wanted) => Some(wanted),
            Err(error) => {
                tracing::error!(%error, "cannot read the catalog");
                None
            }
        }
    }

    /// Tells the transport where nodes are, and which are gone.
    fn tell_transport(&mut self, wanted: &Wanted) {
        let own = self.cluster().node();
        for (id, row) in wanted.nodes.iter().filter(|(id, row)| *id != own && !row.address.is_empty()) {
            if self.addresses.get(id) != Some(&row.address) {
                self.cluster().set_address(*id, row.address.clone());
                self.addresses.insert(*id, row.address.clone());
            }
        }
        let first = wanted.last_id.saturating_sub(FORGOTTEN_MAX) + 1;
        for id in (first..=wanted.last_id).map(NodeId) {
            let known = id == own || wanted.nodes.iter().any(|(node, _)| *node == id);
            if !known && self.forgotten.insert(id) {
                self.cluster().forget(id);
                self.addresses.remove(&id);
            }
        }
    }

    /// Writes down where this node is, when the catalog here says otherwise.
    async fn announce(&self, seen: &Wanted) {
        let own = self.operator.identity();
        let known = seen.nodes.iter().find(|(id, _)| *id == own.node).map(|(_, row)| row);
        if known.is_some_and(|row| row.address != own.address || row.region != own.region)
            && let Err(error) = self.operator.announce().await
        {
            tracing::warn!(%error, "cannot tell the others where this node is");
        }
    }

    /// Writes down once where leaders are kept, unless somebody said it before.
    async fn keep_leaders(&mut self, seen: &Wanted) {
        let Some(region) = self.primary_region.clone() else { return };
        let stands = || seen.nodes.iter().any(|(_, row)| row.region == region);
        let is_said = seen.primary_region.is_some()
            || (stands() && self.operator.set_primary_region(Some(&region)).await.is_ok());
        if is_said {
            self.primary_region = None;
        }
    }

    async fn look_after(&mut self, group: GroupId, seen: &Wanted) {
        let Some(status) = self.cluster().status(group) else { return };
        if next_step(&status, seen).is_some() {
            self.step(group).await;
            return;
        }
        match better_leader(&status, seen) {
            None => drop(self.better.remove(&group)),
            Some(better) => {
                let (before, looks) = self.better.get(&group).copied().unwrap_or((better, 0));
                let looks = if before == better { looks + 1 } else { 1 };
                self.better.insert(group, (better, looks));
                if looks >= LOOKS_BEFORE_HANDOVER {
                    self.better.remove(&group);
                    self.hand_over(group, better).await;
                }
            }
        }
    }

    /// Decides again on a confirmed catalog, and does the step.
    async fn step(&self, group: GroupId) {
        if let Err(error) = self.cluster().catalog_barrier().await {
            tracing::debug!(%group, %error, "cannot confirm the catalog");
            return;
        }
        let (Some(wanted), Some(status)) = (self.wanted(), self.cluster().status(group)) else { return };
        let Some(step) = next_step(&status, &wanted) else { return };
        let done = match &step {
            Step::AddLearner(node, place) | Step::Move(node, place) => {
                self.cluster().add_learner(group, *node, place.clone()).await
            }
            Step::Promote(node) => self.cluster().promote(group, *node).await,
            Step::Remove(node) => self.cluster().remove(group, *node).await,
            Step::HandOver(to) => self.cluster().transfer_leader(group, *to).await,
        };
        match done {
            Ok(()) => tracing::info!(%group, step = words(&step), "changed the members of a group"),
            Err(error) => tracing::info!(%group, step = words(&step), %error, "will change members later"),
        }
    }

    async fn hand_over(&self, group: GroupId, to: NodeId) {
        match self.cluster().transfer_leader(group, to).await {
            Ok(()) => tracing::info!(%group, %to, "handed the lead to the primary region"),
            Err(error) => tracing::info!(%group, %to, %error, "will hand the lead over later"),
        }
    }

    /// Forgets nodes that are leaving and in no group any more.
    async fn forget_nodes(&self, seen: &Wanted) {
        for (id, _) in seen.nodes.iter().filter(|(_, row)| row.intent == Intent::Leaving) {
            let mut gone = true;
            for group in self.cluster().groups() {
                let status = self.cluster().leader_status(group).await;
                gone &= status.is_ok_and(|status| !status.changing && status.member(id.0).is_none());
            }
            if gone {
                let decided = self
                    .operator
                    .change(|view| catalog::forget_node(view, *id).map(|change| ((), Some(change))));
                match decided.await {
                    Ok(()) => tracing::info!(node = %id, "a node has left"),
                    Err(error) => tracing::info!(node = %id, %error, "will forget a node later"),
                }
            }
        }
    }

    /// Removes what late writes left in ended databases, and forgets them.
    async fn forget_databases(&self) {
        let now_ms = self.operator.now_ms();
        let ended = {
            let snapshot = self.cluster().catalog();
            View::new(&snapshot).databases().unwrap_or_default()
        };
        let due = ended.into_iter().filter(|(_, found)| {
            let row = &found.row;
            row.state == DatabaseState::Ended && row.ended_ms.saturating_add(LAST_WRITES_MS) <= now_ms
        });
        for (id, found) in due {
            if let Err(error) = self.forget_database(id, &found.row).await {
                tracing::info!(database = %id, %error, "will remove a deleted database later");
            }
        }
    }

    async fn forget_database(&self, id: Uuid, row: &catalog::DatabaseRow) -> super::operator::Result<()> {
        self.cluster().delete_database(row.group, row.number).await?;
        self.operator
            .change(|view| catalog::forget_database(view, id).map(|change| ((), Some(change))))
            .await?;
        tracing::info!(database = %id, "removed a deleted database");
        Ok(())
    }
}

fn words(step: &Step) -> String {
    match step {
        Step::AddLearner(node, place) => format!("add node {node} at {}", place.address),
        Step::Move(node, place) => format!("say that node {node} is at {}", place.address),
        Step::Promote(node) => format!("give node {node} a vote"),
        Step::Remove(node) => format!("take node {node} out"),
        Step::HandOver(node) => format!("let node {node} lead"),
    }
}

#[cfg(test)]
mod tests;
