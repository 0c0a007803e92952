//! Apply by example; [`model`] compares it with a model on arbitrary entries.

mod edges;
mod model;
mod numbers;
mod over_engine;

use super::*;
use crate::command::{Check, Mutation, MutationKind, RequestId, Sum};
use crate::{DEFAULT_DATABASE, Encoding, StoredValue};
use bytes::Bytes;
use engine::{Op, Value};
use std::collections::BTreeMap;

pub(super) type TestResult = Result<(), Box<dyn std::error::Error>>;

/// One version of a key: who wrote it, and the value with its expiry unless deleted.
type Written = (Versionstamp, Option<(Bytes, Option<u64>)>);

/// Every version of every key, as records wrote them.
#[derive(Debug, Clone)]
pub(super) struct History {
    keys: BTreeMap<Vec<u8>, Vec<Written>>,
    pub(super) applied: Applied,
}

/// The history, read at a stamp and a time.
pub(super) struct View<'a> {
    history: &'a History,
    at: Versionstamp,
    time_ms: u64,
}

impl History {
    pub(super) fn new() -> Self {
        let applied =
            Applied { version: 0, term: 0, time_ms: 0, hash: ContentHash::EMPTY, stamp: Versionstamp::ZERO };
        Self { keys: BTreeMap::new(), applied }
    }

    pub(super) fn view(&self, at: Versionstamp, time_ms: u64) -> View<'_> {
        View { history: self, at, time_ms }
    }

    pub(super) fn newest(&self, entry: &Entry) -> View<'_> {
        self.view(Versionstamp::MAX, clock_ms(&self.applied, entry))
    }

    /// Applies an entry under the next version and keeps what it wrote.
    pub(super) fn step(&mut self, entry: &Entry) -> engine::Result<Application> {
        let application = apply(&self.newest(entry), &self.applied, self.applied.version + 1, entry)?;
        let record = &application.record;
        for (stamp, batch) in record.commits() {
            for op in batch.ops() {
                if let Op::DeletePrefix { prefix } = op {
                    let below = self.keys.iter_mut().filter(|(key, _)| key.starts_with(prefix));
                    below.for_each(|(_, versions)| versions.push((stamp, None)));
                    continue;
                }
                let (key, written) = match op {
                    Op::Put { key, value, expire_at_ms } => {
                        (key, Some((Bytes::copy_from_slice(value), expire_at_ms)))
                    }
                    Op::Delete { key } => (key, None),
                    Op::DeletePrefix { .. } => unreachable!("seen above"),
                };
                self.keys.entry(key.to_vec()).or_default().push((stamp, written));
            }
            self.applied.stamp = stamp;
        }
        self.applied.version = record.version;
        self.applied.time_ms = record.time_ms;
        self.applied.hash = record.hash;
        Ok(application)
    }
}

impl View<'_> {
    fn value(&self, key: &[u8]) -> Option<Value> {
        let versions = self.history.keys.get(key)?;
        let (stamp, written) = versions.iter().rfind(|(stamp, _)| *stamp <= self.at)?;
        let (bytes, expire_at_ms) = written.clone()?;
        let alive = expire_at_ms.is_none_or(|at| at > self.time_ms);
        alive.then_some(Value { stamp: *stamp, bytes, expire_at_ms })
    }

    pub(super) fn entries(&self) -> BTreeMap<Vec<u8>, Value> {
        let keys = self.history.keys.keys();
        keys.filter_map(|key| Some((key.clone(), self.value(key)?))).collect()
    }
}

impl State for View<'_> {
    fn stamp_of(&self, key: &[u8]) -> engine::Result<Option<Versionstamp>> {
        Ok(self.value(key).map(|value| value.stamp))
    }

    fn get(&self, key: &[u8]) -> engine::Result<Option<Value>> {
        Ok(self.value(key))
    }
}

pub(super) fn write(checks: Vec<Check>, mutations: Vec<Mutation>) -> AtomicWrite {
    let request = RequestId { node: 0, boot: 0, counter: 0 };
    AtomicWrite { request, database: DEFAULT_DATABASE, checks, mutations }
}

pub(super) fn batch_at<const N: usize>(time_ms: u64, writes: [AtomicWrite; N]) -> Entry {
    Entry::Batch { time_ms, writes: writes.to_vec() }
}

pub(super) fn mutation(key: &[u8], kind: MutationKind) -> Mutation {
    Mutation { key: key.to_vec(), kind }
}

pub(super) fn set(key: &[u8], value: &[u8]) -> Mutation {
    set_until(key, value, None)
}

pub(super) fn set_until(key: &[u8], bytes: &[u8], expire_at_ms: Option<u64>) -> Mutation {
    let value = StoredValue { encoding: Encoding::Bytes, bytes: bytes.to_vec() };
    mutation(key, MutationKind::Set { value, expire_at_ms })
}

pub(super) fn add(key: &[u8], operand: u64) -> Mutation {
    mutation(key, MutationKind::Sum(Sum::U64(operand)))
}

pub(super) fn absent(key: &[u8]) -> Check {
    Check { key: key.to_vec(), stamp: None }
}

/// What a reader sees of a key of the default database after everything.
pub(super) fn read(history: &History, key: &[u8]) -> Option<(Versionstamp, Vec<u8>)> {
    let view = history.view(Versionstamp::MAX, history.applied.time_ms);
    view.value(&engine_key(DEFAULT_DATABASE, key)).map(|value| (value.stamp, value.bytes.to_vec()))
}

#[test]
fn writes_of_a_batch_see_those_before_them_and_keep_their_orders() -> TestResult {
    let mut history = History::new();
    let entry = batch_at(
        1,
        [
            write(vec![absent(b"k")], vec![set(b"k", b"first")]),
            write(vec![absent(b"k")], vec![set(b"k", b"second")]),
            write(
                vec![Check { key: b"k".to_vec(), stamp: Some(Versionstamp::new(1, 0)) }],
                vec![set(b"k", b"third")],
            ),
        ],
    );
    let application = history.step(&entry)?;
    let (first, third) = (Versionstamp::new(1, 0), Versionstamp::new(1, 2));
    let expected = [Outcome::Committed(first), Outcome::ChecksFailed(vec![0]), Outcome::Committed(third)];
    assert_eq!(application.outcomes, expected);
    assert_eq!(application.record.commits().map(|(stamp, _)| stamp).collect::<Vec<_>>(), [first, third]);
    assert_eq!(read(&history, b"k"), Some((third, b"\x03third".to_vec())));
    Ok(())
}

#[test]
fn every_failed_check_is_named_and_nothing_is_done() -> TestResult {
    let mut history = History::new();
    history.step(&batch_at(1, [write(vec![], vec![set(b"a", b"1")])]))?;
    let stamp = Some(Versionstamp::new(1, 0));
    let zero = Some(Versionstamp::ZERO);
    let checks = vec![
        absent(b"a"),
        Check { key: b"a".to_vec(), stamp },
        Check { key: b"b".to_vec(), stamp },
        Check { key: b"b".to_vec(), stamp: zero },
        absent(b"b"),
    ];
    let application = history.step(&batch_at(2, [write(checks, vec![set(b"b", b"2")])]))?;
    assert_eq!(application.outcomes, [Outcome::ChecksFailed(vec![0, 2, 3])]);
    assert_eq!(application.record.batches, []);
    assert_eq!(read(&history, b"b"), None);
    Ok(())
}

#[test]
fn a_refused_mutation_takes_its_whole_write_with_it_and_no_other() -> TestResult {
    let mut history = History::new();
    let entry = batch_at(
        1,
        [
            write(vec![], vec![set(b"k", b"text")]),
            write(vec![], vec![set(b"other", b"lost"), add(b"k", 1)]),
            write(vec![absent(b"other")], vec![add(b"n", 1)]),
        ],
    );
    let application = history.step(&entry)?;
    let refused = Outcome::Refused(Refusal::NonU64Value(crate::Operation::Sum));
    assert_eq!(application.outcomes[1], refused);
    assert_eq!(application.outcomes[2], Outcome::Committed(Versionstamp::new(1, 2)));
    assert_eq!(read(&history, b"other"), None);
    Ok(())
}

#[test]
fn mutations_of_a_write_see_each_other_and_leave_one_operation_for_each_key() -> TestResult {
    let mut history = History::new();
    let delete = |key: &[u8]| mutation(key, MutationKind::Delete);
    let mutations =
        vec![add(b"n", 40), add(b"n", 2), set(b"gone", b"x"), delete(b"gone"), delete(b"n"), add(b"n", 3)];
    let application = history.step(&batch_at(1, [write(vec![], mutations)]))?;
    let (_, batch) = &application.record.batches[0];
    let ops: Vec<_> = batch.ops().collect();
    let (gone, n) = (engine_key(DEFAULT_DATABASE, b"gone"), engine_key(DEFAULT_DATABASE, b"n"));
    let three = StoredValue::u64(3).to_engine();
    assert_eq!(ops, [Op::Delete { key: &gone }, Op::Put { key: &n, value: &three, expire_at_ms: None }]);
    Ok(())
}

#[test]
fn an_empty_write_commits_under_a_stamp_of_its_own() -> TestResult {
    let mut history = History::new();
    let application = history.step(&batch_at(1, [write(vec![], vec![]), write(vec![], vec![])]))?;
    let stamps = [Versionstamp::new(1, 0), Versionstamp::new(1, 1)];
    assert_eq!(application.outcomes, stamps.map(Outcome::Committed));
    assert_ne!(application.record.hash, ContentHash::EMPTY);
    Ok(())
}

#[test]
fn a_suffixed_key_ends_in_the_stamp_of_its_write() -> TestResult {
    let mut history = History::new();
    let value = StoredValue { encoding: Encoding::V8, bytes: b"v".to_vec() };
    let kind = MutationKind::SetSuffixed { value, expire_at_ms: None };
    let entry = batch_at(1, [write(vec![], vec![]), write(vec![], vec![mutation(b"\x02log\0", kind)])]);
    history.step(&entry)?;
    let key = b"\x02log\0\x0200000000000000010001\0";
    assert_eq!(read(&history, key), Some((Versionstamp::new(1, 1), b"\x01v".to_vec())));
    Ok(())
}
