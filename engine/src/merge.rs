//! Puts several cursors together into one, in internal order or its reverse.
//!
//! - Of two entries with the same key and stamp, that of the earlier cursor is kept: it is the
//!   same commit, replayed from a log whose entries were flushed before.
//! - The cursor whose entry comes first is known, and the others stand sorted by theirs. Most steps stay in
//!   the first cursor, as one holds most of the data, and cost one comparison; another step costs a
//!   binary search.

use crate::entry::{Direction, Version, compare};
use crate::source::{Cursor, Entries, Place};
use crate::{Result, Versionstamp};
use std::cmp::Ordering;

/// The source of all entries of `cursors`, each of which goes in `direction`.
pub(crate) fn merge<C: Cursor>(cursors: Vec<C>, direction: Direction) -> Entries<Merge<C>> {
    Entries::new(Merge::new(cursors, direction))
}

/// The cursor over all entries of several.
pub(crate) struct Merge<C> {
    cursors: Vec<C>,
    direction: Direction,
    /// The cursor whose entry at hand comes first.
    first: Option<usize>,
    /// The others with an entry at hand, by that entry, the next one last.
    rest: Vec<usize>,
    /// Whether the cursors were never stepped.
    fresh: bool,
}

impl<C: Cursor> Merge<C> {
    /// All entries of `cursors`, each of which goes in `direction`.
    pub(crate) fn new(cursors: Vec<C>, direction: Direction) -> Self {
        let rest = Vec::with_capacity(cursors.len());
        Self { cursors, direction, first: None, rest, fresh: true }
    }

    /// Sorts in a cursor that was stepped, if it found an entry.
    fn place(&mut self, mut cursor: usize, mut found: bool) -> Result<()> {
        while found {
            match self.rest.binary_search_by(|other| self.rank(cursor, *other)) {
                Err(at) => {
                    self.rest.insert(at, cursor);
                    return Ok(());
                }
                // Both hold the same commit: the later cursor steps over it.
                Ok(at) => {
                    if cursor < self.rest[at] {
                        std::mem::swap(&mut cursor, &mut self.rest[at]);
                    }
                    found = self.cursors[cursor].next()?;
                }
            }
        }
        Ok(())
    }

    /// How the entries at hand of two cursors stand to each other: the one that comes first is less.
    fn rank(&self, left: usize, right: usize) -> Ordering {
        let (left, right) = (&self.cursors[left], &self.cursors[right]);
        self.direction.apply(compare((left.key(), left.stamp()), (right.key(), right.stamp())))
    }

    /// Sorts in cursors, each stepped by `step`, and finds the first of all.
    fn restart(
        &mut self,
        cursors: impl IntoIterator<Item = usize>,
        step: impl Fn(&mut C) -> Result<bool>,
    ) -> Result<bool> {
        for cursor in cursors {
            let found = step(&mut self.cursors[cursor])?;
            self.place(cursor, found)?;
        }
        self.first = self.rest.pop();
        Ok(self.first.is_some())
    }

    /// The cursor that holds the entry at hand.
    fn first(&self) -> Option<&C> {
        self.cursors.get(self.first?)
    }
}

impl<C: Cursor> Cursor for Merge<C> {
    fn next(&mut self) -> Result<bool> {
        let Some(first) = self.first else {
            let fresh = if std::mem::take(&mut self.fresh) { self.cursors.len() } else { 0 };
            return self.restart(0..fresh, C::next);
        };
        let found = self.cursors[first].next()?;
        let is_first = |second: &usize| self.rank(first, *second) == Ordering::Less;
        if !found || !self.rest.last().is_none_or(is_first) {
            self.place(first, found)?;
            self.first = self.rest.pop();
        }
        Ok(self.first.is_some())
    }

    fn seek(&mut self, place: &Place) -> Result<bool> {
        let behind = if std::mem::take(&mut self.fresh) {
            (0..self.cursors.len()).collect()
        } else {
            self.rest.extend(self.first.take());
            let is_ahead = |cursor: &usize| !self.cursors[*cursor].is_left_out(place, self.direction);
            self.rest.split_off(self.rest.partition_point(is_ahead))
        };
        self.restart(behind, |cursor| cursor.seek(place))
    }

    fn key(&self) -> &[u8] {
        self.first().map_or(&[], C::key)
    }

    fn stamp(&self) -> Versionstamp {
        self.first().map_or(Versionstamp::ZERO, C::stamp)
    }

    fn version(&self) -> Version {
        self.first().map_or(Version::Delete, C::version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::source::{Held, Source};
    use crate::testing::{Listed, check_seeks, drain};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(key: u8, version: u64, source: u8) -> Entry {
        let value = vec![source].into();
        Entry {
            key: vec![key].into(),
            stamp: Versionstamp::new(version, 0),
            version: Version::Put { value, expire_at_ms: None },
        }
    }

    proptest! {
        #[test]
        fn it_is_the_sorted_union_and_the_earlier_source_wins(
            sources in prop::collection::vec(prop::collection::btree_set((0..6u8, 0..6u64), 0..12), 0..5),
            reverse: bool,
        ) {
            let direction = if reverse { Direction::Reverse } else { Direction::Forward };
            let mut expected = BTreeMap::new();
            let listed: Vec<Vec<Entry>> = (0..)
                .zip(&sources)
                .map(|(index, places)| places.iter().map(|(key, at)| entry(*key, *at, index)).collect())
                .collect();
            for entry in listed.iter().flatten() {
                expected.entry((entry.key.clone(), std::cmp::Reverse(entry.stamp))).or_insert(entry.clone());
            }
            let mut expected: Vec<Entry> = expected.into_values().collect();
            if reverse {
                expected.reverse();
            }
            let make = || -> Box<dyn Source> {
                let cursor = |entries: &Vec<Entry>| Held::new(Listed::source(entries.clone(), direction));
                Box::new(merge(listed.iter().map(cursor).collect(), direction))
            };
            prop_assert!(check_seeks(&expected, direction, make).is_ok());
            prop_assert_eq!(drain(make()).unwrap_or_default(), expected);
        }
    }
}
