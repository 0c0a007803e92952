//! Where entries come from, whatever holds them: memtables, tables, and merges of both.
//!
//! - A source yields entries in internal order ([`Direction::Forward`]) or in exactly the reverse.
//! - It yields the entries of its [`KeyRange`] only.
//! - One step does a bounded amount of work: it reads at most one block of each kind per level of
//!   the table, or one chunk of a memtable.

use crate::entry::{Entry, Version, compare};
use crate::{Direction, Result, Versionstamp};
use bytes::Bytes;
use std::cmp::Ordering;

/// A stream of entries in internal order or its reverse.
pub(crate) trait Source: Send {
    /// The next entry; `None` at the end, and from then on.
    ///
    /// # Errors
    ///
    /// When the disk fails or a table is damaged. Nothing may be read from the source after that.
    fn next(&mut self) -> Result<Option<Entry>>;

    /// Leaves out what stands before `place` in the direction of the source: forward it goes on at
    /// the first entry at or after the place, in reverse at the last entry before it. The place
    /// is never behind what was yielded already.
    ///
    /// # Errors
    ///
    /// As [`Source::next`].
    fn seek(&mut self, place: &Place) -> Result<()>;
}

/// A source that shows its next entry before anybody takes it: whoever merges or skips compares keys in
/// place, and only what is wanted is copied.
pub(crate) trait Cursor: Send {
    /// Steps to the next entry, at first to the first one; whether there is one.
    ///
    /// # Errors
    ///
    /// When the disk fails or a table is damaged. The cursor is of no use then.
    fn next(&mut self) -> Result<bool>;

    /// Steps to the first entry that `place` does not leave out; whether there is one. It is not sought
    /// to a place that leaves the entry at hand in.
    ///
    /// # Errors
    ///
    /// As [`Cursor::next`].
    fn seek(&mut self, place: &Place) -> Result<bool>;

    /// The key of the entry at hand, which is there after a step that found one.
    fn key(&self) -> &[u8];

    /// Its stamp.
    fn stamp(&self) -> Versionstamp;

    /// What it says.
    fn version(&self) -> Version;

    /// The entry at hand.
    fn entry(&self) -> Entry {
        Entry { key: Bytes::copy_from_slice(self.key()), stamp: self.stamp(), version: self.version() }
    }

    /// Whether `place` leaves out the entry at hand, in the `direction` of the cursor.
    fn is_left_out(&self, place: &Place, direction: Direction) -> bool {
        place.is_ahead_of((self.key(), self.stamp()), direction)
    }
}

/// A cursor over a source, whose entry at hand it holds.
pub(crate) struct Held {
    source: Box<dyn Source>,
    entry: Option<Entry>,
}

impl Held {
    /// Before the first entry of `source`.
    pub(crate) fn new(source: Box<dyn Source>) -> Self {
        Self { source, entry: None }
    }
}

impl Cursor for Held {
    fn next(&mut self) -> Result<bool> {
        self.entry = self.source.next()?;
        Ok(self.entry.is_some())
    }

    fn seek(&mut self, place: &Place) -> Result<bool> {
        self.source.seek(place)?;
        self.next()
    }

    fn key(&self) -> &[u8] {
        self.entry.as_ref().map_or(&[], |entry| &entry.key)
    }

    fn stamp(&self) -> Versionstamp {
        self.entry.as_ref().map_or(Versionstamp::ZERO, |entry| entry.stamp)
    }

    fn version(&self) -> Version {
        self.entry.as_ref().map_or(Version::Delete, |entry| entry.version.clone())
    }

    fn entry(&self) -> Entry {
        self.entry.clone().unwrap_or(Entry {
            key: Bytes::new(),
            stamp: Versionstamp::ZERO,
            version: Version::Delete,
        })
    }
}

/// The entries that a cursor steps over, as a source.
pub(crate) struct Entries<C> {
    cursor: C,
    sought: Option<Place>,
}

impl<C: Cursor> Entries<C> {
    /// All of them.
    pub(crate) fn new(cursor: C) -> Self {
        Self { cursor, sought: None }
    }

    /// As [`Source::next`].
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let found = match self.sought.take() {
            Some(place) => self.cursor.seek(&place)?,
            None => self.cursor.next()?,
        };
        Ok(found.then(|| self.cursor.entry()))
    }
}

impl<C: Cursor> Source for Entries<C> {
    fn next(&mut self) -> Result<Option<Entry>> {
        Entries::next(self)
    }

    fn seek(&mut self, place: &Place) -> Result<()> {
        self.sought = Some(place.clone());
        Ok(())
    }
}

/// A place in internal order: that of the version `stamp` of `key`, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The key.
    pub(crate) key: Bytes,
    /// The stamp.
    pub(crate) stamp: Versionstamp,
}

impl Place {
    /// Before every version of `key`.
    pub(crate) const fn before(key: Bytes) -> Self {
        Self { key, stamp: Versionstamp::MAX }
    }

    /// After every version of `key`, and before every other key above it.
    pub(crate) fn after(key: &[u8]) -> Self {
        Self::before([key, &[0]].concat().into())
    }

    /// Borrowed.
    pub(crate) fn as_pair(&self) -> (&[u8], Versionstamp) {
        (&self.key, self.stamp)
    }

    /// Whether a source that goes in `direction` and was sought to this place leaves out `entry`.
    pub(crate) fn leaves_out(&self, entry: &Entry, direction: Direction) -> bool {
        self.is_ahead_of((&entry.key, entry.stamp), direction)
    }

    /// Whether a source that goes in `direction` comes to `entry` (key and stamp) before it comes to this place.
    fn is_ahead_of(&self, entry: (&[u8], Versionstamp), direction: Direction) -> bool {
        let is_before = compare(entry, self.as_pair()) == Ordering::Less;
        is_before == (direction == Direction::Forward)
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.as_pair(), other.as_pair())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Keys from `start` (inclusive) to `end` (exclusive).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    start: Bytes,
    end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub(crate) const fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// Keys from `start` (inclusive) to `end` (exclusive); none when `start >= end`.
    pub(crate) fn new(start: &[u8], end: &[u8]) -> Self {
        Self { start: Bytes::copy_from_slice(start), end: Some(Bytes::copy_from_slice(end)) }
    }

    /// Keys from `first` to `last`, both inclusive.
    pub(crate) fn closed(first: &[u8], last: &[u8]) -> Self {
        Self::new(first, &[last, &[0]].concat())
    }

    /// Keys that begin with `prefix`.
    pub(crate) fn with_prefix(prefix: &[u8]) -> Self {
        // The first key past them is the prefix with its last byte that can grow one greater.
        let kept = prefix.iter().rposition(|byte| *byte < u8::MAX);
        let end = kept.map(|last| {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        });
        Self { start: Bytes::copy_from_slice(prefix), end }
    }

    /// The first key that may be in it.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// The first key that is past it; `None` when it has no end.
    pub(crate) fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    /// Where a source over this range begins that goes in `direction`; `None` is at the very end.
    pub(crate) fn bound(&self, direction: Direction) -> Option<Place> {
        match direction {
            Direction::Forward => Some(Place::before(self.start.clone())),
            Direction::Reverse => self.end.clone().map(Place::before),
        }
    }

    /// Whether no key can be in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether all keys in it are below `key`.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        self.end().is_some_and(|end| end <= key)
    }

    /// Whether all keys in it are above `key`.
    pub(crate) fn starts_after(&self, key: &[u8]) -> bool {
        // Comparing with nothing at all is slow: it reads at no address, which the processor has to undo.
        !self.start.is_empty() && key < &self.start[..]
    }

    /// Whether a source that goes in `direction` over this range, and has yielded nothing, is
    /// past `place` already.
    pub(crate) fn begins_past(&self, place: &Place, direction: Direction) -> bool {
        match direction {
            Direction::Forward => place.key < self.start,
            Direction::Reverse => self.ends_before(&place.key),
        }
    }

    /// Whether a key from `first` to `last`, both inclusive, can be in it.
    pub(crate) fn meets(&self, first: &[u8], last: &[u8]) -> bool {
        self.start() <= last && !self.ends_before(first) && !self.is_empty()
    }

    /// The only key that can be in it, when there is just one: `start` to `start ++ 00`.
    pub(crate) fn only_key(&self) -> Option<&[u8]> {
        let (last, rest) = self.end()?.split_last()?;
        (*last == 0 && rest == self.start()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_meets_what_it_shares_a_key_with() {
        let range = KeyRange::new(b"b", b"d");
        assert!(range.meets(b"a", b"b") && range.meets(b"c", b"c") && range.meets(b"a", b"z"));
        assert!(!range.meets(b"d", b"e") && !range.meets(b"a", b"az"));
        assert!(KeyRange::all().meets(b"a", b"a"));
        assert!(!KeyRange::new(b"c", b"c").meets(b"a", b"z"));
        assert!(!KeyRange::new(b"d", b"b").meets(b"a", b"z"));
    }

    #[test]
    fn a_prefix_is_the_range_of_the_keys_that_begin_with_it() {
        assert_eq!(KeyRange::with_prefix(b"ab"), KeyRange::new(b"ab", b"ac"));
        assert_eq!(KeyRange::with_prefix(b"a\xff\xff"), KeyRange::new(b"a\xff\xff", b"b"));
        assert_eq!(KeyRange::with_prefix(b"\xff").end(), None);
        assert_eq!(KeyRange::with_prefix(b""), KeyRange::all());
    }

    #[test]
    fn only_a_key_and_its_successor_enclose_a_single_key() {
        assert_eq!(KeyRange::new(b"k", b"k\0").only_key(), Some(&b"k"[..]));
        assert_eq!(KeyRange::new(b"k", b"k\x01").only_key(), None);
        assert_eq!(KeyRange::new(b"k", b"l\0").only_key(), None);
        assert_eq!(KeyRange::all().only_key(), None);
    }
}
