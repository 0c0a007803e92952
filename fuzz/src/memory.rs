//! A state in memory that records are written to, checking what must hold of each.

use bytes::Bytes;
use engine::{Applied, ContentHash, Op, Record, Value, Versionstamp};
use replication::State;
use std::collections::BTreeMap;

/// The newest version of each key, and where the log stands.
#[derive(Debug)]
pub struct Memory {
    keys: BTreeMap<Vec<u8>, Value>,
    /// Where the log stands.
    pub applied: Applied,
}

impl Default for Memory {
    fn default() -> Self {
        let (hash, stamp) = (ContentHash::EMPTY, Versionstamp::ZERO);
        Self { keys: BTreeMap::new(), applied: Applied { version: 0, term: 0, time_ms: 0, hash, stamp } }
    }
}

impl Memory {
    /// The state read at a time.
    pub fn at(&self, time_ms: u64) -> At<'_> {
        At { memory: self, time_ms }
    }

    /// Writes what a record says.
    ///
    /// # Panics
    ///
    /// When the record does not follow the one before it.
    pub fn write(&mut self, record: &Record) {
        assert!(record.version > self.applied.version, "versions rise");
        assert!(record.time_ms >= self.applied.time_ms, "the clock never falls");
        assert_eq!(record.hash, record.hash_after(self.applied.hash), "the hash follows");
        for (stamp, batch) in record.commits() {
            assert!(stamp > self.applied.stamp, "stamps rise");
            let mut last: Option<&[u8]> = None;
            for op in batch.ops() {
                let (Op::Put { key, .. } | Op::Delete { key } | Op::DeletePrefix { prefix: key }) = op;
                assert!(last.is_none_or(|last| last < key), "one operation for each key, in order");
                last = Some(key);
                self.op(stamp, op);
            }
            self.applied.stamp = stamp;
        }
        self.applied.version = record.version;
        self.applied.time_ms = record.time_ms;
        self.applied.hash = record.hash;
    }

    fn op(&mut self, stamp: Versionstamp, op: Op<'_>) {
        match op {
            Op::Put { key, value, expire_at_ms } => {
                let bytes = Bytes::copy_from_slice(value);
                self.keys.insert(key.to_vec(), Value { stamp, bytes, expire_at_ms });
            }
            Op::Delete { key } => {
                self.keys.remove(key);
            }
            Op::DeletePrefix { prefix } => self.keys.retain(|key, _| !key.starts_with(prefix)),
        }
    }
}

/// The state read at a time: what has expired is absent.
#[derive(Debug)]
pub struct At<'a> {
    memory: &'a Memory,
    time_ms: u64,
}

impl State for At<'_> {
    fn stamp_of(&self, key: &[u8]) -> engine::Result<Option<Versionstamp>> {
        Ok(self.get(key)?.map(|value| value.stamp))
    }

    fn get(&self, key: &[u8]) -> engine::Result<Option<Value>> {
        let value = self.memory.keys.get(key).cloned();
        Ok(value.filter(|value| value.expire_at_ms.is_none_or(|at| at > self.time_ms)))
    }
}
