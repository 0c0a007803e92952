//! One log entry as the WAL and the archive hold it: its commits, resolved.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | version | above the version of the record before |
//! | 8 | 8 | term | of the log entry; 0 on a single node |
//! | 16 | 8 | time_ms | replicated clock, Unix milliseconds, never falls |
//! | 24 | 32 | hash | content hash after the last commit |
//! | 56 | 4 | batches | how many |
//! | 60 | | batches | each: order u16 (rising), length u32, that many canonical bytes |
//! | | 2 | marks | how many |
//! | | | marks | each: name length u8 (1..=64), name, value length u16, value |
//!
//! A record without batches (a tick, a progress note) changes no data and no hash.

use crate::codec::{Decoder, Malformed};
use crate::{ContentHash, Error, Versionstamp, WriteBatch};

/// The most batches one record can hold, inclusive: an order is a `u16`.
pub const BATCHES_MAX: usize = u16::MAX as usize;
/// The most bytes an encoded record can have, inclusive.
pub const RECORD_LEN_MAX: usize = 128 << 20;
/// The longest name of a mark, in bytes, inclusive.
pub const MARK_NAME_LEN_MAX: usize = 64;
/// The longest value of a mark, in bytes, inclusive.
pub const MARK_VALUE_LEN_MAX: usize = u16::MAX as usize;

/// Bytes of a record before its batches.
const HEAD_LEN: usize = 60;
/// Bytes of a batch in a record before its operations.
const BATCH_HEAD_LEN: usize = 6;
/// Bytes of a record between its batches and its marks.
const MARKS_HEAD_LEN: usize = 2;
/// The most bytes that the operations of one batch can have, inclusive, so that a record can hold it.
pub const BATCH_LEN_MAX: usize = RECORD_LEN_MAX - HEAD_LEN - BATCH_HEAD_LEN - MARKS_HEAD_LEN;

/// Refuses a record of `len` bytes when it is too long for the log.
fn check_len(len: usize) -> Result<(), Error> {
    if len <= RECORD_LEN_MAX {
        return Ok(());
    }
    Err(Error::RecordLen { bytes: len as u64, bytes_max: RECORD_LEN_MAX as u64 })
}

/// Refuses a batch that cannot be committed alone.
pub(crate) fn check_batch(batch: &WriteBatch) -> Result<(), Error> {
    if batch.is_empty() {
        return Err(Error::EmptyBatch);
    }
    check_len(RECORD_LEN_MAX - BATCH_LEN_MAX + batch.as_bytes().len())
}

/// A small named piece of replicated state that is not data, such as how far the archive got.
/// The newest value of each name is kept; an empty value removes the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// 1 to [`MARK_NAME_LEN_MAX`] bytes.
    pub name: Vec<u8>,
    /// At most [`MARK_VALUE_LEN_MAX`] bytes.
    pub value: Vec<u8>,
}

/// One log entry, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Lineage epoch and log index, see [`crate::versionstamp::version_of`].
    pub version: u64,
    /// Term of the log entry; 0 on a single node.
    pub term: u64,
    /// The replicated clock at this entry, Unix milliseconds.
    pub time_ms: u64,
    /// Content hash after the last commit of this record.
    pub hash: ContentHash,
    /// The commits: position in the log entry, rising, and what each wrote.
    pub batches: Vec<(u16, WriteBatch)>,
    /// Marks that this entry sets.
    pub marks: Vec<Mark>,
}

impl Record {
    /// The stamp and the writes of each commit, in order.
    pub fn commits(&self) -> impl Iterator<Item = (Versionstamp, &WriteBatch)> {
        self.batches.iter().map(|(order, batch)| (Versionstamp::new(self.version, *order), batch))
    }

    /// The content hash after this record's commits when it was `before` them.
    pub fn hash_after(&self, before: ContentHash) -> ContentHash {
        self.commits().fold(before, |hash, (stamp, batch)| hash.then(stamp, batch))
    }

    /// Bytes of the encoded record.
    pub fn encoded_len(&self) -> usize {
        let batches = self.batches.iter().map(|(_, batch)| BATCH_HEAD_LEN + batch.as_bytes().len());
        let marks = self.marks.iter().map(|mark| 1 + mark.name.len() + 2 + mark.value.len());
        HEAD_LEN + batches.sum::<usize>() + MARKS_HEAD_LEN + marks.sum::<usize>()
    }

    /// Refuses what could not be read again: what [`encode`](Self::encode) panics over, and orders that do not rise.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] with what is wrong, or [`Error::RecordLen`].
    pub fn check(&self) -> Result<(), Error> {
        let rising = self.batches.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let named = |mark: &Mark| (1..=MARK_NAME_LEN_MAX).contains(&mark.name.len());
        let fits = |mark: &Mark| mark.value.len() <= MARK_VALUE_LEN_MAX;
        let wrong = [
            (self.batches.len() <= BATCHES_MAX, "it holds more than 65,535 batches"),
            (rising, "the orders of its batches do not rise"),
            (self.marks.len() <= usize::from(u16::MAX), "it holds more than 65,535 marks"),
            (self.marks.iter().all(named), "the name of a mark has 1 to 64 bytes"),
            (self.marks.iter().all(fits), "the value of a mark has at most 65,535 bytes"),
        ];
        if let Some((_, reason)) = wrong.into_iter().find(|(holds, _)| !holds) {
            return Err(Error::Record { version: self.version, reason });
        }
        check_len(self.encoded_len())
    }

    /// Appends the encoded record to `out`.
    ///
    /// # Panics
    ///
    /// If there are more batches, or longer marks, than the format can say: the caller counts.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(self.hash.as_bytes());
        let count = u32::try_from(self.batches.len()).expect("batches are counted in 32 bits");
        out.extend_from_slice(&count.to_le_bytes());
        for (order, batch) in &self.batches {
            let len = u32::try_from(batch.as_bytes().len()).expect("a batch is shorter than 4 GiB");
            out.extend_from_slice(&order.to_le_bytes());
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(batch.as_bytes());
        }
        let count = u16::try_from(self.marks.len()).expect("marks are counted in 16 bits");
        out.extend_from_slice(&count.to_le_bytes());
        for mark in &self.marks {
            mark.encode(out);
        }
    }

    /// Reads a record, checking every field that can be checked without the record before it.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one well-formed record.
    pub fn decode(bytes: &[u8]) -> Result<Record, Malformed> {
        let mut rest = Decoder::new(bytes);
        let version = rest.u64("version")?;
        let term = rest.u64("term")?;
        let time_ms = rest.u64("time_ms")?;
        let hash = ContentHash::from_bytes(rest.array("content hash")?);
        let count = rest.u32("number of batches")? as usize;
        rest.ensure(count <= BATCHES_MAX, "at most 65,535 batches")?;
        let mut batches: Vec<(u16, WriteBatch)> = Vec::new();
        for _ in 0..count {
            let order = rest.u16("order")?;
            let rises = batches.last().is_none_or(|(last, _)| *last < order);
            rest.ensure(rises, "rising orders")?;
            let len = rest.u32("batch length")? as usize;
            let start = rest.offset();
            let batch = WriteBatch::decode(rest.take(len, "batch")?)
                .map_err(|inner| Malformed { offset: start + inner.offset, ..inner })?;
            batches.push((order, batch));
        }
        let count = rest.u16("number of marks")?;
        let marks = (0..count).map(|_| Mark::decode(&mut rest)).collect::<Result<_, _>>()?;
        rest.finish()?;
        Ok(Record { version, term, time_ms, hash, batches, marks })
    }
}

impl Mark {
    /// Appends the encoded mark to `out`.
    ///
    /// # Panics
    ///
    /// If the name or the value is out of bounds: marks are ours, not a user's.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        assert!((1..=MARK_NAME_LEN_MAX).contains(&self.name.len()), "a mark has a short name");
        let name_len = u8::try_from(self.name.len()).expect("a name has at most 64 bytes");
        let value_len = u16::try_from(self.value.len()).expect("a mark's value fits 16 bits");
        out.push(name_len);
        out.extend_from_slice(&self.name);
        out.extend_from_slice(&value_len.to_le_bytes());
        out.extend_from_slice(&self.value);
    }

    pub(crate) fn decode(rest: &mut Decoder<'_>) -> Result<Mark, Malformed> {
        let name_len = usize::from(rest.u8("name length of a mark")?);
        rest.ensure((1..=MARK_NAME_LEN_MAX).contains(&name_len), "a mark's name of 1 to 64 bytes")?;
        let name = rest.take(name_len, "name of a mark")?.to_vec();
        let value_len = usize::from(rest.u16("value length of a mark")?);
        let value = rest.take(value_len, "value of a mark")?.to_vec();
        Ok(Mark { name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn sample() -> Result<Record, crate::OpError> {
        let mut batch = WriteBatch::new();
        batch.put(b"k", b"v", None)?;
        let mut record = Record {
            version: 0x0102,
            term: 3,
            time_ms: 4,
            hash: ContentHash::EMPTY,
            batches: vec![(5, batch)],
            marks: vec![Mark { name: b"n".to_vec(), value: b"m".to_vec() }],
        };
        record.hash = record.hash_after(ContentHash::EMPTY);
        Ok(record)
    }

    #[test]
    fn the_format_is_frozen() -> TestResult {
        let mut bytes = Vec::new();
        sample()?.encode(&mut bytes);
        let mut expected = b"\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&hex(FROZEN_HASH));
        expected.extend_from_slice(b"\x01\0\0\0\x05\0\x09\0\0\0\x01\x01\0\x01\0\0\0kv\x01\0\x01n\x01\0m");
        assert_eq!(bytes, expected);
        Ok(())
    }

    const FROZEN_HASH: &str = "85de775166684a245979395c2ba9c1a115c0a54819b6e1d709d3869d088c4d52";

    fn hex(text: &str) -> Vec<u8> {
        let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok()).unwrap_or(0);
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn a_record_survives_its_bytes_and_every_cut_is_refused() -> TestResult {
        let record = sample()?;
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(Record::decode(&bytes)?, record);
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        Ok(())
    }

    #[test]
    fn its_length_is_known_before_it_is_written() -> TestResult {
        let mut bytes = Vec::new();
        sample()?.encode(&mut bytes);
        assert_eq!(sample()?.encoded_len(), bytes.len());
        Ok(())
    }

    #[test]
    fn orders_that_do_not_rise_are_refused() -> TestResult {
        let mut record = sample()?;
        record.batches.push((5, WriteBatch::new()));
        assert!(record.check().is_err());
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert!(Record::decode(&bytes).is_err());
        Ok(())
    }
}
