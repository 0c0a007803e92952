//! A segment of the archive: the commits of one run of history, compressed, in blocks.
//!
//! - A segment holds at least one commit, and only log entries that have commits, whole. Marks are
//!   notes of the running lineage and stay behind; ticks change nothing.
//! - It starts exactly after the commit `base` and continues the hash of history from there.
//! - Everything is checked while it is read: the checksum of each block, the order of commits, the
//!   clock, and the hash after every single log entry.
//!
//! Layout, integers little-endian, stamps as their ten bytes:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNSEG` |
//! | 8 | 4 | format | 1 |
//! | 12 | 4 | reserved | 0 |
//! | 16 | 16 | lineage | its id |
//! | 32 | 4 | epoch | of the lineage |
//! | 36 | 8 | group | |
//! | 44 | 8 | term | in which it was shipped |
//! | 52 | 8 | node | that shipped it |
//! | 60 | 10 | base | the commit before the first one; zero when there is none |
//! | 70 | 10 | first | first commit |
//! | 80 | 10 | last | last commit |
//! | 90 | 32 | hash before | content hash at `base` |
//! | 122 | 32 | hash after | content hash at `last` |
//! | 154 | 8 | first time | clock at `first`, Unix milliseconds |
//! | 162 | 8 | last time | clock at `last` |
//! | 170 | 8 | records | log entries in it |
//! | 178 | 8 | commits | commits in it |
//! | 186 | 4 | blocks | that follow |
//! | 190 | 4 | checksum | CRC-32 of bytes 0 to 189 |
//! | 194 | | blocks | |
//!
//! A block: `u32` length of its plain bytes, `u32` length of its compressed bytes, `u32` CRC-32 of these two
//! lengths and the compressed bytes, then the compressed bytes (one zstd frame). Plain, it is whole
//! records, each a `u32` length and that many bytes of [`engine::Record`].

mod reader;
mod writer;

pub use reader::{Reader, Step};
pub use writer::Writer;

use crate::layout::{Digest, LineageFolder, SegmentName};
use engine::codec::{Decoder, Malformed};
use engine::{ContentHash, LineageId, Versionstamp};

/// The first bytes of a segment.
pub const MAGIC: [u8; 8] = *b"CAIRNSEG";
/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// The length of a header, its checksum included.
pub const HEADER_LEN: usize = 194;
/// A block is closed at this many plain bytes, or after the record that is larger.
pub const BLOCK_BYTES: usize = 1 << 20;
/// The most plain bytes a block can have, inclusive: one record of the greatest length behind others.
pub const BLOCK_BYTES_MAX: usize = BLOCK_BYTES + engine::record::RECORD_LEN_MAX + 8;
/// The most bytes a segment object can have, inclusive.
pub const OBJECT_BYTES_MAX: u64 = 512 << 20;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whose history.
    pub lineage: LineageFolder,
    /// Of which group.
    pub group: u64,
    /// In which term it was shipped.
    pub term: u64,
    /// Which node shipped it.
    pub node: u64,
    /// The commit before the first one.
    pub base: Versionstamp,
    /// The first commit.
    pub first: Versionstamp,
    /// The last commit.
    pub last: Versionstamp,
    /// The content hash at `base`.
    pub hash_before: ContentHash,
    /// The content hash at `last`.
    pub hash_after: ContentHash,
    /// The clock at the first commit.
    pub first_ms: u64,
    /// The clock at the last commit.
    pub last_ms: u64,
    /// Log entries.
    pub records: u64,
    /// Commits.
    pub commits: u64,
    /// Blocks.
    pub blocks: u32,
}

impl Header {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&self.lineage.id.0);
        out.extend_from_slice(&self.lineage.epoch.to_le_bytes());
        for number in [self.group, self.term, self.node] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for stamp in [self.base, self.first, self.last] {
            out.extend_from_slice(stamp.as_bytes());
        }
        for hash in [self.hash_before, self.hash_after] {
            out.extend_from_slice(hash.as_bytes());
        }
        for number in [self.first_ms, self.last_ms, self.records, self.commits] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.blocks.to_le_bytes());
        let checksum = crc32fast::hash(&out[start..]);
        out.extend_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a header from the start of `rest`, checking it alone.
    ///
    /// # Errors
    ///
    /// Where it is not what the format says.
    pub fn decode(rest: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut whole = rest.clone();
        let covered = whole.take(HEADER_LEN - 4, "the header of a segment")?;
        rest.ensure(rest.clone().take(8, "magic")? == MAGIC, "the magic of a segment")?;
        rest.take(8, "magic")?;
        rest.ensure(rest.clone().u32("format")? == FORMAT, "segment format 1")?;
        rest.u32("format")?;
        rest.ensure(rest.clone().u32("reserved")? == 0, "zero")?;
        rest.u32("reserved")?;
        whole.ensure(
            whole.clone().u32("checksum")? == crc32fast::hash(covered),
            "the checksum of the header",
        )?;
        let id = LineageId(rest.array("lineage")?);
        let epoch = rest.u32("epoch")?;
        let header = Self {
            lineage: LineageFolder { epoch, id },
            group: rest.u64("group")?,
            term: rest.u64("term")?,
            node: rest.u64("node")?,
            base: Versionstamp::from_bytes(rest.array("base")?),
            first: Versionstamp::from_bytes(rest.array("first")?),
            last: Versionstamp::from_bytes(rest.array("last")?),
            hash_before: ContentHash::from_bytes(rest.array("hash before")?),
            hash_after: ContentHash::from_bytes(rest.array("hash after")?),
            first_ms: rest.u64("first time")?,
            last_ms: rest.u64("last time")?,
            records: rest.u64("records")?,
            commits: rest.u64("commits")?,
            blocks: rest.u32("blocks")?,
        };
        rest.ensure(header.is_ordered(), "base < first <= last, and times that do not fall")?;
        rest.ensure(header.counts_fit(), "at least one block, record and commit each")?;
        rest.u32("checksum")?;
        Ok(header)
    }

    fn is_ordered(&self) -> bool {
        self.base < self.first && self.first <= self.last && self.first_ms <= self.last_ms
    }

    fn counts_fit(&self) -> bool {
        self.blocks >= 1 && self.records >= u64::from(self.blocks) && self.commits >= self.records
    }

    /// The name of a segment with this header that is stored as bytes with this digest.
    pub fn name(&self, digest: Digest, sealed: bool) -> SegmentName {
        SegmentName {
            first: self.first,
            last: self.last,
            base: self.base,
            hash_before: self.hash_before.into(),
            hash_after: self.hash_after.into(),
            first_ms: self.first_ms,
            last_ms: self.last_ms,
            term: self.term,
            node: self.node,
            digest,
            sealed,
        }
    }
}

#[cfg(test)]
mod tests;
