//! A read handle pinned at a stamp.
//!
//! - It sees every commit up to its stamp and none after, however long it lives.
//! - It keeps the memtables and tables it reads from: hold it for a request, not for a day.

use crate::entry::{Direction, KeyValue, Value};
use crate::merge::Merge;
use crate::mvcc::{self, Visible};
use crate::source::KeyRange;
use crate::view::{Part, View};
use crate::{Result, Versionstamp};
use std::sync::Arc;

/// The data as of one stamp and one time. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    view: Arc<View>,
    /// What is read: nothing newer.
    at: Versionstamp,
    /// What it is called: the last commit that is read, or the stamp that was asked for.
    stamp: Versionstamp,
    time_ms: u64,
}

impl Snapshot {
    pub(crate) fn new(view: Arc<View>, at: Versionstamp, stamp: Versionstamp, time_ms: u64) -> Self {
        Self { view, at, stamp, time_ms }
    }

    /// The stamp it reads at: of the last commit, or the one that was asked for.
    pub fn stamp(&self) -> Versionstamp {
        self.stamp
    }

    /// The time it reads at, Unix milliseconds: entries whose `expire_at_ms` is not above it are
    /// absent.
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// The same stamp read at another time. A server reads its newest stamp at the later of the
    /// stamp's time and now.
    #[must_use]
    pub fn at_time(self, time_ms: u64) -> Snapshot {
        Snapshot { time_ms, ..self }
    }

    /// The value of `key`; `None` when it is absent, deleted or expired.
    ///
    /// # Errors
    ///
    /// When the disk fails or a table is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let Some((stamp, version)) = self.view.get(key, self.at)? else {
            return Ok(None);
        };
        Ok(mvcc::value(stamp, version, self.time_ms))
    }

    /// The stamp of the value of `key`, as a check needs it; `None` when the key is absent, deleted or
    /// expired.
    ///
    /// # Errors
    ///
    /// When the disk fails or a table is damaged.
    pub fn newest_stamp(&self, key: &[u8]) -> Result<Option<Versionstamp>> {
        let found = self.view.newest(key, self.at)?;
        Ok(found.filter(|(_, presence)| !presence.is_absent_at(self.time_ms)).map(|(stamp, _)| stamp))
    }

    /// The entries with `start <= key < end`, in the direction asked; none when `start >= end`.
    ///
    /// # Errors
    ///
    /// When the disk fails or a table is damaged.
    pub fn range(&self, start: &[u8], end: &[u8], direction: Direction) -> Result<Range> {
        Ok(self.scan(&KeyRange::new(start, end), direction))
    }

    /// All entries, in the direction asked.
    ///
    /// Nothing is read before the first entry is asked for.
    pub fn all(&self, direction: Direction) -> Range {
        self.scan(&KeyRange::all(), direction)
    }

    fn scan(&self, range: &KeyRange, direction: Direction) -> Range {
        let view = Arc::clone(&self.view);
        let visible = Visible::new(self.view.cursor(range, direction), direction, self.at, self.time_ms)
            .with_lookup(Box::new(move |key, at| view.get(key, at)));
        Range { visible, failed: false }
    }
}

/// The entries of a range. After an error it ends.
#[derive(Debug)]
pub struct Range {
    visible: Visible<Merge<Part>>,
    failed: bool,
}

impl Iterator for Range {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Result<KeyValue>> {
        if self.failed {
            return None;
        }
        let next = self.visible.next();
        self.failed = next.is_err();
        next.transpose()
    }
}
