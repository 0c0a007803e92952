//! Steps over the tables of one sorted level, one after the other; each is opened when its turn comes.

use super::Levels;
use crate::entry::{Direction, Version};
use crate::source::{Cursor, KeyRange, Place};
use crate::table::{Caching, Reader, TableCursor};
use crate::{Result, Versionstamp};
use std::ops::Range;
use std::sync::Arc;

/// The entries of a sorted level in a range.
#[derive(Debug)]
pub(crate) struct LevelCursor {
    levels: Arc<Levels>,
    level: u8,
    /// Tables that were not opened yet.
    tables: Range<usize>,
    range: KeyRange,
    direction: Direction,
    open: Option<TableCursor>,
}

impl LevelCursor {
    /// Over the tables with these indices in `level`.
    pub(super) fn new(
        levels: Arc<Levels>,
        level: u8,
        tables: Range<usize>,
        range: KeyRange,
        direction: Direction,
    ) -> Self {
        Self { levels, level, tables, range, direction, open: None }
    }

    fn next_table(&mut self) -> Option<&Arc<Reader>> {
        let index = match self.direction {
            Direction::Forward => self.tables.next(),
            Direction::Reverse => self.tables.next_back(),
        };
        self.levels.level(self.level).get(index?)
    }

    /// Opens tables, each at the place if there is one, up to the first that has an entry.
    fn open_next(&mut self, place: Option<&Place>) -> Result<bool> {
        let (range, direction) = (self.range.clone(), self.direction);
        while let Some(table) = self.next_table() {
            if place.is_some_and(|place| is_left_out(table, place, direction)) {
                continue;
            }
            let mut open = table.source(range.clone(), direction, Caching::Keep);
            let found = match place {
                Some(place) => open.seek(place)?,
                None => open.next()?,
            };
            self.open = Some(open);
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether a place leaves out a whole table.
fn is_left_out(table: &Reader, place: &Place, direction: Direction) -> bool {
    match direction {
        Direction::Forward => table.meta().last_key < place.key,
        Direction::Reverse => table.meta().first_key > place.key,
    }
}

impl Cursor for LevelCursor {
    fn next(&mut self) -> Result<bool> {
        match &mut self.open {
            Some(open) => Ok(open.next()? || self.open_next(None)?),
            None => self.open_next(None),
        }
    }

    fn seek(&mut self, place: &Place) -> Result<bool> {
        match &mut self.open {
            Some(open) => Ok(open.seek(place)? || self.open_next(Some(place))?),
            None => self.open_next(Some(place)),
        }
    }

    fn key(&self) -> &[u8] {
        self.open.as_ref().map_or(&[], Cursor::key)
    }

    fn stamp(&self) -> Versionstamp {
        self.open.as_ref().map_or(Versionstamp::ZERO, Cursor::stamp)
    }

    fn version(&self) -> Version {
        self.open.as_ref().map_or(Version::Delete, Cursor::version)
    }
}
