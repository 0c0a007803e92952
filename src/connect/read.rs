//! `snapshot_read`: ranges of keys, all from one snapshot.
//!
//! - A range that can hold one key alone, `[k, k 00)`, is a point read. So Deno gets one key.
//! - `[k, k ff)` with limit 1, by which `@deno/kv` gets one key, starts with a point read of `k`: if it
//!   is there, it is the first of its range. If not, the range decides, since longer keys follow.

use super::Consistency;
use super::errors::Error;
use super::limits::{READ_ENTRIES_MAX, READ_KEY_LEN_MAX, READ_RANGES_MAX};
use denokv_proto::datapath as pb;
use engine::{Direction, Snapshot, Value};
use prost::Message;
use replication::{DatabaseNumber, engine_key, split_value};

/// A checked read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    ranges: Vec<Range>,
    entries_max: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Range {
    start: Vec<u8>,
    end: Vec<u8>,
    limit: usize,
    direction: Direction,
}

impl Read {
    /// Reads a request and checks it against the limits.
    ///
    /// # Errors
    ///
    /// 400 with what is wrong.
    pub fn decode(body: &[u8]) -> Result<Read, Error> {
        let message = pb::SnapshotRead::decode(body)?;
        if message.ranges.len() > READ_RANGES_MAX {
            return Err(Error::TooManyRanges);
        }
        let ranges: Vec<Range> = message.ranges.into_iter().map(range).collect::<Result<_, _>>()?;
        let entries_max = ranges.iter().map(|range| range.limit as u64).sum();
        if entries_max > READ_ENTRIES_MAX {
            return Err(Error::ReadTooLarge);
        }
        Ok(Read { ranges, entries_max })
    }

    /// The most entries that the answer can have.
    pub const fn entries_max(&self) -> u64 {
        self.entries_max
    }

    /// Reads every range of a database from `snapshot`, which shows what `consistency` promises.
    ///
    /// # Errors
    ///
    /// When stored data cannot be read.
    pub fn run(
        &self,
        snapshot: &Snapshot,
        database: DatabaseNumber,
        consistency: Consistency,
    ) -> Result<pb::SnapshotReadOutput, Error> {
        let ranges = self.ranges.iter().map(|range| range.read(snapshot, database));
        Ok(pb::SnapshotReadOutput {
            ranges: ranges.collect::<Result<_, _>>()?,
            read_disabled: false,
            read_is_strongly_consistent: consistency == Consistency::Strong,
            status: pb::SnapshotReadStatus::SrSuccess.into(),
        })
    }
}

fn range(range: pb::ReadRange) -> Result<Range, Error> {
    let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
    let limit = limit.ok_or(Error::InvalidRangeLimit)?;
    if range.start.len() > READ_KEY_LEN_MAX || range.end.len() > READ_KEY_LEN_MAX {
        return Err(Error::KeyTooLong);
    }
    let direction = if range.reverse { Direction::Reverse } else { Direction::Forward };
    Ok(Range { start: range.start, end: range.end, limit, direction })
}

/// How cheaply a range can be read.
#[derive(Debug, PartialEq)]
enum Shape {
    /// No key lies in it.
    Empty,
    /// Only its start lies in it.
    Point,
    /// Its start comes first and one entry is wanted.
    FirstIsStart,
    /// Anything else.
    Span,
}

impl Range {
    fn shape(&self) -> Shape {
        if self.start >= self.end {
            return Shape::Empty;
        }
        match self.end.strip_prefix(self.start.as_slice()) {
            Some([0]) => Shape::Point,
            Some([0xff]) if self.limit == 1 && self.direction == Direction::Forward => Shape::FirstIsStart,
            _ => Shape::Span,
        }
    }

    fn read(&self, snapshot: &Snapshot, database: DatabaseNumber) -> Result<pb::ReadRangeOutput, Error> {
        let values = match self.shape() {
            Shape::Empty => Vec::new(),
            Shape::Point => self.first(snapshot, database)?.into_iter().collect(),
            Shape::FirstIsStart => match self.first(snapshot, database)? {
                Some(entry) => vec![entry],
                None => self.span(snapshot, database)?,
            },
            Shape::Span => self.span(snapshot, database)?,
        };
        Ok(pb::ReadRangeOutput { values })
    }

    fn first(&self, snapshot: &Snapshot, database: DatabaseNumber) -> Result<Option<pb::KvEntry>, Error> {
        if self.start.is_empty() {
            return Ok(None);
        }
        get(snapshot, database, &self.start)
    }

    fn span(&self, snapshot: &Snapshot, database: DatabaseNumber) -> Result<Vec<pb::KvEntry>, Error> {
        let start = engine_key(database, &self.start);
        let end = engine_key(database, &self.end);
        let prefix_len = start.len() - self.start.len();
        snapshot
            .range(&start, &end, self.direction)?
            .take(self.limit)
            .map(|found| {
                let found = found?;
                entry(found.key[prefix_len..].to_vec(), &found.value)
            })
            .collect()
    }
}

/// One key, as answers and watches show it.
pub(super) fn get(
    snapshot: &Snapshot,
    database: DatabaseNumber,
    key: &[u8],
) -> Result<Option<pb::KvEntry>, Error> {
    let value = snapshot.get(&engine_key(database, key))?;
    value.map(|value| entry(key.to_vec(), &value)).transpose()
}

/// A key and its value as clients see them.
pub(super) fn entry(key: Vec<u8>, value: &Value) -> Result<pb::KvEntry, Error> {
    let Some((encoding, bytes)) = split_value(&value.bytes) else {
        tracing::error!(stamp = %value.stamp, "a stored value has no known encoding");
        return Err(Error::StorageFailed);
    };
    Ok(pb::KvEntry {
        key,
        value: bytes.to_vec(),
        encoding: i32::from(encoding.as_byte()),
        versionstamp: value.stamp.as_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(start: &[u8], end: &[u8], limit: i32, reverse: bool) -> pb::ReadRange {
        pb::ReadRange { start: start.to_vec(), end: end.to_vec(), limit, reverse }
    }

    fn decode(ranges: Vec<pb::ReadRange>) -> Result<Read, Error> {
        Read::decode(&pb::SnapshotRead { ranges }.encode_to_vec())
    }

    #[test]
    fn a_get_of_each_client_is_seen_as_one() -> Result<(), Error> {
        for (start, end, limit, reverse, shape) in [
            (&b"k"[..], &b"k\0"[..], 1, false, Shape::Point),
            (b"k", b"k\0", 100, true, Shape::Point),
            (b"k", b"k\xff", 1, false, Shape::FirstIsStart),
            (b"k", b"k\xff", 2, false, Shape::Span),
            (b"k", b"k\xff", 1, true, Shape::Span),
            (b"k", b"l", 1, false, Shape::Span),
            (b"k", b"k", 1, false, Shape::Empty),
            (b"l", b"k", 1, false, Shape::Empty),
            (b"", b"", 1, false, Shape::Empty),
            (b"", b"\0", 1, false, Shape::Point),
        ] {
            assert_eq!(range(message(start, end, limit, reverse))?.shape(), shape, "{start:?} {end:?}");
        }
        Ok(())
    }

    #[test]
    fn every_limit_holds_at_its_edge() {
        let key = |len| vec![b'k'; len];
        let one = |start: usize, end: usize| decode(vec![message(&key(start), &key(end), 1, false)]);
        assert!(one(READ_KEY_LEN_MAX, READ_KEY_LEN_MAX).is_ok());
        assert_eq!(one(READ_KEY_LEN_MAX + 1, 1), Err(Error::KeyTooLong));
        assert_eq!(one(1, READ_KEY_LEN_MAX + 1), Err(Error::KeyTooLong));
        let limit = |limit| decode(vec![message(b"a", b"b", limit, false)]);
        assert!(limit(1000).is_ok());
        assert_eq!(limit(1001), Err(Error::ReadTooLarge));
        assert_eq!(limit(i32::MAX), Err(Error::ReadTooLarge));
        assert_eq!(limit(0), Err(Error::InvalidRangeLimit));
        assert_eq!(limit(-1), Err(Error::InvalidRangeLimit));
        assert!(decode(vec![message(b"a", b"b", 100, false); 10]).is_ok());
        assert_eq!(decode(vec![message(b"a", b"b", 101, false); 10]), Err(Error::ReadTooLarge));
        assert_eq!(decode(vec![message(b"a", b"b", 1, false); 11]), Err(Error::TooManyRanges));
    }
}
