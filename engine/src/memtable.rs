//! The newest writes, in memory, in internal order.
//!
//! - One writer, any number of readers, none of which waits.
//! - An entry is never removed: a memtable grows until it is flushed and dropped as a whole.
//! - Readers may see entries newer than their stamp; whoever reads at a stamp skips those.

use crate::entry::{Direction, Entry, Version, compare};
use crate::source::{KeyRange, Source};
use crate::{Result, Versionstamp};
use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use parking_lot::Mutex;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Memory};

/// Memory that one entry takes besides its key and value, in bytes: measured as resident memory
/// of a million entries of 16 + 100 bytes, rounded up.
const ENTRY_OVERHEAD_BYTES: usize = 192;
/// Entries that a source copies at a time: the first chunk, which then doubles.
const CHUNK_ENTRIES_MIN: usize = 4;
/// Entries that a source copies at a time, at most.
const CHUNK_ENTRIES_MAX: usize = 64;

/// A sorted map of (key, stamp) to what that commit wrote.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    map: SkipMap<Position, Version>,
    bytes: AtomicUsize,
    stamps: Mutex<Option<(Versionstamp, Versionstamp)>>,
}

impl Memtable {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds what the commit `stamp` wrote to `key`; a second write of the same commit replaces the
    /// first. One thread at a time.
    pub(crate) fn insert(&self, key: &[u8], stamp: Versionstamp, version: Version) {
        let bytes = ENTRY_OVERHEAD_BYTES + key.len() + version.value_len();
        self.map.insert(Position { key: Bytes::copy_from_slice(key), stamp }, version);
        self.bytes.fetch_add(bytes, Memory::Relaxed);
        let mut stamps = self.stamps.lock();
        let (first, last) = stamps.unwrap_or((stamp, stamp));
        *stamps = Some((first.min(stamp), last.max(stamp)));
    }

    /// The newest version of `key` that is not newer than `at`, and its stamp.
    pub(crate) fn get(&self, key: &[u8], at: Versionstamp) -> Option<(Versionstamp, Version)> {
        let found = self.map.lower_bound::<dyn Place>(Bound::Included(&(key, at)))?;
        (found.key().key == key).then(|| (found.key().stamp, found.value().clone()))
    }

    /// Memory in use, approximately, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Memory::Relaxed)
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The oldest and the newest stamp in it.
    pub(crate) fn stamps(&self) -> Option<(Versionstamp, Versionstamp)> {
        *self.stamps.lock()
    }

    /// Its entries in `range`. What is written meanwhile may or may not be among them.
    pub(crate) fn source(self: &Arc<Self>, range: KeyRange, direction: Direction) -> Box<dyn Source> {
        Box::new(MemtableSource {
            memtable: Arc::clone(self),
            range,
            direction,
            chunk: VecDeque::new(),
            chunk_entries: CHUNK_ENTRIES_MIN,
            last: None,
        })
    }
}

/// The place of an entry in internal order.
#[derive(Debug, Clone)]
struct Position {
    key: Bytes,
    stamp: Versionstamp,
}

/// A [`Position`] or a borrowed one, so that a look-up copies no key.
trait Place {
    fn place(&self) -> (&[u8], Versionstamp);
}

impl Place for Position {
    fn place(&self) -> (&[u8], Versionstamp) {
        (&self.key, self.stamp)
    }
}

impl Place for (&[u8], Versionstamp) {
    fn place(&self) -> (&[u8], Versionstamp) {
        (self.0, self.1)
    }
}

impl<'a> Borrow<dyn Place + 'a> for Position {
    fn borrow(&self) -> &(dyn Place + 'a) {
        self
    }
}

impl Ord for dyn Place + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.place(), other.place())
    }
}

impl PartialOrd for dyn Place + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Place + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Place + '_ {}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.place(), other.place())
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Position {}

/// Copies a few entries at a time, so that it can outlive any borrow of the map.
struct MemtableSource {
    memtable: Arc<Memtable>,
    range: KeyRange,
    direction: Direction,
    chunk: VecDeque<Entry>,
    chunk_entries: usize,
    last: Option<Position>,
}

impl Source for MemtableSource {
    fn next(&mut self) -> Result<Option<Entry>> {
        if self.chunk.is_empty() && self.chunk_entries > 0 {
            self.read_chunk();
        }
        Ok(self.chunk.pop_front())
    }
}

impl MemtableSource {
    /// Reads the chunk after the last one; a short chunk was the last.
    fn read_chunk(&mut self) {
        if self.range.is_empty() {
            self.chunk_entries = 0;
            return;
        }
        let start = (self.range.start(), Versionstamp::MAX);
        let end = self.range.end().map(|end| (end, Versionstamp::MAX));
        let mut from: Bound<&dyn Place> = Bound::Included(&start);
        let mut to: Bound<&dyn Place> = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end));
        if let Some(last) = &self.last {
            match self.direction {
                Direction::Forward => from = Bound::Excluded(last),
                Direction::Reverse => to = Bound::Excluded(last),
            }
        }
        let found = self.memtable.map.range::<dyn Place, _>((from, to));
        let copy = |found: crossbeam_skiplist::map::Entry<'_, Position, Version>| Entry {
            key: found.key().key.clone(),
            stamp: found.key().stamp,
            version: found.value().clone(),
        };
        match self.direction {
            Direction::Forward => self.chunk.extend(found.take(self.chunk_entries).map(copy)),
            Direction::Reverse => self.chunk.extend(found.rev().take(self.chunk_entries).map(copy)),
        }
        let full = self.chunk.len() == self.chunk_entries;
        self.chunk_entries = if full { (2 * self.chunk_entries).min(CHUNK_ENTRIES_MAX) } else { 0 };
        self.last = self.chunk.back().map(|entry| Position { key: entry.key.clone(), stamp: entry.stamp });
    }
}
