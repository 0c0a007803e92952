//! Walks the entries of a table in a range: top index, index blocks, data blocks.
//!
//! - Nothing is read before the first entry is asked for, and then one index block and one data
//!   block; after that a block is read when the one before is used up.
//! - Going forward, order is checked from block to block as well: whoever writes what he reads
//!   here writes it in order.

use super::{Caching, Handle, Reader};
use crate::block::Block;
use crate::block::frame::Kind;
use crate::block::iter::Iter;
use crate::codec::Malformed;
use crate::entry::{Direction, Entry};
use crate::source::{KeyRange, Place, Source};
use crate::{Result, Versionstamp};
use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::Arc;

/// The entries of a table in a range.
pub(super) struct TableSource {
    reader: Arc<Reader>,
    range: KeyRange,
    direction: Direction,
    caching: Caching,
    done: bool,
    top: Option<Cursor>,
    index: Option<Cursor>,
    data: Option<Cursor>,
    /// Whether no data block was opened yet since the start or the last seek: where to begin
    /// applies to the first alone.
    fresh: bool,
    /// Where it was sought to.
    sought: Option<Place>,
    /// The last entry of the data block before, until the next one's order was checked.
    last: Option<(Bytes, Versionstamp)>,
}

/// A block at hand, and its place in the file.
struct Cursor {
    iter: Iter,
    handle: Handle,
}

impl Source for TableSource {
    fn next(&mut self) -> Result<Option<Entry>> {
        if self.done {
            return Ok(None);
        }
        let found = self.advance();
        self.done = !matches!(found, Ok(Some(_)));
        found
    }

    fn seek(&mut self, place: &Place) -> Result<()> {
        if self.range.begins_past(place, self.direction) {
            return Ok(());
        }
        // Most often the place is in the block at hand.
        if let Some(Cursor { iter, handle }) = &mut self.data
            && iter.seek(place.as_pair()).map_err(self.reader.damaged(*handle))?
        {
            return Ok(());
        }
        (self.top, self.index, self.data, self.last) = (None, None, None, None);
        self.fresh = true;
        self.sought = Some(place.clone());
        Ok(())
    }
}

impl TableSource {
    pub(super) fn new(reader: Arc<Reader>, range: KeyRange, direction: Direction, caching: Caching) -> Self {
        let done = !range.meets(&reader.meta().first_key, &reader.meta().last_key);
        let (top, index, data) = (None, None, None);
        Self {
            reader,
            range,
            direction,
            caching,
            done,
            top,
            index,
            data,
            fresh: true,
            sought: None,
            last: None,
        }
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        if self.top.is_none() {
            let handle = self.reader.footer().top_index;
            self.top = Some(self.open_index(&self.reader.top().clone(), handle)?);
        }
        loop {
            if let Some(entry) = next_of(&self.reader, &mut self.data)? {
                self.check_order(&entry)?;
                return Ok(self.is_inside(&entry).then_some(entry));
            }
            if let Some(Cursor { iter, .. }) = self.data.take() {
                self.last = iter.last();
            }
            if let Some(entry) = next_of(&self.reader, &mut self.index)? {
                let handle = self.handle(&entry, self.index.as_ref())?;
                self.data = Some(self.open_data(handle)?);
            } else if let Some(entry) = next_of(&self.reader, &mut self.top)? {
                let handle = self.handle(&entry, self.top.as_ref())?;
                let block = self.reader.block(Kind::Index, handle, self.caching)?;
                self.index = Some(self.open_index(&block, handle)?);
            } else {
                return Ok(None);
            }
        }
    }

    /// Where to begin in this direction, while that still matters.
    fn place(&self) -> Option<(&[u8], Versionstamp)> {
        if !self.fresh {
            return None;
        }
        let bound = match self.direction {
            Direction::Forward => Some(self.range.start()),
            Direction::Reverse => self.range.end(),
        };
        let bound = bound.map(|key| (key, Versionstamp::MAX));
        self.sought.as_ref().map(Place::as_pair).or(bound)
    }

    fn open_index(&self, block: &Block, handle: Handle) -> Result<Cursor> {
        let iter = match (self.direction, self.place()) {
            // The block that the end falls into also holds entries before it.
            (Direction::Reverse, Some(place)) => Iter::through(block, place),
            (direction, place) => block.iter(direction, place),
        };
        Ok(Cursor { iter: iter.map_err(self.reader.damaged(handle))?, handle })
    }

    fn open_data(&mut self, handle: Handle) -> Result<Cursor> {
        let block = self.reader.block(Kind::Data, handle, self.caching)?;
        let iter = block.iter(self.direction, self.place()).map_err(self.reader.damaged(handle))?;
        self.fresh = false;
        Ok(Cursor { iter, handle })
    }

    fn handle(&self, entry: &Entry, from: Option<&Cursor>) -> Result<Handle> {
        let index = from.map_or(self.reader.footer().top_index, |cursor| cursor.handle);
        self.reader.handle(&entry.version, index)
    }

    fn check_order(&mut self, entry: &Entry) -> Result<()> {
        let (Some((key, stamp)), Some(data)) = (self.last.take(), &self.data) else {
            return Ok(());
        };
        if entry.cmp_to(&key, stamp) == Ordering::Greater {
            return Ok(());
        }
        let malformed = Malformed { offset: 0, expected: "a block that comes after the one before" };
        Err(self.reader.damaged(data.handle)(malformed))
    }

    fn is_inside(&self, entry: &Entry) -> bool {
        match self.direction {
            Direction::Forward => self.range.end().is_none_or(|end| &entry.key[..] < end),
            Direction::Reverse => self.range.start() <= &entry.key[..],
        }
    }
}

fn next_of(reader: &Reader, cursor: &mut Option<Cursor>) -> Result<Option<Entry>> {
    match cursor {
        Some(Cursor { iter, handle }) => iter.next().map_err(reader.damaged(*handle)),
        None => Ok(None),
    }
}
