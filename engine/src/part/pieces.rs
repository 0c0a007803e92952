//! A file of which only some bytes are at hand.
//!
//! - No two pieces overlap: only what is lacking is added.
//! - Reading what is lacking is an error, never zeros.

use crate::fs::File;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

/// The bytes of a file that have arrived.
#[derive(Debug)]
pub(crate) struct Pieces {
    len: u64,
    /// By where they begin.
    at: Mutex<BTreeMap<u64, Bytes>>,
}

impl Pieces {
    /// Of a file of so many bytes, nothing.
    pub(crate) fn new(len: u64) -> Self {
        Self { len, at: Mutex::default() }
    }

    /// Adds some that were lacking.
    pub(crate) fn add(&self, offset: u64, bytes: Bytes) {
        if !bytes.is_empty() {
            self.at.lock().insert(offset, bytes);
        }
    }

    /// What is lacking of `wanted`; those rise and share no byte.
    pub(crate) fn lacking(&self, wanted: &[Range<u64>]) -> Vec<Range<u64>> {
        let at = self.at.lock();
        let mut lacking = Vec::new();
        for range in wanted {
            let mut from = range.start;
            let before = at.range(..=from).next_back();
            let inside = at.range(from.saturating_add(1)..range.end.max(from.saturating_add(1)));
            for (start, bytes) in before.into_iter().chain(inside) {
                if from < *start {
                    lacking.push(from..*start);
                }
                from = from.max(start + bytes.len() as u64);
            }
            if from < range.end {
                lacking.push(from..range.end);
            }
        }
        lacking
    }
}

/// Joins ranges that touch, or are at most `gap` bytes apart; what is returned rises and shares no byte.
pub(crate) fn joined(ranges: impl IntoIterator<Item = Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

impl File for Pieces {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let at = self.at.lock();
        let piece = at.range(..=offset).next_back();
        let rest = piece.and_then(|(start, bytes)| bytes.get(usize::try_from(offset - start).ok()?..));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            return Err(io::Error::other(format!("byte {offset} has not arrived")));
        };
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestResult;

    #[test]
    fn what_has_arrived_is_read_and_what_has_not_is_asked_for() -> TestResult {
        let pieces = Pieces::new(100);
        pieces.add(10, Bytes::from_static(b"abcd"));
        pieces.add(14, Bytes::from_static(b"efgh"));
        pieces.add(30, Bytes::from_static(b"xyz"));
        assert_eq!(pieces.lacking(&[10..18, 30..33]), []);
        assert_eq!(pieces.lacking(&[0..100, 100..100]), [0..10, 18..30, 33..100]);
        assert_eq!(pieces.lacking(&[12..31, 32..34, 40..40]), [18..30, 33..34]);
        let mut read = [0; 6];
        pieces.read_exact_at(&mut read, 11)?;
        assert_eq!(&read, b"bcdefg");
        for lacking in [5, 13, 28, 99] {
            assert!(pieces.read_exact_at(&mut read, lacking).is_err(), "{lacking}");
        }
        assert_eq!(pieces.read_at(&mut read, 100)?, 0, "the end");
        Ok(())
    }

    #[test]
    fn ranges_that_are_near_become_one() {
        let ranges = || [20..30, 0..5, 33..40, 5..6, 7..7, 25..28];
        assert_eq!(joined(ranges(), 0), [0..6, 20..30, 33..40]);
        assert_eq!(joined(ranges(), 3), [0..6, 20..40]);
        assert_eq!(joined(ranges().into_iter().chain([99..100, 100..101]), 14), [0..40, 99..101]);
    }
}
