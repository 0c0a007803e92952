//! A database in memory for tests, by the real apply: what it does is right.

use super::{Last, Row, Selection};
use crate::apply::State;
use crate::{AtomicWrite, Entry, Outcome, apply, clock_ms};
use bytes::Bytes;
use engine::{Applied, ContentHash, Op, Value, Versionstamp};
use std::collections::BTreeMap;

/// One version of a key: who wrote it, and the value with its expiry unless deleted.
type Version = (Versionstamp, Option<(Bytes, Option<u64>)>);

/// All versions of all keys.
#[derive(Debug, Clone)]
pub(crate) struct Toy {
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    pub(crate) applied: Applied,
    pub(crate) times_ms: BTreeMap<u64, u64>,
    /// The last commit up to each version.
    stamps: BTreeMap<u64, Versionstamp>,
}

/// The newest state at a time.
struct Newest<'a>(&'a Toy, u64);

impl Toy {
    pub(crate) fn new() -> Self {
        let applied =
            Applied { version: 0, term: 0, time_ms: 0, hash: ContentHash::EMPTY, stamp: Versionstamp::ZERO };
        Self { keys: BTreeMap::new(), applied, times_ms: BTreeMap::new(), stamps: BTreeMap::new() }
    }

    /// Applies one entry of these writes.
    pub(crate) fn write(&mut self, time_ms: u64, writes: Vec<AtomicWrite>) -> Vec<Outcome> {
        let entry = Entry::Batch { time_ms, writes };
        let state = Newest(self, clock_ms(&self.applied, &entry));
        let application = apply(&state, &self.applied, self.applied.version + 1, &entry)
            .expect("a state in memory can be read");
        let record = application.record;
        for (stamp, batch) in record.commits() {
            for op in batch.ops() {
                let (key, version) = match op {
                    Op::Put { key, value, expire_at_ms } => {
                        (key, Some((Bytes::copy_from_slice(value), expire_at_ms)))
                    }
                    Op::Delete { key } => (key, None),
                    Op::DeletePrefix { .. } => unreachable!("apply resolves to puts and deletes alone"),
                };
                self.keys.entry(key.to_vec()).or_default().push((stamp, version));
            }
            self.applied.stamp = stamp;
        }
        self.applied =
            Applied { version: record.version, time_ms: record.time_ms, hash: record.hash, ..self.applied };
        self.stamps.insert(record.version, self.applied.stamp);
        self.times_ms.insert(record.version, record.time_ms);
        application.outcomes
    }

    /// The rows of a selection, at a stamp and a time.
    pub(crate) fn rows(&self, selection: &Selection, at: Versionstamp, time_ms: u64) -> Vec<Row> {
        let range = self.keys.range(selection.start.clone()..selection.end.clone());
        let rows = range.filter_map(|(key, _)| {
            let value = self.value(key, at, time_ms)?;
            Some(Row { key: key.clone(), value: value.bytes.to_vec(), stamp: value.stamp })
        });
        let mut rows: Vec<Row> = rows.collect();
        if selection.reverse {
            rows.reverse();
        }
        rows.truncate(selection.limit);
        rows
    }

    /// The clock at a stamp.
    pub(crate) fn time_at(&self, at: Versionstamp) -> u64 {
        self.times_ms.range(..=at.version()).next_back().map_or(0, |(_, time_ms)| *time_ms)
    }

    /// The last commit that is not above a version.
    pub(crate) fn commit_at(&self, version: u64) -> Versionstamp {
        self.stamps.range(..=version).next_back().map_or(Versionstamp::ZERO, |(_, stamp)| *stamp)
    }

    /// Everything, in the end.
    pub(crate) fn last(&self) -> Last {
        let all = Selection { start: Vec::new(), end: vec![0xff; 9], limit: usize::MAX, reverse: false };
        let time_ms = self.applied.time_ms;
        let rows = self.rows(&all, Versionstamp::MAX, time_ms);
        Last { rows, time_ms: Some(time_ms), times_ms: self.times_ms.clone() }
    }

    fn value(&self, key: &[u8], at: Versionstamp, time_ms: u64) -> Option<Value> {
        let (stamp, value) = self.keys.get(key)?.iter().rfind(|(stamp, _)| *stamp <= at)?;
        let (bytes, expire_at_ms) = value.clone()?;
        expire_at_ms.is_none_or(|at| at > time_ms).then_some(Value { stamp: *stamp, bytes, expire_at_ms })
    }
}

impl State for Newest<'_> {
    fn stamp_of(&self, key: &[u8]) -> engine::Result<Option<Versionstamp>> {
        Ok(self.0.value(key, Versionstamp::MAX, self.1).map(|value| value.stamp))
    }

    fn get(&self, key: &[u8]) -> engine::Result<Option<Value>> {
        Ok(self.0.value(key, Versionstamp::MAX, self.1))
    }
}
