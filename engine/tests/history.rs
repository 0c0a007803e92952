//! Threads, time and copies: group commit, the horizon, checkpoints, sealed segments.

use crate::TestResult;
use crate::support::{Model, check, rows, small};
use engine::env::sim;
use engine::{Direction, Engine, Env, Error, Options, Progress, Versionstamp, WriteBatch, background, wal};
use std::collections::BTreeMap;
use std::path::Path;

const DIR: &str = "/data";

fn put(engine: &Engine, key: &[u8], value: &[u8]) -> engine::Result<Versionstamp> {
    let mut batch = WriteBatch::new();
    batch.put(key, value, None)?;
    engine.commit(batch)
}

#[test]
fn threads_share_syncs_and_each_gets_its_own_rising_stamps() -> TestResult {
    const THREADS: u32 = 16;
    const COMMITS: u32 = 50;
    let dir = tempfile::tempdir()?;
    let (engine, _) = Engine::open(Env::real(), dir.path(), small())?;
    let background = background::start(&engine);
    let write = |thread: u32| -> engine::Result<Vec<(Vec<u8>, Versionstamp)>> {
        let commit = |n: u32| {
            let key = [thread.to_be_bytes(), n.to_be_bytes()].concat();
            put(&engine, &key, &n.to_le_bytes()).map(|stamp| (key, stamp))
        };
        (0..COMMITS).map(commit).collect()
    };
    let mut acknowledged = BTreeMap::new();
    std::thread::scope(|scope| -> TestResult {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || write(thread))).collect();
        for thread in threads {
            let stamps = thread.join().map_err(|_panic| "a writer panicked")??;
            assert!(stamps.is_sorted_by(|a, b| a.1 < b.1), "a thread's own stamps rise");
            acknowledged.extend(stamps);
        }
        Ok(())
    })?;
    let distinct: std::collections::BTreeSet<_> = acknowledged.values().collect();
    assert_eq!(distinct.len(), (THREADS * COMMITS) as usize);
    assert!(engine.statistics().records <= engine.statistics().commits);
    drop(background);
    drop(engine);
    let (engine, _) = Engine::open(Env::real(), dir.path(), small())?;
    let found = rows(&engine.snapshot(), Direction::Forward)?;
    let found: BTreeMap<_, _> = found.into_iter().map(|(key, _, stamp, _)| (key, stamp)).collect();
    assert_eq!(found, acknowledged);
    Ok(())
}

#[test]
fn what_no_stamp_above_the_horizon_reads_is_dropped_and_its_space_comes_back() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let options = Options { history_ms: 10_000, ..small() };
    let (engine, _) = Engine::open(env, Path::new(DIR), options)?;
    let mut first = None;
    for n in 0..2_000u32 {
        let stamp = put(&engine, &(n % 20).to_be_bytes(), &[1; 64])?;
        first.get_or_insert(stamp);
        clock.advance(100);
        engine.maintain()?;
        while engine.compact()? == Progress::Worked {}
    }
    engine.flush()?;
    while engine.compact()? == Progress::Worked {}
    let live = engine.statistics().table_bytes;
    let written = 2_000 * 64;
    assert!(live < written / 3, "{live} bytes are kept of {written}; the window holds a twentieth");
    let first = first.ok_or("a first stamp")?;
    assert!(matches!(engine.snapshot_at(first), Err(Error::BelowHorizon { .. })));
    let newest = engine.applied().stamp;
    assert_eq!(engine.snapshot_at(newest)?.stamp(), newest);
    let after = Versionstamp::new(newest.version() + 1, 0);
    assert!(matches!(engine.snapshot_at(after), Err(Error::AboveNewest { .. })));
    Ok(())
}

#[test]
fn without_history_the_last_commit_can_still_be_named() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), Options { history_ms: 0, ..small() })?;
    let mut stamps = Vec::new();
    for n in 0..30u8 {
        stamps.push(put(&engine, b"k", &[n; 200])?);
        clock.advance(1);
        engine.flush()?;
    }
    let applied = engine.applied();
    let tick = engine::Record {
        version: engine.next_version(),
        term: 0,
        time_ms: clock_of(&engine),
        hash: applied.hash,
        batches: Vec::new(),
        marks: Vec::new(),
    };
    engine.append(&tick)?;
    engine.publish(tick.version);
    engine.flush()?;
    while engine.compact()? == Progress::Worked {}
    assert!(engine.horizon() > applied.stamp, "the horizon passed the last commit");
    let snapshot = engine.snapshot_at(applied.stamp)?;
    assert_eq!(snapshot.get(b"k")?.map(|value| value.bytes[0]), Some(29));
    assert_eq!((snapshot.stamp(), engine.snapshot().stamp()), (applied.stamp, applied.stamp));
    assert!(matches!(engine.snapshot_at(stamps[0]), Err(Error::BelowHorizon { .. })));
    Ok(())
}

fn clock_of(engine: &Engine) -> u64 {
    engine.env().clock.now_ms()
}

#[test]
fn a_snapshot_reads_the_same_through_flushes_and_compactions() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), Options { history_ms: 0, ..small() })?;
    for n in 0..40u32 {
        put(&engine, &n.to_be_bytes(), b"old")?;
    }
    let snapshot = engine.snapshot();
    let before = rows(&snapshot, Direction::Forward)?;
    for round in 0..10 {
        for n in 0..40u32 {
            put(&engine, &n.to_be_bytes(), &[round; 50])?;
        }
        clock.advance(5_000);
        engine.flush()?;
        while engine.compact()? == Progress::Worked {}
    }
    assert_eq!(rows(&snapshot, Direction::Forward)?, before);
    assert_eq!(rows(&snapshot, Direction::Reverse)?, before);
    Ok(())
}

#[test]
fn an_unpublished_record_is_read_by_newest_alone() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), small())?;
    let mut batch = WriteBatch::new();
    batch.put(b"k", b"v", None)?;
    let mut record = engine::Record {
        version: engine.next_version(),
        term: 0,
        time_ms: 5,
        hash: engine.applied().hash,
        batches: vec![(3, batch)],
        marks: Vec::new(),
    };
    record.hash = record.hash_after(record.hash);
    engine.append(&record)?;
    assert!(engine.newest().get(b"k")?.is_some() && engine.snapshot().get(b"k")?.is_none());
    assert_eq!(engine.sync()?, record.version);
    assert!(engine.snapshot().get(b"k")?.is_none());
    engine.publish(record.version);
    assert_eq!(engine.snapshot().newest_stamp(b"k")?, Some(Versionstamp::new(record.version, 3)));
    assert!(matches!(engine.append(&record), Err(Error::OutOfOrder { .. })));
    Ok(())
}

#[test]
fn sealed_segments_hold_every_commit_in_order_and_are_kept_for_the_archive() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let (engine, _) = Engine::open(env.clone(), Path::new(DIR), small())?;
    engine.keep_segments_after(Some(0));
    let mut model = Model::default();
    for n in 0..200u32 {
        let mut batch = WriteBatch::new();
        batch.put(&(n % 7).to_be_bytes(), &[3; 40], None)?;
        let stamp = engine.commit(batch.clone())?;
        model.commit(stamp, engine.applied().time_ms, &batch);
        clock.advance(37);
        engine.maintain()?;
    }
    engine.flush()?;
    clock.advance(1_000);
    engine.maintain()?;
    let segments = engine.sealed_segments();
    assert!(segments.len() > 3, "sealed by size and by age: {}", segments.len());
    let (mut stamps, mut hash, mut version) = (Vec::new(), engine::ContentHash::EMPTY, 0);
    for segment in &segments {
        assert_eq!((segment.base, segment.hash_before), (version, hash));
        let mut reader = wal::Reader::open(&*env.fs, &segment.path)?;
        while let Some(record) = reader.next_record()? {
            hash = record.hash_after(hash);
            assert_eq!(record.hash, hash);
            stamps.extend(record.commits().map(|(stamp, _)| (stamp, record.time_ms)));
            version = record.version;
        }
    }
    assert_eq!(stamps, model.commits);
    check(&engine.snapshot(), &model)?;
    let shipped = segments[1].last;
    engine.keep_segments_after(Some(shipped));
    engine.maintain()?;
    assert_eq!(engine.sealed_segments().first().map(|segment| segment.base), Some(shipped));
    engine.keep_segments_after(None);
    engine.maintain()?;
    assert!(engine.sealed_segments().is_empty(), "all of it is in tables");
    Ok(())
}

#[test]
fn tables_that_only_move_are_not_counted_as_written() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), small())?;
    for n in 0..40u32 {
        put(&engine, &n.to_be_bytes(), b"in the order of the keys")?;
        if n % 10 == 9 {
            engine.flush()?;
        }
    }
    while engine.compact()? == Progress::Worked {}
    let statistics = engine.statistics();
    assert!(statistics.compactions > 0, "{statistics:?}");
    assert_eq!(statistics.compacted_bytes, 0, "{statistics:?}");
    for n in 0..40u32 {
        put(&engine, &n.to_be_bytes(), b"again, over what is there")?;
    }
    engine.flush()?;
    put(&engine, &[0], b"one more table")?;
    engine.flush()?;
    while engine.compact()? == Progress::Worked {}
    let statistics = engine.statistics();
    assert!(statistics.compacted_bytes > 0);
    let written = statistics.levels.iter().map(|level| level.written_bytes).sum::<u64>();
    assert_eq!(written, statistics.flushed_bytes + statistics.compacted_bytes, "{statistics}");
    let live = statistics.levels.iter().map(|level| (level.tables, level.bytes));
    let live = live.fold((0, 0), |all, level| (all.0 + level.0, all.1 + level.1));
    assert_eq!(live, (statistics.tables.iter().sum(), statistics.table_bytes), "{statistics}");
    let into_1 = statistics.levels[1];
    assert!(into_1.moved_bytes > 0 && into_1.read_bytes > into_1.written_bytes / 2, "{statistics}");
    Ok(())
}

#[test]
fn a_slow_writer_leaves_a_log_of_bounded_length() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let options = Options { memtable_bytes_max: 1 << 20, ..small() };
    let (engine, _) = Engine::open(env.clone(), Path::new(DIR), options.clone())?;
    for n in 0..1_500u32 {
        put(&engine, &n.to_be_bytes(), b"one a second")?;
        clock.advance(1_000);
        engine.maintain()?;
    }
    let statistics = engine.statistics();
    assert!(statistics.flushes >= 2 && statistics.segments <= 513, "{statistics:?}");
    drop(engine);
    let (engine, recovery) = Engine::open(env, Path::new(DIR), options)?;
    assert!(recovery.records <= 514, "{recovery:?}");
    assert_eq!(rows(&engine.snapshot(), Direction::Forward)?.len(), 1_500);
    Ok(())
}

#[test]
fn marks_survive_flushes_and_reopening_and_change_no_data() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let open = || Engine::open(env.clone(), Path::new(DIR), small()).map(|(engine, _)| engine);
    let mut engine = open()?;
    let hash = engine.applied().hash;
    let set = |engine: &Engine, name: &str, value: &str| {
        let mark = engine::Mark { name: name.into(), value: value.into() };
        let applied = engine.applied();
        engine.append(&engine::Record {
            version: engine.next_version(),
            term: 0,
            time_ms: applied.time_ms,
            hash: applied.hash,
            batches: Vec::new(),
            marks: vec![mark],
        })
    };
    set(&engine, "a", "1")?;
    set(&engine, "b", "2")?;
    engine.flush()?;
    set(&engine, "a", "3")?;
    set(&engine, "b", "")?;
    for flush in [false, true] {
        if flush {
            engine.flush()?;
        }
        engine.close()?;
        drop(engine);
        engine = open()?;
        assert_eq!((engine.mark(b"a"), engine.mark(b"b")), (Some(b"3".to_vec()), None));
    }
    assert_eq!(engine.applied().hash, hash);
    assert!(engine.sealed_segments().iter().all(|segment| segment.commits == 0));
    Ok(())
}

#[test]
fn statistics_say_what_was_written_and_who_holds_on_to_what() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), small())?;
    let mut asked = 0;
    for n in 0..5u32 {
        let mut batch = WriteBatch::new();
        batch.put(&n.to_be_bytes(), b"value", None)?;
        asked += batch.as_bytes().len() as u64;
        engine.commit(batch)?;
    }
    let before = engine.statistics();
    assert_eq!((before.commit_bytes, before.groups), (asked, [5, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!((before.sync_times.count, before.memtables, before.held_views), (5, 1, 0));
    assert!(before.write_amplification() > 1.0, "{before}");
    let snapshot = engine.snapshot();
    engine.flush()?;
    clock.advance(5_000);
    let held = engine.statistics();
    assert!(held.held_views > 0 && held.oldest_view_ms == 5_000, "{held}");
    assert!(held.write_amplification() > before.write_amplification(), "{held}");
    drop(snapshot);
    let after = engine.statistics();
    assert_eq!((after.held_views, after.oldest_view_ms), (0, 0));
    Ok(())
}

#[test]
fn statistics_say_what_reads_cost() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), small())?;
    for n in 0..200u32 {
        put(&engine, &(2 * n).to_be_bytes(), &[3; 60])?;
    }
    engine.flush()?;
    while engine.compact()? == Progress::Worked {}
    let snapshot = engine.snapshot();
    let before = engine.statistics();
    for n in 0..400u32 {
        assert_eq!(snapshot.get(&n.to_be_bytes())?.is_some(), n % 2 == 0);
    }
    assert_eq!(rows(&snapshot, Direction::Forward)?.len(), 200);
    let after = engine.statistics();
    assert_eq!((after.gets - before.gets, after.ranges - before.ranges), (400, 1));
    let (rejected, in_vain) = (after.filter_rejections, after.filter_false_positives);
    assert!(rejected > 150 && in_vain < 10, "of 200 keys that are not there: {after}");
    let read: u64 = after.levels.iter().map(|level| level.blocks_read).sum();
    assert!(read > 0 && read <= after.cache_misses, "{after}");
    for n in 0..400u32 {
        snapshot.get(&n.to_be_bytes())?;
    }
    let again = engine.statistics();
    assert_eq!(again.cache_misses, after.cache_misses, "all of it is in the cache");
    assert!(again.cache_hits > after.cache_hits);
    Ok(())
}
