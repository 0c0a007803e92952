//! What two nodes say to each other while a raft snapshot travels, as bytes.
//!
//! Integers are little-endian, stamps big-endian. Every message is
//!
//! | size | field | meaning |
//! |---|---|---|
//! | 1 | format | 1 |
//! | 1 | kind | 1 to 6 |
//! | | body | of the kind |
//! | 4 | checksum | CRC-32 of all bytes before |
//!
//! | kind | body |
//! |---|---|
//! | 1 offer | lineage: id 16, epoch u32, parent u8 (0 none, 1 then id 16 and stamp 10); applied: version u64, term u64, time_ms u64, hash 32, stamp 10; manifest: digest 32, bytes u64; u32 count of tables; each: digest 32, bytes u64; digests rise |
//! | 2 want | u32 count; each: file u32, from u64; files rise |
//! | 3 chunk | file u32, offset u64, 1 to [`CHUNK_BYTES_MAX`] bytes |
//! | 4 whole | |
//! | 5 refusal | reason u8, of reason 5 the digest of a table |
//! | 6 busy | |
//!
//! Files are numbered: the tables in the order of the offer, and after them the manifest.
//!
//! - A message has one encoding, and nothing else is read.
//! - Nothing is allocated for a number before as many bytes are there.

use super::{CHUNK_BYTES_MAX, TABLES_MAX};
use bytes::Bytes;
use engine::codec::{Decoder, Malformed};
use engine::{Applied, ContentHash, Lineage, LineageId, Versionstamp};
use std::fmt;

const FORMAT: u8 = 1;
const OFFER: u8 = 1;
const WANT: u8 = 2;
const CHUNK: u8 = 3;
const WHOLE: u8 = 4;
const REFUSAL: u8 = 5;
const BUSY: u8 = 6;
/// Bytes of the checksum at the end.
const CHECKSUM_LEN: usize = 4;
/// The greatest epoch of a lineage: 20 bits.
const EPOCH_MAX: u32 = (1 << 20) - 1;

/// BLAKE3 of a whole file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// What follows the digest in the name of a table.
    const SUFFIX: &str = ".tbl";

    /// The name of the table with this content.
    pub fn table_name(&self) -> String {
        format!("{self}{}", Self::SUFFIX)
    }

    /// The digest in the name of a table; `None` for other names.
    pub fn of_table_name(name: &str) -> Option<Digest> {
        let digits = name.strip_suffix(Self::SUFFIX).filter(|digits| digits.len() == 64)?;
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        // The name of a table is in small letters: no other name means the same table.
        Some(Digest(digest)).filter(|digest| digest.table_name() == name)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file that a raft snapshot consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// What it must be.
    pub digest: Digest,
    /// Its length; at least 1.
    pub bytes: u64,
}

/// All that a raft snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Whose history.
    pub lineage: Lineage,
    /// Where it stands.
    pub applied: Applied,
    /// The engine's manifest.
    pub manifest: Content,
    /// The tables that the manifest names; digests rise.
    pub tables: Vec<Content>,
}

impl Offer {
    /// The file with this number.
    pub fn file(&self, number: u32) -> Option<&Content> {
        let number = usize::try_from(number).ok()?;
        if number == self.tables.len() { Some(&self.manifest) } else { self.tables.get(number) }
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().fold(self.manifest.bytes, |sum, table| sum.saturating_add(table.bytes))
    }
}

/// A file that is lacking, in part or whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Its number in the offer.
    pub file: u32,
    /// Bytes from here on are lacking.
    pub from: u64,
}

/// Why one side does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Another lineage is held there.
    #[error("it holds another lineage")]
    Foreign,
    /// It stands before what is needed.
    #[error("what is offered stands before what is needed")]
    Behind,
    /// Two histories differ at one position.
    #[error("its history differs")]
    Diverged,
    /// There is no room for it.
    #[error("its disk has no room")]
    NoRoom,
    /// A table does not have the content that its name says.
    #[error("table {0} was damaged before it was sent")]
    Damaged(Digest),
    /// Its disk failed, or it stops.
    #[error("it cannot go on")]
    Failed,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// What there is to have: the first message, from the sender.
    Offer(Offer),
    /// What is lacking of it: the answer.
    Want(Vec<Want>),
    /// A part of a file that was wanted.
    Chunk {
        /// Its number in the offer.
        file: u32,
        /// Where the bytes stand in it.
        offset: u64,
        /// They.
        bytes: Bytes,
    },
    /// Everything has arrived, was checked, and is durable: the last message, to the sender.
    Whole,
    /// The last message, from either side.
    Refusal(Reason),
    /// The other side is at work, and has nothing to say yet.
    Busy,
}

impl Message {
    /// The message as bytes.
    ///
    /// # Panics
    ///
    /// If it is over the bounds of the format: who makes one keeps them.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![FORMAT];
        match self {
            Message::Offer(offer) => {
                out.push(OFFER);
                put_offer(&mut out, offer);
            }
            Message::Want(wants) => {
                out.push(WANT);
                put_count(&mut out, wants.len(), TABLES_MAX + 1);
                for want in wants {
                    out.extend_from_slice(&want.file.to_le_bytes());
                    out.extend_from_slice(&want.from.to_le_bytes());
                }
            }
            Message::Chunk { file, offset, bytes } => {
                assert!((1..=CHUNK_BYTES_MAX).contains(&bytes.len()), "a chunk has its bounds");
                out.reserve(bytes.len() + 32);
                out.push(CHUNK);
                out.extend_from_slice(&file.to_le_bytes());
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Message::Whole => out.push(WHOLE),
            Message::Refusal(reason) => {
                out.push(REFUSAL);
                put_reason(&mut out, reason);
            }
            Message::Busy => out.push(BUSY),
        }
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out.into()
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one message in its only encoding.
    pub fn decode(message: &Bytes) -> Result<Message, Malformed> {
        let Some(end) = message.len().checked_sub(CHECKSUM_LEN) else {
            return Err(Malformed { offset: 0, expected: "a checksum" });
        };
        if crc32fast::hash(&message[..end]).to_le_bytes() != message[end..] {
            return Err(Malformed { offset: end, expected: "the checksum" });
        }
        let body = message.slice(..end);
        let mut rest = Decoder::new(&body);
        let start = rest.clone();
        start.ensure(rest.u8("format")? == FORMAT, "snapshot stream format 1")?;
        let at = rest.clone();
        let message = match rest.u8("kind of a message")? {
            OFFER => Message::Offer(offer(&mut rest)?),
            WANT => Message::Want(wants(&mut rest)?),
            CHUNK => chunk(&mut rest, &body)?,
            WHOLE => Message::Whole,
            REFUSAL => Message::Refusal(reason(&mut rest)?),
            BUSY => Message::Busy,
            _ => return Err(at.malformed("a kind from 1 to 6")),
        };
        rest.finish()?;
        Ok(message)
    }
}

fn put_count(out: &mut Vec<u8>, count: usize, max: usize) {
    assert!(count <= max, "a message has its bounds");
    out.extend_from_slice(&u32::try_from(count).expect("the bounds fit 32 bits").to_le_bytes());
}

fn put_offer(out: &mut Vec<u8>, offer: &Offer) {
    out.reserve(40 * offer.tables.len() + 256);
    put_lineage(out, &offer.lineage);
    let Applied { version, term, time_ms, hash, stamp } = &offer.applied;
    [version, term, time_ms].iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    out.extend_from_slice(hash.as_bytes());
    out.extend_from_slice(stamp.as_bytes());
    put_content(out, &offer.manifest);
    put_count(out, offer.tables.len(), TABLES_MAX);
    offer.tables.iter().for_each(|table| put_content(out, table));
}

fn put_lineage(out: &mut Vec<u8>, lineage: &Lineage) {
    out.extend_from_slice(&lineage.id.0);
    out.extend_from_slice(&lineage.epoch.to_le_bytes());
    match &lineage.parent {
        None => out.push(0),
        Some((id, stamp)) => {
            out.push(1);
            out.extend_from_slice(&id.0);
            out.extend_from_slice(stamp.as_bytes());
        }
    }
}

fn put_content(out: &mut Vec<u8>, content: &Content) {
    out.extend_from_slice(&content.digest.0);
    out.extend_from_slice(&content.bytes.to_le_bytes());
}

fn put_reason(out: &mut Vec<u8>, reason: &Reason) {
    match reason {
        Reason::Foreign => out.push(1),
        Reason::Behind => out.push(2),
        Reason::Diverged => out.push(3),
        Reason::NoRoom => out.push(4),
        Reason::Damaged(digest) => {
            out.push(5);
            out.extend_from_slice(&digest.0);
        }
        Reason::Failed => out.push(6),
    }
}

fn offer(rest: &mut Decoder<'_>) -> Result<Offer, Malformed> {
    let lineage = lineage(rest)?;
    let applied = Applied {
        version: rest.u64("version")?,
        term: rest.u64("term")?,
        time_ms: rest.u64("time_ms")?,
        hash: ContentHash::from_bytes(rest.array("content hash")?),
        stamp: Versionstamp::from_bytes(rest.array("stamp")?),
    };
    let manifest = content(rest)?;
    let count = rest.u32("number of tables")? as usize;
    rest.ensure(
        count <= TABLES_MAX && count <= rest.remaining() / 40,
        "as many tables as there are bytes for",
    )?;
    let mut tables: Vec<Content> = Vec::with_capacity(count);
    for _ in 0..count {
        let at = rest.clone();
        let table = content(rest)?;
        at.ensure(tables.last().is_none_or(|last| last.digest < table.digest), "digests that rise")?;
        tables.push(table);
    }
    Ok(Offer { lineage, applied, manifest, tables })
}

fn lineage(rest: &mut Decoder<'_>) -> Result<Lineage, Malformed> {
    let id = LineageId(rest.array("lineage id")?);
    let epoch = rest.u32("lineage epoch")?;
    rest.ensure(epoch <= EPOCH_MAX, "a lineage epoch of 20 bits")?;
    let at = rest.clone();
    let parent = match rest.u8("whether there is a parent")? {
        0 => None,
        1 => {
            let id = LineageId(rest.array("parent id")?);
            Some((id, Versionstamp::from_bytes(rest.array("parent stamp")?)))
        }
        _ => return Err(at.malformed("0 or 1 for whether there is a parent")),
    };
    Ok(Lineage { id, epoch, parent })
}

fn content(rest: &mut Decoder<'_>) -> Result<Content, Malformed> {
    let digest = Digest(rest.array("digest")?);
    let at = rest.clone();
    let bytes = rest.u64("length of a file")?;
    at.ensure(bytes > 0, "a file of at least 1 byte")?;
    Ok(Content { digest, bytes })
}

fn wants(rest: &mut Decoder<'_>) -> Result<Vec<Want>, Malformed> {
    let count = rest.u32("number of files")? as usize;
    rest.ensure(count <= rest.remaining() / 12, "as many files as there are bytes for")?;
    let mut wants: Vec<Want> = Vec::with_capacity(count);
    for _ in 0..count {
        let at = rest.clone();
        let want = Want { file: rest.u32("number of a file")?, from: rest.u64("offset")? };
        at.ensure(wants.last().is_none_or(|last| last.file < want.file), "files that rise")?;
        wants.push(want);
    }
    Ok(wants)
}

fn chunk(rest: &mut Decoder<'_>, body: &Bytes) -> Result<Message, Malformed> {
    let (file, offset) = (rest.u32("number of a file")?, rest.u64("offset")?);
    let start = rest.offset();
    let len = rest.remaining();
    rest.ensure((1..=CHUNK_BYTES_MAX).contains(&len), "a chunk within its bounds")?;
    rest.ensure(offset.checked_add(len as u64).is_some(), "a chunk that ends within 64 bits")?;
    rest.take(len, "bytes of a chunk")?;
    Ok(Message::Chunk { file, offset, bytes: body.slice(start..) })
}

fn reason(rest: &mut Decoder<'_>) -> Result<Reason, Malformed> {
    let at = rest.clone();
    Ok(match rest.u8("reason")? {
        1 => Reason::Foreign,
        2 => Reason::Behind,
        3 => Reason::Diverged,
        4 => Reason::NoRoom,
        5 => Reason::Damaged(Digest(rest.array("digest")?)),
        6 => Reason::Failed,
        _ => return Err(at.malformed("a reason from 1 to 6")),
    })
}

#[cfg(test)]
mod tests;
