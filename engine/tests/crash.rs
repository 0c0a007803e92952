//! A workload is stopped at every sync and at every write; after each stop, recovery must give every
//! acknowledged commit and nothing that is not a prefix of the commit order.

mod canary;
mod recovery;
mod workload;

use crate::TestResult;
use crate::support::{Model, check, in_parallel, small};
use engine::env::sim;
use engine::fs::sim::{Faults, Unsynced};
use engine::{Engine, WriteBatch};
use recovery::crash_and_check;
use std::path::Path;
use workload::measure;

const DIR: &str = "/data";

/// Where the power goes, and what is left.
struct Point {
    seed: u64,
    faults: Faults,
    unsynced: Unsynced,
}

/// Crashes at each of `points`; how many there were.
fn crash_at(points: &[Point]) -> Result<usize, String> {
    let crash = |point: &Point| {
        let Point { seed, faults, unsynced } = point;
        crash_and_check(*seed, faults.clone(), *unsynced)
            .map_err(|error| format!("seed {seed}, {faults:?}, {unsynced:?}: {error}"))
    };
    in_parallel(points, crash).into_iter().collect::<Result<Vec<()>, String>>()?;
    Ok(points.len())
}

/// What a crash may leave of unsynced writes: nothing, all, and some of it.
fn leftovers(point: u64) -> [Unsynced; 5] {
    [
        Unsynced::Lost,
        Unsynced::Kept,
        Unsynced::Torn(point),
        Unsynced::Reordered(point),
        Unsynced::Torn(point ^ 0xffff),
    ]
}

/// How many seeds to run; `./soak` asks for more.
fn seeds() -> u64 {
    std::env::var("CAIRN_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes_at_any_sync() -> TestResult {
    let at_sync = |seed, sync| {
        let faults = Faults { stop_at_sync: Some(sync), ..Faults::default() };
        leftovers(sync).map(|unsynced| Point { seed, faults: faults.clone(), unsynced })
    };
    let of_seed = |seed| (1..=measure(seed).0.syncs).flat_map(move |sync| at_sync(seed, sync));
    let points: Vec<_> = (0..seeds()).flat_map(of_seed).collect();
    let points = crash_at(&points)?;
    println!("{points} crashes at syncs: no acknowledged commit lost, no half commit seen");
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes_at_any_write() -> TestResult {
    let at_op = |seed, op: u64| {
        let faults = Faults { stop_at_op: Some(op), ..Faults::default() };
        let [_, kept, torn, reordered, _] = leftovers(op);
        [torn, reordered, if op.is_multiple_of(2) { kept } else { Unsynced::Torn(!op) }]
            .map(|unsynced| Point { seed, faults: faults.clone(), unsynced })
    };
    let of_seed = |seed| (1..=measure(seed).0.ops).flat_map(move |op| at_op(seed, op));
    let points: Vec<_> = (100..100 + seeds()).flat_map(of_seed).collect();
    let points = crash_at(&points)?;
    println!("{points} crashes at operations: no acknowledged commit lost, no half commit seen");
    Ok(())
}

#[test]
fn one_failed_operation_or_read_loses_nothing_that_was_acknowledged() -> TestResult {
    let fails = |seed, faults| Point { seed, faults, unsynced: Unsynced::Lost };
    let of_seed = |seed| {
        let counts = measure(seed).0;
        let ops = (1..=counts.ops).map(|op| Faults { fail_op: Some(op), ..Faults::default() });
        let reads = (1..=counts.reads).map(|read| Faults { fail_read: Some(read), ..Faults::default() });
        ops.chain(reads).map(move |faults| fails(seed, faults))
    };
    let points: Vec<_> = (200..200 + seeds()).flat_map(of_seed).collect();
    let points = crash_at(&points)?;
    println!("{points} failed operations and reads: no acknowledged commit lost, no half commit seen");
    Ok(())
}

#[test]
fn a_full_disk_stops_writes_and_nothing_else() -> TestResult {
    let (env, disk, _clock) = sim::env(7);
    let (engine, _) = Engine::open(env.clone(), Path::new(DIR), small())?;
    let mut model = Model::default();
    let put = |engine: &Engine, n: u32| {
        let mut batch = WriteBatch::new();
        batch.put(&n.to_be_bytes(), &[7; 100], None)?;
        engine.commit(batch.clone()).map(|stamp| (stamp, batch))
    };
    for n in 0..50 {
        let (stamp, batch) = put(&engine, n)?;
        model.commit(stamp, engine.applied().time_ms, &batch);
    }
    let used: u64 = disk.files().iter().map(|(_, len)| len).sum();
    disk.set_faults(Faults { capacity: Some(used + (64 << 10)), ..Faults::default() });
    let mut refused = None;
    for n in 50..100_000 {
        match put(&engine, n) {
            Ok((stamp, batch)) => model.commit(stamp, engine.applied().time_ms, &batch),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert!(matches!(refused, Some(engine::Error::DiskFull { .. })), "{refused:?}");
    check(&engine.snapshot(), &model)?;
    engine.maintain()?;
    disk.set_faults(Faults::default());
    engine.maintain()?;
    let (stamp, batch) = put(&engine, 7)?;
    model.commit(stamp, engine.applied().time_ms, &batch);
    drop(engine);
    check(&Engine::open(env, Path::new(DIR), small())?.0.snapshot(), &model)
}
