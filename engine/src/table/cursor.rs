//! Steps over the entries of a table in a range: top index, index blocks, data blocks.
//!
//! - Nothing is read before the first step, and then one index block and one data block; after that
//!   a block is read when the one before is used up.
//! - Going forward, order is checked from block to block as well: whoever writes what he reads
//!   here writes it in order.

use super::{Caching, Handle, Reader};
use crate::block::Block;
use crate::block::frame::Kind;
use crate::block::walk::Walk;
use crate::codec::Malformed;
use crate::entry::{Direction, Version, compare};
use crate::source::{Cursor, KeyRange, Place};
use crate::{Result, Versionstamp};
use std::cmp::Ordering;
use std::sync::Arc;

/// The entries of a table in a range.
#[derive(Debug)]
pub(crate) struct TableCursor {
    reader: Arc<Reader>,
    range: KeyRange,
    direction: Direction,
    caching: Caching,
    done: bool,
    top: Option<Opened>,
    index: Option<Opened>,
    data: Option<Opened>,
}

/// A block at hand, and its place in the file.
#[derive(Debug)]
struct Opened {
    walk: Walk,
    handle: Handle,
}

impl Opened {
    fn next(&mut self, reader: &Reader) -> Result<bool> {
        self.walk.next().map_err(reader.damaged(self.handle))
    }

    fn seek(&mut self, place: (&[u8], Versionstamp), reader: &Reader) -> Result<bool> {
        self.walk.seek(place).map_err(reader.damaged(self.handle))
    }

    /// The block that the entry at hand of an index names.
    fn named(&self, reader: &Reader) -> Result<Handle> {
        reader.named(self.walk.value(), self.handle)
    }
}

impl Cursor for TableCursor {
    fn next(&mut self) -> Result<bool> {
        if self.done {
            return Ok(false);
        }
        let found = match &mut self.data {
            Some(data) => data.next(&self.reader)? || self.next_block()?,
            None => self.begin(self.range.bound(self.direction))?,
        };
        Ok(self.conclude(found))
    }

    fn seek(&mut self, place: &Place) -> Result<bool> {
        if self.done || self.data.is_none() && self.range.begins_past(place, self.direction) {
            return self.next();
        }
        // Most often the place is in the block at hand.
        let found = match &mut self.data {
            Some(data) => data.seek(place.as_pair(), &self.reader)?,
            None => false,
        };
        let found = found || self.begin(Some(place.clone()))?;
        Ok(self.conclude(found))
    }

    fn key(&self) -> &[u8] {
        self.data.as_ref().map_or(&[], |data| data.walk.key())
    }

    fn stamp(&self) -> Versionstamp {
        self.data.as_ref().map_or(Versionstamp::ZERO, |data| data.walk.stamp())
    }

    fn version(&self) -> Version {
        self.data.as_ref().map_or(Version::Delete, |data| data.walk.version())
    }
}

impl TableCursor {
    pub(super) fn new(reader: Arc<Reader>, range: KeyRange, direction: Direction, caching: Caching) -> Self {
        let done = !range.meets(&reader.meta().first_key, &reader.meta().last_key);
        Self { reader, range, direction, caching, done, top: None, index: None, data: None }
    }

    /// Goes from the top index to the first entry from `place` on; without a place, of all.
    fn begin(&mut self, place: Option<Place>) -> Result<bool> {
        let place = place.as_ref().map(Place::as_pair);
        let (top, found) =
            self.open_index(self.reader.top().clone(), self.reader.footer().top_index, place)?;
        (self.top, self.index, self.data) = (Some(top), None, None);
        let handle = if found { self.first_of_index(place)? } else { None };
        let Some(handle) = handle else {
            return Ok(false);
        };
        let mut data = self.open_data(handle)?;
        let found = match place {
            Some(place) => data.seek(place, &self.reader)?,
            None => data.next(&self.reader)?,
        };
        self.data = Some(data);
        Ok(found || self.next_block()?)
    }

    /// Goes to the first entry of the next data block.
    fn next_block(&mut self) -> Result<bool> {
        while let Some(handle) = self.next_handle()? {
            let mut data = self.open_data(handle)?;
            let found = data.next(&self.reader)?;
            let before = self.data.replace(data);
            if found {
                self.check_order(before.as_ref())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The data block that the next entry of the index names.
    fn next_handle(&mut self) -> Result<Option<Handle>> {
        if let Some(index) = &mut self.index
            && index.next(&self.reader)?
        {
            return index.named(&self.reader).map(Some);
        }
        if self.next_of_top()? { self.first_of_index(None) } else { Ok(None) }
    }

    /// The data block that the first entry from `place` on of the index names, from the index block on
    /// that the entry at hand of the top index names.
    fn first_of_index(&mut self, place: Option<(&[u8], Versionstamp)>) -> Result<Option<Handle>> {
        while let Some(top) = &self.top {
            let handle = top.named(&self.reader)?;
            let block = self.reader.block(Kind::Index, handle, self.caching)?;
            let (index, found) = self.open_index(block, handle, place)?;
            let index = self.index.insert(index);
            if found {
                return index.named(&self.reader).map(Some);
            }
            if !self.next_of_top()? {
                break;
            }
        }
        Ok(None)
    }

    fn next_of_top(&mut self) -> Result<bool> {
        self.top.as_mut().map_or(Ok(false), |top| top.next(&self.reader))
    }

    /// An index block, and whether it has an entry from `place` on.
    fn open_index(
        &self,
        block: Block,
        handle: Handle,
        place: Option<(&[u8], Versionstamp)>,
    ) -> Result<(Opened, bool)> {
        let mut walk = Walk::new(block, self.direction);
        let found = match place {
            Some(place) => walk.seek_through(place),
            None => walk.next(),
        };
        Ok((Opened { walk, handle }, found.map_err(self.reader.damaged(handle))?))
    }

    fn open_data(&self, handle: Handle) -> Result<Opened> {
        let block = self.reader.block(Kind::Data, handle, self.caching)?;
        Ok(Opened { walk: Walk::of_all(block, self.direction), handle })
    }

    /// Going forward, a block begins above the last entry of the one before.
    fn check_order(&self, before: Option<&Opened>) -> Result<()> {
        let (Some(data), Some(last)) = (&self.data, before.and_then(|before| before.walk.last())) else {
            return Ok(());
        };
        if compare(last, (data.walk.key(), data.walk.stamp())) == Ordering::Less {
            return Ok(());
        }
        let malformed = Malformed { offset: 0, expected: "a block that comes after the one before" };
        Err(self.reader.damaged(data.handle)(malformed))
    }

    /// Takes note of a step that found an entry or not: past the range there is none.
    fn conclude(&mut self, found: bool) -> bool {
        let is_inside = found
            && match self.direction {
                Direction::Forward => !self.range.ends_before(self.key()),
                Direction::Reverse => !self.range.starts_after(self.key()),
            };
        self.done = !is_inside;
        is_inside
    }
}
