//! Steps over whole tables that share no key, one after the other, going forward.
//!
//! What is read once to be rewritten leaves the cache alone.

use crate::entry::{Direction, Version};
use crate::source::{Cursor, KeyRange, Place};
use crate::table::{Caching, Reader, TableCursor};
use crate::{Result, Versionstamp};
use std::sync::Arc;

/// The entries of some tables.
pub(super) struct Run {
    tables: std::vec::IntoIter<Arc<Reader>>,
    open: Option<TableCursor>,
}

impl Run {
    /// Over tables that stand by their keys and share none.
    pub(super) fn new(tables: Vec<Arc<Reader>>) -> Self {
        Self { tables: tables.into_iter(), open: None }
    }

    /// Opens tables, each at the place if there is one, up to the first that has an entry.
    fn open_next(&mut self, place: Option<&Place>) -> Result<bool> {
        for table in self.tables.by_ref() {
            if place.is_some_and(|place| table.meta().last_key < place.key) {
                continue;
            }
            let mut open = table.source(KeyRange::all(), Direction::Forward, Caching::Pass);
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

impl Cursor for Run {
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
