//! Which node of a group ships. Pure.
//!
//! - The leader names one in a mark; a follower is preferred, so that the leader's disk and network serve writes.
//! - Whoever ships goes on while it is healthy, whatever its role: tables differ between replicas, so that another node has to
//!   upload a whole checkpoint.
//! - A group of one node is shipped by that node. In any other one, until somebody is named, or when a node is that is gone, the
//!   leader ships.
//! - The leader names another only when who is named has been unhealthy at several looks in a row: right after an election
//!   nobody has answered the new leader yet.
//! - Two that ship at once, for as long as a message takes, add duplicates and do no harm.
//!
//! Layout of the mark's value: `u8` format, 1; `u64` the node, little-endian.

use engine::codec::Decoder;
use engine::{Engine, Mark};

const FORMAT: u8 = 1;
/// A node that has not answered its leader for this long is not healthy, in milliseconds.
pub const SILENT_MS_MAX: u64 = 5_000;
/// Who ships may lack this many entries of the log.
pub const LAG_MAX: u64 = 50_000;
/// Who begins to ship may lack this many entries of the log.
const LAG_TO_BEGIN: u64 = 1_000;
/// Looks in a row at which another node must be the better one before it is named.
const LOOKS_BEFORE_MOVE: u32 = 25;

/// A member of the group, as its leader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which node.
    pub node: u64,
    /// Whether it votes.
    pub is_voter: bool,
    /// Whether it leads.
    pub is_leader: bool,
    /// Entries that it lacks; `None` when unknown.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered the leader; `None` when it never has.
    pub silent_ms: Option<u64>,
}

impl Candidate {
    fn is_healthy(&self, lag_max: u64) -> bool {
        let answers = self.silent_ms.is_some_and(|silent| silent <= SILENT_MS_MAX);
        self.is_voter && (self.is_leader || answers && self.lag.is_some_and(|lag| lag <= lag_max))
    }
}

/// Who should ship, when `current` does.
pub fn choose(current: Option<u64>, candidates: &[Candidate]) -> Option<u64> {
    let goes_on = |candidate: &&Candidate| Some(candidate.node) == current && candidate.is_healthy(LAG_MAX);
    if let Some(candidate) = candidates.iter().find(goes_on) {
        return Some(candidate.node);
    }
    let healthy = candidates.iter().filter(|candidate| candidate.is_healthy(LAG_TO_BEGIN));
    healthy.min_by_key(|candidate| (candidate.is_leader, candidate.node)).map(|candidate| candidate.node)
}

/// What a node knows of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The node.
    pub node: u64,
    /// Whether it leads.
    pub leads: bool,
    /// All members of the group. Only a leader knows how far the others are.
    pub members: Vec<Candidate>,
}

impl View {
    /// Whether the node ships, when this one is named.
    pub fn ships(&self, named: Option<u64>) -> bool {
        let is_member = |node: &u64| self.members.iter().any(|member| member.node == *node);
        match named.filter(|node| self.members.len() > 1 && is_member(node)) {
            Some(node) => self.node == node,
            None => self.leads,
        }
    }
}

/// Who has been better than the one who is named, and at how many looks in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Naming {
    better: Option<u64>,
    looks: u32,
}

impl Naming {
    /// Whom to name now.
    pub fn to_name(&mut self, view: &View, named: Option<u64>) -> Option<u64> {
        if !view.leads || view.members.len() < 2 {
            *self = Self::default();
            return None;
        }
        let better = choose(named, &view.members).filter(|node| Some(*node) != named);
        let looks = if better.is_some() && better == self.better { self.looks + 1 } else { 1 };
        *self = Self { better, looks };
        better.filter(|_| looks >= LOOKS_BEFORE_MOVE)
    }
}

fn name(group: u64) -> Vec<u8> {
    format!("archive/{group}/shipper").into_bytes()
}

/// The mark that names a node.
pub fn as_mark(group: u64, node: u64) -> Mark {
    let mut value = vec![FORMAT];
    value.extend_from_slice(&node.to_le_bytes());
    Mark { name: name(group), value }
}

/// Who is named in an engine; `None` when nobody is.
pub fn read(engine: &Engine, group: u64) -> Option<u64> {
    decode(&engine.mark(&name(group))?)
}

fn decode(value: &[u8]) -> Option<u64> {
    let mut rest = Decoder::new(value);
    rest.u8("format").ok().filter(|format| *format == FORMAT)?;
    let node = rest.u64("node").ok()?;
    rest.finish().ok().map(|()| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64) -> Candidate {
        Candidate { node, is_voter: true, is_leader: node == 1, lag: Some(0), silent_ms: Some(10) }
    }

    #[test]
    fn a_follower_is_preferred_and_stays_while_it_is_healthy() {
        let mut members = [member(1), member(2), member(3)];
        assert_eq!(choose(None, &members), Some(2));
        assert_eq!(choose(Some(3), &members), Some(3));
        assert_eq!(choose(Some(1), &members), Some(1), "one that came to lead goes on");
        assert_eq!(choose(Some(9), &members), Some(2), "one that is gone does not");
        members[2].lag = Some(LAG_TO_BEGIN + 1);
        assert_eq!(choose(Some(3), &members), Some(3), "a little behind");
        members[2].lag = Some(LAG_MAX + 1);
        assert_eq!(choose(Some(3), &members), Some(2));
    }

    #[test]
    fn who_is_silent_behind_or_a_learner_is_not_chosen() {
        let mut members = [member(1), member(2), member(3)];
        members[1].silent_ms = Some(SILENT_MS_MAX + 1);
        assert_eq!(choose(Some(2), &members), Some(3));
        members[2].is_voter = false;
        assert_eq!(choose(Some(3), &members), Some(1), "the leader, when nobody else can");
        members[1].silent_ms = None;
        assert_eq!(choose(None, &members), Some(1));
        assert_eq!(choose(None, &[]), None);
    }

    fn view(node: u64, leads: bool, members: &[Candidate]) -> View {
        View { node, leads, members: members.to_vec() }
    }

    #[test]
    fn who_is_named_ships_and_the_leader_when_nobody_is_who_is_there() {
        let three = [member(1), member(2), member(3)];
        let (leader, follower) = (view(1, true, &three), view(2, false, &three));
        assert!(leader.ships(None) && !follower.ships(None));
        assert!(!leader.ships(Some(2)) && follower.ships(Some(2)));
        assert!(leader.ships(Some(9)) && !follower.ships(Some(9)));
        let alone = view(1, true, &three[..1]);
        assert!(alone.ships(Some(1)) && alone.ships(Some(2)), "alone again");
    }

    #[test]
    fn the_leader_is_patient_and_a_follower_names_nobody() {
        let heard = [member(1), member(2), member(3)];
        let mut silent = heard;
        silent[1].silent_ms = None;
        let (new_leader, old_leader) = (view(1, true, &silent), view(1, true, &heard));
        let mut naming = Naming::default();
        for _ in 1..LOOKS_BEFORE_MOVE {
            assert_eq!(naming.to_name(&new_leader, Some(2)), None);
        }
        assert_eq!(naming.to_name(&new_leader, Some(2)), Some(3));
        assert_eq!(naming.to_name(&old_leader, Some(2)), None);
        assert_eq!(naming.to_name(&new_leader, Some(2)), None, "it begins to count anew");
        let mut naming = Naming { better: Some(1), looks: LOOKS_BEFORE_MOVE };
        assert_eq!(naming.to_name(&view(2, false, &silent), None), None);
    }

    #[test]
    fn a_mark_survives_its_bytes_and_its_format_is_frozen() {
        let mark = as_mark(3, 0x0102);
        assert_eq!(mark.name, b"archive/3/shipper");
        assert_eq!(mark.value, b"\x01\x02\x01\0\0\0\0\0\0");
        assert_eq!(decode(&mark.value), Some(0x0102));
        assert_eq!(decode(&mark.value[..8]), None);
        assert_eq!(decode(b"\x02\x02\x01\0\0\0\0\0\0"), None);
    }
}
