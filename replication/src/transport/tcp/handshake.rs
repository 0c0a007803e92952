//! The first words of a connection: who dials whom, of which cluster, and what both can speak.
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNPER` |
//! | 8 | 2 | length | of the body, at most [`BODY_LEN_MAX`], little-endian |
//! | 10 | 4 | checksum | CRC-32 of length and body, little-endian |
//! | 14 | length | body | a [`Hello`] one way, a [`Reply`] the other |
//!
//! | hello | size | meaning |
//! |---|---|---|
//! | protocol | 2 + 2 | the oldest and newest that it speaks |
//! | format | 4 + 4 | the oldest and newest feature level of log entries that it knows |
//! | cluster, lineage | 16 + 16 | |
//! | from, to | 8 + 8 | node that dials, node that it wants |
//! | channel | 1 | 1 log, 2 heartbeat, 3 snapshot |
//!
//! | reply | size | meaning |
//! |---|---|---|
//! | kind | 1 | 1 welcome, 2 refused |
//! | node | 8 | who answers |
//! | welcome | 2 | the protocol that is spoken from here on |
//! | refused | rest | why, in words |
//!
//! - The layout up to here stands for ever, whatever the protocol: what a later one adds comes after it and is
//!   passed over, so that nodes of any two releases can tell each other why they cannot talk.
//! - [`judge`] decides alone on what was said; who said it is what TLS proves.

use crate::transport::Channel;
use crate::{ClusterId, NodeId};
use engine::LineageId;
use engine::codec::{Decoder, Malformed};
use std::fmt;

/// The protocols that this release speaks.
pub(crate) const PROTOCOL: Range<u16> = Range { oldest: 1, newest: 1 };
/// Bytes before the body.
pub(crate) const HEADER_LEN: usize = 14;
/// The longest body.
pub(crate) const BODY_LEN_MAX: usize = 1_024;
/// The longest reason of a refusal, in bytes.
const REASON_LEN_MAX: usize = 512;
const MAGIC: [u8; 8] = *b"CAIRNPER";
const WELCOME: u8 = 1;
const REFUSED: u8 = 2;

/// From the oldest to the newest that a node knows, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range<T> {
    /// The oldest.
    pub oldest: T,
    /// The newest.
    pub newest: T,
}

impl<T: Copy + Ord> Range<T> {
    /// The newest that both know.
    fn common(self, other: Range<T>) -> Option<T> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl<T: fmt::Display> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// What a node is, as far as others have to agree with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its own id.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// The lineage that the cluster began with.
    pub lineage: LineageId,
    /// The feature levels of log entries that it knows.
    pub format: Range<u32>,
}

/// What who dials says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) protocol: Range<u16>,
    pub(crate) identity: Identity,
    /// The node that is wanted.
    pub(crate) to: NodeId,
    pub(crate) channel: Channel,
}

/// What is said to that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Welcome { node: NodeId, protocol: u16 },
    Refused { node: NodeId, reason: String },
}

/// Whether `own` talks with who said `hello`: the protocol, or why not.
pub(crate) fn judge(own: &Identity, hello: &Hello) -> Result<u16, String> {
    let (other, from, here) = (&hello.identity, hello.identity.node, own.node);
    let Some(protocol) = PROTOCOL.common(hello.protocol) else {
        let (we, they) = (PROTOCOL, hello.protocol);
        return Err(format!(
            "node {here} speaks peer protocols {we}, node {from} {they}: upgrade the older one"
        ));
    };
    if other.cluster != own.cluster {
        return Err(format!(
            "node {here} is of cluster {}, node {from} of cluster {}",
            own.cluster, other.cluster
        ));
    }
    if other.lineage != own.lineage {
        return Err(format!(
            "node {here} is of lineage {}, node {from} of lineage {}",
            own.lineage, other.lineage
        ));
    }
    if own.format.common(other.format).is_none() {
        let (we, they) = (own.format, other.format);
        return Err(format!(
            "node {here} knows feature levels {we}, node {from} {they}: upgrade the older one"
        ));
    }
    if hello.to != here {
        return Err(format!("node {here} is at the address of node {}", hello.to));
    }
    if from == here {
        return Err(format!("two nodes have the id {here}"));
    }
    Ok(protocol)
}

impl Hello {
    /// All of its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&self.protocol.oldest.to_le_bytes());
        body.extend_from_slice(&self.protocol.newest.to_le_bytes());
        body.extend_from_slice(&self.identity.format.oldest.to_le_bytes());
        body.extend_from_slice(&self.identity.format.newest.to_le_bytes());
        body.extend_from_slice(&self.identity.cluster.0);
        body.extend_from_slice(&self.identity.lineage.0);
        body.extend_from_slice(&self.identity.node.0.to_le_bytes());
        body.extend_from_slice(&self.to.0.to_le_bytes());
        body.push(tag(self.channel));
        framed(&body)
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(crate) fn decode(body: &[u8]) -> Result<Hello, Malformed> {
        let mut rest = Decoder::new(body);
        let protocol = Range { oldest: rest.u16("oldest protocol")?, newest: rest.u16("newest protocol")? };
        let format = Range { oldest: rest.u32("oldest format")?, newest: rest.u32("newest format")? };
        let cluster = ClusterId(rest.array("cluster")?);
        let lineage = LineageId(rest.array("lineage")?);
        let node = NodeId(rest.u64("node that dials")?);
        let to = NodeId(rest.u64("node that is wanted")?);
        let at_channel = rest.clone();
        let channel = rest.u8("channel")?;
        let channel = Channel::ALL.into_iter().find(|known| tag(*known) == channel);
        let channel = channel.ok_or_else(|| at_channel.malformed("a channel from 1 to 3"))?;
        Ok(Hello { protocol, identity: Identity { node, cluster, lineage, format }, to, channel })
    }
}

impl Reply {
    /// All of its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            Reply::Welcome { node, protocol } => {
                body.push(WELCOME);
                body.extend_from_slice(&node.0.to_le_bytes());
                body.extend_from_slice(&protocol.to_le_bytes());
            }
            Reply::Refused { node, reason } => {
                body.push(REFUSED);
                body.extend_from_slice(&node.0.to_le_bytes());
                body.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(REASON_LEN_MAX)]);
            }
        }
        framed(&body)
    }

    /// Reads a body.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(crate) fn decode(body: &[u8]) -> Result<Reply, Malformed> {
        let mut rest = Decoder::new(body);
        let start = rest.clone();
        let kind = rest.u8("kind of a reply")?;
        let node = NodeId(rest.u64("node that replies")?);
        match kind {
            WELCOME => Ok(Reply::Welcome { node, protocol: rest.u16("protocol")? }),
            REFUSED => {
                let words = rest.take(rest.remaining().min(REASON_LEN_MAX), "reason")?;
                Ok(Reply::Refused { node, reason: printable(words) })
            }
            _ => Err(start.malformed("a reply kind of 1 or 2")),
        }
    }
}

/// Reads the bytes before a body: its length and checksum.
///
/// # Errors
///
/// When who is there does not speak this protocol at all.
pub(crate) fn decode_header(bytes: &[u8; HEADER_LEN]) -> Result<(usize, u32), Malformed> {
    let mut rest = Decoder::new(bytes);
    let start = rest.clone();
    let magic: [u8; 8] = rest.array("magic")?;
    start.ensure(magic == MAGIC, "the first bytes of a CairnKV peer")?;
    let at_len = rest.clone();
    let len = usize::from(rest.u16("length of a handshake")?);
    at_len.ensure(len <= BODY_LEN_MAX, "a handshake of at most 1,024 bytes")?;
    Ok((len, rest.u32("checksum of a handshake")?))
}

/// Whether a body is the one that its header announced.
///
/// # Errors
///
/// When it is not.
pub(crate) fn check_body(body: &[u8], expected: u32) -> Result<(), Malformed> {
    Decoder::new(body).ensure(checksum(body) == expected, "a handshake that fits its checksum")
}

/// Words of another node, fit for a line of a log.
pub(crate) fn printable(words: &[u8]) -> String {
    String::from_utf8_lossy(words).chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn framed(body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).expect("a handshake is short");
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(&checksum(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn checksum(body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn tag(channel: Channel) -> u8 {
    match channel {
        Channel::Log => 1,
        Channel::Heartbeat => 2,
        Channel::Snapshot => 3,
    }
}

#[cfg(test)]
mod tests;
