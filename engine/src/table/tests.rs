use super::*;
use crate::block::frame::Codec;
use crate::block::walk::Walk;
use crate::entry::{Direction, Entry, Version};
use crate::fs::Fs;
use crate::fs::sim::{Faults, Unsynced};
use crate::source::{Entries, KeyRange, Place, Source};
use crate::testing::{
    SMALL, Tables, TestResult, check_seeks, drain, entries, entry, keys, newest, put, stamp, within,
};
use crate::{Error, Versionstamp};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

fn get(table: &Reader, key: &[u8], at: Versionstamp) -> crate::Result<Option<(Versionstamp, Version)>> {
    table.get(&Probe::new(key), at, |found| (found.stamp(), found.version()))
}

fn source(table: &Arc<Reader>, range: KeyRange, direction: Direction, caching: Caching) -> Box<dyn Source> {
    Box::new(Entries::new(table.source(range, direction, caching)))
}

/// Everything in the table, both ways, by key and at every stamp up to `stamp_max`.
fn check_reads(table: &Arc<Reader>, all: &[Entry], stamp_max: u64, bounds: &[Vec<u8>]) -> crate::Result<()> {
    let mut ranges = vec![KeyRange::all()];
    for start in bounds {
        ranges.extend(bounds.iter().map(|end| KeyRange::new(start, end)));
        ranges.push(KeyRange::new(start, &[start, &[0][..]].concat()));
    }
    for range in &ranges {
        for direction in [Direction::Forward, Direction::Reverse] {
            for caching in [Caching::Keep, Caching::Pass] {
                let found = drain(source(table, range.clone(), direction, caching))?;
                assert_eq!(found, within(all, range, direction), "{:?} {:?}", range, direction);
            }
        }
    }
    for key in all.iter().map(|entry| &entry.key[..]).chain(bounds.iter().map(Vec::as_slice)) {
        for at in (0..=stamp_max).map(stamp).chain([Versionstamp::MAX]) {
            assert_eq!(get(table, key, at)?, newest(all, key, at));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_is_a_sorted_map_at_every_stamp_in_both_directions(
        all in entries(5, 1..150),
        bounds in prop::collection::vec(keys(), 3),
        block_bytes in prop_oneof![Just(1usize), Just(64), Just(4096)],
        codec in prop_oneof![Just(Codec::Raw), Just(Codec::Lz4), Just(Codec::Zstd)],
    ) {
        let tables = Tables::new()?;
        let settings = Settings { block_bytes, codec };
        let table = tables.write(&all, settings).and_then(|meta| tables.open(meta));
        let fail = |error: Error| TestCaseError::fail(error.to_string());
        let table = table.map_err(fail)?;
        check_reads(&table, &all, 5, &bounds).map_err(fail)?;
        prop_assert_eq!(table.meta().entries, all.len() as u64);
        prop_assert!(table.verify().is_ok());
    }
}

/// Enough blocks for several index blocks.
fn many() -> Vec<Entry> {
    (0..1_000u32).map(|n| entry(format!("key-{n:05}"), u64::from(n % 7 + 1), put(vec![7; 40]))).collect()
}

#[test]
fn an_index_of_several_blocks_leads_to_every_entry() -> TestResult {
    let tables = Tables::new()?;
    let table = tables.table(&many())?;
    let index_blocks = drain_index(&table)?;
    assert!(index_blocks > 3, "{index_blocks} index blocks");
    check_reads(&table, &many(), 8, &[b"key-00500".to_vec(), b"key-007".to_vec(), b"z".to_vec()])?;
    Ok(())
}

fn drain_index(table: &Reader) -> Result<usize, crate::codec::Malformed> {
    let mut walk = Walk::new(table.top().clone(), Direction::Forward);
    let mut count = 0;
    while walk.next()? {
        count += 1;
    }
    Ok(count)
}

#[test]
fn a_source_goes_on_where_it_is_sought_to() -> TestResult {
    let all: Vec<Entry> =
        (0..150u8).map(|n| entry(vec![b'k', n / 9], u64::from(9 - n % 9), put(vec![n; 20]))).collect();
    let table = Tables::new()?.table(&all)?;
    for direction in [Direction::Forward, Direction::Reverse] {
        check_seeks(&all, direction, || source(&table, KeyRange::all(), direction, Caching::Keep))?;
    }
    Ok(())
}

#[test]
fn a_source_sought_to_before_its_range_begins_with_its_range() -> TestResult {
    let all: Vec<Entry> = (0..90u8).map(|n| entry(vec![n], 1, put(""))).collect();
    let table = Tables::new()?.table(&all)?;
    let range = KeyRange::new(&[30], &[70]);
    for (direction, outside) in [(Direction::Forward, 10), (Direction::Reverse, 80)] {
        let mut source = source(&table, range.clone(), direction, Caching::Keep);
        source.seek(&Place::before(vec![outside].into()))?;
        assert_eq!(drain(source)?, within(&all, &range, direction));
    }
    Ok(())
}

#[test]
fn many_versions_of_one_key_are_found_each() -> TestResult {
    let tables = Tables::new()?;
    let all: Vec<Entry> =
        (1..=2_000u64).rev().map(|at| entry("k", at, put(at.to_be_bytes().to_vec()))).collect();
    let table = tables.table(&all)?;
    for at in [0, 1, 2, 777, 1_999, 2_000, 2_001] {
        assert_eq!(get(&table, b"k", stamp(at))?, newest(&all, b"k", stamp(at)));
    }
    assert_eq!(table.footer().keys, 1);
    Ok(())
}

#[test]
fn a_large_value_is_a_block_of_its_own() -> TestResult {
    let tables = Tables::new()?;
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let all = [entry("a", 1, put("small")), entry("b", 1, put(noise)), entry("c", 1, put("small"))];
    check_reads(&tables.table(&all)?, &all, 2, &[b"b".to_vec()])?;
    Ok(())
}

#[test]
fn the_footer_counts_what_is_in_the_table() -> TestResult {
    let expiring = |at| Version::Put { value: Bytes::from_static(b"12"), expire_at_ms: Some(at) };
    let all = [
        entry("a", 9, expiring(30)),
        entry("a", 3, Version::Delete),
        entry("b", 5, expiring(10)),
        entry("c", 4, expiring(20)),
        entry("d", 7, put("123")),
    ];
    let table = Tables::new()?.table(&all)?;
    let footer = table.footer();
    assert_eq!((footer.entries, footer.keys, footer.deletes, footer.expiring), (5, 4, 1, 3));
    assert_eq!((footer.half_expired_ms, footer.content_bytes), (20, 5 + 2 + 2 + 2 + 3));
    assert_eq!((footer.first_stamp, footer.last_stamp), (stamp(3), stamp(9)));
    assert_eq!((&footer.first_key[..], &footer.last_key[..]), (&b"a"[..], &b"d"[..]));
    assert!(footer.agrees_with(table.meta()));
    Ok(())
}

/// A whole table of two compressed blocks, as this format wrote it when it was new.
const FROZEN: &str = "\
    434149524e54424c010000000000000001020000300000008400000008e942cb640300000001000100b0010001010003\
    616e65770215008f010001020050627a01003c13616f00800e00000001000000020200001a000000270000003e165b10\
    2601000100310100620f00340210401500800f00000001000000020200001a00000027000000e9a24421260100010031\
    0100620f003402502a1500800f00000001000000030100002400000024000000ec6badc00100000000000000c15c0289\
    ec2d0a9104000000040000000000003f000000fd00000000040100005f0000005f00000002c695080300000000000000\
    020000000000000001000000000000000000000000000000000000000000000056000000000000000000000000000001\
    0000000000000000000300000100610100627a2a01a40134010000010000000000000002000001d8000000000000006f\
    00000028622042434149524e454e44\
";

#[test]
fn the_format_is_frozen() -> TestResult {
    let digits: Vec<u8> =
        FROZEN.chars().filter_map(|c| c.to_digit(16)).map(u8::try_from).collect::<Result<_, _>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    assert_eq!(&bytes[..16], b"CAIRNTBL\x01\0\0\0\0\0\0\0");
    let all = [entry("a", 2, put("new")), entry("a", 1, Version::Delete), entry("b", 3, put(vec![b'z'; 80]))];
    let meta = Meta {
        digest: TableDigest(*blake3::hash(&bytes).as_bytes()),
        bytes: bytes.len() as u64,
        entries: 3,
        first_key: Bytes::from_static(b"a"),
        last_key: Bytes::from_static(b"b"),
        first_stamp: stamp(1),
        last_stamp: stamp(3),
    };
    let tables = Tables::new()?;
    let path = Tables::dir().join(meta.digest.file_name());
    tables.sim.create(&path)?.write_at(&bytes, 0)?;
    let table = tables.open(meta.clone())?;
    table.verify()?;
    check_reads(&table, &all, 4, &[b"b".to_vec()])?;
    let written = Tables::new()?;
    assert_eq!(written.write(&all, SMALL)?, meta, "what is written now is the same");
    Ok(())
}

#[test]
fn the_same_entries_make_the_same_file() -> TestResult {
    let tables = Tables::new()?;
    let (one, two) = (tables.write(&many(), SMALL)?, tables.write(&many(), SMALL)?);
    assert_eq!(one, two);
    assert_eq!(tables.sim.files().len(), 1);
    Ok(())
}

#[test]
fn every_flipped_bit_is_reported_or_harmless() -> TestResult {
    let tables = Tables::new()?;
    let all: Vec<Entry> =
        (0..12u8).map(|n| entry(vec![b'k', n], u64::from(n) + 1, put(vec![n; 30]))).collect();
    let meta = tables.write(&all, SMALL)?;
    let path = Tables::dir().join(meta.digest.file_name());
    let mut caught = 0;
    for offset in 0..meta.bytes {
        for bit in 0..8 {
            tables.sim.flip_bit(&path, offset, bit)?;
            let read = tables.open(meta.clone()).and_then(|table| {
                assert!(table.verify().is_err(), "the digest covers byte {offset}");
                drain(source(&table, KeyRange::all(), Direction::Forward, Caching::Keep))
            });
            match read {
                Ok(found) => assert_eq!(found, all, "byte {offset} bit {bit} went unnoticed and mattered"),
                Err(Error::Damaged { path: named, .. }) => {
                    assert_eq!(named, path);
                    caught += 1;
                }
                Err(other) => return Err(other.into()),
            }
            tables.sim.flip_bit(&path, offset, bit)?;
        }
    }
    assert_eq!(caught, 8 * meta.bytes, "every bit of a table is checked by reading it");
    Ok(())
}

#[test]
fn a_table_that_is_missing_cut_or_another_is_refused() -> TestResult {
    let tables = Tables::new()?;
    let meta = tables.write(&many(), SMALL)?;
    let lie = |spoil: fn(&mut Meta)| {
        let mut meta = meta.clone();
        spoil(&mut meta);
        tables.open(meta)
    };
    assert!(matches!(lie(|meta| meta.digest.0[0] ^= 1), Err(Error::Missing { .. })));
    let lies: [fn(&mut Meta); 5] = [
        |meta| meta.bytes += 1,
        |meta| meta.entries += 1,
        |meta| meta.last_key = Bytes::from_static(b"zz"),
        |meta| meta.first_stamp = stamp(0),
        |meta| meta.last_stamp = stamp(99),
    ];
    for spoil in lies {
        assert!(matches!(lie(spoil), Err(Error::Damaged { .. })));
    }
    let path = Tables::dir().join(meta.digest.file_name());
    for len in [0, 1, 20, meta.bytes / 2, meta.bytes - 1] {
        tables.sim.open_rw(&path)?.set_len(len)?;
        assert!(matches!(lie(|_| ()), Err(Error::Damaged { .. })), "cut to {len}");
    }
    Ok(())
}

#[test]
fn a_finished_table_survives_a_crash_and_an_unfinished_one_leaves_nothing() -> TestResult {
    let tables = Tables::new()?;
    let meta = tables.write(&many(), SMALL)?;
    tables.sim.crash(Unsynced::Lost);
    tables.open(meta)?.verify()?;
    let mut writer = Writer::create(&tables.fs, Tables::dir(), 9, SMALL)?;
    writer.add(&entry("a", 1, put("")))?;
    assert_eq!(tables.sim.files().len(), 2);
    drop(writer);
    assert_eq!(tables.sim.files().len(), 1);
    Ok(())
}

#[test]
fn a_failure_at_any_step_is_an_error_and_leaves_no_table_under_its_name_unsynced() -> TestResult {
    let tables = Tables::new()?;
    tables.sim.set_faults(Faults::default());
    let meta = tables.write(&many(), SMALL)?;
    let ops = tables.sim.counts().ops;
    assert!(ops >= 5, "create, write, sync, rename, sync");
    for op in 1..=ops {
        let tables = Tables::new()?;
        tables.sim.set_faults(Faults { stop_at_op: Some(op), ..Faults::default() });
        assert!(matches!(tables.write(&many(), SMALL), Err(Error::Io { .. })), "operation {op}");
        for unsynced in [Unsynced::Lost, Unsynced::Torn(op)] {
            tables.sim.crash(unsynced);
            let there = tables.sim.files().iter().any(|(path, _)| path.ends_with(meta.digest.file_name()));
            if there {
                tables.open(meta.clone())?.verify()?;
            }
        }
    }
    Ok(())
}

#[test]
fn absent_keys_are_mostly_answered_by_the_filter() -> TestResult {
    let tables = Tables::new()?;
    let table = tables.table(&many())?;
    let before = tables.cache.hits_and_misses();
    for n in 0..1_000u32 {
        assert_eq!(get(&table, format!("key-{n:05}x").as_bytes(), Versionstamp::MAX)?, None);
    }
    let after = tables.cache.hits_and_misses();
    let looked_up = after.0 + after.1 - before.0 - before.1;
    assert!(looked_up < 40, "{looked_up} blocks for 1,000 absent keys");
    Ok(())
}

#[test]
fn a_short_range_reads_few_blocks() -> TestResult {
    let tables = Tables::new()?;
    let table = tables.table(&many())?;
    for direction in [Direction::Forward, Direction::Reverse] {
        let (hits, misses) = tables.cache.hits_and_misses();
        let found =
            drain(source(&table, KeyRange::new(b"key-00500", b"key-00501"), direction, Caching::Keep))?;
        assert_eq!(found.len(), 1);
        let after = tables.cache.hits_and_misses();
        assert!(after.0 + after.1 - hits - misses <= 4);
    }
    Ok(())
}
