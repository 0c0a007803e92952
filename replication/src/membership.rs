//! Who belongs to a group, as bytes: in log entries, in a mark of the engine, and in Raft snapshots.
//!
//! Integers of fixed size are little-endian; a varint is in its shortest form; bytes are a varint length and that many.
//!
//! | field | |
//! |---|---|
//! | voters | varint count of sets (2 while a change is under way); each: varint count, ids u64, rising |
//! | nodes | varint count; each: id u64, address bytes, region bytes; ids rising |
//!
//! The mark and snapshots put a position before it: flag u8 (0 none, 1 one), in case 1 term u64 and index u64.

use crate::codec::{bytes_of, put_bytes};
use crate::raft::{LogId, Membership, Peer, StoredMembership, log_id};
use engine::codec::{Decoder, Malformed, put_varint};
use std::collections::{BTreeMap, BTreeSet};

/// The name of the engine's mark that holds the membership.
pub(crate) const MARK: &[u8] = b"raft/membership";

/// Appends a membership.
pub(crate) fn encode(membership: &Membership, out: &mut Vec<u8>) {
    let sets = membership.get_joint_config();
    put_varint(out, sets.len() as u64);
    for set in sets {
        put_varint(out, set.len() as u64);
        set.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
    }
    let nodes: BTreeMap<_, _> = membership.nodes().collect();
    put_varint(out, nodes.len() as u64);
    for (id, peer) in nodes {
        out.extend_from_slice(&id.to_le_bytes());
        put_bytes(out, peer.address.as_bytes());
        put_bytes(out, peer.region.as_bytes());
    }
}

/// Reads a membership.
///
/// # Errors
///
/// When the bytes are not exactly one.
pub(crate) fn decode(bytes: &[u8]) -> Result<Membership, Malformed> {
    let mut rest = Decoder::new(bytes);
    let membership = decode_from(&mut rest)?;
    rest.finish()?;
    Ok(membership)
}

fn decode_from(rest: &mut Decoder<'_>) -> Result<Membership, Malformed> {
    let start = rest.clone();
    let mut sets = Vec::new();
    for _ in 0..rest.varint("number of sets of voters")? {
        let mut set = BTreeSet::new();
        for _ in 0..rest.varint("number of voters")? {
            let id = rest.u64("id of a voter")?;
            rest.ensure(set.last().is_none_or(|last| *last < id), "rising ids of voters")?;
            set.insert(id);
        }
        sets.push(set);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..rest.varint("number of nodes")? {
        let id = rest.u64("id of a node")?;
        let rises = nodes.last_key_value().is_none_or(|(last, _)| *last < id);
        rest.ensure(rises, "rising ids of nodes")?;
        let address = text(rest, "address of a node")?;
        let region = text(rest, "region of a node")?;
        nodes.insert(id, Peer { address, region });
    }
    // openraft's own check: every voter is a node, and no set is empty.
    Membership::new(sets, nodes).map_err(|_invalid| start.malformed("voters that are all nodes"))
}

fn text(rest: &mut Decoder<'_>, what: &'static str) -> Result<String, Malformed> {
    let start = rest.clone();
    let bytes = bytes_of(rest, what)?;
    String::from_utf8(bytes.to_vec()).map_err(|_not_text| start.malformed("text"))
}

/// Appends a membership and where the log set it.
pub(crate) fn encode_stored(stored: &StoredMembership, out: &mut Vec<u8>) {
    put_position(*stored.log_id(), out);
    encode(stored.membership(), out);
}

/// Reads what [`encode_stored`] wrote.
///
/// # Errors
///
/// When the bytes are not exactly that.
pub(crate) fn decode_stored(bytes: &[u8]) -> Result<StoredMembership, Malformed> {
    let mut rest = Decoder::new(bytes);
    let position = position(&mut rest)?;
    let membership = decode_from(&mut rest)?;
    rest.finish()?;
    Ok(StoredMembership::new(position, membership))
}

/// Appends a position of the log, if there is one.
pub(crate) fn put_position(position: Option<LogId>, out: &mut Vec<u8>) {
    out.push(u8::from(position.is_some()));
    if let Some(id) = position {
        out.extend_from_slice(&id.leader_id.term.to_le_bytes());
        out.extend_from_slice(&id.index.to_le_bytes());
    }
}

/// Reads what [`put_position`] wrote.
///
/// # Errors
///
/// When it is not that.
pub(crate) fn position(rest: &mut Decoder<'_>) -> Result<Option<LogId>, Malformed> {
    let start = rest.clone();
    match rest.u8("flag of a position")? {
        0 => Ok(None),
        1 => Ok(Some(log_id(rest.u64("term")?, rest.u64("index")?))),
        _ => Err(start.malformed("a flag of 0 or 1")),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Three nodes, two of which vote.
    pub(crate) fn sample() -> Result<Membership, Box<dyn std::error::Error>> {
        let peer = |n: u64| Peer { address: format!("10.0.0.{n}:4513"), region: "eu".to_owned() };
        let nodes: BTreeMap<u64, Peer> = (1..=3).map(|n| (n, peer(n))).collect();
        Ok(Membership::new(vec![BTreeSet::from([1, 2])], nodes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn the_format_is_frozen() -> TestResult {
        let nodes = BTreeMap::from([(9, Peer { address: "a:1".to_owned(), region: "r".to_owned() })]);
        let membership = Membership::new(vec![BTreeSet::from([9])], nodes)?;
        let mut bytes = Vec::new();
        encode_stored(&StoredMembership::new(Some(log_id(2, 5)), membership), &mut bytes);
        let expected = b"\x01\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x01\x01\x09\0\0\0\0\0\0\0\x01\x09\0\0\0\0\0\0\0\x03a:1\x01r";
        assert_eq!(bytes, expected);
        Ok(())
    }

    #[test]
    fn a_membership_survives_its_bytes_and_every_cut_is_refused() -> TestResult {
        let stored = StoredMembership::new(None, testing::sample()?);
        let mut bytes = Vec::new();
        encode_stored(&stored, &mut bytes);
        assert_eq!(decode_stored(&bytes)?, stored);
        for cut in 0..bytes.len() {
            assert!(decode_stored(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        Ok(())
    }

    #[test]
    fn a_voter_that_is_no_node_is_refused() {
        let bytes = b"\x01\x01\x09\0\0\0\0\0\0\0\0";
        assert!(decode(bytes).is_err());
    }
}
