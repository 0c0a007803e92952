//! Engines that share memory, threads and I/O; writers that wait for flushes and compactions, and never in vain.

use crate::TestResult;
use crate::support::small;
use engine::env::sim::{self, SimRandom};
use engine::fs::sim::Sim;
use engine::{Budget, BudgetOptions, Engine, Env, Error, Options, Progress, Record, WriteBatch, background};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const MEMORY_BYTES_MAX: u64 = 1 << 20;
/// Longer than any of this can take; a writer that waits for ever must not hold up the others tests for ever.
const PATIENCE: Duration = Duration::from_secs(300);

/// A value that does not shrink.
fn noise(key: u64, len: usize) -> Vec<u8> {
    let random = SimRandom::new(key);
    (0..len).map(|_| random.next_u64().to_be_bytes()[0]).collect()
}

fn batch(key: u64, len: usize) -> engine::Result<WriteBatch> {
    let mut batch = WriteBatch::new();
    batch.put(&key.to_be_bytes(), &noise(key, len), None)?;
    Ok(batch)
}

fn holds(engine: &Engine, key: u64, len: usize) -> TestResult {
    let value = engine.snapshot().get(&key.to_be_bytes())?.ok_or("a value")?;
    assert_eq!(value.bytes, noise(key, len), "key {key}");
    Ok(())
}

/// Options that leave the size of memtables to the budget.
fn shared() -> Options {
    Options { memtable_bytes_max: 1 << 30, history_ms: 0, ..small() }
}

fn budget() -> engine::Result<Arc<Budget>> {
    Budget::new(BudgetOptions { memory_bytes_max: MEMORY_BYTES_MAX, ..BudgetOptions::default() })
}

fn open_three(env: &Env, below: &Path, budget: &Arc<Budget>) -> engine::Result<Vec<Engine>> {
    let open = |n: u32| {
        let dir: PathBuf = below.join(n.to_string());
        Engine::open_with_budget(env.clone(), &dir, shared(), budget).map(|(engine, _)| engine)
    };
    (0..3).map(open).collect()
}

/// Every 7th write goes to the second engine, every 50th to the third.
fn uneven(n: u64) -> usize {
    match n {
        n if n.is_multiple_of(50) => 2,
        n if n.is_multiple_of(7) => 1,
        _ => 0,
    }
}

#[test]
fn three_engines_stay_below_one_bound_under_uneven_load() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let budget = budget()?;
    let engines = open_three(&env, Path::new("/data"), &budget)?;
    let mut most = 0;
    for n in 0..3_000 {
        engines[uneven(n)].commit(batch(n, 700)?)?;
        if n.is_multiple_of(11) {
            holds(&engines[uneven(n / 2)], n / 2, 700)?;
        }
        let memory: Vec<_> = engines.iter().map(|engine| engine.statistics().memory).collect();
        let memtables: u64 = memory.iter().map(|memory| memory.memtables).sum();
        let all = memory[0].cache + memtables + memory.iter().map(|memory| memory.working).sum::<u64>();
        assert!(memtables <= MEMORY_BYTES_MAX / 5 * 2, "{memtables} bytes of memtables after {n} writes");
        assert!(all <= MEMORY_BYTES_MAX, "{memory:?} after {n} writes");
        most = most.max(memtables);
    }
    assert!(most > MEMORY_BYTES_MAX / 5, "the memory is used: {most}");
    assert!(engines[0].statistics().flushes > 3, "{:?}", engines[0].statistics());
    for n in 0..3_000 {
        holds(&engines[uneven(n)], n, 700)?;
    }
    drop(engines);
    assert_eq!(budget.memtable_bytes(), 0, "engines that are gone give their memory back");
    Ok(())
}

#[test]
fn an_engine_that_stopped_holds_up_no_other() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let budget = budget()?;
    let engines = open_three(&env, Path::new("/data"), &budget)?;
    for n in 0..120 {
        engines[0].commit(batch(n, 1_000)?)?;
    }
    engines[0].close()?;
    for n in 0..2_000 {
        engines[1].commit(batch(n, 700)?)?;
    }
    assert!(engines[1].statistics().flushes > 2);
    assert!(matches!(engines[0].commit(batch(1, 1)?), Err(Error::Stopped { .. })));
    holds(&engines[0], 7, 1_000)
}

#[test]
fn one_pool_of_threads_serves_all_engines() -> TestResult {
    let dir = tempfile::tempdir()?;
    let budget = budget()?;
    let pool = background::start_pool(&budget);
    let engines = open_three(&Env::real(), dir.path(), &budget)?;
    for n in 0..6_000 {
        engines[usize::try_from(n % 3)?].commit_unsynced(batch(n, 700)?)?;
    }
    for (at, engine) in engines.iter().enumerate() {
        let statistics = engine.statistics();
        assert!(statistics.flushes > 0, "engine {at}: {statistics:?}");
    }
    drop(pool);
    for n in 0..6_000 {
        holds(&engines[usize::try_from(n % 3)?], n, 700)?;
    }
    Ok(())
}

#[test]
fn no_writer_is_left_waiting_when_the_threads_go() -> TestResult {
    let dir = tempfile::tempdir()?;
    let (engine, _) = Engine::open(Env::real(), dir.path(), Options { history_ms: 0, ..small() })?;
    let (done, is_done) = mpsc::channel();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> TestResult {
        scope.spawn(|| {
            let written = (0..4_000).try_for_each(|n| engine.commit_unsynced(batch(n, 90)?).map(drop));
            stop.store(true, Ordering::SeqCst);
            done.send(written).expect("the test waits for it");
        });
        while !stop.load(Ordering::SeqCst) {
            drop(background::start(&engine));
        }
        Ok(is_done.recv_timeout(PATIENCE)??)
    })?;
    let statistics = engine.statistics();
    assert!(statistics.flushes > 50 && statistics.compactions > 5, "{statistics:?}");
    for n in 0..4_000 {
        holds(&engine, n, 90)?;
    }
    Ok(())
}

#[test]
fn an_engine_that_fails_wakes_the_writer_that_waits_for_it() -> TestResult {
    let (env, disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new("/data"), small())?;
    let background = background::start(&engine);
    let (done, is_done) = mpsc::channel();
    std::thread::scope(|scope| -> TestResult {
        scope.spawn(|| {
            let written = (0..u64::MAX).try_for_each(|n| engine.commit_unsynced(batch(n, 90)?).map(drop));
            done.send(written).expect("the test waits for it");
        });
        let stop_at_op = Some(500);
        disk.set_faults(engine::fs::sim::Faults { stop_at_op, ..Default::default() });
        let error = is_done.recv_timeout(PATIENCE)?.err().ok_or("a disk without power takes no writes")?;
        assert!(matches!(error, Error::Stopped { .. } | Error::Io { .. }), "{error}");
        Ok(())
    })?;
    drop(background);
    Ok(())
}

#[test]
fn level_0_stays_bounded_when_nobody_else_compacts_and_waits_are_counted() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new("/data"), Options { history_ms: 0, ..small() })?;
    let mut most = 0;
    for n in 0..3_000 {
        engine.commit_unsynced(batch(n * 7_919 % 3_001, 90)?)?;
        most = most.max(engine.statistics().tables.first().copied().unwrap_or(0));
    }
    let statistics = engine.statistics();
    assert!(most <= 8, "{most} tables in level 0, where 2 start a compaction");
    assert!(statistics.stalls > 0 && statistics.compactions > 10, "{statistics:?}");
    Ok(())
}

#[test]
fn a_rate_of_io_puts_steps_off_and_time_brings_them_back() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let options = BudgetOptions { io_bytes_per_s_max: 100_000, ..BudgetOptions::default() };
    let budget = Budget::new(options)?;
    // A step reads a 128th of a memtable.
    let options =
        Options { memtable_bytes_max: 1 << 20, level0_tables_max: 8, level1_bytes: 1 << 20, ..shared() };
    let (engine, _) = Engine::open_with_budget(env, Path::new("/data"), options, &budget)?;
    for n in 0..1_000 {
        engine.commit_unsynced(batch(n * 5 % 1_001, 300)?)?;
        if n % 100 == 99 {
            engine.flush()?;
        }
    }
    assert_eq!(engine.compact()?, Progress::Idle, "the flushes have to be paid for first");
    let mut rounds = 0;
    let compacted = |engine: &Engine| engine.statistics().compacted_bytes;
    let before = compacted(&engine);
    loop {
        while engine.compact()? == Progress::Worked {}
        let done = engine.statistics().tables.first() <= Some(&1);
        if done || rounds > 1_000 {
            break;
        }
        clock.advance(100);
        rounds += 1;
    }
    let written = compacted(&engine) - before;
    for n in 0..1_000 {
        holds(&engine, n * 5 % 1_001, 300)?;
    }
    let flushed = engine.statistics().flushed_bytes;
    assert!(
        rounds < 1_000 && written * 2 > flushed,
        "{written} of {flushed} bytes in {rounds} tenths of a second"
    );
    // A bucket to begin with, and a step on top of it; all else is paid for.
    assert!(
        flushed + written <= rounds * 10_000 + 65_536 + 20_000,
        "{flushed} and {written} bytes in {rounds} tenths"
    );
    Ok(())
}

fn tables(disk: &Sim) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with("/data/tables")).collect()
}

#[test]
fn steps_that_are_given_up_leave_nothing_that_counts() -> TestResult {
    let (env, disk, _clock) = sim::env(1);
    let open = || Engine::open(env.clone(), Path::new("/data"), small()).map(|(engine, _)| engine);
    let engine = open()?;
    for n in 0..200 {
        engine.commit(batch(n * 7 % 201, 90)?)?;
    }
    engine.flush()?;
    for n in 0..15 {
        engine.commit_unsynced(batch(n, 90)?)?;
    }
    // A few steps into both, and no further.
    let live = tables(&disk).len();
    while tables(&disk).len() < live + 2 {
        assert_eq!(engine.compact()?, Progress::Worked);
    }
    let before = engine.statistics().compactions;
    drop(engine);
    let engine = open()?;
    assert_eq!(engine.statistics().compactions, 0, "{before} before");
    let named: u64 = engine.statistics().tables.iter().sum();
    assert_eq!(tables(&disk).len() as u64, named, "{:?}", tables(&disk));
    for n in 0..200 {
        holds(&engine, n * 7 % 201, 90)?;
    }
    Ok(engine.verify()?)
}

/// Appends a record of one put, without a sync.
fn append(engine: &Engine, key: u64) -> TestResult {
    let applied = engine.applied();
    let (version, batches) = (engine.next_version(), vec![(0, batch(key, 90)?)]);
    let mut record =
        Record { version, term: 0, time_ms: applied.time_ms, hash: applied.hash, batches, marks: Vec::new() };
    record.hash = record.hash_after(applied.hash);
    engine.append(&record)?;
    engine.publish(version);
    Ok(())
}

#[test]
fn an_append_that_goes_on_to_a_segment_made_ahead_syncs_nothing_and_grows_no_file() -> TestResult {
    let (env, disk, _clock) = sim::env(1);
    let options = Options {
        memtable_bytes_max: 1 << 20,
        segment_bytes_max: 64 << 10,
        disk_reserve_bytes: Some(0),
        ..small()
    };
    let (engine, _) = Engine::open(env.clone(), Path::new("/data"), options.clone())?;
    let bytes = |disk: &Sim| -> u64 { disk.files().iter().map(|(_, len)| len).sum() };
    for n in 0..5_000 {
        // Not before the first: after a quiet time space is given back, and has to be reserved again.
        if n % 100 == 1 {
            engine.maintain()?;
        }
        let (syncs, len) = (disk.counts().syncs, bytes(&disk));
        append(&engine, n)?;
        assert_eq!((disk.counts().syncs, bytes(&disk)), (syncs, len), "append {n}");
    }
    let sealed = engine.sealed_segments();
    assert!(sealed.len() > 5, "{} segments", sealed.len());
    engine.sync()?;
    drop(engine);
    disk.crash(engine::fs::sim::Unsynced::Lost);
    let (engine, recovery) = Engine::open(env, Path::new("/data"), options)?;
    assert_eq!(recovery.records, 5_000);
    holds(&engine, 4_999, 90)
}
