use super::*;
use crate::block::frame::Codec;
use crate::entry::{Entry, Version};
use crate::erasure::Erasure;
use crate::horizon::{Horizon, Horizons};
use crate::table::Settings;
use crate::testing::{SMALL, Tables, TestResult, entry, put, stamp};

const RAW: Settings = Settings { codec: Codec::Raw, ..SMALL };

/// With one horizon for all keys, and without erasures.
fn below(at: u64, time_ms: u64) -> Bounds {
    let horizons = Horizons::all(Horizon { stamp: stamp(at), time_ms });
    Bounds { horizons: Arc::new(horizons), ..Bounds::default() }
}

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
    assert!(choose(&Levels::empty(), &options(), &Bounds::default(), Pace::default())?.is_none());
    let levels = vec![
        (0, keys(&tables, 0, 9, 5)?),
        (0, keys(&tables, 0, 9, 6)?),
        (1, keys(&tables, 0, 20, 4)?),
        (2, keys(&tables, 0, 200, 3)?),
        (6, keys(&tables, 0, 900, 1)?),
    ];
    assert!(
        choose(&Levels::empty().with(levels, &[]), &options(), &Bounds::default(), Pace::default())?
            .is_none()
    );
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
    let choice = choose(&Levels::empty().with(all, &[]), &options(), &Bounds::default(), Pace::default())?
        .ok_or("a choice")?;
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
    let choice = choose(&Levels::empty().with(all, &[]), &options(), &Bounds::default(), Pace::default())?
        .ok_or("a choice")?;
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
            &Bounds::default(),
            Pace::default(),
        )?
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
    assert!(choose(&levels, &options, &Bounds::default(), Pace::default())?.is_none());
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
        let chosen = |at: u64, time_ms| choose(&levels, &options(), &below(at, time_ms), Pace::default());
        // What hides the rest of the first table may be above the horizon itself.
        assert_eq!(chosen(8, 99)?.is_some(), index == 0, "case {index}: a version above the horizon");
        assert!(chosen(2, 0)?.is_none(), "case {index}: nearly all above the horizon");
        let choice = chosen(9, 70)?.ok_or("a choice")?;
        assert_eq!((choice.from, choice.to, removed(&choice)), (1, 1, digests(&[&table])));
        assert_eq!(chosen(9, 69)?.is_some(), index != 2, "case {index}: half of its entries expired");
    }
    Ok(())
}

#[test]
fn deletes_that_hide_something_below_are_no_garbage() -> TestResult {
    let tables = Tables::new()?;
    let deleted = tables.table(&[entry("a", 9, Version::Delete), entry("b", 9, put(""))])?;
    let (under, beside) =
        (tables.table(&[entry("b", 1, put(""))])?, tables.table(&[entry("c", 1, put(""))])?);
    let chosen = |deeper: &Arc<Reader>| {
        let levels = Levels::empty().with(vec![(1, Arc::clone(&deleted)), (4, Arc::clone(deeper))], &[]);
        choose(&levels, &options(), &below(9, 0), Pace::default()).map(|choice| choice.is_some())
    };
    assert!(!chosen(&under)?);
    assert!(chosen(&beside)?);
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

fn erasure(prefix: &'static str, at: u64) -> Erasure {
    Erasure { prefix: prefix.into(), stamp: stamp(at) }
}

/// With one horizon for all keys.
fn erased(at: u64, erasures: &[Erasure]) -> Bounds {
    Bounds { erasures: Arc::new(erasures.iter().cloned().collect()), ..below(at, 0) }
}

#[test]
fn tables_that_an_erasure_hides_whole_go_at_once_wherever_they_are() -> TestResult {
    let tables = Tables::new()?;
    let table = |keys: [&'static str; 2], at| tables.table(&keys.map(|key| entry(key, at, put(key))));
    let (inside, deep) = (table(["ma", "mz"], 5)?, table(["m", "m1"], 1)?);
    let (newer, across) = (table(["mb", "mc"], 7)?, table(["mz1", "n"], 5)?);
    let all = [(0, &inside), (3, &deep), (0, &newer), (2, &across)];
    let levels = Levels::empty().with(all.map(|(level, table)| (level, Arc::clone(table))).to_vec(), &[]);
    let chosen =
        |at| choose(&levels, &options(), &erased(at, &[erasure("m", 6), erasure("x", 9)]), Pace::default());
    assert!(chosen(5)?.is_none(), "a reader below the erasure");
    let choice = chosen(6)?.ok_or("a choice")?;
    assert_eq!(removed(&choice), digests(&[&inside, &deep]));
    Ok(())
}

#[test]
fn a_table_that_is_erased_in_part_is_rewritten_once() -> TestResult {
    let tables = Tables::new()?;
    // A block for each key, and many index blocks.
    let of = |keys: &[(&'static str, u16)]| -> Result<Arc<Reader>, crate::Error> {
        let with = |key: &'static str, n: u16| {
            entry([key.as_bytes(), &n.to_be_bytes()].concat(), 1, put(vec![7; 60]))
        };
        let all = keys.iter().flat_map(|(key, count)| (0..*count).map(|n| with(key, n)));
        tables.open(tables.write(&all.collect::<Vec<_>>(), RAW)?)
    };
    let (much, little) =
        (of(&[("a", 400), ("m", 400), ("z", 400)])?, of(&[("a", 900), ("m", 100), ("z", 900)])?);
    for (table, due) in [(&much, true), (&little, false)] {
        let levels = Levels::empty().with(vec![(6, Arc::clone(table))], &[]);
        let chosen = |bounds: &Bounds| choose(&levels, &options(), bounds, Pace::default());
        assert_eq!(chosen(&erased(6, &[erasure("m", 6)]))?.is_some(), due);
        assert!(chosen(&erased(5, &[erasure("m", 6)]))?.is_none(), "a reader below the erasure");
        assert!(chosen(&erased(6, &[erasure("m", 1), erasure("x", 3)]))?.is_none(), "it hides nothing here");
    }
    let bounds = erased(6, &[erasure("m", 6)]);
    let dir = Tables::dir();
    let again = Reader::open(&tables.fs, dir, much.meta().clone(), Arc::clone(&tables.cache))?;
    let again = Arc::new(again.written_under(Arc::clone(&bounds.horizons)));
    let levels = Levels::empty().with(vec![(6, again)], &[]);
    assert!(
        choose(&levels, &options(), &bounds, Pace::default())?.is_none(),
        "it was written without what is hidden"
    );
    assert!(bounds.can_forget(&erasure("m", 6), &levels));
    let levels = Levels::empty().with(vec![(0, Arc::clone(&much))], &[]);
    let choice = choose(&levels, &options(), &bounds, Pace::default())?.ok_or("a choice")?;
    assert_eq!((choice.from, choice.to), (0, 1), "level 0 goes as a whole");
    assert!(!bounds.can_forget(&erasure("m", 6), &levels));
    Ok(())
}

#[test]
fn with_very_many_erasures_even_little_garbage_is_worth_a_rewrite() -> TestResult {
    let tables = Tables::new()?;
    let of = |key: &'static str, count: u16| {
        (0..count).map(move |n| entry([key.as_bytes(), &n.to_be_bytes()].concat(), 1, put(vec![7; 60])))
    };
    let all: Vec<Entry> = of("a", 900).chain(of("m", 9)).chain(of("z", 900)).collect();
    let levels = Levels::empty().with(vec![(6, tables.open(tables.write(&all, RAW)?)?)], &[]);
    let erasures = |count: usize| -> Vec<Erasure> {
        let elsewhere = |n: usize| Erasure { prefix: format!("n{n}").into(), stamp: stamp(5) };
        (1..count).map(elsewhere).chain([erasure("m", 5)]).collect()
    };
    assert!(choose(&levels, &options(), &erased(6, &erasures(PASSED_MAX - 1)), Pace::default())?.is_none());
    assert!(choose(&levels, &options(), &erased(6, &erasures(PASSED_MAX)), Pace::default())?.is_some());
    assert!(
        choose(&levels, &options(), &erased(4, &erasures(PASSED_MAX)), Pace::default())?.is_none(),
        "no reader is past them"
    );
    Ok(())
}

#[test]
fn an_erasure_that_a_later_one_covers_is_forgotten() {
    let erasures = [erasure("mm", 3), erasure("m", 5), erasure("mm", 8)];
    let forgotten = |at| {
        let bounds = erased(at, &erasures);
        erasures.each_ref().map(|erasure| bounds.can_forget(erasure, &Levels::empty()))
    };
    assert_eq!(forgotten(2), [false, false, false]);
    assert_eq!(forgotten(8), [true, true, true]);
}
