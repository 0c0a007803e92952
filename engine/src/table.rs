//! An immutable sorted file of entries, named by the BLAKE3 digest of its bytes.
//!
//! ```text
//! header | data and index blocks | top index block | filter block | footer block | trailer
//! ```
//!
//! Header, at offset 0, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNTBL` |
//! | 8 | 4 | format | [`FORMAT`] |
//! | 12 | 4 | reserved | 0 |
//!
//! Blocks are framed as [`frame`] says, entries as [`block`](crate::block) says. A value in an index block is a [`Handle`]; its key and stamp stand at or after the
//! last entry of the block it names, and before the first entry of the next. Index blocks name
//! data blocks, the top index block names index blocks.
//!
//! - A table is written under a temporary name and gets its own only once it is durable.
//! - The same content has the same name; writing it twice is harmless.
//! - Every byte of the file is covered by a checksum or compared with what must stand there.

pub(crate) mod cursor;
pub(crate) mod footer;
pub(crate) mod hidden;
pub(crate) mod meta;
mod output;
pub(crate) mod reader;
pub(crate) mod select;
mod tally;
pub(crate) mod writer;

pub(crate) use cursor::TableCursor;
pub(crate) use meta::{Meta, TableDigest};
pub(crate) use reader::{Caching, Probe, Reader};
pub(crate) use writer::{Settings, Writer};

use crate::block::frame;
use crate::codec::{Decoder, Malformed, put_varint};
use std::ops::Range;

/// The first eight bytes of a table.
const MAGIC: &[u8; 8] = b"CAIRNTBL";
/// The format that this engine writes, and the only one it reads.
const FORMAT: u32 = 1;
/// Bytes of the header.
const HEADER_LEN: usize = 16;

/// Where a frame stands: varint offset, varint length, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    /// From the start of the file.
    pub(crate) offset: u64,
    /// Of the whole frame.
    pub(crate) len: u32,
}

impl Handle {
    /// Appends it to `out`.
    fn encode(self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, u64::from(self.len));
    }

    /// Reads one that is alone in `bytes`.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        let handle = Self::decode_from(&mut rest)?;
        rest.finish()?;
        Ok(handle)
    }

    fn decode_from(rest: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let offset = rest.varint("the offset of a block")?;
        let len = u32::try_from(rest.varint("the length of a block")?).ok();
        let len = len.filter(|len| (frame::HEADER_LEN..=frame::FRAME_LEN_MAX).contains(&(*len as usize)));
        let len = len.ok_or_else(|| rest.malformed("the length of a block within its bound"))?;
        Ok(Self { offset, len })
    }

    /// Its bytes.
    pub(crate) const fn range(self) -> Range<u64> {
        self.offset..self.end()
    }

    /// One past its last byte.
    pub(crate) const fn end(self) -> u64 {
        self.offset.saturating_add(self.len as u64)
    }
}

/// The header of every table.
fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header
}

/// Checks a header.
fn check_header(header: &[u8]) -> Result<(), Malformed> {
    let mut rest = Decoder::new(header);
    let start = rest.clone();
    start.ensure(rest.take(8, "a table's magic")? == MAGIC, "a table's magic, CAIRNTBL")?;
    let format_at = rest.clone();
    format_at.ensure(rest.u32("a format")? == FORMAT, "table format 1")?;
    let reserved_at = rest.clone();
    reserved_at.ensure(rest.u32("reserved bytes")? == 0, "reserved bytes that are 0")
}

#[cfg(test)]
pub(crate) mod tests;
