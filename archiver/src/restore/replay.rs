//! Applies archived records to an engine, up to a point, checking that each continues the last.

use super::plan::Until;
use crate::segment::{Reader, Step};
use crate::{Error, Result};
use engine::{Applied, ContentHash, Engine, Progress, Record, Versionstamp};
use std::collections::BTreeMap;

/// Appended bytes after which the engine gets time for its own work.
const MAINTAIN_AFTER_BYTES: usize = 4 << 20;

/// Where a replay stands.
#[derive(Debug)]
pub(crate) struct Replay {
    engine: Engine,
    until: Until,
    stamp: Versionstamp,
    hash: ContentHash,
    time_ms: u64,
    commits: u64,
    unmaintained: usize,
    /// The hash after each record, kept when there are segments to compare with.
    waypoints: Option<BTreeMap<Versionstamp, ContentHash>>,
}

impl Replay {
    pub(crate) fn new(engine: Engine, start: &Applied, until: Until, compares: bool) -> Self {
        let waypoints = compares.then(|| BTreeMap::from([(start.stamp, start.hash)]));
        let Applied { stamp, hash, time_ms, .. } = *start;
        Self { engine, until, stamp, hash, time_ms, commits: 0, unmaintained: 0, waypoints }
    }

    /// The last commit, the hash after it, the clock at it, and how many were replayed.
    pub(crate) const fn reached(&self) -> (Versionstamp, ContentHash, u64, u64) {
        (self.stamp, self.hash, self.time_ms, self.commits)
    }

    /// Replays what a segment adds.
    pub(crate) fn segment(&mut self, object: &str, mut reader: Reader) -> Result<()> {
        while let Some(step) = reader.next_record().map_err(Error::damaged(object))? {
            let Some(last) = last_commit(&step.record) else { continue };
            let fork = || Error::Fork { after: self.stamp, object: object.to_owned() };
            if last < self.stamp {
                continue;
            }
            if last == self.stamp {
                if step.record.hash != self.hash {
                    return Err(fork());
                }
                continue;
            }
            // A record that was cut is the last one: what follows it is cut to nothing.
            let hash_before = step.hash_before;
            let Some(record) = cut(step, self.until) else { break };
            if hash_before != self.hash {
                return Err(fork());
            }
            self.append(&record)?;
        }
        self.maintain()
    }

    fn append(&mut self, record: &Record) -> Result<()> {
        self.engine.append(record)?;
        self.stamp = last_commit(record).unwrap_or(self.stamp);
        self.hash = record.hash;
        self.time_ms = record.time_ms;
        self.commits += record.batches.len() as u64;
        if let Some(waypoints) = &mut self.waypoints {
            waypoints.insert(self.stamp, self.hash);
        }
        self.unmaintained += record.batches.iter().map(|(_, batch)| batch.as_bytes().len()).sum::<usize>();
        if self.unmaintained >= MAINTAIN_AFTER_BYTES { self.maintain() } else { Ok(()) }
    }

    fn maintain(&mut self) -> Result<()> {
        self.unmaintained = 0;
        while self.engine.maintain()? == Progress::Worked {}
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

    /// Makes what was replayed durable and gives the engine back.
    pub(crate) fn finish(self) -> Result<Engine> {
        self.engine.sync()?;
        let applied = self.engine.applied();
        self.engine.publish(applied.version);
        if (applied.stamp, applied.hash) != (self.stamp, self.hash) {
            let what = format!("the engine is at {} and the archive at {}", applied.stamp, self.stamp);
            return Err(Error::Differs { what });
        }
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
        Until::TimeMs(time_ms) => return (record.time_ms <= time_ms).then_some(record),
        Until::Stamp(stamp) if last_commit(&record).is_some_and(|last| last <= stamp) => return Some(record),
        Until::Stamp(stamp) => {
            let version = record.version;
            record.batches.retain(|(order, _)| Versionstamp::new(version, *order) <= stamp);
        }
    }
    record.hash = record.hash_after(hash_before);
    (!record.batches.is_empty()).then_some(record)
}
