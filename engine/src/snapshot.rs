//! A read handle pinned at a stamp.
//!
//! - It sees every commit up to its stamp and none after, however long it lives.
//! - Where prefixes have horizons of their own, it can read some keys and not others: it says so.
//! - It keeps the memtables and tables it reads from: hold it for a request, not for a day.

use crate::entry::{Direction, KeyValue, Value};
use crate::horizon::{Horizon, Horizons};
use crate::merge::Merge;
use crate::mvcc::{self, Visible};
use crate::source::KeyRange;
use crate::view::{Part, View};
use crate::{Error, Result, Versionstamp};
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
    /// Whether it is at or above every horizon, so that nothing needs to be asked key by key.
    whole: bool,
}

impl Snapshot {
    pub(crate) fn new(view: Arc<View>, at: Versionstamp, stamp: Versionstamp, time_ms: u64) -> Self {
        let whole = view.highest.stamp <= at;
        Self { view, at, stamp, time_ms, whole }
    }

    /// Refuses keys whose history at this stamp is gone; `horizon` is theirs.
    fn refuse_below(&self, horizon: impl FnOnce(&Horizons) -> Horizon) -> Result<()> {
        if self.whole {
            return Ok(());
        }
        match horizon(&self.view.horizons).stamp {
            horizon if horizon > self.at => Err(Error::BelowHorizon { stamp: self.stamp, horizon }),
            _ => Ok(()),
        }
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
    /// [`Error::BelowHorizon`] when the horizon of this key is above the snapshot; when the disk fails or a table
    /// is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        self.view.levels.reads().get();
        self.refuse_below(|horizons| horizons.of(key))?;
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
    /// As [`get`](Self::get).
    pub fn newest_stamp(&self, key: &[u8]) -> Result<Option<Versionstamp>> {
        self.view.levels.reads().get();
        self.refuse_below(|horizons| horizons.of(key))?;
        let found = self.view.newest(key, self.at)?;
        Ok(found.filter(|(_, presence)| !presence.is_absent_at(self.time_ms)).map(|(stamp, _)| stamp))
    }

    /// The entries with `start <= key < end`, in the direction asked; none when `start` is `end`.
    ///
    /// Nothing is read before the first entry is asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] when `start` is after `end`; [`Error::BelowHorizon`] when the horizon of any key in the range,
    /// held or not, is above the snapshot; when the disk fails or a table is damaged.
    pub fn range(&self, start: &[u8], end: &[u8], direction: Direction) -> Result<Range> {
        if start > end {
            return Err(Error::Range);
        }
        let range = KeyRange::new(start, end);
        if !range.is_empty() {
            self.refuse_below(|horizons| horizons.highest_in(&range))?;
        }
        Ok(self.scan(&range, direction))
    }

    /// All entries, in the direction asked.
    ///
    /// Nothing is read before the first entry is asked for; the first one is an error where
    /// [`range`](Self::range) would be.
    pub fn all(&self, direction: Direction) -> Range {
        let refused = self.refuse_below(Horizons::highest).err();
        Range { refused, ..self.scan(&KeyRange::all(), direction) }
    }

    fn scan(&self, range: &KeyRange, direction: Direction) -> Range {
        self.view.levels.reads().range();
        let view = Arc::clone(&self.view);
        let cursor = self.view.cursor(range, direction, self.at);
        let visible = Visible::new(cursor, direction, self.at, self.time_ms)
            .with_erasures(Arc::clone(&view.erasures))
            .with_lookup(Box::new(move |key, at| view.get(key, at)));
        Range { visible, refused: None, failed: false }
    }
}

/// The entries of a range. After an error it ends.
#[derive(Debug)]
pub struct Range {
    visible: Visible<Merge<Part>>,
    /// Why nothing of it can be read.
    refused: Option<Error>,
    failed: bool,
}

impl Iterator for Range {
    type Item = Result<KeyValue>;

    fn next(&mut self) -> Option<Result<KeyValue>> {
        if self.failed {
            return None;
        }
        if let Some(refused) = self.refused.take() {
            self.failed = true;
            return Some(Err(refused));
        }
        let next = self.visible.next();
        self.failed = next.is_err();
        next.transpose()
    }
}
