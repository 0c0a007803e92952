//! Reads a segment record by record, checking everything on the way.

use super::{BLOCK_BYTES_MAX, Header};
use bytes::Bytes;
use engine::codec::{Decoder, Malformed};
use engine::{ContentHash, Record, Versionstamp};

/// The bytes before a block's payload: two lengths and a checksum.
const BLOCK_HEADER_LEN: usize = 12;

/// A cursor over the records of a segment. Holds one block in plain at a time.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
    header: Header,
    /// Where the next block starts.
    offset: usize,
    blocks_left: u32,
    plain: Vec<u8>,
    plain_offset: usize,
    seen: Seen,
}

/// What was read so far; at the end it must be what the header says.
#[derive(Debug)]
struct Seen {
    /// What the header says is the first commit.
    first: Versionstamp,
    epoch: u32,
    last: Versionstamp,
    version: u64,
    hash: ContentHash,
    time_ms: u64,
    records: u64,
    commits: u64,
}

/// A record, with the content hash before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The content hash before its first commit.
    pub hash_before: ContentHash,
    /// The record, whose hash was recomputed and is right.
    pub record: Record,
}

impl Reader {
    /// Opens a segment, checking its header.
    ///
    /// # Errors
    ///
    /// Where the header is not what the format says.
    pub fn new(bytes: Bytes) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(&bytes);
        let header = Header::decode(&mut rest)?;
        let offset = rest.offset();
        let seen = Seen {
            first: header.first,
            epoch: header.lineage.epoch,
            last: header.base,
            version: 0,
            hash: header.hash_before,
            time_ms: header.first_ms,
            records: 0,
            commits: 0,
        };
        let blocks_left = header.blocks;
        Ok(Self { bytes, header, offset, blocks_left, plain: Vec::new(), plain_offset: 0, seen })
    }

    /// What the header says.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The next record; `None` once all were read and everything the header says was true.
    ///
    /// # Errors
    ///
    /// Where the bytes are not what the format or the header says; offsets are those of the object.
    pub fn next_record(&mut self) -> Result<Option<Step>, Malformed> {
        if self.plain_offset == self.plain.len() && !self.next_block()? {
            return self.finish().map(|()| None);
        }
        let at_block = |inner: Malformed| Malformed { offset: self.offset, expected: inner.expected };
        let mut rest = Decoder::new(&self.plain[self.plain_offset..]);
        let len = rest.u32("length of a record").map_err(at_block)? as usize;
        let record = rest.take(len, "a record").and_then(Record::decode).map_err(at_block)?;
        self.plain_offset += 4 + len;
        let hash_before = self.seen.hash;
        self.seen.follow(&record).map_err(|expected| Malformed { offset: self.offset, expected })?;
        Ok(Some(Step { hash_before, record }))
    }

    /// Unpacks the next block; `false` when there is none.
    fn next_block(&mut self) -> Result<bool, Malformed> {
        if self.blocks_left == 0 {
            return Ok(false);
        }
        let mut rest = Decoder::new(&self.bytes[self.offset..]);
        let (plain, used) =
            unpack(&mut rest).map_err(|inner| Malformed { offset: self.offset + inner.offset, ..inner })?;
        self.offset += used;
        self.blocks_left -= 1;
        self.plain = plain;
        self.plain_offset = 0;
        Ok(true)
    }

    fn finish(&self) -> Result<(), Malformed> {
        let (header, seen) = (&self.header, &self.seen);
        let ensure = |holds: bool, expected| {
            if holds { Ok(()) } else { Err(Malformed { offset: self.offset, expected }) }
        };
        ensure(self.offset == self.bytes.len(), "the end")?;
        ensure(seen.records == header.records, "as many records as the header says")?;
        ensure(seen.commits == header.commits, "as many commits as the header says")?;
        ensure(seen.last == header.last, "the last commit that the header says")?;
        ensure(seen.time_ms == header.last_ms, "the last time that the header says")?;
        ensure(seen.hash == header.hash_after, "the content hash that the header says")
    }
}

fn unpack(rest: &mut Decoder<'_>) -> Result<(Vec<u8>, usize), Malformed> {
    let lengths = rest.clone().take(8, "lengths of a block")?;
    let plain_len = rest.u32("plain length of a block")? as usize;
    let packed_len = rest.u32("packed length of a block")? as usize;
    let checksum = rest.u32("checksum of a block")?;
    rest.ensure((1..=BLOCK_BYTES_MAX).contains(&plain_len), "a plain length within its limit")?;
    let before = rest.clone();
    let packed = rest.take(packed_len, "a block")?;
    let mut actual = crc32fast::Hasher::new();
    actual.update(lengths);
    actual.update(packed);
    before.ensure(actual.finalize() == checksum, "the checksum of a block")?;
    // The checksum only says that the bytes are the ones written: what wrote them is not trusted.
    let Ok(plain) = zstd::bulk::decompress(packed, plain_len) else {
        return Err(before.malformed("a zstd frame of the plain length"));
    };
    before.ensure(plain.len() == plain_len, "a zstd frame of the plain length")?;
    Ok((plain, BLOCK_HEADER_LEN + packed_len))
}

impl Seen {
    fn follow(&mut self, record: &Record) -> Result<(), &'static str> {
        let ensure = |holds: bool, expected| if holds { Ok(()) } else { Err(expected) };
        let mut commits = record.commits().map(|(stamp, _)| stamp);
        let Some(first) = commits.next() else { return Err("a record with commits") };
        ensure(first > self.last && record.version > self.version, "commits that rise")?;
        let epoch = engine::versionstamp::epoch_of(record.version);
        ensure(epoch == self.epoch, "a version with the epoch of the lineage")?;
        ensure(self.records > 0 || first == self.first, "the first commit that the header says")?;
        ensure(self.records > 0 || record.time_ms == self.time_ms, "the first time that the header says")?;
        ensure(record.time_ms >= self.time_ms, "times that do not fall")?;
        ensure(record.marks.is_empty(), "a record without marks")?;
        ensure(record.hash_after(self.hash) == record.hash, "the content hash of the commits before it")?;
        self.last = commits.last().unwrap_or(first);
        self.version = record.version;
        self.hash = record.hash;
        self.time_ms = record.time_ms;
        self.records += 1;
        self.commits += record.batches.len() as u64;
        Ok(())
    }
}
