//! What a reader sees: the memtables and levels of one moment, as one immutable value.
//!
//! - Writers of the view replace it whole; readers load it without waiting.
//! - A view never loses an entry that an older one had, except versions below its horizons.

use crate::Applied;
use crate::entry::{Direction, Presence, Version};
use crate::erasure::Erasures;
use crate::horizon::{Horizon, Horizons};
use crate::levels::{LevelCursor, Levels};
use crate::memtable::Memtable;
use crate::merge::Merge;
use crate::source::{Cursor, Held, KeyRange, Place};
use crate::table::{Reader, TableCursor};
use crate::{Result, Versionstamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Named pieces of replicated state, see [`crate::Mark`].
pub(crate) type Marks = BTreeMap<Vec<u8>, Vec<u8>>;

/// A memtable that takes no more writes, and where the log stood when it was sealed.
#[derive(Debug)]
pub(crate) struct SealedMemtable {
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) end: Applied,
    pub(crate) marks: Marks,
}

#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<SealedMemtable>>,
    pub(crate) levels: Arc<Levels>,
    /// What tables may lack lies below them.
    pub(crate) horizons: Arc<Horizons>,
    /// The highest of them: most readers are above it and need no other.
    pub(crate) highest: Horizon,
    /// Every deletion of a prefix that may hide something here.
    pub(crate) erasures: Arc<Erasures>,
}

impl View {
    pub(crate) fn set_horizons(&mut self, horizons: Arc<Horizons>) {
        self.highest = horizons.highest();
        self.horizons = horizons;
    }

    /// The newest version of `key` that is not newer than `at`, unless an erasure hides it.
    pub(crate) fn get(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Version)>> {
        let found = self.stored(key, at)?;
        Ok(found.filter(|(stamp, _)| !self.erasures.hide(key, *stamp, at)))
    }

    fn stored(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Version)>> {
        match self.memtables().find_map(|memtable| memtable.get(key, at)) {
            Some(found) => Ok(Some(found)),
            None => self.levels.get(key, at),
        }
    }

    /// As [`get`](Self::get), without the value.
    pub(crate) fn newest(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Presence)>> {
        let found = match self.memtables().find_map(|memtable| memtable.newest(key, at)) {
            Some(found) => Some(found),
            None => self.levels.newest(key, at)?,
        };
        Ok(found.filter(|(stamp, _)| !self.erasures.hide(key, *stamp, at)))
    }

    /// Newest first.
    fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        [&self.active].into_iter().chain(self.sealed.iter().rev().map(|sealed| &sealed.memtable))
    }

    /// The levels without the tables of which a reader of `range` at `at` sees nothing, if there are any: a scan over a
    /// deleted prefix must not step over all that was in it.
    fn levels_in_sight(&self, range: &KeyRange, at: Versionstamp) -> Option<Arc<Levels>> {
        let is_hidden = |table: &Reader| self.erasures.hide_all_of(table.meta(), at);
        let any =
            !self.erasures.is_empty() && self.levels.meeting_range(range).any(|(_, table)| is_hidden(table));
        any.then(|| Arc::new(self.levels.without(is_hidden)))
    }

    /// Every version of every key in `range` that a reader at `at` may see, and others.
    pub(crate) fn cursor(&self, range: &KeyRange, direction: Direction, at: Versionstamp) -> Merge<Part> {
        let memtables = std::iter::once(&self.active).chain(self.sealed.iter().map(|it| &it.memtable));
        let memtables = memtables.filter(|memtable| !memtable.is_empty());
        let mut cursors: Vec<Part> = memtables
            .map(|memtable| Part::Memtable(Held::new(memtable.source(range.clone(), direction))))
            .collect();
        let in_sight = self.levels_in_sight(range, at);
        in_sight.as_ref().unwrap_or(&self.levels).cursors(range, direction, &mut cursors);
        Merge::new(cursors, direction)
    }
}

/// A cursor over one part of a view.
pub(crate) enum Part {
    Memtable(Held),
    Table(TableCursor),
    Level(LevelCursor),
}

impl From<TableCursor> for Part {
    fn from(cursor: TableCursor) -> Self {
        Part::Table(cursor)
    }
}

impl From<LevelCursor> for Part {
    fn from(cursor: LevelCursor) -> Self {
        Part::Level(cursor)
    }
}

impl Cursor for Part {
    fn next(&mut self) -> Result<bool> {
        match self {
            Part::Memtable(cursor) => cursor.next(),
            Part::Table(cursor) => cursor.next(),
            Part::Level(cursor) => cursor.next(),
        }
    }

    fn seek(&mut self, place: &Place) -> Result<bool> {
        match self {
            Part::Memtable(cursor) => cursor.seek(place),
            Part::Table(cursor) => cursor.seek(place),
            Part::Level(cursor) => cursor.seek(place),
        }
    }

    fn key(&self) -> &[u8] {
        match self {
            Part::Memtable(cursor) => cursor.key(),
            Part::Table(cursor) => cursor.key(),
            Part::Level(cursor) => cursor.key(),
        }
    }

    fn stamp(&self) -> Versionstamp {
        match self {
            Part::Memtable(cursor) => cursor.stamp(),
            Part::Table(cursor) => cursor.stamp(),
            Part::Level(cursor) => cursor.stamp(),
        }
    }

    fn version(&self) -> Version {
        match self {
            Part::Memtable(cursor) => cursor.version(),
            Part::Table(cursor) => cursor.version(),
            Part::Level(cursor) => cursor.version(),
        }
    }
}
