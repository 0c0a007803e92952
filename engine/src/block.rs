//! A sorted run of entries, the unit of reading: data blocks, and index blocks whose values say
//! where blocks are.
//!
//! Layout, integers little-endian unless said otherwise:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 4 | entries | how many, at least 1 |
//! | 4 | 8 | base version | the smallest version of a stamp in the block |
//! | 12 | 2 | prefix length | |
//! | 14 | | prefix | what all keys of the block begin with |
//! | | | rows | the entries in internal order, see [`row`] |
//! | | 12 each | restarts | rows that do not lean on the row before: the first 8 bytes of the key after the prefix, padded with zeros, as a big-endian number; then the row's offset (u32) |
//! | end - 4 | 4 | restart count | at least 1; the first restart is the first row |
//!
//! - Rows are in strictly rising internal order; a reader that walks them checks it.
//! - A search compares the eight key bytes of restarts, which stand at equal distances, and looks
//!   at a row only where those are equal.
//! - Decoding is total: bytes that are no block give [`Malformed`], never a panic.

pub(crate) mod builder;
pub(crate) mod frame;
mod row;
pub(crate) mod walk;

use crate::Versionstamp;
use crate::codec::{Decoder, Malformed};
use crate::entry::{Presence, Version, compare};
use bytes::Bytes;
use row::Row;
use std::cmp::Ordering;

/// Bytes of a restart's key that stand beside its offset.
const HEAD_LEN: usize = 8;
const RESTART_LEN: usize = HEAD_LEN + 4;
/// Bytes that a processor reads from memory at a time.
const CACHE_LINE_BYTES: usize = 64;
/// The part of a block that is asked for at once, in bytes: all but where values are large.
const TOUCHED_BYTES_MAX: usize = 8 << 10;

/// A block whose frame was checked. Cheap to clone: the bytes are shared.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    bytes: Bytes,
    base_version: u64,
    rows_start: usize,
    rows_end: usize,
    restarts: u32,
    prefix_len: u16,
}

/// The first entry at or after a place.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// Whether it is of the key that was looked for.
    pub(crate) same_key: bool,
    block: &'a Block,
    row: Row<'a>,
}

impl<'a> Found<'a> {
    /// Its stamp.
    pub(crate) fn stamp(&self) -> Versionstamp {
        self.row.stamp
    }

    /// What it says, its value a slice of the block.
    pub(crate) fn version(&self) -> Version {
        self.row.body.version(&self.block.bytes)
    }

    /// What it says but for the value.
    pub(crate) fn presence(&self) -> Presence {
        self.row.body.presence()
    }

    /// Its value, where it is a put.
    pub(crate) fn value(&self) -> Option<&'a [u8]> {
        self.row.body.value(&self.block.bytes)
    }
}

/// Where a key stands relative to the prefix of a block.
enum Relative<'k> {
    Before,
    After,
    Within(&'k [u8]),
}

impl Block {
    /// Reads the fixed parts of a block; rows are checked when they are read.
    ///
    /// # Errors
    ///
    /// When the parts do not fit each other.
    pub(crate) fn open(bytes: Bytes) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(&bytes);
        let entries = rest.u32("the number of entries")? as usize;
        rest.ensure(entries > 0, "a block of at least 1 entry")?;
        let base_version = rest.u64("the base version")?;
        let prefix_len = rest.u16("the prefix length")?;
        rest.take(usize::from(prefix_len), "the prefix")?;
        let rows_start = rest.offset();
        let count_at = bytes.len().checked_sub(4).filter(|at| *at >= rows_start);
        let count_at = count_at.ok_or_else(|| rest.malformed("the number of restarts"))?;
        let restarts = Decoder::new(&bytes[count_at..]).u32("the number of restarts")?;
        let count = restarts as usize;
        rest.ensure((1..=entries).contains(&count), "at least 1 restart and at most as many as entries")?;
        let rows_end = count.checked_mul(RESTART_LEN).and_then(|len| count_at.checked_sub(len));
        let rows_end = rows_end.filter(|end| *end > rows_start);
        let rows_end = rows_end.ok_or_else(|| rest.malformed("restarts that fit the block"))?;
        let block = Self { bytes, base_version, rows_start, rows_end, restarts, prefix_len };
        if block.restart_offset(0)? != rows_start {
            return Err(Malformed { offset: rows_end + HEAD_LEN, expected: "a restart at the first row" });
        }
        Ok(block)
    }

    /// Bytes it takes in memory.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The first entry at or after the version `stamp` of `key`; `None` when all stand before.
    ///
    /// # Errors
    ///
    /// When a row on the way is malformed.
    pub(crate) fn seek(&self, key: &[u8], stamp: Versionstamp) -> Result<Option<Found<'_>>, Malformed> {
        let suffix = match self.relative(key) {
            Relative::Before => return self.row(self.rows_start).map(|row| Some(self.found(row, false))),
            Relative::After => return Ok(None),
            Relative::Within(suffix) => suffix,
        };
        let mut offset = self.restart_offset(self.restarts_before(suffix, stamp)?.saturating_sub(1))?;
        // How many bytes of `suffix` the key of the last row began with: a row that shares more
        // with that row is still below, one that shares less is above.
        let mut matched = 0;
        let mut first = true;
        while offset < self.rows_end {
            let row = self.row(offset)?;
            if first && row.shared > 0 {
                return Err(Malformed { offset, expected: "a restart that shares nothing" });
            }
            first = false;
            if row.shared <= matched {
                if row.shared > 0 && row.shared < matched {
                    return Ok(Some(self.found(row, false)));
                }
                let wanted = &suffix[row.shared..];
                let common = common_len(row.unshared, wanted);
                matched = row.shared + common;
                let keys = row.unshared.get(common).cmp(&wanted.get(common));
                if keys.then_with(|| stamp.cmp(&row.stamp)) != Ordering::Less {
                    return Ok(Some(self.found(row, keys == Ordering::Equal)));
                }
            }
            offset = row.end;
        }
        Ok(None)
    }

    /// Asks memory for all of a block at once. Where a row starts is known only after the row before was read, so a
    /// walk through a block that is in no cache of the processor would wait for each row by itself.
    fn touch(&self) {
        let rows = self.bytes.iter().take(TOUCHED_BYTES_MAX).step_by(CACHE_LINE_BYTES);
        std::hint::black_box(rows.fold(0, |all, byte| all | byte));
    }

    fn found<'a>(&'a self, row: Row<'a>, same_key: bool) -> Found<'a> {
        Found { same_key, block: self, row }
    }

    #[inline]
    fn prefix(&self) -> &[u8] {
        &self.bytes[self.rows_start - usize::from(self.prefix_len)..self.rows_start]
    }

    fn relative<'k>(&self, key: &'k [u8]) -> Relative<'k> {
        let prefix = self.prefix();
        match key.strip_prefix(prefix) {
            Some(suffix) => Relative::Within(suffix),
            None if key < prefix => Relative::Before,
            None => Relative::After,
        }
    }

    #[inline]
    fn row(&self, offset: usize) -> Result<Row<'_>, Malformed> {
        Row::decode(&self.bytes[..self.rows_end], offset, self.base_version)
    }

    fn restarts(&self) -> usize {
        self.restarts as usize
    }

    fn restart_head(&self, index: usize) -> u64 {
        let at = self.rows_end + index * RESTART_LEN;
        let mut head = [0; HEAD_LEN];
        head.copy_from_slice(&self.bytes[at..at + HEAD_LEN]);
        u64::from_be_bytes(head)
    }

    /// The offset of a restart's row; one past the last restart is the end of the rows.
    fn restart_offset(&self, index: usize) -> Result<usize, Malformed> {
        if index >= self.restarts() {
            return Ok(self.rows_end);
        }
        let at = self.rows_end + index * RESTART_LEN + HEAD_LEN;
        let mut offset = [0; 4];
        offset.copy_from_slice(&self.bytes[at..at + 4]);
        let offset = u32::from_le_bytes(offset) as usize;
        if (self.rows_start..self.rows_end).contains(&offset) {
            Ok(offset)
        } else {
            Err(Malformed { offset: at, expected: "the offset of a row" })
        }
    }

    /// How many restarts stand before the version `stamp` of the key that `suffix` completes.
    fn restarts_before(&self, suffix: &[u8], stamp: Versionstamp) -> Result<usize, Malformed> {
        let head = head(suffix);
        let mut low = self.count_restarts(0, |other| other < head);
        let mut high = low;
        if low < self.restarts() && self.restart_head(low) == head {
            high = self.count_restarts(low, |other| other <= head);
        }
        // Those between have the same first bytes.
        while low < high {
            let middle = low + (high - low) / 2;
            let row = self.row(self.restart_offset(middle)?)?;
            match compare((row.unshared, row.stamp), (suffix, stamp)) {
                Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// One past the last restart from `low` on whose head `is_before`, as all heads before it are. A head is as likely
    /// before as not, so this compares without branches, which a processor would guess wrong half of the time.
    fn count_restarts(&self, mut low: usize, is_before: impl Fn(u64) -> bool) -> usize {
        let mut len = self.restarts() - low;
        while len > 0 {
            let half = len - len / 2;
            low += if is_before(self.restart_head(low + half - 1)) { half } else { 0 };
            len /= 2;
        }
        low
    }

    /// The same for a whole key.
    fn restarts_before_key(&self, key: &[u8], stamp: Versionstamp) -> Result<usize, Malformed> {
        match self.relative(key) {
            Relative::Before => Ok(0),
            Relative::After => Ok(self.restarts()),
            Relative::Within(suffix) => self.restarts_before(suffix, stamp),
        }
    }
}

/// The first bytes of a key as a number that sorts as they do, but for zeros at the end.
fn head(suffix: &[u8]) -> u64 {
    let mut head = [0; HEAD_LEN];
    let len = suffix.len().min(HEAD_LEN);
    head[..len].copy_from_slice(&suffix[..len]);
    u64::from_be_bytes(head)
}

/// How many bytes `a` and `b` begin with in common.
fn common_len(a: &[u8], b: &[u8]) -> usize {
    let (eights, _) = a.as_chunks::<HEAD_LEN>();
    let same = eights.iter().zip(b.as_chunks::<HEAD_LEN>().0).take_while(|(a, b)| a == b).count() * HEAD_LEN;
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
