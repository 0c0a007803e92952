//! The engine against a map of (key, stamp), through flushes, compactions and reopenings, read at
//! every stamp and in both directions.

use crate::support::{Model, Row, check, check_key, rows, small};
use engine::env::sim;
use engine::{Direction, Engine, Error, History, Options, Snapshot, Versionstamp, WriteBatch};
use proptest::prelude::*;
use std::collections::BTreeMap;
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
    /// Windows in milliseconds, by prefix.
    Histories(BTreeMap<Vec<u8>, u64>),
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

/// The same, with rules for prefixes that change.
fn step_with_histories() -> impl Strategy<Value = Step> {
    let window = prop_oneof![Just(0), 500..2_000u64, 3_000..9_000u64];
    let rules = prop::collection::btree_map(key(), window, 0..4);
    prop_oneof![14 => step(), 1 => rules.prop_map(Step::Histories)]
}

/// What history each key was promised, and what it had.
#[derive(Debug)]
struct Promised {
    default_ms: u64,
    /// All rules that there ever were.
    told: Vec<BTreeMap<Vec<u8>, u64>>,
    /// The horizon of a key when last looked at.
    reached: BTreeMap<Vec<u8>, Versionstamp>,
}

impl Promised {
    /// The shortest window that ever ruled a key.
    fn shortest_ms(&self, key: &[u8]) -> u64 {
        let ruled = self.told.iter().map(|rules| {
            let over = rules.iter().filter(|(prefix, _)| key.starts_with(prefix));
            over.max_by_key(|(prefix, _)| prefix.len()).map_or(self.default_ms, |(_, ms)| *ms)
        });
        ruled.fold(self.default_ms, u64::min)
    }

    /// The horizon of a key neither falls nor enters the window.
    fn check(&mut self, engine: &Engine, model: &Model) -> Result<(), Box<dyn std::error::Error>> {
        let now_ms = engine.env().clock.now_ms();
        for key in model.keys() {
            let window_ms = self.shortest_ms(&key);
            let horizon = engine.horizon_of(&key);
            let reached = self.reached.entry(key.clone()).or_insert(Versionstamp::ZERO);
            if horizon < *reached {
                return Err(format!("the horizon of {key:?} fell from {reached} to {horizon}").into());
            }
            *reached = horizon;
            let young = model.commits.iter().find(|(_, time_ms)| time_ms + window_ms > now_ms);
            if young.is_some_and(|(stamp, _)| *stamp < horizon) {
                return Err(format!("the horizon {horizon} of {key:?} is inside its window").into());
            }
        }
        Ok(())
    }
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
    promised: &mut Promised,
) -> Result<(), Box<dyn std::error::Error>> {
    check(&engine.snapshot(), model)?;
    promised.check(engine, model)?;
    let keys = model.keys();
    let horizons: Vec<_> = keys.iter().map(|key| engine.horizon_of(key)).collect();
    for (stamp, time_ms) in &model.commits {
        let snapshot = match engine.snapshot_at(*stamp) {
            Ok(snapshot) => snapshot,
            Err(Error::BelowHorizon { .. }) if horizons.iter().all(|horizon| stamp < horizon) => continue,
            Err(error) => return Err(error.into()),
        };
        let whole = *stamp >= engine.horizon() && horizons.iter().all(|horizon| stamp >= horizon);
        if whole && snapshot.time_ms() != *time_ms {
            return Err(format!("{stamp} was at {time_ms}, read at {}", snapshot.time_ms()).into());
        }
        let last_commit = engine.published().stamp == *stamp;
        if whole && reads_all(&snapshot) {
            check(&snapshot, model)?;
            continue;
        }
        for (key, horizon) in keys.iter().zip(&horizons) {
            match check_key(&snapshot, model, key) {
                Ok(()) if stamp >= horizon || last_commit => {}
                Err(error) if stamp < horizon && error.to_string().contains("below the horizon") => {}
                found => {
                    return Err(format!("{stamp}, {key:?} with its horizon at {horizon}: {found:?}").into());
                }
            }
        }
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
    let snapshots = model.commits.iter().filter_map(|(stamp, _)| engine.snapshot_at(*stamp).ok());
    let mut readable: Vec<_> = snapshots.filter(reads_all).collect();
    Ok((!readable.is_empty()).then(|| readable.swap_remove(which.index(readable.len()))))
}

/// Whether no key's horizon is above a snapshot.
fn reads_all(snapshot: &Snapshot) -> bool {
    !matches!(snapshot.all(Direction::Forward).next(), Some(Err(Error::BelowHorizon { .. })))
}

fn run(steps: &[Step], options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let (env, _disk, clock) = sim::env(1);
    let open = || Engine::open(env.clone(), Path::new("/data"), options.clone()).map(|(engine, _)| engine);
    let mut engine = open()?;
    let mut model = Model::default();
    let mut promised =
        Promised { default_ms: options.history_ms, told: Vec::new(), reached: BTreeMap::new() };
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
            Step::Histories(windows) => {
                promised.told.push(windows.clone());
                let rule = |(prefix, ms): (&Vec<u8>, &u64)| {
                    (prefix.clone(), History { ms: *ms, bytes_max: u64::MAX })
                };
                engine.set_histories(windows.iter().map(rule).collect())?;
            }
            Step::Check => check_everywhere(&engine, &model, &mut promised)?,
            Step::Hold(which) => held.extend(hold(&engine, &model, which)?),
        }
        engine.maintain()?;
    }
    check_everywhere(&engine, &model, &mut promised)?;
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

    #[test]
    fn each_key_keeps_the_history_of_its_longest_prefix(
        steps in prop::collection::vec(step_with_histories(), 1..120),
        history_ms in prop_oneof![Just(0), Just(1_000), Just(5_000)],
    ) {
        let options = Options { history_ms, ..small() };
        run(&steps, options).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}
