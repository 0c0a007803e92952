//! Walks the entries of a block, checking that their order rises.
//!
//! Forward it decodes row by row; in reverse it decodes the rows of one restart at a time and
//! hands them out from the last to the first. Keys are put together in a shared arena: no row
//! costs an allocation of its own.

use super::Block;
use crate::Versionstamp;
use crate::codec::Malformed;
use crate::entry::{Direction, Entry, compare};
use crate::write_batch::KEY_LEN_MAX;
use bytes::{Bytes, BytesMut};
use std::cmp::Ordering;

/// Keys are put together in pieces of this many bytes.
const ARENA_BYTES: usize = 1 << 10;

/// The entries of a block in one direction.
#[derive(Debug)]
pub(crate) enum Iter {
    /// From the first to the last.
    Forward(Forward),
    /// From the last to the first.
    Reverse(Reverse),
}

impl Iter {
    pub(super) fn new(
        block: Block,
        direction: Direction,
        place: Option<(&[u8], Versionstamp)>,
    ) -> Result<Self, Malformed> {
        Ok(match direction {
            Direction::Forward => Iter::Forward(Forward::new(block, place)?),
            Direction::Reverse => Iter::Reverse(Reverse::new(block, place)?),
        })
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the next row is malformed or out of order.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Malformed> {
        match self {
            Iter::Forward(forward) => forward.next(),
            Iter::Reverse(reverse) => reverse.next(),
        }
    }

    /// Goes on at `place`, as [`Block::iter`] begins there. Whether there is anything; when not, the
    /// iterator is at its end.
    ///
    /// # Errors
    ///
    /// When a row on the way is malformed.
    pub(crate) fn seek(&mut self, place: (&[u8], Versionstamp)) -> Result<bool, Malformed> {
        match self {
            Iter::Forward(forward) => {
                *forward = Forward::new(forward.block.clone(), Some(place))?;
                Ok(forward.held.is_some())
            }
            Iter::Reverse(reverse) => {
                *reverse = Reverse::new(reverse.block.clone(), Some(place))?;
                Ok(!reverse.stack.is_empty())
            }
        }
    }

    /// The last entry read, when going forward.
    pub(crate) fn last(&self) -> Option<(Bytes, Versionstamp)> {
        match self {
            Iter::Forward(forward) => forward.last.clone(),
            Iter::Reverse(_) => None,
        }
    }

    /// In reverse, begins with the first entry at or after the place instead of the last before
    /// it: in an index, that is the block that the place falls into.
    ///
    /// # Errors
    ///
    /// When a row on the way is malformed.
    pub(crate) fn through(block: &Block, place: (&[u8], Versionstamp)) -> Result<Self, Malformed> {
        let mut reverse = Reverse::new(block.clone(), Some(place))?;
        let mut after = Forward::new(block.clone(), Some(place))?;
        if let Some(entry) = after.next()? {
            reverse.stack.push(entry);
        }
        Ok(Iter::Reverse(reverse))
    }
}

/// The entries of a block, rising.
#[derive(Debug)]
pub(crate) struct Forward {
    block: Block,
    offset: usize,
    end: usize,
    last: Option<(Bytes, Versionstamp)>,
    held: Option<Entry>,
    arena: BytesMut,
}

impl Forward {
    fn new(block: Block, place: Option<(&[u8], Versionstamp)>) -> Result<Self, Malformed> {
        let restart = match place {
            Some((key, stamp)) => block.restarts_before_key(key, stamp)?.saturating_sub(1),
            None => 0,
        };
        let mut forward = Self::rows(block, restart, usize::MAX)?;
        if let Some((key, stamp)) = place {
            while let Some(entry) = forward.decode()? {
                if entry.cmp_to(key, stamp) != Ordering::Less {
                    forward.held = Some(entry);
                    break;
                }
            }
        }
        Ok(forward)
    }

    /// The rows from restart `from` to restart `to`, exclusive.
    fn rows(block: Block, from: usize, to: usize) -> Result<Self, Malformed> {
        let (offset, end) = (block.restart_offset(from)?, block.restart_offset(to)?);
        Ok(Self { block, offset, end, last: None, held: None, arena: BytesMut::new() })
    }

    fn next(&mut self) -> Result<Option<Entry>, Malformed> {
        match self.held.take() {
            Some(entry) => Ok(Some(entry)),
            None => self.decode(),
        }
    }

    fn decode(&mut self) -> Result<Option<Entry>, Malformed> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let row = self.block.row(self.offset)?;
        let malformed = |expected| Malformed { offset: self.offset, expected };
        let prefix = self.block.prefix();
        let before = self.last.as_ref().map_or(&[][..], |(key, _)| &key[prefix.len()..]);
        let shared = before.get(..row.shared);
        let shared = shared.ok_or_else(|| malformed("a key that shares no more than the row before has"))?;
        if let Some((_, last)) = &self.last {
            let order = compare((&before[row.shared..], *last), (row.unshared, row.stamp));
            if order != Ordering::Less {
                return Err(malformed("an entry above the one before"));
            }
        }
        let same_key = row.unshared.is_empty() && shared.len() == before.len();
        let key = match &self.last {
            Some((key, _)) if same_key => key.clone(),
            _ => join(&mut self.arena, [prefix, shared, row.unshared]),
        };
        if key.is_empty() || key.len() > KEY_LEN_MAX {
            return Err(malformed("a key of 1 to 65,535 bytes"));
        }
        let entry = Entry { key: key.clone(), stamp: row.stamp, version: row.version(&self.block.bytes) };
        self.offset = row.end;
        self.last = Some((key, entry.stamp));
        Ok(Some(entry))
    }
}

/// The entries of a block, falling.
#[derive(Debug)]
pub(crate) struct Reverse {
    block: Block,
    /// Restarts whose rows were not handed out yet.
    restarts: usize,
    /// Rows of the restart at hand, the next one last.
    stack: Vec<Entry>,
}

impl Reverse {
    fn new(block: Block, place: Option<(&[u8], Versionstamp)>) -> Result<Self, Malformed> {
        let restarts = match place {
            Some((key, stamp)) => block.restarts_before_key(key, stamp)?,
            None => block.restarts,
        };
        let mut reverse = Self { block, restarts, stack: Vec::new() };
        if let Some((key, stamp)) = place {
            reverse.read_restart()?;
            reverse.stack.retain(|entry| entry.cmp_to(key, stamp) == Ordering::Less);
        }
        Ok(reverse)
    }

    fn next(&mut self) -> Result<Option<Entry>, Malformed> {
        if self.stack.is_empty() {
            self.read_restart()?;
        }
        Ok(self.stack.pop())
    }

    /// Reads the rows of the last restart that was not read.
    fn read_restart(&mut self) -> Result<(), Malformed> {
        let Some(restart) = self.restarts.checked_sub(1) else {
            return Ok(());
        };
        let mut rows = Forward::rows(self.block.clone(), restart, self.restarts)?;
        if rows.offset == rows.end {
            return Err(Malformed { offset: rows.offset, expected: "restarts of different rows" });
        }
        while let Some(entry) = rows.decode()? {
            self.stack.push(entry);
        }
        if rows.offset != rows.end {
            return Err(Malformed {
                offset: rows.offset,
                expected: "a row that ends where a restart begins",
            });
        }
        self.restarts = restart;
        Ok(())
    }
}

/// Puts a key together.
fn join(arena: &mut BytesMut, parts: [&[u8]; 3]) -> Bytes {
    let len = parts.iter().map(|part| part.len()).sum();
    if arena.capacity() < len {
        *arena = BytesMut::with_capacity(ARENA_BYTES.max(len));
    }
    for part in parts {
        arena.extend_from_slice(part);
    }
    arena.split().freeze()
}
