//! Apply over the real engine, on a simulated disk: flushes, compactions and reopenings change nothing.

use super::*;
use crate::testing::entries;
use engine::env::sim;
use engine::{Direction, Engine, Env, Options, Progress};
use proptest::prelude::*;
use std::path::Path;

/// What the engine is asked to do after an entry.
#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    Maintain,
    Reopen,
}

fn open(env: &Env) -> engine::Result<Engine> {
    // Small, so that a few entries are enough for tables and levels.
    let options = Options {
        memtable_bytes_max: 1 << 10,
        block_bytes: 64,
        table_bytes: 1 << 10,
        level0_tables_max: 1,
        level1_bytes: 1 << 10,
        segment_bytes_max: 1 << 14,
        disk_reserve_bytes: Some(0),
        ..Options::default()
    };
    Engine::open(env.clone(), Path::new("/engine"), options).map(|(engine, _recovery)| engine)
}

fn step(engine: &Engine, entry: &Entry) -> engine::Result<Application> {
    let applied = engine.applied();
    let state = engine.newest().at_time(clock_ms(&applied, entry));
    let application = apply(&state, &applied, engine.next_version(), entry)?;
    engine.append(&application.record)?;
    engine.publish(engine.sync()?);
    Ok(application)
}

fn then(engine: Engine, env: &Env, then: Then) -> engine::Result<Engine> {
    match then {
        Then::Nothing => Ok(engine),
        Then::Maintain => {
            while engine.maintain()? == Progress::Worked {}
            Ok(engine)
        }
        Then::Reopen => {
            engine.close()?;
            drop(engine);
            open(env)
        }
    }
}

fn content(snapshot: &engine::Snapshot) -> engine::Result<BTreeMap<Vec<u8>, Value>> {
    let entries = snapshot.range(&[0], &[0xff; 64], Direction::Forward)?;
    entries.map(|entry| entry.map(|entry| (entry.key.to_vec(), entry.value))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn the_engine_gives_the_same_as_memory_at_every_stamp_that_it_keeps(
        steps in prop::collection::vec(
            (entries(), prop::sample::select(vec![Then::Nothing, Then::Maintain, Then::Reopen])),
            1..40,
        ),
    ) {
        let (env, _disk, _clock) = sim::env(7);
        let mut engine = open(&env)?;
        let mut history = History::new();
        let mut commits = Vec::new();
        for (entry, and_then) in &steps {
            let application = step(&engine, entry)?;
            prop_assert_eq!(&application, &history.step(entry)?);
            commits.extend(application.record.commits().map(|(stamp, _)| (stamp, application.record.time_ms)));
            engine = then(engine, &env, *and_then)?;
            prop_assert_eq!(engine.applied(), history.applied);
        }
        for (stamp, time_ms) in commits {
            match engine.snapshot_at(stamp) {
                Ok(snapshot) => {
                    prop_assert_eq!(content(&snapshot)?, history.view(stamp, time_ms).entries(), "at {}", stamp);
                }
                Err(engine::Error::BelowHorizon { horizon, .. }) => prop_assert!(stamp < horizon),
                Err(error) => return Err(error.into()),
            }
        }
        let newest = history.view(Versionstamp::MAX, history.applied.time_ms).entries();
        prop_assert_eq!(content(&engine.snapshot())?, newest);
    }
}
