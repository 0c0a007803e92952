//! What is decided about the members and the leader of a group. Pure.
//!
//! - One step at a time, and none while a change of members is half way.
//! - A learner gets its vote when it is there and lacks little.
//! - A leader that is to leave hands over first.

use super::seam::Place;
use super::status::{GroupStatus, Member};
use crate::catalog::{Intent, NodeRow};
use replication::NodeId;

/// Entries that a node may lack to be given a vote or the lead.
pub const CAUGHT_UP_ENTRIES: u64 = 1_000;
/// Silence, in milliseconds, after which a node counts as not there.
pub const SILENCE_MS_MAX: u64 = 2_000;

/// The next step of a group's leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Give a node all data.
    AddLearner(NodeId, Place),
    /// Say where a member is now.
    Move(NodeId, Place),
    /// Give a learner its vote.
    Promote(NodeId),
    /// Take a node out.
    Remove(NodeId),
    /// Let another node lead.
    HandOver(NodeId),
}

/// What the catalog says, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every node, by id.
    pub nodes: Vec<(NodeId, NodeRow)>,
    /// The last id that was given: a member up to it that is no node was forgotten.
    pub last_id: u64,
    /// Where leaders are kept.
    pub primary_region: Option<String>,
}

impl Wanted {
    fn node(&self, id: u64) -> Option<&NodeRow> {
        self.nodes.iter().find(|(node, _)| node.0 == id).map(|(_, row)| row)
    }

    /// Whether a member is to be in no group.
    fn leaves(&self, member: &Member) -> bool {
        match self.node(member.node) {
            Some(row) => row.intent == Intent::Leaving,
            None => member.node <= self.last_id,
        }
    }
}

/// What the leader of a group does next about its members; `None` when all is as wanted, or has to be waited for.
pub fn next_step(status: &GroupStatus, wanted: &Wanted) -> Option<Step> {
    if status.leader != Some(status.node) || status.changing {
        return None;
    }
    if let Some(leaving) = status.members.iter().find(|member| wanted.leaves(member)) {
        if leaving.node != status.node {
            return Some(Step::Remove(NodeId(leaving.node)));
        }
        return heir(status, wanted, |_| true).map(Step::HandOver);
    }
    let joined =
        || wanted.nodes.iter().filter(|(_, row)| matches!(row.intent, Intent::Learner | Intent::Voter));
    let place = |row: &NodeRow| Place { address: row.address.clone(), region: row.region.clone() };
    if let Some((id, row)) = joined().find(|(id, _)| status.member(id.0).is_none()) {
        return Some(Step::AddLearner(*id, place(row)));
    }
    let moved = joined().find(|(id, row)| {
        let there = |member: &Member| member.address == row.address && member.region == row.region;
        status.member(id.0).is_some_and(|member| !there(member))
    });
    if let Some((id, row)) = moved {
        return Some(Step::Move(*id, place(row)));
    }
    let ready = status.members.iter().find(|member| {
        let votes = wanted.node(member.node).is_some_and(|row| row.intent == Intent::Voter);
        votes && !member.votes && is_ready(status, member)
    });
    ready.map(|member| Step::Promote(NodeId(member.node)))
}

/// The node that should lead instead, because leaders are kept where it stands; `None` when this leader may stay.
pub fn better_leader(status: &GroupStatus, wanted: &Wanted) -> Option<NodeId> {
    let region = wanted.primary_region.as_deref()?;
    let stands = |id: u64| wanted.node(id).is_some_and(|row| row.region == region);
    if status.leader != Some(status.node) || status.changing || stands(status.node) {
        return None;
    }
    heir(status, wanted, stands)
}

/// The voter that lacks least among those that are there, stay and pass.
fn heir(status: &GroupStatus, wanted: &Wanted, passes: impl Fn(u64) -> bool) -> Option<NodeId> {
    let stays = |member: &&Member| {
        member.node != status.node
            && passes(member.node)
            && !wanted.leaves(member)
            && is_ready(status, member)
    };
    let heir = status.voters().filter(stays).min_by_key(|member| (status.lag(member), member.node));
    heir.map(|member| NodeId(member.node))
}

fn is_ready(status: &GroupStatus, member: &Member) -> bool {
    let caught_up = status.lag(member).is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES);
    caught_up && status.is_healthy(member, SILENCE_MS_MAX)
}

/// Whether a node can be taken out of a group without taking its majority away.
///
/// # Errors
///
/// In words, when it cannot. `force` leaves out all but the certain.
pub fn check_removal(status: &GroupStatus, id: NodeId, force: bool) -> Result<(), String> {
    if !status.member(id.0).is_some_and(|member| member.votes) {
        return Ok(());
    }
    let others: Vec<&Member> = status.voters().filter(|member| member.node != id.0).collect();
    if others.is_empty() {
        return Err(format!("node {id} is the last one that votes in group {}", status.group));
    }
    let there = others.iter().filter(|member| status.is_healthy(member, SILENCE_MS_MAX)).count();
    let needed = others.len() / 2 + 1;
    if there < needed && !force {
        return Err(format!(
            "without node {id}, group {} would have {} voters of which {there} answer, and {needed} are needed: \
             bring a node back or add one first, or say --force",
            status.group,
            others.len(),
        ));
    }
    Ok(())
}

/// Whether a node can be handed the leadership of a group.
///
/// # Errors
///
/// In words, when it cannot.
pub fn check_transfer(status: &GroupStatus, to: NodeId) -> Result<(), String> {
    let group = status.group;
    let Some(member) = status.member(to.0) else {
        return Err(format!("node {to} is not in group {group}"));
    };
    if !member.votes {
        return Err(format!("node {to} is a learner in group {group}: promote it first"));
    }
    if !is_ready(status, member) {
        return Err(format!("node {to} does not answer, or lacks too much of group {group}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
