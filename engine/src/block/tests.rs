use super::builder::Builder;
use super::walk::Walk;
use super::*;
use crate::entry::{Direction, Entry};
use crate::fuzzing;
use crate::source::KeyRange;
use crate::testing::{TestResult, entries, entry, keys, put, sorted, stamp, within};
use proptest::prelude::*;

fn encoded(entries: &[Entry]) -> Bytes {
    let mut builder = Builder::new();
    for Entry { key, stamp, version } in entries {
        builder.add(key, *stamp, version.clone());
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes);
    assert!(builder.is_empty() && builder.bytes() == 0);
    bytes.into()
}

/// Where a walk begins.
#[derive(Clone, Copy)]
enum From<'a> {
    Start,
    At(&'a [u8], Versionstamp),
    Through(&'a [u8], Versionstamp),
}

fn walk(block: &Block, direction: Direction, from: From<'_>) -> Result<Vec<Entry>, Malformed> {
    let mut walk = Walk::new(block.clone(), direction);
    let mut found = match from {
        From::Start => walk.next()?,
        From::At(key, stamp) => walk.seek((key, stamp))?,
        From::Through(key, stamp) => walk.seek_through((key, stamp))?,
    };
    let mut rows = Vec::new();
    while found {
        let key = Bytes::copy_from_slice(walk.key());
        rows.push(Entry { key, stamp: walk.stamp(), version: walk.version() });
        found = walk.next()?;
    }
    Ok(rows)
}

#[test]
fn the_format_is_frozen() {
    let entries = [
        entry("pre-a", 0x0205, put("value")),
        entry("pre-a", 0x0201, Version::Delete),
        Entry {
            key: Bytes::from_static(b"pre-ab"),
            stamp: Versionstamp::new(0x0301, 0x0102),
            version: Version::Put { value: Bytes::from_static(b"v"), expire_at_ms: Some(300) },
        },
    ];
    let expected: &[u8] = b"\x03\0\0\0\x01\x02\0\0\0\0\0\0\x05\0pre-a\
        \x01\0\0\x04\0\x05value\
        \x02\0\0\0\0\
        \x03\0\x01\x80\x02\x82\x02\xac\x02\x01bv\
        \0\0\0\0\0\0\0\0\x13\0\0\0\
        \x01\0\0\0";
    assert_eq!(&encoded(&entries)[..], expected);
}

proptest! {
    #[test]
    fn it_is_a_sorted_list(all in entries(4, 1..60), place in keys(), at in 0..6u64) {
        let block = Block::open(encoded(&all))?;
        for direction in [Direction::Forward, Direction::Reverse] {
            prop_assert_eq!(walk(&block, direction, From::Start)?, sorted(all.clone(), direction));
        }
        let places = all.iter().map(|entry| (entry.key.to_vec(), entry.stamp)).chain([(place, stamp(at))]);
        for (key, at) in places {
            let split = all.partition_point(|entry| compare((&entry.key, entry.stamp), (&key, at)) == Ordering::Less);
            let (before, after) = all.split_at(split);
            let reverse = |entries: &[Entry]| sorted(entries.to_vec(), Direction::Reverse);
            let place = From::At(&key, at);
            prop_assert_eq!(&walk(&block, Direction::Forward, place)?[..], after);
            prop_assert_eq!(walk(&block, Direction::Reverse, place)?, reverse(before));
            let through = From::Through(&key, at);
            prop_assert_eq!(&walk(&block, Direction::Forward, through)?[..], after);
            prop_assert_eq!(walk(&block, Direction::Reverse, through)?, reverse(&all[..all.len().min(split + 1)]));
            let found = block.seek(&key, at)?;
            prop_assert_eq!(found.is_some(), !after.is_empty());
            if let (Some(found), Some(entry)) = (found, after.first()) {
                prop_assert_eq!(found.same_key, entry.key == key);
                prop_assert_eq!((found.stamp(), found.version()), (entry.stamp, entry.version.clone()));
                prop_assert_eq!(found.presence(), entry.version.presence());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_block_never_panic(all in entries(4, 1..20), at: prop::sample::Index, byte: u8) {
        let mut bytes = encoded(&all).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        fuzzing::table_block(&bytes);
        fuzzing::table_block(&bytes[..at]);
    }
}

#[test]
fn entries_out_of_order_are_found_going_forward() -> TestResult {
    let good = [entry("a", 2, put("")), entry("b", 1, put(""))];
    let wrong = [
        vec![good[1].clone(), good[0].clone()],
        vec![good[0].clone(), good[0].clone()],
        vec![entry("a", 1, put("")), entry("a", 2, put(""))],
        (0..20).rev().map(|key| entry(vec![key], 1, put(""))).collect(),
    ];
    for entries in wrong {
        let block = Block::open(encoded(&entries))?;
        assert!(walk(&block, Direction::Forward, From::Start).is_err(), "{entries:?}");
    }
    Ok(())
}

#[test]
fn keys_of_one_beginning_take_little_space() -> TestResult {
    let all: Vec<Entry> = (0..100).map(|n| entry(format!("{}{n:03}", "k".repeat(500)), 1, put(""))).collect();
    assert!(encoded(&all).len() < 500 + 100 * 12);
    let block = Block::open(encoded(&all))?;
    let range = KeyRange::all();
    assert_eq!(walk(&block, Direction::Forward, From::Start)?, within(&all, &range, Direction::Forward));
    Ok(())
}

#[test]
fn restarts_that_are_no_rows_are_found_in_reverse() -> TestResult {
    let all: Vec<Entry> = (0..20u8).map(|n| entry(vec![b'k', n], 1, put("value"))).collect();
    let sound = encoded(&all);
    let second = sound.len() - 4 - 2 * RESTART_LEN + HEAD_LEN;
    for offset in [sound[second] - 1, sound[second] + 1, sound[second] + 5] {
        let mut bytes = sound.to_vec();
        bytes[second] = offset;
        let block = Block::open(bytes.into())?;
        assert!(walk(&block, Direction::Reverse, From::Start).is_err(), "a restart at {offset}");
    }
    Ok(())
}
