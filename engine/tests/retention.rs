//! How much of the past is kept: by time, by bytes, by prefix; and across crashes.

use crate::TestResult;
use crate::support::small;
use engine::env::sim::{self, SimClock};
use engine::fs::sim::{Sim, Unsynced};
use engine::{Direction, Engine, Env, Error, History, Options, Progress, Versionstamp, WriteBatch};
use std::path::Path;

const DIR: &str = "/data";
const DAY_MS: u64 = 24 * 3_600_000;

fn open(env: &Env, options: &Options) -> engine::Result<Engine> {
    Engine::open(env.clone(), Path::new(DIR), options.clone()).map(|(engine, _)| engine)
}

fn put(engine: &Engine, key: &[u8], value: &[u8]) -> engine::Result<Versionstamp> {
    let mut batch = WriteBatch::new();
    batch.put(key, value, None)?;
    engine.commit(batch)
}

fn settle(engine: &Engine) -> engine::Result<()> {
    engine.flush()?;
    while engine.compact()? == Progress::Worked {}
    Ok(())
}

/// All but the manifest, which has a bound of its own.
fn file_bytes(disk: &Sim) -> u64 {
    disk.files().iter().filter(|(path, _)| !path.ends_with("manifest")).map(|(_, len)| len).sum()
}

/// What a counter says at each stamp from `horizon` on: what was written there.
fn check_counter(engine: &Engine, key: &[u8], written: &[(Versionstamp, u64)]) -> TestResult {
    let horizon = engine.horizon_of(key);
    let readable: Vec<_> = written.iter().filter(|(stamp, _)| *stamp >= horizon).collect();
    let picked = readable.iter().step_by(readable.len() / 100 + 1).chain(readable.last());
    for (stamp, value) in picked {
        let found = engine.snapshot_at(*stamp)?.get(key)?.map(|found| found.bytes);
        assert_eq!(found.as_deref(), Some(&value.to_be_bytes()[..]), "at {stamp}, horizon {horizon}");
    }
    Ok(())
}

#[test]
fn a_hot_counter_takes_no_more_than_its_share_of_the_disk() -> TestResult {
    const BYTES_MAX: u64 = 64 << 10;
    const WRITES: u64 = 60_000;
    let (env, disk, clock) = sim::env(1);
    let options = Options {
        history_ms: DAY_MS,
        history_bytes_max: BYTES_MAX,
        memtable_bytes_max: 16 << 10,
        block_bytes: 1 << 10,
        table_bytes: 16 << 10,
        level1_bytes: 32 << 10,
        segment_bytes_max: 16 << 10,
        ..small()
    };
    let engine = open(&env, &options)?;
    let (mut written, mut peak, mut most) = (Vec::new(), 0, 0);
    for n in 0..200u32 {
        put(&engine, &[b"cold".as_slice(), &n.to_be_bytes()].concat(), &[7; 40])?;
    }
    let cold = put(&engine, b"cold", b"written once")?;
    for n in 0..WRITES {
        written.push((put(&engine, b"hits", &n.to_be_bytes())?, n));
        clock.advance(10);
        engine.maintain()?;
        while engine.compact()? == Progress::Worked {}
        if n % 64 == 0 {
            peak = peak.max(file_bytes(&disk));
            most = most.max(engine.statistics().history_bytes);
        }
    }
    settle(&engine)?;
    let statistics = engine.statistics();
    let kept = written.iter().filter(|(stamp, _)| *stamp >= engine.horizon()).count();
    println!(
        "{WRITES} writes of one counter, {BYTES_MAX} bytes of history: disk at most {peak} bytes, at the end {}; history at most {most} bytes; {kept} versions of {} s can be read",
        file_bytes(&disk),
        statistics.history_age_ms.unwrap_or_default() / 1_000,
    );
    // Level 0, a table that is rewritten, and the log come on top.
    assert!(peak < 3 * BYTES_MAX, "{peak} bytes on disk");
    assert!(most < 2 * BYTES_MAX, "{most} bytes of history");
    // What is kept is about what may be kept: an entry has 12 bytes of key and value.
    assert!(kept as u64 * 12 > BYTES_MAX / 2, "{kept} versions are left");
    assert!(engine.snapshot_at(written[0].0).is_err(), "the oldest are gone");
    check_counter(&engine, b"hits", &written)?;
    assert_eq!(engine.snapshot().newest_stamp(b"cold")?, Some(cold));
    Ok(engine.verify()?)
}

#[test]
fn a_rule_pays_for_its_own_history_alone() -> TestResult {
    const WRITES: u64 = 8_000;
    let (env, _disk, clock) = sim::env(1);
    let options = Options { history_ms: DAY_MS, ..small() };
    let engine = open(&env, &options)?;
    let rule = |bytes_max| History { ms: DAY_MS, bytes_max };
    engine.set_histories(vec![(b"a/".to_vec(), rule(8 << 10)), (b"a/b/".to_vec(), rule(u64::MAX))])?;
    let keys = ["a/hits", "a/b/hits", "hits"];
    let mut written = keys.map(|_| Vec::new());
    for n in 0..WRITES {
        for (key, written) in keys.iter().zip(&mut written) {
            written.push((put(&engine, key.as_bytes(), &n.to_be_bytes())?, n));
        }
        clock.advance(1);
        engine.maintain()?;
        while engine.compact()? == Progress::Worked {}
    }
    settle(&engine)?;
    let kept = |at: usize| {
        let horizon = engine.horizon_of(keys[at].as_bytes());
        written[at].iter().filter(|(stamp, _)| *stamp >= horizon).count() as u64
    };
    println!("of {WRITES} versions each, {} {} {} can be read", kept(0), kept(1), kept(2));
    assert_eq!((kept(1), kept(2)), (WRITES, WRITES));
    assert!(kept(0) * 14 < 2 * (8 << 10), "{} of the rule with 8 KiB", kept(0));
    for (key, written) in keys.iter().zip(&written) {
        check_counter(&engine, key.as_bytes(), written)?;
    }
    let oldest = engine.snapshot_at(written[1][0].0)?;
    assert!(matches!(oldest.get(b"a/hits"), Err(Error::BelowHorizon { .. })));
    assert!(matches!(oldest.newest_stamp(b"a/never written"), Err(Error::BelowHorizon { .. })));
    assert!(matches!(oldest.range(b"a/", b"b", Direction::Forward), Err(Error::BelowHorizon { .. })));
    assert!(matches!(oldest.all(Direction::Reverse).next(), Some(Err(Error::BelowHorizon { .. }))));
    assert_eq!(oldest.range(b"a/b/", b"a/b0", Direction::Forward)?.count(), 1);
    assert_eq!(
        oldest.range(b"a/c", b"a/c", Direction::Forward)?.count(),
        0,
        "an empty range asks for no key"
    );
    let statistics = engine.statistics();
    assert!(statistics.history_bytes >= WRITES * (16 + 12), "{statistics:?}");
    Ok(())
}

/// A write in each prefix, and then an hour.
fn hour(engine: &Engine, clock: &SimClock, n: u64) -> engine::Result<Versionstamp> {
    let mut last = Versionstamp::ZERO;
    for key in ["long/k", "short/k", "k"] {
        last = put(engine, key.as_bytes(), &n.to_be_bytes())?;
    }
    clock.advance(3_600_000);
    settle(engine)?;
    Ok(last)
}

#[test]
fn a_prefix_keeps_its_history_across_reopening_before_its_rule_is_told_again() -> TestResult {
    let (env, disk, clock) = sim::env(1);
    let options = Options { history_ms: 2 * 3_600_000, ..small() };
    let mut engine = open(&env, &options)?;
    let rules = || {
        let rule = |hours: u64| History { ms: hours * 3_600_000, bytes_max: u64::MAX };
        vec![(b"long/".to_vec(), rule(24)), (b"short/".to_vec(), rule(1))]
    };
    engine.set_histories(rules())?;
    let first = hour(&engine, &clock, 0)?;
    for n in 1..8 {
        hour(&engine, &clock, n)?;
    }
    let horizons = |engine: &Engine| ["long/k", "short/k", "k"].map(|key| engine.horizon_of(key.as_bytes()));
    let before = horizons(&engine);
    assert!(before[0] < first && before[1] > before[2] && before[2] > first, "{before:?}");
    for crash in [false, true] {
        if crash {
            disk.crash(Unsynced::Lost);
        } else {
            engine.close()?;
        }
        drop(engine);
        engine = open(&env, &options)?;
        assert_eq!(horizons(&engine)[..2], before[..2]);
        // Nobody told the rules yet: nothing of the prefixes is dropped.
        for n in 8..11 {
            hour(&engine, &clock, n)?;
        }
        assert_eq!(horizons(&engine)[..2], before[..2]);
        assert!(engine.horizon() > before[2]);
        assert!(engine.snapshot_at(first)?.get(b"long/k")?.is_some());
    }
    engine.set_histories(rules())?;
    hour(&engine, &clock, 11)?;
    let after = horizons(&engine);
    assert!(after[0] == before[0] && after[1] > before[1], "{after:?}");
    engine.set_histories(Vec::new())?;
    assert_eq!(horizons(&engine), after, "nothing moves before a flush or compaction");
    hour(&engine, &clock, 12)?;
    let last = horizons(&engine);
    assert!(last[0] == last[2] && last[1] >= after[1], "{last:?}");
    assert!(matches!(engine.snapshot_at(first), Err(Error::BelowHorizon { .. })));
    Ok(())
}

#[test]
fn a_longer_window_starts_from_where_the_horizon_is() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let options = Options { history_ms: 3_600_000, ..small() };
    let engine = open(&env, &options)?;
    for n in 0..4 {
        hour(&engine, &clock, n)?;
    }
    let start = engine.horizon_of(b"long/k");
    assert!(start > Versionstamp::ZERO);
    let rule = History { ms: DAY_MS, bytes_max: u64::MAX };
    engine.set_histories(vec![(b"long/".to_vec(), rule)])?;
    for n in 4..8 {
        hour(&engine, &clock, n)?;
    }
    assert_eq!(engine.horizon_of(b"long/k"), start);
    assert!(engine.horizon() > start);
    Ok(())
}

#[test]
fn rules_that_cannot_be_are_refused_and_the_old_ones_stay() -> TestResult {
    let (env, _disk, clock) = sim::env(1);
    let engine = open(&env, &Options { history_ms: 0, ..small() })?;
    let rule = History { ms: DAY_MS, bytes_max: u64::MAX };
    engine.set_histories(vec![(b"long/".to_vec(), rule)])?;
    let many = (0..1_025u32).map(|n| (n.to_be_bytes().to_vec(), rule)).collect();
    let twice = vec![(b"a".to_vec(), rule), (b"a".to_vec(), rule)];
    let long = vec![(vec![7; 65_536], rule)];
    for wrong in [many, twice, long, vec![(Vec::new(), rule)]] {
        let refused = engine.set_histories(wrong);
        assert!(matches!(refused, Err(Error::Option { name: "histories", .. })), "{refused:?}");
    }
    hour(&engine, &clock, 0)?;
    hour(&engine, &clock, 1)?;
    assert!(engine.horizon_of(b"long/k") < engine.horizon());
    Ok(())
}

#[test]
fn what_a_crash_takes_from_the_log_is_never_below_a_horizon() -> TestResult {
    let (env, disk, clock) = sim::env(1);
    let options = Options { history_ms: 0, memtable_bytes_max: 1 << 20, ..small() };
    let engine = open(&env, &options)?;
    for n in 0..60u8 {
        put(&engine, &[n % 8], &[n; 60])?;
        if n % 10 == 9 {
            engine.flush()?;
        }
    }
    for n in 0..20u8 {
        let mut batch = WriteBatch::new();
        batch.put(&[n % 8], b"not synced", None)?;
        engine.commit_unsynced(batch)?;
        clock.advance(1_000);
    }
    while engine.compact()? == Progress::Worked {}
    let horizon = engine.horizon();
    assert!(horizon > Versionstamp::ZERO);
    drop(engine);
    disk.crash(Unsynced::Lost);
    let engine = open(&env, &options)?;
    assert!(engine.published().version >= horizon.version(), "the log ends below the horizon");
    assert_eq!(engine.snapshot().all(Direction::Forward).count(), 8);
    Ok(())
}
