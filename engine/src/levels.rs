//! The immutable set of live tables, in levels.
//!
//! - Level 0 holds flushed memtables, which overlap. In every deeper level tables are sorted and
//!   share no key, so all versions of a key that are in the level are in one table.
//! - Of one key, every version in a level is newer than every version in a deeper one. Flushes put
//!   newer entries on top, and a compaction moves all versions of a key in its level, together
//!   with all that lies below them in the next.
//! - Within level 0, tables stand by their newest stamp. A search asks the newest first and
//!   leaves out those that can hold nothing newer than what it found: right also if they overlap
//!   in stamps.

mod cursor;
mod filters;

use crate::block::Found;
use crate::counters::Reads;
use crate::entry::{Direction, Presence, Version};
use crate::source::KeyRange;
use crate::table::{Caching, Meta, Probe, Reader, TableCursor, TableDigest};
use crate::{Result, Versionstamp};
use std::ops::Range;
use std::sync::Arc;

pub(crate) use cursor::LevelCursor;

/// How many levels there are.
pub(crate) const LEVELS: usize = 7;
/// The deepest level.
pub(crate) const LEVEL_MAX: u8 = 6;

/// Tables that do not make up levels: the manifest is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disorder {
    /// There is no such level.
    #[error("level {0} is above {LEVEL_MAX}")]
    Level(u8),
    /// Two tables of a level below the first share keys.
    #[error("tables {0} and {1} overlap in level {2}")]
    Overlap(TableDigest, TableDigest, u8),
}

/// The live tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Levels {
    levels: [Vec<Arc<Reader>>; LEVELS],
    /// What readers count, of these levels and of all that were made from them or that they were made from.
    reads: Arc<Reads>,
}

impl Levels {
    /// No tables.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// These tables, each with its level, in any order.
    ///
    /// # Errors
    ///
    /// [`Disorder`] when they are no levels.
    pub(crate) fn of(tables: impl IntoIterator<Item = (u8, Arc<Reader>)>) -> Result<Self, Disorder> {
        Self::sharing(tables, 0)
    }

    /// The same, when `leaving` bytes of what is pinned are about to go.
    fn sharing(tables: impl IntoIterator<Item = (u8, Arc<Reader>)>, leaving: u64) -> Result<Self, Disorder> {
        let mut levels = Self::empty();
        for (level, table) in tables {
            let tables = levels.levels.get_mut(usize::from(level)).ok_or(Disorder::Level(level))?;
            tables.push(table);
        }
        levels.sort();
        levels.check()?;
        filters::share(&mut levels.levels, leaving);
        Ok(levels)
    }

    /// These levels without the tables `removed`, and then with the tables `added`: a table that
    /// is in both moves.
    ///
    /// # Panics
    ///
    /// If the result is no levels: whoever planned this is wrong.
    #[must_use]
    pub(crate) fn with(&self, added: Vec<(u8, Arc<Reader>)>, removed: &[TableDigest]) -> Self {
        let tables = self.tables().map(|(level, table)| (level, Arc::clone(table)));
        let (gone, kept): (Vec<_>, Vec<_>) =
            tables.partition(|(_, table)| removed.contains(&table.meta().digest));
        let stays = |table: &Arc<Reader>| added.iter().any(|(_, added)| Arc::ptr_eq(added, table));
        let leaving = gone.iter().filter(|(_, table)| !stays(table));
        let leaving = leaving.map(|(_, table)| table.pinned_bytes()).sum();
        match Self::sharing(kept.into_iter().chain(added), leaving) {
            Ok(levels) => Self { reads: Arc::clone(&self.reads), ..levels },
            Err(disorder) => panic!("an edit keeps the levels in order: {disorder}"),
        }
    }

    /// These levels without some tables.
    #[must_use]
    pub(crate) fn without(&self, leave_out: impl Fn(&Reader) -> bool) -> Self {
        let mut left = self.clone();
        left.levels.iter_mut().for_each(|tables| tables.retain(|table| !leave_out(table)));
        left
    }

    fn sort(&mut self) {
        let [first, deeper @ ..] = &mut self.levels;
        first.sort_by_key(|table| (table.meta().last_stamp, table.meta().first_stamp, table.meta().digest));
        for level in deeper {
            level.sort_by(|left, right| left.meta().first_key.cmp(&right.meta().first_key));
        }
    }

    fn check(&self) -> Result<(), Disorder> {
        for (level, tables) in (1..).zip(&self.levels[1..]) {
            for pair in tables.windows(2) {
                let (left, right) = (pair[0].meta(), pair[1].meta());
                if left.last_key >= right.first_key {
                    return Err(Disorder::Overlap(left.digest, right.digest, level));
                }
            }
        }
        Ok(())
    }

    /// Every table with its level, from the top down.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (u8, &Arc<Reader>)> {
        (0..).zip(&self.levels).flat_map(|(level, tables)| tables.iter().map(move |table| (level, table)))
    }

    /// What readers count.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// The tables of a level: of level 0 oldest first, of others by key. None past the deepest.
    pub(crate) fn level(&self, level: u8) -> &[Arc<Reader>] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// Bytes of the tables of a level.
    pub(crate) fn bytes(&self, level: u8) -> u64 {
        self.level(level).iter().map(|table| table.meta().bytes).sum()
    }

    /// How many tables each level has.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> [usize; LEVELS] {
        self.levels.each_ref().map(Vec::len)
    }

    /// The tables of a level, other than 0, that can hold keys from `first` to `last`, both inclusive.
    pub(crate) fn overlapping(&self, level: u8, first: &[u8], last: &[u8]) -> &[Arc<Reader>] {
        debug_assert!(level > 0, "tables of level 0 are not sorted by key");
        let tables = self.level(level);
        let start = tables.partition_point(|table| table.meta().last_key < first);
        let end = start + tables[start..].partition_point(|table| table.meta().first_key <= last);
        &tables[start..end]
    }

    /// The tables whose keys stand around or inside a range, with their levels.
    pub(crate) fn meeting_range<'a>(
        &'a self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (u8, &'a Arc<Reader>)> + use<'a> {
        let first =
            self.level(0).iter().filter(|table| range.meets(&table.meta().first_key, &table.meta().last_key));
        let first: Vec<_> = first.map(|table| (0, table)).collect();
        let deeper: Vec<_> = (1..=LEVEL_MAX).map(|level| (level, self.between(level, range))).collect();
        let deeper = deeper.into_iter().flat_map(move |(level, tables)| {
            self.level(level)[tables].iter().map(move |table| (level, table))
        });
        first.into_iter().chain(deeper)
    }

    /// Which tables of a level, other than 0, stand around or inside a range.
    fn between(&self, level: u8, range: &KeyRange) -> Range<usize> {
        let tables = self.level(level);
        let start = tables.partition_point(|table| table.meta().last_key < range.start());
        let count = tables[start..].partition_point(|table| !range.ends_before(&table.meta().first_key));
        start..start + count
    }

    /// Whether a table of this level or a deeper one may hold `key`, by the range of its keys; `false` is certain.
    pub(crate) fn may_hold(&self, from: u8, key: &[u8]) -> bool {
        let covers =
            |table: &Arc<Reader>| (&table.meta().first_key[..]..=&table.meta().last_key[..]).contains(&key);
        (from == 0 && self.level(0).iter().any(covers))
            || (from.max(1)..=LEVEL_MAX).any(|level| !self.overlapping(level, key, key).is_empty())
    }

    /// The newest version of `key` that is not newer than `at`, and its stamp.
    ///
    /// # Errors
    ///
    /// When a table is damaged, or what the disk says.
    pub(crate) fn get(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Version)>> {
        self.find(key, at, |found| (found.stamp(), found.version()))
    }

    /// The same, without its value.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub(crate) fn newest(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Presence)>> {
        self.find(key, at, |found| (found.stamp(), found.presence()))
    }

    fn find<T>(
        &self,
        key: &[u8],
        at: Versionstamp,
        read: impl Fn(&Found<'_>) -> (Versionstamp, T),
    ) -> Result<Option<(Versionstamp, T)>> {
        let probe = Probe::new(key);
        let found = self.find_by(&probe, at, read);
        self.reads.probed(probe.rejected.get(), probe.in_vain.get());
        found
    }

    fn find_by<T>(
        &self,
        probe: &Probe<'_>,
        at: Versionstamp,
        read: impl Fn(&Found<'_>) -> (Versionstamp, T),
    ) -> Result<Option<(Versionstamp, T)>> {
        let mut newest: Option<(Versionstamp, T)> = None;
        for table in self.level(0).iter().rev() {
            if newest.as_ref().is_some_and(|(stamp, _)| *stamp >= table.meta().last_stamp) {
                break;
            }
            if let Some(found) = table.get(probe, at, &read)? {
                newest = newest.filter(|(stamp, _)| *stamp > found.0).or(Some(found));
            }
        }
        if newest.is_some() {
            return Ok(newest);
        }
        for tables in self.levels[1..].iter().filter(|tables| !tables.is_empty()) {
            let index = tables.partition_point(|table| &table.meta().last_key[..] < probe.key);
            let found = tables.get(index).map(|table| table.get(probe, at, &read)).transpose()?;
            if let Some(found) = found.flatten() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Adds cursors that together step over all entries in `range`.
    pub(crate) fn cursors<C: From<TableCursor> + From<LevelCursor>>(
        self: &Arc<Self>,
        range: &KeyRange,
        direction: Direction,
        cursors: &mut Vec<C>,
    ) {
        for table in self.level(0).iter().rev().filter(|table| may_meet(table, range)) {
            cursors.push(table.source(range.clone(), direction, Caching::Keep).into());
        }
        for level in 1..=LEVEL_MAX {
            let tables = self.meeting(level, range);
            if !tables.is_empty() {
                cursors
                    .push(LevelCursor::new(Arc::clone(self), level, tables, range.clone(), direction).into());
            }
        }
    }

    /// Which tables of a level, other than 0, can hold keys in `range`.
    fn meeting(&self, level: u8, range: &KeyRange) -> Range<usize> {
        let tables = self.between(level, range);
        match &self.level(level)[tables.clone()] {
            [table] if !may_meet(table, range) => tables.start..tables.start,
            _ if range.is_empty() => tables.start..tables.start,
            _ => tables,
        }
    }
}

/// Whether a table may hold a key of a range; `false` is certain.
fn may_meet(table: &Reader, range: &KeyRange) -> bool {
    let Meta { first_key, last_key, .. } = table.meta();
    range.meets(first_key, last_key) && range.only_key().is_none_or(|key| table.may_contain(&Probe::new(key)))
}

#[cfg(test)]
mod tests;
