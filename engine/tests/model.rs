//! The engine against a map of (key, stamp), through flushes, compactions and reopenings, read at
//! every stamp and in both directions.

use crate::support::{Model, Row, check, rows, small};
use engine::env::sim;
use engine::{Direction, Engine, Options, Snapshot, WriteBatch};
use proptest::prelude::*;
use std::path::Path;

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Write>),
    Flush,
    Compact,
    Seal,
    Reopen {
        closed: bool,
    },
    Advance(u64),
    Check,
    /// A reader comes, at one of the stamps that can be read, and stays.
    Hold(prop::sample::Index),
}

#[derive(Debug, Clone)]
enum Write {
    Put { key: Vec<u8>, value: Vec<u8>, expires_in_ms: Option<u64> },
    Delete { key: Vec<u8> },
    DeletePrefix { prefix: Vec<u8> },
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few keys, some of them prefixes of others, so that versions pile up and neighbours are close.
    prop_oneof![
        (0u8..6).prop_map(|n| vec![n]),
        (0u8..6, 0u8..3).prop_map(|(a, b)| vec![a, b]),
        (0u8..4).prop_map(|n| vec![n, 0]),
        (0u8..3).prop_map(|n| vec![0xff; 1 + usize::from(n)]),
    ]
}

/// Of a key, of several, of all, or of none.
fn prefix() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => key(),
        2 => (0u8..7).prop_map(|n| vec![n]),
        1 => prop_oneof![Just(Vec::new()), Just(vec![0xff])],
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let value = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (0usize..600).prop_map(|len| vec![b'v'; len]),
    ];
    prop_oneof![
        5 => (key(), value, prop::option::weighted(0.2, 0u64..4_000))
            .prop_map(|(key, value, expires_in_ms)| Write::Put { key, value, expires_in_ms }),
        2 => key().prop_map(|key| Write::Delete { key }),
        1 => prefix().prop_map(|prefix| Write::DeletePrefix { prefix }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(write(), 1..5).prop_map(Step::Commit),
        2 => Just(Step::Flush),
        3 => Just(Step::Compact),
        1 => Just(Step::Seal),
        1 => any::<bool>().prop_map(|closed| Step::Reopen { closed }),
        3 => (0u64..1_500).prop_map(Step::Advance),
        1 => Just(Step::Check),
        2 => any::<prop::sample::Index>().prop_map(Step::Hold),
    ]
}

fn batch_of(writes: &[Write], now_ms: u64) -> engine::Result<WriteBatch> {
    let mut batch = WriteBatch::new();
    for write in writes {
        match write {
            Write::Put { key, value, expires_in_ms } => {
                batch.put(key, value, expires_in_ms.map(|in_ms| now_ms + in_ms))?;
            }
            Write::Delete { key } => batch.delete(key)?,
            Write::DeletePrefix { prefix } => batch.delete_prefix(prefix)?,
        }
    }
    Ok(batch)
}

fn check_everywhere(
    engine: &Engine,
    model: &Model,
    history_ms: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    check(&engine.snapshot(), model)?;
    let now_ms = engine.env().clock.now_ms();
    let young = model.commits.iter().find(|(_, time_ms)| time_ms + history_ms > now_ms);
    if young.is_some_and(|(stamp, _)| *stamp < engine.horizon()) {
        return Err(format!("the horizon {} is inside the window", engine.horizon()).into());
    }
    for (stamp, time_ms) in model.commits.iter().filter(|(stamp, _)| *stamp >= engine.horizon()) {
        let snapshot = engine.snapshot_at(*stamp)?;
        if snapshot.time_ms() != *time_ms {
            return Err(format!("{stamp} was at {time_ms}, read at {}", snapshot.time_ms()).into());
        }
        check(&snapshot, model)?;
    }
    Ok(())
}

/// Ranges between all pairs of interesting bounds, both ways, at the newest stamp.
fn check_ranges(engine: &Engine, model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let snapshot = engine.snapshot();
    let all: Vec<Row> = rows(&snapshot, Direction::Forward)?;
    let mut bounds = model.keys();
    bounds.extend(model.keys().into_iter().map(|key| [key, vec![0]].concat()));
    for start in bounds.iter().step_by(3) {
        for end in bounds.iter().step_by(2) {
            if start > end {
                assert!(matches!(snapshot.range(start, end, Direction::Forward), Err(engine::Error::Range)));
                continue;
            }
            let expected: Vec<_> =
                all.iter().filter(|row| *start <= row.0 && row.0 < *end).map(|row| row.0.clone()).collect();
            for direction in [Direction::Forward, Direction::Reverse] {
                let keys = snapshot.range(start, end, direction)?.map(|entry| entry.map(|e| e.key.to_vec()));
                let mut keys = keys.collect::<engine::Result<Vec<_>>>()?;
                if direction == Direction::Reverse {
                    keys.reverse();
                }
                if keys != expected {
                    return Err(format!("{start:?}..{end:?} {direction:?}: {keys:?}").into());
                }
            }
        }
    }
    Ok(())
}

fn hold(engine: &Engine, model: &Model, which: &prop::sample::Index) -> engine::Result<Option<Snapshot>> {
    let stamps: Vec<_> = model.commits.iter().map(|(stamp, _)| *stamp).collect();
    let readable: Vec<_> = stamps.into_iter().filter(|stamp| *stamp >= engine.horizon()).collect();
    if readable.is_empty() { Ok(None) } else { engine.snapshot_at(*which.get(&readable)).map(Some) }
}

fn run(steps: &[Step], options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let (env, _disk, clock) = sim::env(1);
    let open = || Engine::open(env.clone(), Path::new("/data"), options.clone()).map(|(engine, _)| engine);
    let mut engine = open()?;
    let mut model = Model::default();
    let mut held = Vec::new();
    for step in steps {
        match step {
            Step::Commit(writes) => {
                let batch = batch_of(writes, env.clock.now_ms())?;
                let stamp = engine.commit(batch.clone())?;
                model.commit(stamp, engine.applied().time_ms, &batch);
            }
            Step::Flush => engine.flush()?,
            Step::Compact => while engine.compact()? == engine::Progress::Worked {},
            Step::Seal => engine.seal_segment()?,
            Step::Reopen { closed } => {
                if *closed {
                    engine.close()?;
                }
                drop(engine);
                engine = open()?;
            }
            Step::Advance(by_ms) => clock.advance(*by_ms),
            Step::Check => check_everywhere(&engine, &model, options.history_ms)?,
            Step::Hold(which) => held.extend(hold(&engine, &model, which)?),
        }
        engine.maintain()?;
    }
    check_everywhere(&engine, &model, options.history_ms)?;
    held.iter().try_for_each(|snapshot| check(snapshot, &model))?;
    check_ranges(&engine, &model)?;
    Ok(engine.verify()?)
}

/// 200 cases, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(200);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_engine_reads_as_the_model_at_every_stamp(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps, small()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }

    #[test]
    fn a_short_history_keeps_every_stamp_above_the_horizon(steps in prop::collection::vec(step(), 1..120)) {
        let options = Options { history_ms: 1_000, ..small() };
        run(&steps, options).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }

    #[test]
    fn without_history_the_newest_stamp_is_right(steps in prop::collection::vec(step(), 1..120)) {
        let options = Options { history_ms: 0, ..small() };
        run(&steps, options).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}
