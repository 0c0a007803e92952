//! What the tests of several modules share: entries to try, and tables of them on a simulated disk.

use crate::block::frame::Codec;
use crate::cache::Cache;
use crate::entry::{Direction, Entry, Version, compare};
use crate::fs::Fs;
use crate::fs::sim::Sim;
use crate::levels::Levels;
use crate::merge::Merge;
use crate::source::{KeyRange, Place, Source};
use crate::table::{Meta, Reader, Settings, Writer};
use crate::view::Part;
use crate::{Result, Versionstamp};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;

/// The stamp of a small number.
pub(crate) fn stamp(number: u64) -> Versionstamp {
    Versionstamp::new(number, 0)
}

/// A put of `value` that does not expire.
pub(crate) fn put(value: impl Into<Bytes>) -> Version {
    Version::Put { value: value.into(), expire_at_ms: None }
}

/// An entry of a small number's stamp.
pub(crate) fn entry(key: impl Into<Bytes>, number: u64, version: Version) -> Entry {
    Entry { key: key.into(), stamp: stamp(number), version }
}

/// Sorts entries as sources of `direction` yield them.
pub(crate) fn sorted(mut entries: Vec<Entry>, direction: Direction) -> Vec<Entry> {
    entries
        .sort_by(|left, right| direction.apply(compare((&left.key, left.stamp), (&right.key, right.stamp))));
    entries
}

/// A source of given entries.
pub(crate) struct Listed {
    entries: VecDeque<Entry>,
    direction: Direction,
}

impl Listed {
    /// Sorts them for `direction`.
    pub(crate) fn source(entries: Vec<Entry>, direction: Direction) -> Box<dyn Source> {
        Box::new(Self { entries: sorted(entries, direction).into(), direction })
    }
}

impl Source for Listed {
    fn next(&mut self) -> Result<Option<Entry>> {
        Ok(self.entries.pop_front())
    }

    fn seek(&mut self, place: &Place) -> Result<()> {
        self.entries.retain(|entry| !place.leaves_out(entry, self.direction));
        Ok(())
    }
}

/// Checks that a source of all of `all` goes on right after it was sought to any place, from any
/// entry on.
pub(crate) fn check_seeks(
    all: &[Entry],
    direction: Direction,
    source: impl Fn() -> Box<dyn Source>,
) -> Result<()> {
    let all = sorted(all.to_vec(), direction);
    for (index, entry) in all.iter().enumerate() {
        let places = [
            Place { key: entry.key.clone(), stamp: entry.stamp },
            Place::before(entry.key.clone()),
            Place::after(&entry.key),
        ];
        for place in places {
            let split = all.partition_point(|entry| place.leaves_out(entry, direction));
            for read in [0, split / 2, split.saturating_sub(1), split] {
                let mut source = source();
                for expected in &all[..read] {
                    assert_eq!(source.next()?.as_ref(), Some(expected));
                }
                source.seek(&place)?;
                assert_eq!(
                    drain(source)?,
                    all[split..],
                    "entry {index}, {read} read, then sought to {place:?}"
                );
            }
        }
    }
    Ok(())
}

/// All entries of `levels` in `range`.
pub(crate) fn of_levels(levels: &Arc<Levels>, range: &KeyRange, direction: Direction) -> Merge<Part> {
    let mut cursors = Vec::new();
    levels.cursors(range, direction, &mut cursors);
    Merge::new(cursors, direction)
}

/// Everything that a source yields.
pub(crate) fn drain(mut source: Box<dyn Source>) -> Result<Vec<Entry>> {
    std::iter::from_fn(|| source.next().transpose()).collect()
}

/// The newest version of `key` not newer than `at`, found the obvious way.
pub(crate) fn newest(entries: &[Entry], key: &[u8], at: Versionstamp) -> Option<(Versionstamp, Version)> {
    let versions = entries.iter().filter(|entry| entry.key == key && entry.stamp <= at);
    versions.max_by_key(|entry| entry.stamp).map(|entry| (entry.stamp, entry.version.clone()))
}

/// The entries of `range`, sorted for `direction`, found the obvious way.
pub(crate) fn within(entries: &[Entry], range: &KeyRange, direction: Direction) -> Vec<Entry> {
    let inside = |entry: &&Entry| range.start() <= &entry.key[..] && !range.ends_before(&entry.key);
    sorted(entries.iter().filter(inside).cloned().collect(), direction)
}

/// Keys that share beginnings, hold zeros, and are at times longer than the head of a restart.
pub(crate) fn keys() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(prop_oneof![Just(0), Just(1), Just(b'a'), Just(255)], 1..4);
    let head = prop_oneof![Just(&b""[..]), Just(&b"p"[..]), Just(&b"prefix-of-some-length"[..])];
    (head, tail).prop_map(|(head, tail)| [head, &tail].concat())
}

/// Puts, expiring puts and deletes; some values are longer than a block.
pub(crate) fn versions() -> impl Strategy<Value = Version> {
    let value = (any::<u8>(), prop_oneof![4 => 0..20usize, 1 => 100..300usize]);
    let value = value.prop_map(|(byte, len)| Bytes::from(vec![byte; len]));
    let put = |(value, expire_at_ms)| Version::Put { value, expire_at_ms };
    let expiry = prop_oneof![2 => Just(None), 1 => (0..20u64).prop_map(Some)];
    prop_oneof![3 => (value, expiry).prop_map(put), 1 => Just(Version::Delete)]
}

/// Entries at stamps from 1 to `stamp_max`, in internal order.
pub(crate) fn entries(stamp_max: u64, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::btree_map((keys(), 1..=stamp_max), versions(), count).prop_map(|map: BTreeMap<_, _>| {
        let entries = map.into_iter().map(|((key, at), version)| entry(key, at, version));
        sorted(entries.collect(), Direction::Forward)
    })
}

/// Small blocks, so that a few entries make many.
pub(crate) const SMALL: Settings = Settings { block_bytes: 64, codec: Codec::Lz4 };

/// A directory for tables on a simulated disk.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) sim: Sim,
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) numbers: Arc<AtomicU64>,
}

impl Tables {
    pub(crate) fn new() -> Result<Self, std::io::Error> {
        Self::with_cache(1 << 20)
    }

    pub(crate) fn with_cache(bytes: u64) -> Result<Self, std::io::Error> {
        let sim = Sim::new();
        sim.create_dir_all(Self::dir())?;
        let fs: Arc<dyn Fs> = Arc::new(sim.clone());
        Ok(Self { sim, fs, cache: Arc::new(Cache::new(bytes)), numbers: Arc::default() })
    }

    pub(crate) fn dir() -> &'static Path {
        Path::new("/tables")
    }

    /// Writes a table.
    pub(crate) fn write(&self, entries: &[Entry], settings: Settings) -> Result<Meta> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut writer = Writer::create(&self.fs, Self::dir(), number, settings)?;
        entries.iter().try_for_each(|entry| writer.add(entry))?;
        writer.finish()
    }

    /// Opens a table that was written.
    pub(crate) fn open(&self, meta: Meta) -> Result<Arc<Reader>> {
        Reader::open(&self.fs, Self::dir(), meta, Arc::clone(&self.cache)).map(Arc::new)
    }

    /// Writes a table of small blocks and opens it.
    pub(crate) fn table(&self, entries: &[Entry]) -> Result<Arc<Reader>> {
        self.open(self.write(entries, SMALL)?)
    }
}
