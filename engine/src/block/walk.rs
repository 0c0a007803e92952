//! Walks the rows of a block, checking that their order rises.
//!
//! - A walk shows one row at a time. Its key is put together in a buffer of the walk, and its value
//!   stays in the block: no row costs an allocation, and nobody pays for a row he leaves out.
//! - Forward it decodes row by row; in reverse it decodes the rows of one restart at a time and
//!   shows them from the last to the first.
//! - Before the first step, and after one that found nothing or failed, there is no row at hand.

use super::Block;
use super::row::Body;
use crate::Versionstamp;
use crate::codec::Malformed;
use crate::entry::{Direction, Version, compare};
use crate::write_batch::KEY_LEN_MAX;
use std::cmp::Ordering;

/// Rows, and bytes of their keys, that a reverse walk has room for from the start.
const REVERSE_ROWS: usize = 16;
const REVERSE_KEY_BYTES: usize = 512;

/// The rows of a block in one direction.
#[derive(Debug)]
pub(crate) enum Walk {
    /// From the first to the last.
    Forward(Forward),
    /// From the last to the first.
    Reverse(Reverse),
}

impl Walk {
    /// At no row yet, of a block most of whose rows are likely to be walked.
    pub(crate) fn of_all(block: Block, direction: Direction) -> Self {
        // Going forward the processor foresees what is read next.
        if direction == Direction::Reverse {
            block.touch();
        }
        Self::new(block, direction)
    }

    /// At no row yet.
    pub(crate) fn new(block: Block, direction: Direction) -> Self {
        match direction {
            Direction::Forward => Walk::Forward(Forward::new(block)),
            Direction::Reverse => Walk::Reverse(Reverse::new(block)),
        }
    }

    /// Steps to the next row; whether there is one.
    ///
    /// # Errors
    ///
    /// When the next row is malformed or out of order.
    pub(crate) fn next(&mut self) -> Result<bool, Malformed> {
        match self {
            Walk::Forward(forward) => forward.next(),
            Walk::Reverse(reverse) => reverse.next(),
        }
    }

    /// Goes to the first row at or after `place`, in reverse to the last before it; whether there is one.
    ///
    /// # Errors
    ///
    /// When a row on the way is malformed.
    pub(crate) fn seek(&mut self, place: (&[u8], Versionstamp)) -> Result<bool, Malformed> {
        match self {
            Walk::Forward(forward) => forward.seek(place),
            Walk::Reverse(reverse) => {
                reverse.seek(place)?;
                reverse.next()
            }
        }
    }

    /// As [`seek`](Self::seek), but in reverse it begins with the first row at or after the place, where there is one:
    /// in an index that is the block that the place falls into, which also holds entries before it.
    ///
    /// # Errors
    ///
    /// When a row on the way is malformed.
    pub(crate) fn seek_through(&mut self, place: (&[u8], Versionstamp)) -> Result<bool, Malformed> {
        match self {
            Walk::Forward(forward) => forward.seek(place),
            Walk::Reverse(reverse) => reverse.seek_through(place),
        }
    }

    /// The key of the row at hand.
    pub(crate) fn key(&self) -> &[u8] {
        match self {
            Walk::Forward(forward) => &forward.key,
            Walk::Reverse(reverse) => reverse.key(),
        }
    }

    /// Its stamp.
    pub(crate) fn stamp(&self) -> Versionstamp {
        match self {
            Walk::Forward(forward) => forward.stamp,
            Walk::Reverse(reverse) => reverse.at().map_or(Versionstamp::ZERO, |row| row.stamp),
        }
    }

    /// What it says, its value a slice of the block.
    pub(crate) fn version(&self) -> Version {
        self.body().version(&self.block().bytes)
    }

    /// Its value, where it is a put.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.body().value(&self.block().bytes)
    }

    /// The last row shown when going forward, also when no row is at hand any more.
    pub(crate) fn last(&self) -> Option<(&[u8], Versionstamp)> {
        match self {
            Walk::Forward(forward) if !forward.key.is_empty() => Some((&forward.key, forward.stamp)),
            _ => None,
        }
    }

    fn body(&self) -> &Body {
        match self {
            Walk::Forward(forward) => &forward.body,
            Walk::Reverse(reverse) => reverse.at().map_or(&Body::NONE, |row| &row.body),
        }
    }

    fn block(&self) -> &Block {
        match self {
            Walk::Forward(forward) => &forward.block,
            Walk::Reverse(reverse) => &reverse.forward.block,
        }
    }
}

/// The rows of a block, rising.
#[derive(Debug)]
pub(crate) struct Forward {
    block: Block,
    /// Where the next row is, and where the rows to walk end.
    offset: usize,
    end: usize,
    /// Of the row at hand; empty before the first.
    key: Vec<u8>,
    stamp: Versionstamp,
    body: Body,
}

impl Forward {
    fn new(block: Block) -> Self {
        let (offset, end) = (block.rows_start, block.rows_end);
        Self { block, offset, end, key: Vec::new(), stamp: Versionstamp::ZERO, body: Body::NONE }
    }

    /// Goes to before the rows from restart `from` to restart `to`, exclusive.
    fn go_to(&mut self, from: usize, to: usize) -> Result<(), Malformed> {
        (self.offset, self.end) = (self.block.restart_offset(from)?, self.block.restart_offset(to)?);
        self.key.clear();
        Ok(())
    }

    fn seek(&mut self, (key, stamp): (&[u8], Versionstamp)) -> Result<bool, Malformed> {
        let restart = self.block.restarts_before_key(key, stamp)?.saturating_sub(1);
        self.go_to(restart, usize::MAX)?;
        while self.next()? {
            if compare((&self.key, self.stamp), (key, stamp)) != Ordering::Less {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn next(&mut self) -> Result<bool, Malformed> {
        if self.offset >= self.end {
            return Ok(false);
        }
        let row = self.block.row(self.offset)?;
        let malformed = |expected| Malformed { offset: self.offset, expected };
        let prefix = self.block.prefix();
        let shared = prefix.len() + row.shared;
        if self.key.is_empty() {
            self.key.extend_from_slice(prefix);
            if row.shared > 0 {
                return Err(malformed("a key that shares no more than the row before has"));
            }
        } else {
            let rest = self.key.get(shared..);
            let rest = rest.ok_or_else(|| malformed("a key that shares no more than the row before has"))?;
            if compare((rest, self.stamp), (row.unshared, row.stamp)) != Ordering::Less {
                return Err(malformed("an entry above the one before"));
            }
            self.key.truncate(shared);
        }
        self.key.extend_from_slice(row.unshared);
        if self.key.is_empty() || self.key.len() > KEY_LEN_MAX {
            return Err(malformed("a key of 1 to 65,535 bytes"));
        }
        (self.stamp, self.body, self.offset) = (row.stamp, row.body, row.end);
        Ok(true)
    }
}

/// The rows of a block, falling.
#[derive(Debug)]
pub(crate) struct Reverse {
    /// Decodes the rows of a restart.
    forward: Forward,
    /// Restarts whose rows were not shown yet.
    restarts: usize,
    /// Restarts up to the place that was sought.
    sought_restarts: usize,
    /// Rows of the restart at hand, of which the first `left` were not shown yet, and their keys.
    rows: Vec<Held>,
    left: usize,
    keys: Vec<u8>,
}

/// A decoded row.
#[derive(Debug)]
struct Held {
    key_start: usize,
    key_end: usize,
    stamp: Versionstamp,
    body: Body,
}

impl Reverse {
    fn new(block: Block) -> Self {
        Self {
            restarts: block.restarts(),
            sought_restarts: 0,
            forward: Forward::new(block),
            rows: Vec::with_capacity(REVERSE_ROWS),
            keys: Vec::with_capacity(REVERSE_KEY_BYTES),
            left: 0,
        }
    }

    /// Goes to after the last row before `place`.
    fn seek(&mut self, place: (&[u8], Versionstamp)) -> Result<(), Malformed> {
        self.left = self.read_around(place)?;
        Ok(())
    }

    /// Steps to the first row at or after `place`, or to the last of all.
    fn seek_through(&mut self, place: (&[u8], Versionstamp)) -> Result<bool, Malformed> {
        let before = self.read_around(place)?;
        let next = self.sought_restarts;
        if before == self.rows.len() && next < self.forward.block.restarts() {
            // All rows of the restart are before the place: the next restart begins at or after it.
            self.forward.go_to(next, next + 1)?;
            if self.forward.next()? {
                self.hold();
            }
        }
        self.left = self.rows.len().min(before + 1);
        self.next()
    }

    /// Reads the rows of the last restart that begins before `place`; how many of them are before it.
    fn read_around(&mut self, (key, stamp): (&[u8], Versionstamp)) -> Result<usize, Malformed> {
        self.restarts = self.forward.block.restarts_before_key(key, stamp)?;
        self.sought_restarts = self.restarts;
        self.read_restart()?;
        let is_before = |row: &Held| {
            let held = &self.keys[row.key_start..row.key_end];
            compare((held, row.stamp), (key, stamp)) == Ordering::Less
        };
        Ok(self.rows.partition_point(is_before))
    }

    fn next(&mut self) -> Result<bool, Malformed> {
        if self.left == 0 {
            self.read_restart()?;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Ok(false),
        }
        Ok(true)
    }

    /// The row at hand.
    fn at(&self) -> Option<&Held> {
        self.rows.get(self.left)
    }

    fn key(&self) -> &[u8] {
        self.at().and_then(|row| self.keys.get(row.key_start..row.key_end)).unwrap_or_default()
    }

    /// Reads the rows of the last restart that was not read.
    fn read_restart(&mut self) -> Result<(), Malformed> {
        self.rows.clear();
        self.keys.clear();
        self.left = 0;
        let Some(restart) = self.restarts.checked_sub(1) else {
            return Ok(());
        };
        self.forward.go_to(restart, self.restarts)?;
        if self.forward.offset == self.forward.end {
            return Err(Malformed { offset: self.forward.offset, expected: "restarts of different rows" });
        }
        while self.forward.next()? {
            self.hold();
        }
        if self.forward.offset != self.forward.end {
            return Err(Malformed {
                offset: self.forward.offset,
                expected: "a row that ends where a restart begins",
            });
        }
        self.restarts = restart;
        self.left = self.rows.len();
        Ok(())
    }

    /// Keeps the row that was decoded.
    fn hold(&mut self) {
        let key_start = self.keys.len();
        self.keys.extend_from_slice(&self.forward.key);
        let (stamp, body) = (self.forward.stamp, self.forward.body);
        self.rows.push(Held { key_start, key_end: self.keys.len(), stamp, body });
    }
}
