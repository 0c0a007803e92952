use super::*;
use crate::entry::Entry;
use crate::source::{Entries, Source};
use crate::testing::{
    Tables, TestResult, check_seeks, drain, entries, entry, keys, newest, of_levels, put, stamp, within,
};
use crate::view::Part;
use proptest::prelude::*;

/// Splits entries into levels as flushes and compactions leave them: of each key the newest
/// versions on top.
fn spread(tables: &Tables, all: &[Entry], cuts: [u64; 3]) -> Result<Levels> {
    let mut added = Vec::new();
    let [deep, middle, top] = cuts;
    for (level, low, high) in [(6, 0, deep), (1, deep, middle), (0, middle, top), (0, top, u64::MAX)] {
        let between = |entry: &&Entry| (stamp(low)..stamp(high)).contains(&entry.stamp);
        let part: Vec<Entry> = all.iter().filter(between).cloned().collect();
        let tables_per_level = if level == 0 { 1 } else { 3 };
        for chunk in chunks_of_whole_keys(&part, tables_per_level) {
            added.push((level, tables.table(chunk)?));
        }
    }
    Ok(Levels::empty().with(added, &[]))
}

/// About `count` chunks, none of which shares a key with another.
fn chunks_of_whole_keys(mut entries: &[Entry], count: usize) -> Vec<&[Entry]> {
    let len = entries.len().div_ceil(count).max(1);
    let mut chunks = Vec::new();
    while !entries.is_empty() {
        let last = &entries[len.min(entries.len()) - 1].key;
        let (chunk, rest) = entries.split_at(entries.partition_point(|entry| entry.key <= last));
        chunks.push(chunk);
        entries = rest;
    }
    chunks
}

fn source(levels: &Arc<Levels>, range: &KeyRange, direction: Direction) -> Box<dyn Source> {
    Box::new(Entries::new(of_levels(levels, range, direction)))
}

fn cursors(levels: &Arc<Levels>, range: &KeyRange, direction: Direction) -> Vec<Part> {
    let mut cursors = Vec::new();
    levels.cursors(range, direction, &mut cursors);
    cursors
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn levels_are_a_sorted_map_at_every_stamp_in_both_directions(
        all in entries(8, 0..120),
        bounds in prop::collection::vec(keys(), 2),
    ) {
        let fail = |error: crate::Error| TestCaseError::fail(error.to_string());
        let tables = Tables::new()?;
        let levels = Arc::new(spread(&tables, &all, [3, 5, 7]).map_err(fail)?);
        let single = [&bounds[0][..], &[0]].concat();
        let ranges = [KeyRange::all(), KeyRange::new(&bounds[0], &bounds[1]), KeyRange::new(&bounds[0], &single)];
        for range in &ranges {
            for direction in [Direction::Forward, Direction::Reverse] {
                let found = drain(source(&levels, range, direction)).map_err(fail)?;
                prop_assert_eq!(found, within(&all, range, direction));
            }
        }
        for key in all.iter().map(|entry| &entry.key[..]).chain(bounds.iter().map(Vec::as_slice)) {
            for at in (0..10).map(stamp) {
                let expected = newest(&all, key, at);
                let presence = expected.as_ref().map(|(stamp, version)| (*stamp, version.presence()));
                prop_assert_eq!(levels.newest(key, at).map_err(fail)?, presence);
                prop_assert_eq!(levels.get(key, at).map_err(fail)?, expected);
            }
        }
    }
}

#[test]
fn the_newest_version_wins_also_where_tables_of_level_0_overlap_in_stamps() -> TestResult {
    let tables = Tables::new()?;
    let wide = tables.table(&[entry("a", 9, put("")), entry("k", 2, put("old"))])?;
    let inside = tables.table(&[entry("k", 5, put("new"))])?;
    let levels = Levels::empty().with(vec![(0, wide), (0, inside)], &[]);
    assert_eq!(levels.get(b"k", stamp(9))?, Some((stamp(5), put("new"))));
    assert_eq!(levels.get(b"k", stamp(4))?, Some((stamp(2), put("old"))));
    let newer = tables.table(&[entry("a", 9, put("")), entry("k", 5, put("new"))])?;
    let older = tables.table(&[entry("b", 7, put("")), entry("k", 2, put("old"))])?;
    let levels = Levels::empty().with(vec![(0, newer), (0, older)], &[]);
    assert_eq!(levels.get(b"k", stamp(9))?, Some((stamp(5), put("new"))));
    Ok(())
}

#[test]
fn sources_go_on_where_they_are_sought_to() -> TestResult {
    let all: Vec<Entry> =
        (0..120u8).map(|n| entry(vec![b'k', n / 8], u64::from(8 - n % 8), put(vec![n]))).collect();
    let levels = Arc::new(spread(&Tables::new()?, &all, [3, 5, 7])?);
    for direction in [Direction::Forward, Direction::Reverse] {
        check_seeks(&all, direction, || source(&levels, &KeyRange::all(), direction))?;
    }
    Ok(())
}

#[test]
fn an_edit_adds_removes_and_moves() -> TestResult {
    let tables = Tables::new()?;
    let (one, two) = (tables.table(&[entry("a", 1, put(""))])?, tables.table(&[entry("b", 2, put(""))])?);
    let levels = Levels::empty().with(vec![(0, Arc::clone(&one)), (0, Arc::clone(&two))], &[]);
    assert_eq!(levels.counts(), [2, 0, 0, 0, 0, 0, 0]);
    let moved = levels.with(vec![(2, Arc::clone(&one))], &[one.meta().digest]);
    assert_eq!(moved.counts(), [1, 0, 1, 0, 0, 0, 0]);
    assert_eq!((moved.bytes(2), moved.bytes(1)), (one.meta().bytes, 0));
    assert_eq!(moved.with(vec![], &[one.meta().digest, two.meta().digest]).tables().count(), 0);
    assert_eq!(levels.counts(), [2, 0, 0, 0, 0, 0, 0], "what was there is unchanged");
    Ok(())
}

#[test]
fn tables_that_are_no_levels_are_refused() -> TestResult {
    let tables = Tables::new()?;
    let one = tables.table(&[entry("a", 2, put("")), entry("c", 2, put(""))])?;
    let two = tables.table(&[entry("c", 1, put(""))])?;
    let of = |level| Levels::of([(level, Arc::clone(&one)), (level, Arc::clone(&two))]);
    assert!(of(0).is_ok());
    let overlap = Disorder::Overlap(one.meta().digest, two.meta().digest, 1);
    assert_eq!(of(1).map(|levels| levels.counts()), Err(overlap));
    assert_eq!(of(7).map(|levels| levels.counts()), Err(Disorder::Level(7)));
    Ok(())
}

#[test]
fn a_range_of_one_absent_key_opens_no_table() -> TestResult {
    let tables = Tables::new()?;
    let all: Vec<Entry> = (0..200u8).map(|key| entry(vec![key, key], 1, put(""))).collect();
    let levels =
        Arc::new(Levels::empty().with(vec![(0, tables.table(&all)?), (3, tables.table(&all)?)], &[]));
    let opened = |key: u8| {
        let range = KeyRange::new(&[key, 0], &[key, 0, 0]);
        cursors(&levels, &range, Direction::Forward).len()
    };
    let opened: usize = (1..200).map(opened).sum();
    assert!(opened < 20, "{opened} tables for 199 absent keys");
    assert_eq!(cursors(&levels, &KeyRange::new(&[7, 7], &[7, 7, 0]), Direction::Reverse).len(), 2);
    assert_eq!(cursors(&levels, &KeyRange::new(&[9], &[8]), Direction::Forward).len(), 0);
    Ok(())
}

/// A table of 200 keys that begin with `first`.
fn wide(tables: &Tables, first: u8, at: u64) -> Result<Arc<Reader>> {
    let all: Vec<Entry> = (0..200u8).map(|key| entry(vec![first, key], at, put("value"))).collect();
    tables.table(&all)
}

fn filters(levels: &Levels) -> [usize; LEVELS] {
    levels.levels.each_ref().map(|tables| {
        let pinned = tables.iter().filter(|table| table.pinned_filter_bytes() > 0);
        pinned.count()
    })
}

#[test]
fn upper_tables_have_their_filters_and_what_is_pinned_stays_within_its_share() -> TestResult {
    const BYTES: u64 = 24 << 10;
    let tables = Tables::with_cache(BYTES)?;
    let mut levels = Levels::empty();
    for first in 0..60 {
        levels = levels.with(vec![(3, wide(&tables, first, 1)?)], &[]);
    }
    let full = filters(&levels)[3];
    assert!((10..60).contains(&full), "{full} of 60 filters fit");
    for first in 0..5 {
        levels = levels.with(vec![(0, wide(&tables, first, 2 + u64::from(first))?)], &[]);
        let filter = levels.level(0)[0].filter_bytes();
        let pinned = tables.cache.pinned_bytes();
        assert!(pinned <= BYTES / 4 * 3 + filter, "{pinned} bytes are pinned");
    }
    assert_eq!(filters(&levels)[0], 5, "new tables on top have filters");
    assert!(filters(&levels)[3] < full, "at the cost of the deepest level");
    for key in (0..60).flat_map(|first| [[first, 0], [first, 199], [first, 200]]) {
        let expected =
            (key[1] < 200).then(|| (stamp(if key[0] < 5 { 2 + u64::from(key[0]) } else { 1 }), put("value")));
        assert_eq!(levels.get(&key, stamp(99))?, expected);
    }
    Ok(())
}

#[test]
fn filters_come_back_when_there_is_room_again() -> TestResult {
    let tables = Tables::with_cache(4 << 10)?;
    let mut levels = Levels::empty();
    for first in 0..20 {
        levels = levels.with(vec![(1, wide(&tables, first, 1)?)], &[]);
    }
    let with_filter = |levels: &Levels| {
        let tables = levels.level(1).iter().filter(|table| table.pinned_filter_bytes() > 0);
        tables.map(|table| table.meta().digest).collect::<Vec<_>>()
    };
    let before = with_filter(&levels);
    assert!(!before.is_empty() && before.len() < 20, "{} of 20 filters fit", before.len());
    let after = with_filter(&levels.with(vec![], &before));
    assert_eq!(after.len(), before.len(), "others take their place");
    Ok(())
}
