//! A workload is stopped at every sync and at every write; after each stop, recovery must give every
//! acknowledged commit and nothing that is not a prefix of the commit order.

use crate::TestResult;
use crate::support::{Model, check, last, small};
use engine::env::sim::{self, SimClock, SimRandom};
use engine::fs::sim::{Counts, Faults, Unsynced};
use engine::{Engine, Env, Options, Record, WriteBatch};
use std::error::Error;
use std::path::Path;

const DIR: &str = "/data";
const STEPS: u64 = 60;

/// A run of the workload up to where the disk stopped.
struct Run {
    /// Every commit that was tried, in order.
    model: Model,
    /// How many of them, from the first on, were acknowledged.
    acknowledged: usize,
}

/// Commits, flushes, compacts, seals and reopens as the seed says, until the disk stops.
fn workload(env: &Env, clock: &SimClock, seed: u64) -> Run {
    let mut run = Run { model: Model::default(), acknowledged: 0 };
    // A stopped disk is what ends most runs: its error says nothing that the check needs.
    let _stopped = steps(env, clock, &SimRandom::new(seed), &mut run);
    run
}

fn steps(env: &Env, clock: &SimClock, random: &SimRandom, run: &mut Run) -> engine::Result<()> {
    let open = || Engine::open(env.clone(), Path::new(DIR), options()).map(|(engine, _)| engine);
    let mut engine = open()?;
    for _ in 0..STEPS {
        clock.advance(random.below(300));
        match random.below(20) {
            0 => engine.flush()?,
            1 => {
                engine.compact()?;
            }
            2 => engine.seal_segment()?,
            3 => {
                drop(engine);
                engine = open()?;
            }
            4 => {
                engine.close()?;
                drop(engine);
                engine = open()?;
            }
            5..=7 => append(&engine, random, run)?,
            _ => commit(&engine, random, run)?,
        }
        engine.maintain()?;
    }
    Ok(())
}

fn options() -> Options {
    Options { history_ms: 2_000, ..small() }
}

/// Writes a record without syncing it, as a state machine does whose own log holds it already.
fn append(engine: &Engine, random: &SimRandom, run: &mut Run) -> engine::Result<()> {
    let applied = engine.applied();
    let (version, time_ms) = (engine.next_version(), applied.time_ms.max(engine.env().clock.now_ms()));
    let batches = vec![(0, random_batch(random)?), (3, random_batch(random)?)];
    let mut record = Record { version, term: 0, time_ms, hash: applied.hash, batches, marks: Vec::new() };
    record.hash = record.hash_after(applied.hash);
    for (stamp, batch) in record.commits() {
        run.model.commit(stamp, time_ms, batch);
    }
    engine.append(&record)?;
    engine.publish(version);
    Ok(())
}

fn commit(engine: &Engine, random: &SimRandom, run: &mut Run) -> engine::Result<()> {
    let batch = random_batch(random)?;
    let stamp = engine::Versionstamp::new(engine.next_version(), 0);
    let time_ms = engine.applied().time_ms.max(engine.env().clock.now_ms());
    run.model.commit(stamp, time_ms, &batch);
    let acknowledged = engine.commit(batch)?;
    assert_eq!(acknowledged, stamp);
    // One sync makes everything before it durable too.
    run.acknowledged = run.model.commits.len();
    Ok(())
}

fn random_batch(random: &SimRandom) -> engine::Result<WriteBatch> {
    let mut batch = WriteBatch::new();
    for _ in 0..=random.below(3) {
        let key = [b'k', small_number(random.below(12))];
        match random.below(6) {
            0 => batch.delete(&key)?,
            choice => {
                let expire_at_ms = (choice == 1).then(|| 1_000_000 + random.below(20_000));
                let value: Vec<u8> = (0..=random.below(200)).map(small_number).collect();
                batch.put(&key, &value, expire_at_ms)?;
            }
        }
    }
    Ok(batch)
}

fn small_number(n: u64) -> u8 {
    u8::try_from(n % 251).expect("below 251")
}

/// Runs the workload under `faults`, cuts the power, and checks what recovery finds.
fn crash_and_check(seed: u64, faults: Faults, unsynced: Unsynced) -> Result<(), Box<dyn Error>> {
    let (env, disk, clock) = sim::env(seed);
    disk.set_faults(faults);
    let run = workload(&env, &clock, seed);
    disk.crash(unsynced);
    clock.advance(1);
    let held = check_recovered(&env, &run)?;
    // Recovery that is itself cut short, and then done again, finds the same.
    disk.crash(Unsynced::Lost);
    let again = check_recovered(&env, &run)?;
    if held != again {
        return Err(format!("recovery found {held} commits, and then {again}").into());
    }
    goes_on(&env, run.model.prefix(held))
}

/// Checks that what is there is a prefix of the commits, with all that were acknowledged; returns its length.
fn check_recovered(env: &Env, run: &Run) -> Result<usize, Box<dyn Error>> {
    let (engine, _) = Engine::open(env.clone(), Path::new(DIR), options())?;
    let end = last(&engine.applied());
    let held = run.model.commits.iter().take_while(|(stamp, _)| *stamp <= end).count();
    if held < run.acknowledged {
        return Err(format!("{} commits were acknowledged, {held} are there", run.acknowledged).into());
    }
    let prefix = run.model.prefix(held);
    if prefix.commits.last().is_some_and(|(stamp, _)| *stamp != end) {
        return Err(format!("the last commit is {end}, which was never tried").into());
    }
    check(&engine.snapshot(), &prefix)?;
    for (stamp, _) in prefix.commits.iter().filter(|(stamp, _)| *stamp >= engine.horizon()) {
        check(&engine.snapshot_at(*stamp)?, &prefix)?;
    }
    engine.verify()?;
    Ok(held)
}

/// A recovered engine takes further commits, and keeps them.
fn goes_on(env: &Env, mut model: Model) -> Result<(), Box<dyn Error>> {
    let open = || Engine::open(env.clone(), Path::new(DIR), options()).map(|(engine, _)| engine);
    let engine = open()?;
    let mut batch = WriteBatch::new();
    batch.put(b"after", b"the crash", None)?;
    let stamp = engine.commit(batch.clone())?;
    model.commit(stamp, engine.applied().time_ms, &batch);
    drop(engine);
    check(&open()?.snapshot(), &model)
}

fn count(seed: u64) -> Counts {
    let (env, disk, clock) = sim::env(seed);
    let run = workload(&env, &clock, seed);
    assert!(run.acknowledged * 2 > run.model.commits.len(), "a run without faults comes to its end");
    disk.counts()
}

/// What a crash may leave of unsynced writes: nothing, all, and some of it.
fn leftovers(point: u64) -> [Unsynced; 4] {
    [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(point), Unsynced::Torn(point ^ 0xffff)]
}

/// How many seeds to run; `./soak` asks for more.
fn seeds() -> u64 {
    std::env::var("CAIRN_CRASH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(3)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes_at_any_sync() -> TestResult {
    let mut points = 0;
    for seed in 0..seeds() {
        for sync in 1..=count(seed).syncs {
            for unsynced in leftovers(sync) {
                let faults = Faults { stop_at_sync: Some(sync), ..Faults::default() };
                crash_and_check(seed, faults, unsynced)
                    .map_err(|error| format!("seed {seed}, sync {sync}, {unsynced:?}: {error}"))?;
                points += 1;
            }
        }
    }
    println!("{points} crashes at syncs: no acknowledged commit lost, no half commit seen");
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_goes_at_any_write() -> TestResult {
    let mut points = 0;
    for seed in 100..100 + seeds() {
        for op in 1..=count(seed).ops {
            let unsynced = leftovers(op)[(op % 4) as usize];
            let faults = Faults { stop_at_op: Some(op), ..Faults::default() };
            crash_and_check(seed, faults, unsynced)
                .map_err(|error| format!("seed {seed}, operation {op}, {unsynced:?}: {error}"))?;
            points += 1;
        }
    }
    println!("{points} crashes at operations: no acknowledged commit lost, no half commit seen");
    Ok(())
}

#[test]
fn one_failed_operation_loses_nothing_that_was_acknowledged() -> TestResult {
    let seed = 200;
    for op in 1..=count(seed).ops {
        let faults = Faults { fail_op: Some(op), ..Faults::default() };
        crash_and_check(seed, faults, Unsynced::Lost).map_err(|error| format!("operation {op}: {error}"))?;
    }
    Ok(())
}

/// The canary: it shows that the checks above can fail. Each sync of a workload is left out on purpose, alone,
/// and the power goes at the next one.
#[test]
fn with_one_sync_removed_the_same_check_fails() {
    let seed = 0;
    let syncs = count(seed).syncs;
    let caught = (1..syncs).filter(|sync| {
        let faults = Faults { ignore_sync: Some(*sync), stop_at_sync: Some(sync + 1), ..Faults::default() };
        crash_and_check(seed, faults, Unsynced::Lost).is_err()
    });
    let caught = caught.count();
    println!("the canary: of {syncs} syncs, {caught} make the same check fail when removed alone");
    assert!(caught > 30, "at least every sync that acknowledges a commit: {caught} of {syncs}");
    for files in [".wal", ".tmp", "manifest"] {
        assert!(without_syncs_of(files), "{files} that are never synced must show");
    }
}

fn without_syncs_of(files: &'static str) -> bool {
    let seed = 0;
    (1..=count(seed).syncs).any(|sync| {
        let faults = Faults { stop_at_sync: Some(sync), ignore_syncs_of: Some(files), ..Faults::default() };
        crash_and_check(seed, faults, Unsynced::Lost).is_err()
    })
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
