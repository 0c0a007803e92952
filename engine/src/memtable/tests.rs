//! What a memtable promises, checked against sorting everything.

use super::*;
use crate::entry::Entry;
use crate::source::Place;
use crate::testing::{TestResult, check_seeks, drain, entry, newest, put, stamp, versions, within};
use crate::write_batch::KEY_LEN_MAX;
use entries::INLINE_MAX;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

fn filled(entries: &[Entry]) -> Arc<Memtable> {
    let memtable = Memtable::new();
    for Entry { key, stamp, version } in entries {
        memtable.insert(key, *stamp, version.clone());
    }
    Arc::new(memtable)
}

/// Keys that lead to every kind of node: they share nothing, a little or nearly all, begin with one another, end in
/// zeros as the heads of shorter ones do, and have up to the most bytes that a key may have.
fn hard_keys() -> impl Strategy<Value = Vec<u8>> {
    let shared = prop_oneof![
        4 => Just(0),
        4 => Just(1),
        8 => Just(7),
        8 => Just(8),
        16 => 30..34usize,
        1 => Just(KEY_LEN_MAX - 12),
    ];
    let tail = prop::collection::vec(
        prop_oneof![4 => Just(0), 2 => Just(1), 2 => Just(b'k'), 1 => any::<u8>()],
        1..=12,
    );
    (shared, tail).prop_map(|(shared, tail)| [&vec![b'k'; shared], &tail[..]].concat())
}

/// Writes in any order, some of them of one key or of one key and stamp.
fn writes(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Entry>> {
    let key = prop_oneof![5 => hard_keys(), 1 => Just(b"hot".to_vec()), 1 => Just([b'k'; 40].to_vec())];
    let any_order = prop::collection::vec((key, 1..100u64, versions()), count).boxed();
    let sorted = any_order.clone().prop_map(|mut writes| {
        writes.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
        writes
    });
    let reversed = sorted.clone().prop_map(|mut writes| {
        writes.reverse();
        writes
    });
    let writes = prop_oneof![4 => any_order, 1 => sorted, 1 => reversed];
    writes.prop_map(|writes: Vec<_>| {
        writes.into_iter().map(|(key, at, version)| entry(key, at, version)).collect()
    })
}

/// What is left of writes: the last one of each key and stamp.
fn left_of(writes: &[Entry]) -> Vec<Entry> {
    let mut left = BTreeMap::new();
    for write in writes {
        left.insert((write.key.clone(), write.stamp), write.clone());
    }
    left.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_a_sorted_map(all in writes(0..400), other in hard_keys(), start in hard_keys(), end in hard_keys()) {
        let memtable = filled(&all);
        let all = left_of(&all);
        for range in [KeyRange::all(), KeyRange::new(&start, &end)] {
            for direction in [Direction::Forward, Direction::Reverse] {
                let found = drain(memtable.source(range.clone(), direction)).unwrap_or_default();
                prop_assert_eq!(found, within(&all, &range, direction));
            }
        }
        for key in all.iter().map(|entry| &entry.key[..]).chain([&other[..], &start, &end]) {
            for at in [0, 1, 2, 40, 99, 100].map(stamp) {
                let expected = newest(&all, key, at);
                let presence = expected.as_ref().map(|(stamp, version)| (*stamp, version.presence()));
                prop_assert_eq!(memtable.newest(key, at), presence);
                prop_assert_eq!(memtable.get(key, at), expected);
            }
        }
    }
}

#[test]
fn a_key_of_many_versions_is_found_at_each_of_them() -> TestResult {
    let mut all: Vec<Entry> = (0..200u8).map(|key| entry(vec![b'k', key], 1, put(""))).collect();
    all.extend((1..3_000).map(|at| entry(&b"k"[..], at, put(at.to_be_bytes().to_vec()))));
    all.extend((1..3_000).rev().map(|at| entry(&b"kkk"[..], at, put(at.to_be_bytes().to_vec()))));
    let memtable = filled(&all);
    for at in 1..3_000 {
        let expected = Some((stamp(at), put(at.to_be_bytes().to_vec())));
        assert_eq!(
            (memtable.get(b"k", stamp(at)), memtable.get(b"kkk", stamp(at))),
            (expected.clone(), expected)
        );
    }
    for direction in [Direction::Forward, Direction::Reverse] {
        let found = drain(memtable.source(KeyRange::all(), direction))?;
        assert!(found == within(&all, &KeyRange::all(), direction), "{direction:?}");
    }
    Ok(())
}

#[test]
fn a_long_value_is_not_copied_when_it_is_read() {
    let memtable = filled(&[
        entry("long", 1, put(vec![7; INLINE_MAX + 1])),
        entry("short", 1, put(vec![7; INLINE_MAX])),
    ]);
    let value = |key: &str| match memtable.get(key.as_bytes(), stamp(1)) {
        Some((_, Version::Put { value, .. })) => value,
        other => panic!("{key} has a value, not {other:?}"),
    };
    assert_eq!(value("long").as_ptr(), value("long").as_ptr());
    assert_eq!((value("long").len(), value("short").len()), (INLINE_MAX + 1, INLINE_MAX));
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
fn what_entries_take_is_counted_and_little_else() {
    let memtable = Memtable::new();
    for number in 0..20_000u64 {
        let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        memtable.insert(&key, stamp(number), put(vec![7; 100]));
    }
    let written = 20_000 * (8 + 100);
    assert!((written..written * 2).contains(&memtable.bytes()), "{} bytes", memtable.bytes());
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
                    let at = written.load(Ordering::Acquire);
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
            written.store(number, Ordering::Release);
        }
    });
}
