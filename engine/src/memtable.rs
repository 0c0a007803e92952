//! The newest writes, in memory, in internal order.
//!
//! - One writer, any number of readers, none of which waits.
//! - An entry is never removed: a memtable grows until it is flushed and dropped as a whole.
//! - Readers may see entries newer than their stamp; whoever reads at a stamp skips those.

use crate::entry::{Direction, Entry, Version, compare};
use crate::source::{KeyRange, Place, Source};
use crate::{Result, Versionstamp};
use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering as Memory};

/// Memory that one entry takes besides its key and value, in bytes: 163 as resident memory of half
/// a million entries of 16 + 100 bytes, rounded up.
const ENTRY_OVERHEAD_BYTES: usize = 192;
/// Entries that a source copies at a time: the first chunk, which then doubles.
const CHUNK_ENTRIES_MIN: usize = 4;
/// Entries that a source copies at a time, at most.
const CHUNK_ENTRIES_MAX: usize = 64;

/// A sorted map of (key, stamp) to what that commit wrote.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    map: SkipMap<Place, Version>,
    bytes: AtomicUsize,
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
        self.map.insert(Place { key: Bytes::copy_from_slice(key), stamp }, version);
        self.bytes.fetch_add(bytes, Memory::Relaxed);
    }

    /// The newest version of `key` that is not newer than `at`, and its stamp.
    pub(crate) fn get(&self, key: &[u8], at: Versionstamp) -> Option<(Versionstamp, Version)> {
        let found = self.map.lower_bound::<dyn Placed>(Bound::Included(&(key, at)))?;
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

    /// Its entries in `range`. What is written meanwhile may or may not be among them.
    pub(crate) fn source(self: &Arc<Self>, range: KeyRange, direction: Direction) -> Box<dyn Source> {
        Box::new(MemtableSource {
            memtable: Arc::clone(self),
            range,
            direction,
            chunk: VecDeque::new(),
            chunk_entries: CHUNK_ENTRIES_MIN,
            resume: Resume::Bound,
        })
    }
}

/// A [`Place`] or a borrowed one, so that a look-up copies no key.
trait Placed {
    fn place(&self) -> (&[u8], Versionstamp);
}

impl Placed for Place {
    fn place(&self) -> (&[u8], Versionstamp) {
        self.as_pair()
    }
}

impl Placed for (&[u8], Versionstamp) {
    fn place(&self) -> (&[u8], Versionstamp) {
        *self
    }
}

impl<'a> Borrow<dyn Placed + 'a> for Place {
    fn borrow(&self) -> &(dyn Placed + 'a) {
        self
    }
}

impl Ord for dyn Placed + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(self.place(), other.place())
    }
}

impl PartialOrd for dyn Placed + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Placed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for dyn Placed + '_ {}

/// Copies a few entries at a time, so that it can outlive any borrow of the map.
struct MemtableSource {
    memtable: Arc<Memtable>,
    range: KeyRange,
    direction: Direction,
    chunk: VecDeque<Entry>,
    /// Entries in the next chunk; 0 when there is none.
    chunk_entries: usize,
    resume: Resume,
}

/// Where the next chunk begins.
enum Resume {
    /// At the bound of the range.
    Bound,
    /// After this entry, which was read.
    After(Place),
    /// At this place, see [`Source::seek`].
    At(Place),
}

impl Source for MemtableSource {
    fn next(&mut self) -> Result<Option<Entry>> {
        if self.chunk.is_empty() && self.chunk_entries > 0 {
            self.read_chunk();
        }
        Ok(self.chunk.pop_front())
    }

    fn seek(&mut self, place: &Place) -> Result<()> {
        while self.chunk.front().is_some_and(|entry| place.leaves_out(entry, self.direction)) {
            self.chunk.pop_front();
        }
        if self.chunk.is_empty() && !self.range.begins_past(place, self.direction) {
            self.resume = Resume::At(place.clone());
        }
        Ok(())
    }
}

impl MemtableSource {
    /// Reads the next chunk; a short one is the last.
    fn read_chunk(&mut self) {
        self.chunk_entries = match self.copy_chunk() {
            true => (2 * self.chunk_entries).min(CHUNK_ENTRIES_MAX),
            false => 0,
        };
        if let Some(Entry { key, stamp, .. }) = self.chunk.back() {
            self.resume = Resume::After(Place { key: key.clone(), stamp: *stamp });
        }
    }

    /// Fills the chunk; whether there were entries enough.
    fn copy_chunk(&mut self) -> bool {
        let start = (self.range.start(), Versionstamp::MAX);
        let end = self.range.end().map(|end| (end, Versionstamp::MAX));
        let mut from: Bound<&dyn Placed> = Bound::Included(&start);
        let mut to: Bound<&dyn Placed> = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end));
        match (&self.resume, self.direction) {
            (Resume::Bound, _) => {}
            (Resume::After(place), Direction::Forward) => from = Bound::Excluded(place),
            (Resume::At(place), Direction::Forward) => from = Bound::Included(place),
            (Resume::After(place) | Resume::At(place), Direction::Reverse) => to = Bound::Excluded(place),
        }
        if is_empty(from, to) {
            return false;
        }
        let found = self.memtable.map.range::<dyn Placed, _>((from, to));
        let copy = |found: crossbeam_skiplist::map::Entry<'_, Place, Version>| Entry {
            key: found.key().key.clone(),
            stamp: found.key().stamp,
            version: found.value().clone(),
        };
        match self.direction {
            Direction::Forward => self.chunk.extend(found.take(self.chunk_entries).map(copy)),
            Direction::Reverse => self.chunk.extend(found.rev().take(self.chunk_entries).map(copy)),
        }
        self.chunk.len() == self.chunk_entries
    }
}

/// Whether nothing can stand between the bounds.
fn is_empty(from: Bound<&dyn Placed>, to: Bound<&dyn Placed>) -> bool {
    match (from, to) {
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestResult, check_seeks, drain, entries, entry, keys, newest, put, stamp, within};
    use proptest::prelude::*;
    use std::sync::atomic::AtomicU64;

    fn filled(entries: &[Entry]) -> Arc<Memtable> {
        let memtable = Memtable::new();
        for Entry { key, stamp, version } in entries {
            memtable.insert(key, *stamp, version.clone());
        }
        Arc::new(memtable)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn it_is_a_sorted_map(all in entries(6, 0..200), start in keys(), end in keys()) {
            let memtable = filled(&all);
            for range in [KeyRange::all(), KeyRange::new(&start, &end)] {
                for direction in [Direction::Forward, Direction::Reverse] {
                    let found = drain(memtable.source(range.clone(), direction)).unwrap_or_default();
                    prop_assert_eq!(found, within(&all, &range, direction));
                }
            }
            for key in all.iter().map(|entry| &entry.key[..]).chain([&start[..]]) {
                for at in (0..8).map(stamp) {
                    prop_assert_eq!(memtable.get(key, at), newest(&all, key, at));
                }
            }
        }
    }

    #[test]
    fn a_source_goes_on_where_it_is_sought_to() -> TestResult {
        let all: Vec<Entry> =
            (0..60u8).map(|n| entry(vec![b'k', n / 7], u64::from(n % 7) + 1, put(vec![n]))).collect();
        let memtable = filled(&all);
        for direction in [Direction::Forward, Direction::Reverse] {
            check_seeks(&all, direction, || memtable.source(KeyRange::all(), direction))?;
        }
        Ok(())
    }

    #[test]
    fn a_source_sought_to_before_its_range_begins_with_its_range() -> TestResult {
        let all: Vec<Entry> = (0..9u8).map(|n| entry(vec![n], 1, put(""))).collect();
        let range = KeyRange::new(&[3], &[7]);
        for (direction, outside) in [(Direction::Forward, 1), (Direction::Reverse, 8)] {
            let mut source = filled(&all).source(range.clone(), direction);
            source.seek(&Place::before(vec![outside].into()))?;
            assert_eq!(drain(source)?, within(&all, &range, direction));
        }
        Ok(())
    }

    #[test]
    fn it_knows_about_its_size() {
        let memtable = Memtable::new();
        assert!(memtable.is_empty() && memtable.bytes() == 0);
        for number in [5, 3, 9] {
            memtable.insert(b"k", stamp(number), put(vec![0; 1_000]));
        }
        assert!((3_000..6_000).contains(&memtable.bytes()));
        assert!(!memtable.is_empty());
    }

    #[test]
    fn the_last_write_of_a_commit_to_a_key_counts() {
        let memtable = filled(&[entry("k", 1, put("first")), entry("k", 1, Version::Delete)]);
        assert_eq!(memtable.get(b"k", stamp(1)), Some((stamp(1), Version::Delete)));
    }

    #[test]
    fn a_source_goes_on_while_entries_come_in() -> TestResult {
        let all: Vec<Entry> = (0..200u8).map(|key| entry(vec![key], 1, put("old"))).collect();
        for direction in [Direction::Forward, Direction::Reverse] {
            let memtable = filled(&all);
            let mut source = memtable.source(KeyRange::all(), direction);
            let mut found = Vec::new();
            while let Some(next) = source.next()? {
                memtable.insert(&[next.key[0], 0], stamp(2), put("new"));
                memtable.insert(&next.key, stamp(2), put("new"));
                found.push(next);
            }
            found.retain(|entry| entry.stamp == stamp(1));
            assert_eq!(found, within(&all, &KeyRange::all(), direction));
        }
        Ok(())
    }

    #[test]
    fn readers_see_every_finished_write_while_one_writes() {
        const WRITES: u64 = 5_000;
        let memtable = Memtable::new();
        let written = AtomicU64::new(0);
        let key = |number: u64| (number % 100).to_be_bytes();
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| {
                    loop {
                        let at = written.load(Memory::Acquire);
                        let expected = (at > 0).then(|| (stamp(at), put(at.to_be_bytes().to_vec())));
                        assert_eq!(memtable.get(&key(at), stamp(at)), expected);
                        if at == WRITES {
                            break;
                        }
                    }
                });
            }
            for number in 1..=WRITES {
                memtable.insert(&key(number), stamp(number), put(number.to_be_bytes().to_vec()));
                written.store(number, Memory::Release);
            }
        });
    }
}
