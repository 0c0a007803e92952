use super::*;
use crate::compaction::plan::{Pace, choose};
use crate::entry::Version;
use crate::horizon::{Horizon, Horizons};
use crate::mvcc::{Visible, value};
use crate::source::{Entries, KeyRange};
use crate::testing::{SMALL, Tables, TestResult, drain, entries, entry, of_levels, put, stamp};
use crate::{KeyValue, Versionstamp};
use proptest::prelude::*;

const STAMP_MAX: u64 = 12;
/// More compactions in a row than any of these tests can need.
const STEPS_MAX: usize = 100;

fn horizon(at: u64) -> Bounds {
    let horizon = Horizon { stamp: stamp(at), time_ms: time_of(stamp(at)) };
    Bounds { horizons: Arc::new(Horizons::all(horizon)), ..Bounds::default() }
}

/// The replicated clock at a stamp: it rises with the stamps.
fn time_of(at: Versionstamp) -> u64 {
    at.version() * 2
}

fn options() -> Options {
    Options {
        block_bytes: 64,
        table_bytes: 600,
        level0_tables_max: 2,
        level1_bytes: 1_500,
        ..Options::default()
    }
}

/// Runs one compaction, when one is due.
fn step(tables: &Tables, levels: &Arc<Levels>, bounds: &Bounds) -> Result<Option<Arc<Levels>>> {
    let options = options();
    let Some(choice) = choose(levels, &options, bounds, Pace::default())? else {
        return Ok(None);
    };
    apply(tables, levels, bounds, &choice, &options).map(Some)
}

/// Compacts until nothing is due.
fn settled(tables: &Tables, mut levels: Arc<Levels>, bounds: &Bounds) -> Result<Arc<Levels>> {
    let mut steps = 0;
    while let Some(next) = step(tables, &levels, bounds)? {
        levels = next;
        steps += 1;
        assert!(steps < STEPS_MAX, "compaction comes to an end");
    }
    Ok(levels)
}

fn apply(
    tables: &Tables,
    levels: &Arc<Levels>,
    bounds: &Bounds,
    choice: &Choice,
    options: &Options,
) -> Result<Arc<Levels>> {
    let mut added = Vec::new();
    for meta in run(tables, choice, levels, bounds, options)? {
        added.push((choice.to, tables.open(meta)?));
    }
    Ok(Arc::new(levels.with(added, &choice.removed())))
}

/// Runs a compaction in small steps.
fn run(
    tables: &Tables,
    choice: &Choice,
    levels: &Arc<Levels>,
    bounds: &Bounds,
    options: &Options,
) -> Result<Vec<Meta>> {
    if choice.is_move(options) {
        return Ok(choice.inputs.iter().map(|table| table.meta().clone()).collect());
    }
    let mut rewrite = Rewrite::new(target(tables, options), choice.clone(), Arc::clone(levels), bounds);
    while rewrite.step(100)? {}
    rewrite.finish()
}

fn target(tables: &Tables, options: &Options) -> Target {
    Target {
        fs: Arc::clone(&tables.fs),
        dir: Tables::dir().to_path_buf(),
        numbers: Arc::clone(&tables.numbers),
        options: options.clone(),
    }
}

fn read(levels: &Arc<Levels>, at: Versionstamp, direction: Direction) -> Result<Vec<KeyValue>> {
    let cursor = of_levels(levels, &KeyRange::all(), direction);
    let mut visible = Visible::new(cursor, direction, at, time_of(at));
    std::iter::from_fn(|| visible.next().transpose()).collect()
}

fn stored(levels: &Arc<Levels>) -> Result<Vec<Entry>> {
    drain(Box::new(Entries::new(of_levels(levels, &KeyRange::all(), Direction::Forward))))
}

/// What must be left of `all` when everything was rewritten down to one level.
fn needed(all: &[Entry], bounds: &Bounds) -> Vec<Entry> {
    let mut retention = crate::compaction::retention::Retention::new(bounds.clone());
    all.iter().filter_map(|entry| retention.keep(entry.clone(), |_| false)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn readers_from_the_horizon_on_see_the_same_before_and_after(
        all in entries(STAMP_MAX, 1..150),
        horizons in prop::collection::vec(0..=STAMP_MAX, 4),
    ) {
        let fail = |error: crate::Error| TestCaseError::fail(error.to_string());
        let tables = Tables::new()?;
        let mut levels = Arc::new(Levels::empty());
        let mut oldest = 0;
        // Each part of the history is flushed, then compacted until nothing is due.
        for (part, at) in horizons.iter().enumerate() {
            let (low, high) = (3 * part as u64, 3 * part as u64 + 3);
            let flushed = |entry: &&Entry| entry.stamp > stamp(low) && entry.stamp <= stamp(high);
            let flushed: Vec<Entry> = all.iter().filter(flushed).cloned().collect();
            if flushed.is_empty() {
                continue;
            }
            levels = Arc::new(levels.with(vec![(0, tables.table(&flushed).map_err(fail)?)], &[]));
            oldest = oldest.max(*at.min(&high));
            let mut before: Vec<_> = Vec::new();
            for at in (oldest..=high).map(stamp) {
                before.push(read(&levels, at, Direction::Forward).map_err(fail)?);
            }
            let mut steps = 0;
            while let Some(next) = step(&tables, &levels, &horizon(oldest)).map_err(fail)? {
                levels = next;
                steps += 1;
                prop_assert!(steps < STEPS_MAX, "compaction comes to an end");
                for (at, before) in (oldest..=high).map(stamp).zip(&before) {
                    prop_assert_eq!(&read(&levels, at, Direction::Forward).map_err(fail)?, before);
                    let mut reverse = read(&levels, at, Direction::Reverse).map_err(fail)?;
                    reverse.reverse();
                    prop_assert_eq!(&reverse, before);
                    for found in before {
                        let newest = levels.get(&found.key, at).map_err(fail)?;
                        let seen = newest.and_then(|(stamp, version)| value(stamp, version, time_of(at)));
                        prop_assert_eq!(seen.as_ref(), Some(&found.value));
                    }
                }
            }
        }
    }

    #[test]
    fn a_rewrite_of_everything_leaves_exactly_what_can_be_seen(
        all in entries(STAMP_MAX, 1..120),
        at in 0..=STAMP_MAX,
    ) {
        let fail = |error: crate::Error| TestCaseError::fail(error.to_string());
        let tables = Tables::new()?;
        let table = tables.table(&all).map_err(fail)?;
        let levels = Arc::new(Levels::empty().with(vec![(0, Arc::clone(&table))], &[]));
        let choice = Choice { inputs: vec![table], from: 0, to: 1 };
        let after = apply(&tables, &levels, &horizon(at), &choice, &options()).map_err(fail)?;
        prop_assert_eq!(stored(&after).map_err(fail)?, needed(&all, &horizon(at)));
    }
}

#[test]
fn a_delete_outlives_what_it_hides_in_deeper_levels() -> TestResult {
    let tables = Tables::new()?;
    let levels = Arc::new(Levels::empty().with(
        vec![
            (0, tables.table(&[entry("a", 5, Version::Delete), entry("b", 5, Version::Delete)])?),
            (3, tables.table(&[entry("a", 1, put("old"))])?),
        ],
        &[],
    ));
    let choice = Choice { inputs: levels.level(0).to_vec(), from: 0, to: 1 };
    let after = apply(&tables, &levels, &horizon(9), &choice, &options())?;
    assert_eq!(stored(&after)?, [entry("a", 5, Version::Delete), entry("a", 1, put("old"))]);
    let choice = Choice { inputs: [after.level(1), after.level(3)].concat(), from: 1, to: 3 };
    assert_eq!(stored(&apply(&tables, &after, &horizon(9), &choice, &options())?)?, []);
    Ok(())
}

#[test]
fn overwritten_versions_give_their_space_back() -> TestResult {
    let tables = Tables::new()?;
    let round = |at: u64| -> Vec<Entry> {
        (0..100u8).map(|key| entry(vec![key], at, put(at.to_be_bytes().repeat(6)))).collect()
    };
    let mut levels = Arc::new(Levels::empty());
    for at in 1..=20 {
        levels = Arc::new(levels.with(vec![(0, tables.table(&round(at))?)], &[]));
        levels = settled(&tables, levels, &horizon(at))?;
    }
    let kept = stored(&levels)?.len();
    assert!(kept <= 300, "{kept} entries for 100 keys after 20 rounds");
    Ok(())
}

#[test]
fn tables_written_in_the_order_of_their_keys_only_move() -> TestResult {
    let tables = Tables::new()?;
    let part = |part: u8| -> Vec<Entry> {
        (0..20u8).map(|key| entry(vec![part, key], u64::from(part) + 1, put(vec![key; 50]))).collect()
    };
    let mut levels = Arc::new(Levels::empty());
    for number in 0..12 {
        levels = Arc::new(levels.with(vec![(0, tables.table(&part(number))?)], &[]));
        levels = settled(&tables, levels, &horizon(0))?;
    }
    assert_eq!(tables.sim.files().len(), 12, "nothing was written but by flushes");
    assert!(levels.counts()[2] > 0, "tables went down two levels");
    assert_eq!(stored(&levels)?, (0..12).flat_map(part).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn the_versions_of_a_key_stay_in_one_table() -> TestResult {
    let tables = Tables::new()?;
    let all: Vec<Entry> = (0..6u8)
        .flat_map(|key| (1..=STAMP_MAX).rev().map(move |at| entry(vec![key], at, put(vec![key; 90]))))
        .collect();
    let table = tables.table(&all)?;
    let levels = Arc::new(Levels::empty().with(vec![(0, Arc::clone(&table))], &[]));
    let choice = Choice { inputs: vec![table], from: 0, to: 1 };
    let after = apply(&tables, &levels, &horizon(0), &choice, &options())?;
    assert!(after.level(1).len() > 2, "the output is split");
    assert_eq!(stored(&after)?, all);
    Ok(())
}

#[test]
fn a_damaged_input_stops_it_and_leaves_no_temporary_file() -> TestResult {
    let tables = Tables::new()?;
    let mut all: Vec<Entry> = (0..100u8).map(|key| entry(vec![key], 1, put(vec![key; 50]))).collect();
    all.push(entry(vec![200], 1, Version::Delete));
    let meta = tables.write(&all, SMALL)?;
    tables.sim.flip_bit(&Tables::dir().join(meta.digest.file_name()), 200, 3)?;
    let table = tables.open(meta)?;
    let levels = Levels::empty().with(vec![(0, Arc::clone(&table))], &[]);
    let choice = Choice { inputs: vec![table], from: 0, to: 1 };
    let options = options();
    let failed = run(&tables, &choice, &Arc::new(levels), &horizon(0), &options);
    assert!(matches!(failed, Err(crate::Error::Damaged { .. })));
    assert!(tables.sim.files().iter().all(|(path, _)| path.extension().is_some_and(|ext| ext == "tbl")));
    Ok(())
}
