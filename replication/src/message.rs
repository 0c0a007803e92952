//! What nodes say to each other about a group, as bytes.
//!
//! Integers of fixed size are little-endian; a varint is in its shortest form; bytes are a varint length and that many.
//! Positions, votes and memberships are those of [`crate::membership`] and [`crate::log::watermark`].
//!
//! | request | fields after kind u8 and group u64 |
//! |---|---|
//! | 1 append | vote, position before, position committed, varint count, entries (bytes, see [`crate::log::entry`]) |
//! | 2 vote, 3 pre-vote | vote, last position, flag u8 (1 a transfer) |
//! | 4 take over | vote of the leader, node u64, last position |
//! | 5 read index | |
//! | 6 propose | term u64, node u64, boot u64, lowest counter that waits u64, varint count, writes, varint count, entries (bytes, see [`crate::codec`]) |
//! | 7 change of members | kind u8 (1 add, 2 promote, 3 remove, 4 transfer), node u64; in case 1 address and region bytes |
//! | 8 status | |
//!
//! | answer | fields |
//! |---|---|
//! | 0 failed | reason bytes |
//! | 1 appended | |
//! | 2 appended in part | position |
//! | 3 conflict | |
//! | 4 higher vote | vote |
//! | 5 voted | vote, flag u8 (1 granted), last position |
//! | 6 done | |
//! | 7 read index | index u64 |
//! | 8 disk full | reserve u64, reason bytes |
//! | 9 not the leader | |
//! | 10 status | see [`status`] |

mod status;

use crate::codec::{bytes_of, list, put_bytes, write as write_codec};
use crate::log::entry;
use crate::log::watermark::{put_vote, vote};
use crate::membership::{position, put_position};
use crate::raft::{LogEntry, LogId, Peer, TypeConfig, Vote};
use crate::{AtomicWrite, Entry, GroupId, GroupStatus, NodeId};
use bytes::{BufMut, Bytes, BytesMut};
use engine::codec::{Decoder, Malformed, put_varint};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const PRE_VOTE: u8 = 3;
const TAKE_OVER: u8 = 4;
const READ_INDEX: u8 = 5;
const PROPOSE: u8 = 6;
const CHANGE: u8 = 7;
const STATUS: u8 = 8;

/// A request to a group.
#[derive(Debug)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TakeOver(TransferLeaderRequest<TypeConfig>),
    ReadIndex,
    Propose(Proposals),
    Change(Change),
    Status,
}

/// Writes for the leader of a term.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Proposals {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) boot: u64,
    /// No request of this run of the node with a lower counter comes any more.
    pub(crate) floor: u64,
    pub(crate) writes: Vec<AtomicWrite>,
    /// Entries of their own; each names its request.
    pub(crate) entries: Vec<Entry>,
}

/// A change of who belongs to a group, or leads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds a node as a learner, or moves one that is there to another address.
    Add(NodeId, Peer),
    /// Lets a learner vote.
    Promote(NodeId),
    /// Removes a node.
    Remove(NodeId),
    /// Hands leadership over.
    Transfer(NodeId),
}

/// An answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Failed(String),
    Append(AppendEntriesResponse<TypeConfig>),
    Voted { vote: Vote, granted: bool, last: Option<LogId> },
    Done,
    ReadIndex(u64),
    DiskFull { reason: String, reserve: u64 },
    NotTheLeader,
    Status(Box<GroupStatus>),
}

impl Request {
    pub(crate) fn encode(&self, group: GroupId) -> Bytes {
        let mut out = Vec::with_capacity(128);
        out.push(self.kind());
        out.extend_from_slice(&group.0.to_le_bytes());
        match self {
            Request::Append(append) => encode_append(append, &mut out),
            Request::Vote(request) | Request::PreVote(request) => {
                put_vote(Some(&request.vote), &mut out);
                put_position(request.last_log_id, &mut out);
                out.push(u8::from(request.leadership_transfer));
            }
            Request::TakeOver(request) => {
                put_vote(Some(request.from_leader()), &mut out);
                out.extend_from_slice(&request.to_node_id().to_le_bytes());
                put_position(request.last_log_id().copied(), &mut out);
            }
            Request::ReadIndex | Request::Status => {}
            Request::Propose(proposals) => encode_proposals(proposals, &mut out),
            Request::Change(change) => encode_change(change, &mut out),
        }
        Bytes::from(out)
    }

    const fn kind(&self) -> u8 {
        match self {
            Request::Append(_) => APPEND,
            Request::Vote(_) => VOTE,
            Request::PreVote(_) => PRE_VOTE,
            Request::TakeOver(_) => TAKE_OVER,
            Request::ReadIndex => READ_INDEX,
            Request::Propose(_) => PROPOSE,
            Request::Change(_) => CHANGE,
            Request::Status => STATUS,
        }
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<(GroupId, Request), Malformed> {
        let mut rest = Decoder::new(bytes);
        let start = rest.clone();
        let kind = rest.u8("kind of a request")?;
        let group = GroupId(rest.u64("group")?);
        let request = match kind {
            APPEND => Request::Append(decode_append(bytes, &mut rest)?),
            VOTE => Request::Vote(decode_vote_request(&mut rest)?),
            PRE_VOTE => Request::PreVote(decode_vote_request(&mut rest)?),
            TAKE_OVER => {
                let from = some_vote(&mut rest)?;
                let to = rest.u64("node that takes over")?;
                Request::TakeOver(TransferLeaderRequest::new(from, to, position(&mut rest)?))
            }
            READ_INDEX => Request::ReadIndex,
            PROPOSE => Request::Propose(decode_proposals(&mut rest)?),
            CHANGE => Request::Change(decode_change(&mut rest)?),
            STATUS => Request::Status,
            _ => return Err(start.malformed("a request kind from 1 to 8")),
        };
        rest.finish()?;
        Ok((group, request))
    }
}

fn encode_append(append: &AppendEntriesRequest<TypeConfig>, out: &mut Vec<u8>) {
    put_vote(Some(&append.vote), out);
    put_position(append.prev_log_id, out);
    put_position(append.leader_commit, out);
    put_varint(out, append.entries.len() as u64);
    let mut encoded = Vec::new();
    for entry in &append.entries {
        encoded.clear();
        entry::encode_chained(entry, &mut encoded);
        put_bytes(out, &encoded);
    }
}

fn decode_append(
    bytes: &Bytes,
    rest: &mut Decoder<'_>,
) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    let vote = some_vote(rest)?;
    let (prev_log_id, leader_commit) = (position(rest)?, position(rest)?);
    let mut entries: Vec<LogEntry> = Vec::new();
    for _ in 0..rest.varint("number of entries")? {
        let len = bytes_of(rest, "an entry")?.len();
        let end = rest.offset();
        entries.push(entry::decode(&bytes.slice(end - len..end))?);
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

fn decode_vote_request(rest: &mut Decoder<'_>) -> Result<VoteRequest<TypeConfig>, Malformed> {
    let vote = some_vote(rest)?;
    let last = position(rest)?;
    let mut request = VoteRequest::new(vote, last);
    request.leadership_transfer = flag(rest)?;
    Ok(request)
}

fn encode_proposals(proposals: &Proposals, out: &mut Vec<u8>) {
    for part in [proposals.term, proposals.node, proposals.boot, proposals.floor] {
        out.extend_from_slice(&part.to_le_bytes());
    }
    put_varint(out, proposals.writes.len() as u64);
    proposals.writes.iter().for_each(|write| write_codec::encode(write, out));
    put_varint(out, proposals.entries.len() as u64);
    for entry in &proposals.entries {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        put_bytes(out, &bytes);
    }
}

fn decode_proposals(rest: &mut Decoder<'_>) -> Result<Proposals, Malformed> {
    Ok(Proposals {
        term: rest.u64("term")?,
        node: rest.u64("node")?,
        boot: rest.u64("boot")?,
        floor: rest.u64("lowest counter")?,
        writes: list(rest, "number of writes", write_codec::decode)?,
        entries: list(rest, "number of entries", |rest| Entry::decode(bytes_of(rest, "an entry")?))?,
    })
}

fn encode_change(change: &Change, out: &mut Vec<u8>) {
    let (kind, node) = match change {
        Change::Add(node, _) => (1, node),
        Change::Promote(node) => (2, node),
        Change::Remove(node) => (3, node),
        Change::Transfer(node) => (4, node),
    };
    out.push(kind);
    out.extend_from_slice(&node.0.to_le_bytes());
    if let Change::Add(_, peer) = change {
        put_bytes(out, peer.address.as_bytes());
        put_bytes(out, peer.region.as_bytes());
    }
}

fn decode_change(rest: &mut Decoder<'_>) -> Result<Change, Malformed> {
    let start = rest.clone();
    let kind = rest.u8("kind of a change")?;
    let node = NodeId(rest.u64("node")?);
    match kind {
        1 => {
            let (address, region) = (text(rest)?, text(rest)?);
            Ok(Change::Add(node, Peer { address, region }))
        }
        2 => Ok(Change::Promote(node)),
        3 => Ok(Change::Remove(node)),
        4 => Ok(Change::Transfer(node)),
        _ => Err(start.malformed("a kind of change from 1 to 4")),
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        match self {
            Answer::Failed(reason) => {
                out.push(0);
                put_bytes(&mut out, reason.as_bytes());
            }
            Answer::Append(AppendEntriesResponse::Success) => out.push(1),
            Answer::Append(AppendEntriesResponse::PartialSuccess(id)) => {
                out.push(2);
                put_position(*id, &mut out);
            }
            Answer::Append(AppendEntriesResponse::Conflict) => out.push(3),
            Answer::Append(AppendEntriesResponse::HigherVote(vote)) => {
                out.push(4);
                put_vote(Some(vote), &mut out);
            }
            Answer::Voted { vote, granted, last } => {
                out.push(5);
                put_vote(Some(vote), &mut out);
                out.push(u8::from(*granted));
                put_position(*last, &mut out);
            }
            Answer::Done => out.push(6),
            Answer::ReadIndex(index) => {
                out.push(7);
                out.extend_from_slice(&index.to_le_bytes());
            }
            Answer::DiskFull { reason, reserve } => {
                out.push(8);
                out.extend_from_slice(&reserve.to_le_bytes());
                put_bytes(&mut out, reason.as_bytes());
            }
            Answer::NotTheLeader => out.push(9),
            Answer::Status(group) => {
                out.push(10);
                status::encode(group, &mut out);
            }
        }
        Bytes::from(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Answer, Malformed> {
        let mut rest = Decoder::new(bytes);
        let start = rest.clone();
        let answer = match rest.u8("kind of an answer")? {
            0 => Answer::Failed(text(&mut rest)?),
            1 => Answer::Append(AppendEntriesResponse::Success),
            2 => Answer::Append(AppendEntriesResponse::PartialSuccess(position(&mut rest)?)),
            3 => Answer::Append(AppendEntriesResponse::Conflict),
            4 => Answer::Append(AppendEntriesResponse::HigherVote(some_vote(&mut rest)?)),
            5 => Answer::Voted {
                vote: some_vote(&mut rest)?,
                granted: flag(&mut rest)?,
                last: position(&mut rest)?,
            },
            6 => Answer::Done,
            7 => Answer::ReadIndex(rest.u64("index")?),
            8 => {
                let reserve = rest.u64("reserve")?;
                Answer::DiskFull { reason: text(&mut rest)?, reserve }
            }
            9 => Answer::NotTheLeader,
            10 => Answer::Status(Box::new(status::decode(&mut rest)?)),
            _ => return Err(start.malformed("an answer kind from 0 to 10")),
        };
        rest.finish()?;
        Ok(answer)
    }

    /// openraft's answer to a vote.
    pub(crate) fn voted(response: VoteResponse<TypeConfig>) -> Answer {
        Answer::Voted { vote: response.vote, granted: response.vote_granted, last: response.last_log_id }
    }
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Header {
    /// Requests to append, and their answers, in order.
    Append(GroupId),
    /// A Raft snapshot of a leader with this vote.
    Snapshot(GroupId, Vote),
    /// A copy of all data of a group, for a replica that is damaged: the one that opens the stream is to get it.
    Copy(GroupId),
}

impl Header {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        let (kind, group) = match self {
            Header::Append(group) => (1, group),
            Header::Snapshot(group, _) => (2, group),
            Header::Copy(group) => (3, group),
        };
        out.put_u8(kind);
        out.put_u64_le(group.0);
        if let Header::Snapshot(_, vote) = self {
            let mut bytes = Vec::new();
            put_vote(Some(vote), &mut bytes);
            out.extend_from_slice(&bytes);
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut rest = Decoder::new(bytes);
        let start = rest.clone();
        let kind = rest.u8("kind of a stream")?;
        let group = GroupId(rest.u64("group")?);
        let header = match kind {
            1 => Header::Append(group),
            2 => Header::Snapshot(group, some_vote(&mut rest)?),
            3 => Header::Copy(group),
            _ => return Err(start.malformed("a stream kind from 1 to 3")),
        };
        rest.finish()?;
        Ok(header)
    }
}

fn some_vote(rest: &mut Decoder<'_>) -> Result<Vote, Malformed> {
    let start = rest.clone();
    vote(rest)?.ok_or_else(|| start.malformed("a vote"))
}

fn flag(rest: &mut Decoder<'_>) -> Result<bool, Malformed> {
    let start = rest.clone();
    match rest.u8("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(start.malformed("a flag of 0 or 1")),
    }
}

fn text(rest: &mut Decoder<'_>) -> Result<String, Malformed> {
    let start = rest.clone();
    let bytes = bytes_of(rest, "text")?.to_vec();
    String::from_utf8(bytes).map_err(|_not_text| start.malformed("text"))
}

#[cfg(test)]
mod tests;
