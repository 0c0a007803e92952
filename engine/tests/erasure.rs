//! Deleting a prefix: gone at once, read before it, and its space back once nobody reads before it.

use crate::TestResult;
use crate::support::{Model, check, rows, small};
use engine::env::sim::{self, SimClock};
use engine::{Direction, Engine, Env, Error, Options, Progress, Record, Versionstamp, WriteBatch};
use std::path::Path;

const DIR: &str = "/data";
const HISTORY_MS: u64 = 10_000;

fn options() -> Options {
    Options { history_ms: HISTORY_MS, ..small() }
}

fn open(env: &Env) -> engine::Result<Engine> {
    Engine::open(env.clone(), Path::new(DIR), options()).map(|(engine, _)| engine)
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) -> engine::Result<Versionstamp> {
    let mut batch = WriteBatch::new();
    batch.put(key, value, None)?;
    engine.commit(batch)
}

fn delete_prefix(engine: &Engine, prefix: &[u8]) -> engine::Result<Versionstamp> {
    let mut batch = WriteBatch::new();
    batch.delete_prefix(prefix)?;
    engine.commit(batch)
}

fn settle(engine: &Engine) -> engine::Result<()> {
    engine.flush()?;
    while engine.compact()? == Progress::Worked {}
    Ok(())
}

fn count(engine: &Engine) -> engine::Result<usize> {
    Ok(rows(&engine.snapshot(), Direction::Forward)?.len())
}

/// A key of one of two tenants, in random order, so that tables are not filled in the order of the keys.
fn key(tenant: &str, n: u32) -> Vec<u8> {
    [tenant.as_bytes(), &blake3::hash(&n.to_be_bytes()).as_bytes()[..8]].concat()
}

fn fill(engine: &Engine, clock: &SimClock, tenant: &str, keys: u32) -> engine::Result<()> {
    for n in 0..keys {
        put(engine, &key(tenant, n), blake3::hash(&n.to_le_bytes()).as_bytes())?;
        clock.advance(1);
        engine.maintain()?;
        engine.compact()?;
    }
    settle(engine)
}

#[test]
fn what_was_there_before_goes_and_what_the_same_batch_puts_stays() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let engine = open(&env)?;
    for key in ["a", "ab", "ab1", "ab2", "abc", "ac", "b"] {
        put(&engine, key.as_bytes(), b"old")?;
    }
    let before = engine.snapshot();
    let mut batch = WriteBatch::new();
    batch.put(b"ab1", b"before it in the batch", None)?;
    batch.delete(b"ac")?;
    batch.delete_prefix(b"ab")?;
    batch.put(b"ab3", b"after it", None)?;
    let at = engine.commit(batch)?;
    let keys = |engine: &Engine| -> engine::Result<Vec<String>> {
        let name = |row: crate::support::Row| String::from_utf8_lossy(&row.0).into_owned();
        Ok(rows(&engine.snapshot(), Direction::Reverse)?.into_iter().map(name).collect())
    };
    for flushed in [false, true] {
        if flushed {
            settle(&engine)?;
        }
        assert_eq!(keys(&engine)?, ["a", "ab1", "ab3", "b"]);
        assert_eq!(engine.snapshot().newest_stamp(b"ab2")?, None, "a check finds it absent");
        assert_eq!(engine.snapshot().newest_stamp(b"ab1")?, Some(at));
        assert_eq!(rows(&before, Direction::Forward)?.len(), 7);
        assert_eq!(rows(&engine.snapshot_at(before.stamp())?, Direction::Forward)?.len(), 7);
    }
    put(&engine, b"ab2", b"new")?;
    delete_prefix(&engine, b"")?;
    assert_eq!(count(&engine)?, 0);
    put(&engine, b"ab", b"new")?;
    drop(engine);
    assert_eq!(keys(&open(&env)?)?, ["ab"]);
    Ok(())
}

#[test]
fn the_space_of_a_deleted_prefix_comes_back_without_a_rewrite_of_it() -> TestResult {
    const KEYS: u32 = 1_500;
    let (env, disk, clock) = sim::env(1);
    let mut engine = open(&env)?;
    fill(&engine, &clock, "gone/", KEYS)?;
    fill(&engine, &clock, "stay/", KEYS)?;
    let full = engine.statistics().table_bytes;
    let before = engine.snapshot();
    let at = delete_prefix(&engine, b"gone/")?;
    settle(&engine)?;
    assert_eq!(count(&engine)?, KEYS as usize);
    let held = engine.statistics();
    assert!(held.table_bytes >= full, "it can still be read: {} bytes of {full}", held.table_bytes);
    assert_eq!(rows(&engine.snapshot_at(before.stamp())?, Direction::Forward)?.len(), 2 * KEYS as usize);
    drop(engine);
    engine = open(&env)?;
    assert_eq!((engine.statistics().erasures, count(&engine)?), (1, KEYS as usize));
    clock.advance(HISTORY_MS + 1);
    put(&engine, b"later", b"")?;
    clock.advance(HISTORY_MS + 1);
    put(&engine, b"later", b"")?;
    settle(&engine)?;
    let after = engine.statistics();
    println!(
        "table bytes: {full} with both prefixes, {} with one deleted in the window, {} after it; compactions wrote {}",
        held.table_bytes, after.table_bytes, after.compacted_bytes
    );
    assert!(engine.horizon() > at);
    assert!(after.table_bytes < full * 55 / 100, "{} bytes are left of {full}", after.table_bytes);
    assert!(after.compacted_bytes < full / 10, "{} bytes were written for it", after.compacted_bytes);
    assert_eq!(after.erasures, 0, "it is forgotten");
    let on_disk: u64 = disk
        .files()
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|it| it == "tbl"))
        .map(|(_, len)| len)
        .sum();
    assert_eq!(on_disk, after.table_bytes);
    assert_eq!(rows(&before, Direction::Forward)?.len(), 2 * KEYS as usize, "an open snapshot reads on");
    assert_eq!(count(&engine)?, KEYS as usize + 1);
    drop(engine);
    let engine = open(&env)?;
    assert_eq!((count(&engine)?, engine.statistics().erasures), (KEYS as usize + 1, 0));
    Ok(engine.verify()?)
}

#[test]
fn a_scan_over_a_deleted_prefix_does_not_step_over_all_that_was_in_it() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let engine = open(&env)?;
    put(&engine, b"first", b"")?;
    fill(&engine, &clock, "gone/", 1_500)?;
    put(&engine, b"last", b"")?;
    settle(&engine)?;
    let blocks_read = |scans: &dyn Fn() -> engine::Result<usize>| -> engine::Result<(usize, u64)> {
        let read = |engine: &Engine| engine.statistics().cache_hits + engine.statistics().cache_misses;
        let before = read(&engine);
        Ok((scans()?, read(&engine) - before))
    };
    let scan = || -> engine::Result<usize> {
        let both = [Direction::Forward, Direction::Reverse];
        both.iter().map(|direction| Ok(rows(&engine.snapshot(), *direction)?.len())).sum()
    };
    let (found, all) = blocks_read(&scan)?;
    let before = engine.snapshot();
    delete_prefix(&engine, b"gone/")?;
    let (left, few) = blocks_read(&scan)?;
    println!("two scans read {all} blocks before the prefix was deleted, {few} after");
    assert_eq!((found, left), (2 * 1_502, 2 * 2));
    assert!(few * 10 < all, "{few} of {all} blocks");
    assert_eq!(rows(&before, Direction::Forward)?.len(), 1_502);
    Ok(())
}

#[test]
fn a_prefix_that_is_small_or_written_again_loses_what_is_old() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let engine = open(&env)?;
    let mut model = Model::default();
    let commit = |model: &mut Model, batch: WriteBatch| -> engine::Result<()> {
        let stamp = engine.commit(batch.clone())?;
        model.commit(stamp, engine.applied().time_ms, &batch);
        Ok(())
    };
    for round in 0..6u8 {
        for n in 0..200u8 {
            let mut batch = WriteBatch::new();
            batch.put(&[n % 50, n], &[round; 30], None)?;
            commit(&mut model, batch)?;
            if n == 100 {
                let mut batch = WriteBatch::new();
                batch.delete_prefix(&[round])?;
                batch.put(&[round, 255], b"stays", None)?;
                commit(&mut model, batch)?;
            }
        }
        settle(&engine)?;
        clock.advance(HISTORY_MS / 2);
    }
    check(&engine.snapshot(), &model)?;
    for _ in 0..2 {
        clock.advance(2 * HISTORY_MS);
        put(&engine, b"z", b"")?;
    }
    settle(&engine)?;
    let statistics = engine.statistics();
    println!("{} bytes of history and {} erasures are left", statistics.history_bytes, statistics.erasures);
    // A table is rewritten for its garbage once that is a quarter of it.
    assert!(statistics.history_bytes * 4 <= statistics.table_bytes, "{statistics:?}");
    assert_eq!(statistics.erasures, 0, "{statistics:?}");
    Ok(())
}

#[test]
fn a_checkpoint_carries_what_was_deleted_and_what_is_read_before_it() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let engine = open(&env)?;
    for n in 0..50u8 {
        put(&engine, &[b'p', n], &[n; 50])?;
    }
    let before = engine.snapshot();
    delete_prefix(&engine, b"p")?;
    put(&engine, b"pq", b"later")?;
    let to = Path::new("/copy");
    engine.checkpoint(to)?;
    let (copy, _) = Engine::open(env, to, options())?;
    assert_eq!(count(&copy)?, 1);
    assert_eq!(rows(&copy.snapshot_at(before.stamp())?, Direction::Forward)?.len(), 50);
    Ok(())
}

#[test]
fn there_is_room_for_so_many_and_again_once_they_are_passed() -> TestResult {
    const MAX: u32 = 8_192;
    let (env, _disk, clock) = sim::env(1);
    let engine = open(&env)?;
    put(&engine, b"k", b"v")?;
    let batch_of = |range: std::ops::Range<u32>| -> engine::Result<WriteBatch> {
        let mut batch = WriteBatch::new();
        for n in range {
            batch.delete_prefix(&n.to_be_bytes())?;
        }
        Ok(batch)
    };
    engine.commit(batch_of(0..MAX - 10)?)?;
    let applied = engine.applied();
    for refused in [batch_of(MAX..MAX + 11)?, batch_of(0..MAX + 1)?] {
        assert!(matches!(engine.commit(refused), Err(Error::ErasuresFull { waiting: 8_182 })));
    }
    let mut record = Record {
        version: engine.next_version(),
        term: 0,
        time_ms: applied.time_ms,
        hash: applied.hash,
        batches: vec![(0, batch_of(MAX..MAX + 11)?)],
        marks: Vec::new(),
    };
    record.hash = record.hash_after(applied.hash);
    assert!(matches!(engine.append(&record), Err(Error::ErasuresFull { .. })));
    assert_eq!(engine.applied(), applied, "nothing changed");
    put(&engine, b"k", b"others go on")?;
    engine.commit(batch_of(MAX - 10..MAX)?)?;
    assert_eq!(engine.statistics().erasures, u64::from(MAX));
    clock.advance(HISTORY_MS + 1);
    put(&engine, b"k", b"later")?;
    clock.advance(HISTORY_MS + 1);
    put(&engine, b"k", b"later")?;
    settle(&engine)?;
    engine.commit(batch_of(0..MAX)?)?;
    drop(engine);
    assert_eq!(open(&env)?.statistics().erasures, u64::from(MAX));
    Ok(())
}

#[test]
fn many_threads_that_delete_prefixes_fail_alone_when_there_is_no_room() -> TestResult {
    let dir = tempfile::tempdir()?;
    let (engine, _) = Engine::open(Env::real(), dir.path(), options())?;
    let many = |thread: u32| -> engine::Result<WriteBatch> {
        let mut batch = WriteBatch::new();
        (0..3_000)
            .try_for_each(|n: u32| batch.delete_prefix(&[thread.to_be_bytes(), n.to_be_bytes()].concat()))?;
        Ok(batch)
    };
    let done = std::thread::scope(|scope| {
        let erasers: Vec<_> = (0..8)
            .map(|thread| {
                let engine = &engine;
                scope.spawn(move || engine.commit(many(thread)?))
            })
            .collect();
        let writers: Vec<_> = (0..8u8)
            .map(|thread| {
                let engine = &engine;
                scope.spawn(move || put(engine, &[thread], b"v"))
            })
            .collect();
        let written = writers.into_iter().all(|thread| matches!(thread.join(), Ok(Ok(_))));
        let erased = erasers.into_iter().map(|thread| thread.join()).collect::<Vec<_>>();
        (written, erased)
    });
    let (written, erased) = done;
    assert!(written, "a batch with too many erasures fails no other");
    let refused = erased.iter().filter(|it| matches!(it, Ok(Err(Error::ErasuresFull { .. })))).count();
    let succeeded = erased.iter().filter(|it| matches!(it, Ok(Ok(_)))).count();
    // One that is done may hold its room twice for a moment.
    assert!((1..=2).contains(&succeeded) && succeeded + refused == 8, "{succeeded} and {refused}");
    assert_eq!(engine.statistics().erasures, 3_000 * succeeded as u64);
    Ok(())
}
