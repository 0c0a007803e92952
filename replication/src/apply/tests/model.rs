//! Apply against a model that was written apart from it.
//!
//! The model copies its whole map for every write, keeps every copy, and does arithmetic with the
//! V8 library instead of our own reader.

use super::*;
use crate::testing::entries;
use crate::{BigInt, DatabaseNumber};
use proptest::prelude::*;
use v8_valueserializer::{Value as V8Value, ValueDeserializer};

/// A value as the model keeps it: bytes that a client gave, or a number that was computed.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Given(u8, Vec<u8>),
    U64(u64),
    Big(BigInt),
    Double(f64),
}

#[derive(Debug, Clone)]
struct Cell {
    stamp: Versionstamp,
    held: Held,
    expiry: u64,
}

type Map = BTreeMap<(u32, Vec<u8>), Cell>;

#[derive(Default)]
struct Model {
    map: Map,
    clock: u64,
    /// The map after each commit, and its clock.
    history: Vec<(Versionstamp, u64, Map)>,
}

fn never(expire_at_ms: Option<u64>) -> u64 {
    // No generated clock reaches it.
    expire_at_ms.unwrap_or(u64::MAX)
}

impl Cell {
    fn alive(&self, clock: u64) -> bool {
        self.expiry > clock || self.expiry == u64::MAX
    }
}

impl Model {
    fn apply(&mut self, version: u64, entry: &Entry) -> Vec<Result<Versionstamp, String>> {
        self.clock = self.clock.max(entry.time_ms());
        self.map.retain(|_, cell| cell.alive(self.clock));
        if let Entry::DeleteDatabase { database: DatabaseNumber(gone @ 1..), .. } = entry {
            self.map.retain(|(database, _), _| database != gone);
            self.history.push((Versionstamp::new(version, 0), self.clock, self.map.clone()));
        }
        let Entry::Batch { writes, .. } = entry else { return Vec::new() };
        let mut outcomes = Vec::new();
        for (order, write) in (0u16..).zip(writes) {
            let stamp = Versionstamp::new(version, order);
            outcomes.push(self.write(stamp, write).map(|map| {
                self.map = map.clone();
                self.history.push((stamp, self.clock, map));
                stamp
            }));
        }
        outcomes
    }

    fn write(&self, stamp: Versionstamp, write: &AtomicWrite) -> Result<Map, String> {
        let DatabaseNumber(database) = write.database;
        let mut failed = Vec::new();
        for (index, check) in write.checks.iter().enumerate() {
            let found = self.map.get(&(database, check.key.clone())).map(|cell| cell.stamp);
            if found != check.stamp {
                failed.push(index);
            }
        }
        if !failed.is_empty() {
            return Err(format!("checks {failed:?}"));
        }
        let mut map = self.map.clone();
        for mutation in &write.mutations {
            let mut key = mutation.key.clone();
            let old = map.get(&(database, key.clone())).map(|cell| cell.held.clone());
            let (held, expiry) = match &mutation.kind {
                MutationKind::Delete => {
                    map.remove(&(database, key));
                    continue;
                }
                MutationKind::Set { value, expire_at_ms } => (given(value), never(*expire_at_ms)),
                MutationKind::SetSuffixed { value, expire_at_ms } => {
                    key = [&key[..], b"\x02", stamp.to_string().as_bytes(), b"\0"].concat();
                    (given(value), never(*expire_at_ms))
                }
                MutationKind::Sum(sum) => (add(old, sum)?, u64::MAX),
                MutationKind::Min(operand) => (u64_of(old, *operand, "min", u64::min)?, u64::MAX),
                MutationKind::Max(operand) => (u64_of(old, *operand, "max", u64::max)?, u64::MAX),
            };
            map.insert((database, key), Cell { stamp, held, expiry });
            map.retain(|_, cell| cell.alive(self.clock));
        }
        Ok(map)
    }
}

fn given(value: &StoredValue) -> Held {
    Held::Given(value.encoding.as_byte(), value.bytes.clone())
}

/// What a number in the database is, in `denokv`'s words where it is none.
fn number(held: &Held) -> Result<Held, String> {
    let Held::Given(encoding, bytes) = held else { return Ok(held.clone()) };
    match (encoding, <[u8; 8]>::try_from(bytes.as_slice())) {
        (2, Ok(bytes)) => return Ok(Held::U64(u64::from_le_bytes(bytes))),
        (1, _) => {}
        _ => return Err("unsupported value type".to_owned()),
    }
    match ValueDeserializer::default().read(bytes) {
        Ok((V8Value::BigInt(value), _)) => Ok(Held::Big(value)),
        Ok((V8Value::Double(value), _)) => Ok(Held::Double(value)),
        Ok((V8Value::I32(value), _)) => Ok(Held::Double(value.into())),
        Ok((V8Value::U32(value), _)) => Ok(Held::Double(value.into())),
        Ok(_) => Err("unsupported value type".to_owned()),
        Err(_) => Err("invalid v8 value".to_owned()),
    }
}

fn u64_of(old: Option<Held>, operand: u64, name: &str, f: fn(u64, u64) -> u64) -> Result<Held, String> {
    match old.map(|old| number(&old)) {
        None => Ok(Held::U64(operand)),
        Some(Ok(Held::U64(old))) => Ok(Held::U64(f(old, operand))),
        Some(_) => Err(format!("Failed to perform '{name}' mutation on a non-U64 value in the database")),
    }
}

fn add(old: Option<Held>, sum: &Sum) -> Result<Held, String> {
    let out_of_range = || "The result of a Sum operation would exceed its range limit".to_owned();
    let Sum::U64(operand) = sum else {
        let operand = match sum {
            Sum::BigInt { operand, .. } => Held::Big(operand.clone()),
            Sum::Number { operand, .. } => Held::Double(*operand),
            Sum::U64(operand) => Held::U64(*operand),
        };
        let Some(old) = old else { return Ok(operand) };
        return match (number(&old)?, sum) {
            (Held::Big(old), Sum::BigInt { operand, min, max, clamp }) => {
                let mut new = old + operand;
                for (bound, over) in [(min, false), (max, true)] {
                    let Some(bound) = bound else { continue };
                    if (over && new > *bound) || (!over && new < *bound) {
                        new = clamp.then(|| bound.clone()).ok_or_else(out_of_range)?;
                    }
                }
                Ok(Held::Big(new))
            }
            (Held::Double(old), Sum::Number { operand, min, max, clamp }) => {
                let mut new = old + operand;
                for (bound, over) in [(min, false), (max, true)] {
                    let Some(bound) = bound else { continue };
                    if (over && new > *bound) || (!over && new < *bound) {
                        new = clamp.then_some(*bound).ok_or_else(out_of_range)?;
                    }
                }
                Ok(Held::Double(new))
            }
            (Held::U64(old), Sum::BigInt { operand, min: None, max: None, clamp: false })
                if *operand >= BigInt::ZERO && *operand <= BigInt::from(u64::MAX) =>
            {
                let operand = u64::try_from(operand.clone()).map_err(|error| error.to_string())?;
                Ok(Held::U64(old.wrapping_add(operand)))
            }
            (old, _) => Err(format!("Cannot sum {} with {}", name(&old), name(&operand))),
        };
    };
    u64_of(old, *operand, "sum", u64::wrapping_add)
}

fn name(held: &Held) -> &'static str {
    match held {
        Held::U64(_) => "KvU64",
        Held::Big(_) => "BigInt",
        Held::Double(_) => "Number",
        Held::Given(..) => "bytes",
    }
}

/// Whether the engine's bytes are what the model holds.
fn same(bytes: &[u8], held: &Held) -> bool {
    let Some((encoding, bytes)) = bytes.split_first() else { return false };
    let actual = Held::Given(*encoding, bytes.to_vec());
    match (held, number(&actual)) {
        (Held::Given(..), _) => actual == *held,
        (Held::Double(expected), Ok(Held::Double(actual))) => {
            expected.to_bits() == actual.to_bits() || (expected.is_nan() && actual.is_nan())
        }
        (expected, Ok(actual)) => *expected == actual,
        (_, Err(_)) => false,
    }
}

fn in_words(outcome: &Outcome) -> Result<Versionstamp, String> {
    match outcome {
        Outcome::Committed(stamp) => Ok(*stamp),
        Outcome::ChecksFailed(indexes) => Err(format!("checks {indexes:?}")),
        Outcome::Refused(refusal) => Err(refusal.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn apply_does_what_the_model_does_and_its_history_can_be_read_at_every_stamp(
        entries in prop::collection::vec(entries(), 1..12),
    ) {
        let (mut history, mut model) = (History::new(), Model::default());
        for entry in &entries {
            let application = history.step(entry)?;
            let outcomes: Vec<_> = application.outcomes.iter().map(in_words).collect();
            prop_assert_eq!(outcomes, model.apply(history.applied.version, entry));
            prop_assert_eq!(application.record.time_ms, model.clock);
        }
        for (stamp, clock, map) in &model.history {
            let actual = history.view(*stamp, *clock).entries();
            prop_assert_eq!(actual.len(), map.len());
            for ((database, key), cell) in map {
                let Some(value) = actual.get(&engine_key(DatabaseNumber(*database), key)) else {
                    return Err(TestCaseError::fail(format!("{key:x?} is lost at {stamp}")));
                };
                prop_assert_eq!(value.stamp, cell.stamp);
                prop_assert_eq!(never(value.expire_at_ms), cell.expiry);
                prop_assert!(same(&value.bytes, &cell.held), "{:?} is not {:?}", value, cell.held);
            }
        }
    }

    #[test]
    fn the_same_entries_give_the_same_bytes_and_the_hash_is_that_of_the_survivors(
        entries in prop::collection::vec(entries(), 1..8),
    ) {
        let (mut one, mut other) = (History::new(), History::new());
        let mut hash = ContentHash::EMPTY;
        for entry in &entries {
            let (mut bytes, mut again, mut payload) = (Vec::new(), Vec::new(), Vec::new());
            let application = one.step(entry)?;
            entry.encode(&mut payload);
            application.record.encode(&mut bytes);
            other.step(&Entry::decode(&payload)?)?.record.encode(&mut again);
            prop_assert_eq!(&bytes, &again);
            prop_assert_eq!(Record::decode(&bytes)?, application.record.clone());
            for (stamp, batch) in application.record.commits() {
                hash = hash.then(stamp, batch);
                let keys: Vec<_> = batch.ops().map(|op| match op {
                    Op::Put { key, .. } | Op::Delete { key } => key,
                    Op::DeletePrefix { prefix } => prefix,
                }).collect();
                prop_assert!(keys.is_sorted_by(|a, b| a < b), "one operation for each key");
            }
            prop_assert_eq!(application.record.hash, hash);
        }
    }
}
