use super::*;
use crate::block::frame::Codec;
use crate::entry::{Entry, Version};
use crate::table::Settings;
use crate::testing::{SMALL, Tables, TestResult, entry, put, stamp};

const RAW: Settings = Settings { codec: Codec::Raw, ..SMALL };
const NEVER: Horizon = Horizon { stamp: crate::Versionstamp::ZERO, time_ms: 0 };

fn options() -> Options {
    Options { level0_tables_max: 3, level1_bytes: 6_000, ..Options::default() }
}

/// A table of `count` keys from `first` on, about 100 bytes each that do not shrink.
fn keys(tables: &Tables, first: u32, count: u32, at: u64) -> Result<Arc<Reader>, crate::Error> {
    let noise = |n: u32| -> Vec<u8> {
        let bytes = (0..3u32)
            .flat_map(|part| *blake3::hash(&[n.to_be_bytes(), part.to_be_bytes()].concat()).as_bytes());
        bytes.collect()
    };
    let entry = |n: u32| entry(format!("{n:05}"), at, put(noise(n)));
    let all: Vec<Entry> = (first..first + count).map(entry).collect();
    tables.table(&all)
}

fn removed(choice: &Choice) -> Vec<TableDigest> {
    choice.removed()
}

fn digests(tables: &[&Arc<Reader>]) -> Vec<TableDigest> {
    tables.iter().map(|table| table.meta().digest).collect()
}

#[test]
fn levels_within_their_shares_are_left_alone() -> TestResult {
    let tables = Tables::new()?;
    assert!(choose(&Levels::empty(), &options(), NEVER, Pace::default()).is_none());
    let levels = vec![
        (0, keys(&tables, 0, 9, 5)?),
        (0, keys(&tables, 0, 9, 6)?),
        (1, keys(&tables, 0, 20, 4)?),
        (2, keys(&tables, 0, 200, 3)?),
        (6, keys(&tables, 0, 900, 1)?),
    ];
    assert!(choose(&Levels::empty().with(levels, &[]), &options(), NEVER, Pace::default()).is_none());
    Ok(())
}

#[test]
fn a_full_level_0_goes_as_a_whole_with_what_it_overlaps() -> TestResult {
    let tables = Tables::new()?;
    let top = [keys(&tables, 100, 5, 5)?, keys(&tables, 120, 5, 6)?, keys(&tables, 110, 5, 7)?];
    let (before, inside) = (keys(&tables, 90, 10, 1)?, keys(&tables, 107, 2, 1)?);
    let (touching, after) = (keys(&tables, 124, 9, 1)?, keys(&tables, 200, 5, 1)?);
    let mut all: Vec<_> = top.iter().map(|table| (0, Arc::clone(table))).collect();
    all.extend([&before, &inside, &touching, &after].map(|table| (1, Arc::clone(table))));
    let choice =
        choose(&Levels::empty().with(all, &[]), &options(), NEVER, Pace::default()).ok_or("a choice")?;
    assert_eq!((choice.from, choice.to), (0, 1));
    assert_eq!(removed(&choice), digests(&[&top[0], &top[1], &top[2], &inside, &touching]));
    Ok(())
}

#[test]
fn a_full_level_gives_the_table_that_overlaps_least_below() -> TestResult {
    let tables = Tables::new()?;
    let (much, little, none) =
        (keys(&tables, 0, 20, 5)?, keys(&tables, 20, 20, 5)?, keys(&tables, 90, 1, 5)?);
    let (below_much, below_little) = (keys(&tables, 0, 20, 1)?, keys(&tables, 39, 5, 1)?);
    let below_none = keys(&tables, 80, 30, 1)?;
    let all = vec![
        (1, Arc::clone(&much)),
        (1, Arc::clone(&little)),
        (1, Arc::clone(&none)),
        (2, Arc::clone(&below_much)),
        (2, Arc::clone(&below_little)),
        (2, below_none),
    ];
    let choice =
        choose(&Levels::empty().with(all, &[]), &options(), NEVER, Pace::default()).ok_or("a choice")?;
    assert_eq!((choice.from, choice.to), (1, 2));
    assert_eq!(removed(&choice), digests(&[&little, &below_little]));
    Ok(())
}

#[test]
fn the_level_that_is_furthest_over_its_share_goes_first() -> TestResult {
    let tables = Tables::new()?;
    let twice = vec![(1, keys(&tables, 0, 80, 4)?)];
    let level0 = |count: u64| (0..count).map(|at| Ok((0, keys(&tables, 0, 1, at + 5)?)));
    let with = |count| -> Result<Option<u8>, crate::Error> {
        let added = level0(count).collect::<Result<Vec<_>, crate::Error>>()?;
        Ok(choose(
            &Levels::empty().with(twice.clone(), &[]).with(added, &[]),
            &options(),
            NEVER,
            Pace::default(),
        )
        .map(|it| it.from))
    };
    assert_eq!(with(3)?, Some(1));
    assert_eq!(with(9)?, Some(0));
    Ok(())
}

#[test]
fn the_deepest_level_is_never_too_full() -> TestResult {
    let tables = Tables::new()?;
    let options = Options { level1_bytes: 1, ..options() };
    let levels = Levels::empty().with(vec![(6, keys(&tables, 0, 100, 1)?)], &[]);
    assert!(choose(&levels, &options, NEVER, Pace::default()).is_none());
    Ok(())
}

#[test]
fn a_table_of_much_garbage_is_rewritten_once_the_horizon_has_passed_it() -> TestResult {
    let tables = Tables::new()?;
    let hidden: Vec<Entry> = (0..9u64).rev().map(|at| entry("k", at + 1, put(""))).collect();
    let deleted = [entry("a", 9, Version::Delete), entry("b", 1, put("")), entry("c", 1, put(""))];
    let expiring = |key, at| entry(key, 9, Version::Put { value: "".into(), expire_at_ms: Some(at) });
    let expired = [expiring("a", 50), expiring("b", 70)];
    let cases = [&hidden[..], &deleted[..], &expired[..]];
    for (index, entries) in cases.iter().enumerate() {
        let table = tables.table(entries)?;
        let levels = Levels::empty().with(vec![(1, Arc::clone(&table))], &[]);
        let chosen = |at: u64, time_ms| {
            choose(&levels, &options(), Horizon { stamp: stamp(at), time_ms }, Pace::default())
        };
        assert!(chosen(8, 99).is_none(), "case {index}: a version above the horizon");
        let choice = chosen(9, 70).ok_or("a choice")?;
        assert_eq!((choice.from, choice.to, removed(&choice)), (1, 1, digests(&[&table])));
        assert_eq!(chosen(9, 69).is_some(), index != 2, "case {index}: half of its entries expired");
    }
    Ok(())
}

#[test]
fn deletes_that_hide_something_below_are_no_garbage() -> TestResult {
    let tables = Tables::new()?;
    let deleted = tables.table(&[entry("a", 9, Version::Delete), entry("b", 9, put(""))])?;
    let (under, beside) =
        (tables.table(&[entry("b", 1, put(""))])?, tables.table(&[entry("c", 1, put(""))])?);
    let chosen = |below: &Arc<Reader>| {
        let levels = Levels::empty().with(vec![(1, Arc::clone(&deleted)), (4, Arc::clone(below))], &[]);
        choose(&levels, &options(), Horizon { stamp: stamp(9), time_ms: 0 }, Pace::default()).is_some()
    };
    assert!(!chosen(&under));
    assert!(chosen(&beside));
    Ok(())
}

#[test]
fn only_tables_that_share_no_key_and_hold_no_garbage_are_moved() -> TestResult {
    let tables = Tables::new()?;
    let options = Options { table_bytes: 2_000, ..options() };
    let is_move = |inputs: &[&Arc<Reader>], to| {
        Choice { inputs: inputs.iter().map(|table| Arc::clone(table)).collect(), from: 0, to }
            .is_move(&options)
    };
    let (low, high) = (keys(&tables, 0, 9, 1)?, keys(&tables, 9, 9, 2)?);
    assert!(is_move(&[&high, &low], 1) && is_move(&[&low], 1));
    assert!(!is_move(&[&low], 0), "a rewrite in place");
    assert!(!is_move(&[&low, &high, &keys(&tables, 17, 9, 3)?], 1), "a shared key");
    assert!(!is_move(&[&low, &keys(&tables, 30, 1, 1)?], 1), "a small table");
    let value = |expire_at_ms| Version::Put { value: vec![7; 900].into(), expire_at_ms };
    let written = |entries: &[Entry]| tables.open(tables.write(entries, RAW)?);
    let garbage = [
        [entry("x", 2, value(None)), entry("x", 1, value(None))],
        [entry("x", 2, value(Some(5))), entry("y", 1, value(None))],
        [entry("x", 2, Version::Delete), entry("y", 1, value(None))],
    ];
    for entries in garbage {
        assert!(!is_move(&[&written(&entries)?], 1), "{entries:?}");
    }
    let clean = [entry("x", 2, value(None)), entry("y", 1, value(None))];
    assert!(is_move(&[&written(&clean)?], 1));
    Ok(())
}
