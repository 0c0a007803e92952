//! Packs records into the bytes of a segment.

use super::{BLOCK_BYTES, Header};
use crate::layout::LineageFolder;
use bytes::Bytes;
use engine::{ContentHash, Record, Versionstamp};
use std::io;

/// Archives are written once and read when it matters: level 1 keeps shipping cheap.
const ZSTD_LEVEL: i32 = 1;

/// Collects the records of one segment.
#[derive(Debug)]
pub struct Writer {
    header: Header,
    blocks: Vec<u8>,
    plain: Vec<u8>,
    plain_bytes: u64,
}

impl Writer {
    /// Starts a segment after the commit `base`, where the content hash is `hash`.
    pub fn new(
        lineage: LineageFolder,
        group: u64,
        (term, node): (u64, u64),
        base: Versionstamp,
        hash: ContentHash,
    ) -> Self {
        let header = Header {
            lineage,
            group,
            term,
            node,
            base,
            first: base,
            last: base,
            hash_before: hash,
            hash_after: hash,
            first_ms: 0,
            last_ms: 0,
            records: 0,
            commits: 0,
            blocks: 0,
        };
        Self { header, blocks: Vec::new(), plain: Vec::new(), plain_bytes: 0 }
    }

    /// Whether no record was added.
    pub const fn is_empty(&self) -> bool {
        self.header.records == 0
    }

    /// Bytes of the records so far, before compression.
    pub const fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// The last commit so far; the base when there is none.
    pub const fn last(&self) -> Versionstamp {
        self.header.last
    }

    /// The content hash so far.
    pub const fn hash(&self) -> ContentHash {
        self.header.hash_after
    }

    /// Adds a record that has commits.
    ///
    /// # Errors
    ///
    /// What zstd says.
    ///
    /// # Panics
    ///
    /// If the record has no commit or does not continue the history: the caller checked both.
    pub fn add(&mut self, record: &Record) -> io::Result<()> {
        let header = &mut self.header;
        let first = record.commits().next().map(|(stamp, _)| stamp);
        let first = first.expect("a record without commits is not archived");
        assert!(first > header.last, "a segment's commits rise");
        assert!(record.time_ms >= header.last_ms, "the replicated clock does not fall");
        let last = record.commits().last().map_or(first, |(stamp, _)| stamp);
        if header.records == 0 {
            (header.first, header.first_ms) = (first, record.time_ms);
        }
        (header.last, header.last_ms, header.hash_after) = (last, record.time_ms, record.hash);
        header.records += 1;
        header.commits += record.batches.len() as u64;
        let start = self.plain.len();
        self.plain.extend_from_slice(&[0; 4]);
        encode_without_marks(record, &mut self.plain);
        let len = u32::try_from(self.plain.len() - start - 4).expect("a record is shorter than 4 GiB");
        self.plain[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.plain_bytes += u64::from(len) + 4;
        if self.plain.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> io::Result<()> {
        let packed = zstd::bulk::compress(&self.plain, ZSTD_LEVEL)?;
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other).map(u32::to_le_bytes);
        let lengths = [len(&self.plain)?, len(&packed)?].concat();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&lengths);
        checksum.update(&packed);
        self.blocks.extend_from_slice(&lengths);
        self.blocks.extend_from_slice(&checksum.finalize().to_le_bytes());
        self.blocks.extend_from_slice(&packed);
        self.header.blocks += 1;
        self.plain.clear();
        Ok(())
    }

    /// The header and the bytes of the object, not encrypted.
    ///
    /// # Errors
    ///
    /// What zstd says.
    ///
    /// # Panics
    ///
    /// If it is empty: an empty segment is not archived.
    pub fn finish(mut self) -> io::Result<(Header, Bytes)> {
        assert!(!self.is_empty(), "a segment without commits is not archived");
        if !self.plain.is_empty() {
            self.close_block()?;
        }
        let mut bytes = Vec::with_capacity(super::HEADER_LEN + self.blocks.len());
        self.header.encode(&mut bytes);
        bytes.append(&mut self.blocks);
        Ok((self.header, bytes.into()))
    }
}

/// Encodes a record as if it set no marks. The marks are the last part of a record, so that no copy
/// of its batches is needed.
fn encode_without_marks(record: &Record, out: &mut Vec<u8>) {
    if record.marks.is_empty() {
        return record.encode(out);
    }
    let plain = Record { marks: Vec::new(), ..record.clone() };
    plain.encode(out);
}
