//! Which node of a group ships. Pure.
//!
//! - The leader names one in a mark; a follower is preferred, so that the leader's disk and network serve writes.
//! - Whoever ships goes on while it is healthy, whatever its role: tables differ between replicas, so that another node has to
//!   upload a whole checkpoint.
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
