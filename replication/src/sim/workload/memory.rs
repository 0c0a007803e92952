//! What a worker remembers: the newest rows it has seen, for its checks, and stamps that it can ask for.

use crate::check::Row;
use engine::Versionstamp;
use std::collections::{BTreeMap, VecDeque};

/// Stamps remembered, at most.
const STAMPS_MAX: usize = 32;

/// A worker's memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    rows: BTreeMap<Vec<u8>, Row>,
    stamps: VecDeque<Versionstamp>,
    /// The latest time that a node has told, Unix milliseconds.
    pub(super) time_ms: u64,
}

impl Memory {
    /// A range was read: what is not among its rows is absent.
    pub(super) fn saw(&mut self, start: &[u8], end: &[u8], rows: &[Row]) {
        let gone: Vec<_> =
            self.rows.range(start.to_vec()..end.to_vec()).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.rows.remove(&key);
        }
        for row in rows {
            self.rows.insert(row.key.clone(), row.clone());
            self.stamp(row.stamp);
        }
    }

    /// A stamp of a commit was told.
    pub(super) fn stamp(&mut self, stamp: Versionstamp) {
        if self.stamps.len() == STAMPS_MAX {
            self.stamps.pop_front();
        }
        self.stamps.push_back(stamp);
    }

    /// The row of an engine key, as last seen.
    pub(super) fn row(&self, key: &[u8]) -> Option<&Row> {
        self.rows.get(key)
    }

    /// One of the stamps.
    pub(super) fn any_stamp(&self, random: u64) -> Option<Versionstamp> {
        let count = u64::try_from(self.stamps.len()).ok().filter(|count| *count > 0)?;
        self.stamps.get(usize::try_from(random % count).ok()?).copied()
    }
}
