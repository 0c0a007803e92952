//! Applies archived records to an engine, up to a point, checking that each continues the last.
//!
//! - The hash of the archive's history is followed record by record, also where only a part of each record is applied.
//! - A part has a hash of its own in the engine, which follows from what was applied.

use super::plan::Until;
use super::scope::Scope;
use crate::bugs::{self, Bug};
use crate::segment::{Reader, Step};
use crate::{Error, Result};
use engine::background::{self, Background};
use engine::{Applied, ContentHash, Engine, Progress, Record, Versionstamp};
use std::collections::BTreeMap;

/// Appended bytes after which the engine gets time for its own work, where no threads do it.
const MAINTAIN_AFTER_BYTES: usize = 4 << 20;

/// Where a replay stands.
#[derive(Debug)]
pub(crate) struct Replay {
    engine: Engine,
    scope: Scope,
    until: Until,
    stamp: Versionstamp,
    hash: ContentHash,
    time_ms: u64,
    commits: u64,
    unmaintained: usize,
    background: Option<Background>,
    /// The hash after each record, kept when there are segments to compare with.
    waypoints: Option<BTreeMap<Versionstamp, ContentHash>>,
}

/// What a replay came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) stamp: Versionstamp,
    pub(crate) hash: ContentHash,
    pub(crate) time_ms: u64,
    pub(crate) commits: u64,
}

impl Replay {
    pub(crate) fn new(engine: Engine, start: &Applied, until: Until) -> Self {
        let Applied { stamp, hash, time_ms, .. } = *start;
        Self {
            engine,
            scope: Scope::All,
            until,
            stamp,
            hash,
            time_ms,
            commits: 0,
            unmaintained: 0,
            background: None,
            waypoints: None,
        }
    }

    /// Applies only what is in this scope.
    #[must_use]
    pub(crate) fn of(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Remembers the way, so that other segments can be compared with it.
    #[must_use]
    pub(crate) fn that_compares(mut self) -> Self {
        self.waypoints = Some(BTreeMap::from([(self.stamp, self.hash)]));
        self
    }

    /// Leaves the engine's own work to threads.
    #[must_use]
    pub(crate) fn with_threads(mut self) -> Self {
        self.background = Some(background::start(&self.engine));
        self
    }

    /// Where it stands.
    pub(crate) const fn reached(&self) -> Reached {
        Reached { stamp: self.stamp, hash: self.hash, time_ms: self.time_ms, commits: self.commits }
    }

    /// Replays what some records of a segment add. Returns whether there can be more.
    pub(crate) fn steps(&mut self, object: &str, steps: Vec<Step>) -> Result<bool> {
        for step in steps {
            let Some(last) = last_commit(&step.record) else { continue };
            let fork = |after| Error::Fork { after, object: object.to_owned() };
            if last < self.stamp {
                continue;
            }
            if last == self.stamp {
                if step.record.hash != self.hash {
                    return Err(fork(self.stamp));
                }
                continue;
            }
            // A record that was cut is the last one: what follows it is cut to nothing.
            let hash_before = step.hash_before;
            let Some(record) = cut(step, self.until) else { return Ok(false) };
            if hash_before != self.hash {
                return Err(fork(self.stamp));
            }
            self.append(record)?;
        }
        Ok(true)
    }

    /// Replays what a whole segment adds.
    pub(crate) fn segment(&mut self, object: &str, mut reader: Reader) -> Result<()> {
        while let Some(step) = reader.next_record().map_err(Error::damaged(object))? {
            self.steps(object, vec![step])?;
        }
        self.maintain()
    }

    fn append(&mut self, record: Record) -> Result<()> {
        self.stamp = last_commit(&record).unwrap_or(self.stamp);
        self.hash = record.hash;
        self.time_ms = record.time_ms;
        self.commits += record.batches.len() as u64;
        if let Some(waypoints) = &mut self.waypoints {
            waypoints.insert(self.stamp, self.hash);
        }
        let mut record = self.scope.narrow(record);
        if record.batches.is_empty() {
            return Ok(());
        }
        if !self.scope.is_all() {
            record.hash = record.hash_after(self.engine.applied().hash);
        }
        self.engine.append(&record)?;
        self.unmaintained += record.batches.iter().map(|(_, batch)| batch.as_bytes().len()).sum::<usize>();
        if self.unmaintained >= MAINTAIN_AFTER_BYTES { self.maintain() } else { Ok(()) }
    }

    fn maintain(&mut self) -> Result<()> {
        self.unmaintained = 0;
        while self.background.is_none() && self.engine.maintain()? == Progress::Worked {}
        Ok(())
    }

    /// Compares a segment that covers the same commits with what was replayed.
    pub(crate) fn compare(&self, object: &str, mut reader: Reader) -> Result<()> {
        let Some(waypoints) = &self.waypoints else { return Ok(()) };
        let (Some((start, _)), base) = (waypoints.first_key_value(), reader.header().base) else {
            return Ok(());
        };
        let fork = |after| Error::Fork { after, object: object.to_owned() };
        let mut after = base.min(*start);
        if base >= *start && waypoints.get(&base) != Some(&reader.header().hash_before) {
            return Err(fork(after));
        }
        while let Some(step) = reader.next_record().map_err(Error::damaged(object))? {
            let Some(record) = cut(step, self.until) else { break };
            let Some(last) = last_commit(&record) else { continue };
            if last >= *start && waypoints.get(&last) != Some(&record.hash) {
                return Err(fork(after));
            }
            after = last;
        }
        Ok(())
    }

    /// Shows what was replayed to readers.
    pub(crate) fn publish(&self) -> Result<()> {
        self.engine.sync()?;
        let applied = self.engine.applied();
        self.engine.publish(applied.version);
        let is_right = !self.scope.is_all() || (applied.stamp, applied.hash) == (self.stamp, self.hash);
        if is_right {
            return Ok(());
        }
        let what = format!("the engine is at {} and the archive at {}", applied.stamp, self.stamp);
        Err(Error::Differs { what })
    }

    /// Makes what was replayed durable and gives the engine back.
    pub(crate) fn finish(mut self) -> Result<Engine> {
        self.publish()?;
        drop(self.background.take());
        Ok(self.engine)
    }
}

fn last_commit(record: &Record) -> Option<Versionstamp> {
    record.commits().last().map(|(stamp, _)| stamp)
}

/// The part of a record up to a point, with its hash; `None` when nothing of it is.
fn cut(step: Step, until: Until) -> Option<Record> {
    let Step { hash_before, mut record } = step;
    match until {
        Until::TimeMs(time_ms) => {
            let is_in = record.time_ms <= time_ms;
            let is_last = bugs::seeded(Bug::TimeOffByOne) && record.time_ms == time_ms;
            return (is_in && !is_last).then_some(record);
        }
        Until::Stamp(stamp) if last_commit(&record).is_some_and(|last| last <= stamp) => return Some(record),
        Until::Stamp(stamp) => {
            let version = record.version;
            record.batches.retain(|(order, _)| Versionstamp::new(version, *order) <= stamp);
        }
    }
    record.hash = record.hash_after(hash_before);
    (!record.batches.is_empty()).then_some(record)
}
