//! Log entries as bytes: the payload of a group's log.
//!
//! Integers of fixed size are little-endian; a varint is [`Decoder::varint`]'s, in its shortest form;
//! bytes are a varint length and that many bytes.
//!
//! | entry | fields |
//! |---|---|
//! | every | format `01`, kind u8, time_ms u64 |
//! | 1 batch | varint count, writes |
//! | 2 tick | |
//! | 3 progress | request, name bytes, value bytes |
//! | 4 delete database | request, varint database |
//!
//! | write | fields |
//! |---|---|
//! | request | node u64, boot u64, counter u64 |
//! | database | varint |
//! | checks | varint count; each: kind u8 (1 absent, 2 stamp), key bytes, in kind 2 the 10 bytes of the stamp |
//! | mutations | varint count; each: kind u8, key bytes, fields of the kind |
//!
//! | mutation | fields |
//! |---|---|
//! | 1 set, 2 suffixed set | value |
//! | 3 set, 4 suffixed set, that expire | value, expire_at_ms u64 |
//! | 5 delete | |
//! | 6 sum of u64, 7 min, 8 max | operand u64 |
//! | 9 sum of bigints | flags u8 (1 min, 2 max, 4 clamp), operand, the bounds that flags name; each: sign u8 (0, 1 negative), magnitude bytes without leading zeros |
//! | 10 sum of numbers | flags u8, then as many IEEE 754 doubles |
//!
//! A value is its encoding u8 (1 to 3) and bytes.
//!
//! - Every entry has one encoding, and [`Entry::decode`] takes no other.
//! - The codec checks shape and not meaning: every entry that can be made can be read back, so that what
//!   was agreed on can always be applied.

pub(crate) mod write;

use crate::{DatabaseNumber, Entry};
use engine::Mark;
use engine::codec::{Decoder, Malformed, put_varint};

const FORMAT: u8 = 1;
const BATCH: u8 = 1;
const TICK: u8 = 2;
const PROGRESS: u8 = 3;
const DELETE_DATABASE: u8 = 4;

impl Entry {
    /// Appends the encoded entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Entry::Batch { .. } => BATCH,
            Entry::Tick { .. } => TICK,
            Entry::Progress { .. } => PROGRESS,
            Entry::DeleteDatabase { .. } => DELETE_DATABASE,
        };
        out.extend_from_slice(&[FORMAT, kind]);
        out.extend_from_slice(&self.time_ms().to_le_bytes());
        match self {
            Entry::Batch { writes, .. } => {
                put_varint(out, writes.len() as u64);
                writes.iter().for_each(|write| write::encode(write, out));
            }
            Entry::Tick { .. } => {}
            Entry::Progress { mark, request, .. } => {
                write::put_request(*request, out);
                put_bytes(out, &mark.name);
                put_bytes(out, &mark.value);
            }
            Entry::DeleteDatabase { database, request, .. } => {
                write::put_request(*request, out);
                put_varint(out, u64::from(database.0));
            }
        }
    }

    /// Reads an entry.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one entry in its only encoding.
    pub fn decode(bytes: &[u8]) -> Result<Entry, Malformed> {
        let mut rest = Decoder::new(bytes);
        let start = rest.clone();
        let (format, kind) = (rest.u8("format of an entry")?, rest.u8("kind of an entry")?);
        start.ensure(format == FORMAT, "entry format 1")?;
        let time_ms = rest.u64("time_ms")?;
        let entry = match kind {
            BATCH => Entry::Batch { time_ms, writes: list(&mut rest, "number of writes", write::decode)? },
            TICK => Entry::Tick { time_ms },
            PROGRESS => {
                let request = write::request(&mut rest)?;
                let name = bytes_of(&mut rest, "name of a mark")?.to_vec();
                let value = bytes_of(&mut rest, "value of a mark")?.to_vec();
                Entry::Progress { time_ms, request, mark: Mark { name, value } }
            }
            DELETE_DATABASE => {
                let request = write::request(&mut rest)?;
                Entry::DeleteDatabase { time_ms, request, database: database(&mut rest)? }
            }
            _ => return Err(start.malformed("an entry kind from 1 to 4")),
        };
        rest.finish()?;
        Ok(entry)
    }
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn bytes_of<'a>(rest: &mut Decoder<'a>, what: &'static str) -> Result<&'a [u8], Malformed> {
    let len = rest.varint(what)?;
    rest.take(usize::try_from(len).unwrap_or(usize::MAX), what)
}

fn database(rest: &mut Decoder<'_>) -> Result<DatabaseNumber, Malformed> {
    let start = rest.clone();
    let number = u32::try_from(rest.varint("number of a database")?);
    number.map(DatabaseNumber).map_err(|_too_large| start.malformed("a database number of 32 bits"))
}

/// A varint count and that many items. Allocates as items are read, so a great count costs nothing.
pub(crate) fn list<T>(
    rest: &mut Decoder<'_>,
    what: &'static str,
    item: fn(&mut Decoder<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = rest.varint(what)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(rest)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests;
