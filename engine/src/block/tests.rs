use super::builder::Builder;
use super::*;
use crate::entry::Entry;
use crate::fuzzing;
use crate::source::KeyRange;
use crate::testing::{TestResult, entries, entry, keys, put, sorted, stamp, within};
use proptest::prelude::*;

fn encoded(entries: &[Entry]) -> Bytes {
    let mut builder = Builder::default();
    for Entry { key, stamp, version } in entries {
        builder.add(key, *stamp, version.clone());
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes);
    assert!(builder.is_empty() && builder.bytes() == 0);
    bytes.into()
}

fn collect(mut iter: Iter) -> Result<Vec<Entry>, Malformed> {
    std::iter::from_fn(|| iter.next().transpose()).collect()
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
            prop_assert_eq!(collect(block.iter(direction, None)?)?, sorted(all.clone(), direction));
        }
        let places = all.iter().map(|entry| (entry.key.to_vec(), entry.stamp)).chain([(place, stamp(at))]);
        for (key, at) in places {
            let place = Some((&key[..], at));
            let split = all.partition_point(|entry| entry.cmp_to(&key, at) == Ordering::Less);
            let (before, after) = all.split_at(split);
            prop_assert_eq!(&collect(block.iter(Direction::Forward, place)?)?[..], after);
            prop_assert_eq!(collect(block.iter(Direction::Reverse, place)?)?, sorted(before.to_vec(), Direction::Reverse));
            let through = all[..all.len().min(split + 1)].to_vec();
            prop_assert_eq!(collect(Iter::through(&block, (&key, at))?)?, sorted(through, Direction::Reverse));
            let found = after.first().map(|entry| Found {
                same_key: entry.key == key,
                stamp: entry.stamp,
                version: entry.version.clone(),
            });
            prop_assert_eq!(block.seek(&key, at)?, found);
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
        assert!(collect(block.iter(Direction::Forward, None)?).is_err(), "{entries:?}");
    }
    Ok(())
}

#[test]
fn keys_of_one_beginning_take_little_space() -> TestResult {
    let all: Vec<Entry> = (0..100).map(|n| entry(format!("{}{n:03}", "k".repeat(500)), 1, put(""))).collect();
    assert!(encoded(&all).len() < 500 + 100 * 12);
    let block = Block::open(encoded(&all))?;
    let range = KeyRange::all();
    assert_eq!(collect(block.iter(Direction::Forward, None)?)?, within(&all, &range, Direction::Forward));
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
        assert!(collect(block.iter(Direction::Reverse, None)?).is_err(), "a restart at {offset}");
    }
    Ok(())
}
