//! How a group stands, as bytes: what a leader answers when it is asked.
//!
//! | field | |
//! |---|---|
//! | group, node | u64 each |
//! | role | u8: 1 leader, 2 follower, 3 candidate, 4 learner, 5 ended |
//! | leader | number |
//! | term, last index, committed index, applied index, version | u64 each |
//! | hash | 32 bytes |
//! | changing | flag u8 |
//! | members | varint count; each: id u64, address bytes, region bytes, flag u8 (1 votes), lag number, silent_ms number |
//! | failed | reason bytes; empty when it has not |
//!
//! A number that may be missing is a flag u8 (0 missing, 1 there), in case 1 a u64.

use super::{flag, text};
use crate::codec::{list, put_bytes};
use crate::group::{GroupStatus, Member, Role};
use crate::raft::Peer;
use crate::{GroupId, NodeId};
use engine::ContentHash;
use engine::codec::{Decoder, Malformed, put_varint};

const fn role_byte(role: Role) -> u8 {
    match role {
        Role::Leader => 1,
        Role::Follower => 2,
        Role::Candidate => 3,
        Role::Learner => 4,
        Role::Ended => 5,
    }
}

fn put_number(number: Option<u64>, out: &mut Vec<u8>) {
    out.push(u8::from(number.is_some()));
    out.extend(number.iter().flat_map(|number| number.to_le_bytes()));
}

fn number(rest: &mut Decoder<'_>) -> Result<Option<u64>, Malformed> {
    if flag(rest)? { rest.u64("a number").map(Some) } else { Ok(None) }
}

/// Appends how a group stands.
pub(super) fn encode(status: &GroupStatus, out: &mut Vec<u8>) {
    out.extend_from_slice(&status.group.0.to_le_bytes());
    out.extend_from_slice(&status.node.0.to_le_bytes());
    out.push(role_byte(status.role));
    put_number(status.leader.map(|node| node.0), out);
    let numbers =
        [status.term, status.last_index, status.committed_index, status.applied_index, status.version];
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    out.extend_from_slice(status.hash.as_bytes());
    out.push(u8::from(status.is_changing));
    put_varint(out, status.members.len() as u64);
    for member in &status.members {
        out.extend_from_slice(&member.node.0.to_le_bytes());
        put_bytes(out, member.peer.address.as_bytes());
        put_bytes(out, member.peer.region.as_bytes());
        out.push(u8::from(member.is_voter));
        put_number(member.lag, out);
        put_number(member.silent_ms, out);
    }
    put_bytes(out, status.failed.as_deref().unwrap_or_default().as_bytes());
}

/// Reads what [`encode`] wrote.
///
/// # Errors
///
/// When it is not that.
pub(super) fn decode(rest: &mut Decoder<'_>) -> Result<GroupStatus, Malformed> {
    let (group, node) = (GroupId(rest.u64("group")?), NodeId(rest.u64("node")?));
    let start = rest.clone();
    let role = match rest.u8("role")? {
        1 => Role::Leader,
        2 => Role::Follower,
        3 => Role::Candidate,
        4 => Role::Learner,
        5 => Role::Ended,
        _ => return Err(start.malformed("a role from 1 to 5")),
    };
    Ok(GroupStatus {
        group,
        node,
        role,
        leader: number(rest)?.map(NodeId),
        term: rest.u64("term")?,
        last_index: rest.u64("last index")?,
        committed_index: rest.u64("committed index")?,
        applied_index: rest.u64("applied index")?,
        version: rest.u64("version")?,
        hash: ContentHash::from_bytes(rest.array("hash")?),
        is_changing: flag(rest)?,
        members: list(rest, "number of members", member)?,
        failed: Some(text(rest)?).filter(|reason| !reason.is_empty()),
    })
}

fn member(rest: &mut Decoder<'_>) -> Result<Member, Malformed> {
    Ok(Member {
        node: NodeId(rest.u64("id of a member")?),
        peer: Peer { address: text(rest)?, region: text(rest)? },
        is_voter: flag(rest)?,
        lag: number(rest)?,
        silent_ms: number(rest)?,
    })
}

#[cfg(test)]
pub(super) fn sample() -> GroupStatus {
    let peer = Peer { address: "a:1".to_owned(), region: "eu".to_owned() };
    GroupStatus {
        group: GroupId(1),
        node: NodeId(2),
        role: Role::Leader,
        leader: Some(NodeId(2)),
        term: 3,
        last_index: 4,
        committed_index: 5,
        applied_index: 6,
        version: 7,
        hash: ContentHash::from_bytes([8; 32]),
        is_changing: true,
        members: vec![Member { node: NodeId(9), peer, is_voter: true, lag: Some(10), silent_ms: None }],
        failed: Some("why".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        let mut expected = b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\x01\x02\0\0\0\0\0\0\0".to_vec();
        for number in 3u64..=7 {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(&[8; 32]);
        expected
            .extend_from_slice(b"\x01\x01\x09\0\0\0\0\0\0\0\x03a:1\x02eu\x01\x01\x0a\0\0\0\0\0\0\0\0\x03why");
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes);
        assert_eq!(bytes, expected);
    }
}
