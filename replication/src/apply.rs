//! From a log entry to a record of the engine: deterministic, total, all or nothing per write.
//!
//! - The result depends on the state, on where the log stands and on the entry, and on nothing else.
//! - The clock is `max(clock before, time of the entry)`: it never falls. What expires at it or before
//!   is absent to every check and sum.
//! - A write whose check fails, or that is refused, leaves nothing; the writes around it keep their orders.
//! - Each committed write becomes one batch with one operation per key, in the order of the keys. The end of a
//!   database becomes one batch with one deletion of its prefix.
//! - The record stays within [`RESOLVED_BYTES_MAX`], whatever a small entry would come to. This bound and
//!   [`WRITES_MAX`] are part of the format: changing one changes what a log means.

mod overlay;
mod sum;

use crate::command::{AtomicWrite, Entry};
use crate::{DatabaseNumber, Refusal, SYSTEM_DATABASE, database_prefix, engine_key};
use engine::record::{BATCHES_MAX, MARK_NAME_LEN_MAX, MARK_VALUE_LEN_MAX, RECORD_LEN_MAX};
use engine::{Applied, ContentHash, Mark, Record, Versionstamp, WriteBatch};
use overlay::{Overlay, Stop};

/// The most atomic writes one entry can have applied, inclusive.
pub const WRITES_MAX: usize = BATCHES_MAX;
/// The most bytes that the batches of one record have together, inclusive. A sum can be far
/// smaller than the value it changes, so the size of an entry does not bound its record.
pub const RESOLVED_BYTES_MAX: usize = 96 << 20;

/// What each batch costs in a record besides its bytes.
const BATCH_OVERHEAD: usize = 6;
const _: () = assert!(RESOLVED_BYTES_MAX + (1 << 20) <= RECORD_LEN_MAX, "a full record fits the log");

/// The data that an entry is applied to: the newest state, read at [`clock_ms`]. Keys are the engine's.
pub trait State {
    /// The stamp of the key's value; `None` when it is absent or expired.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn stamp_of(&self, key: &[u8]) -> engine::Result<Option<Versionstamp>>;

    /// The key's value; `None` when it is absent or expired.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn get(&self, key: &[u8]) -> engine::Result<Option<engine::Value>>;
}

impl State for engine::Snapshot {
    fn stamp_of(&self, key: &[u8]) -> engine::Result<Option<Versionstamp>> {
        self.newest_stamp(key)
    }

    fn get(&self, key: &[u8]) -> engine::Result<Option<engine::Value>> {
        engine::Snapshot::get(self, key)
    }
}

/// What became of one atomic write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, under this stamp.
    Committed(Versionstamp),
    /// It did not: the checks with these indexes failed, in rising order.
    ChecksFailed(Vec<u32>),
    /// It did not: a mutation could not be done.
    Refused(Refusal),
}

/// What an entry came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// What the engine appends. Its term is that of the record before; a Raft group sets its own.
    pub record: Record,
    /// One for each write of the entry, in order.
    pub outcomes: Vec<Outcome>,
}

/// The replicated clock after `entry`, Unix milliseconds: the time at which the state is to be read.
pub fn clock_ms(applied: &Applied, entry: &Entry) -> u64 {
    applied.time_ms.max(entry.time_ms())
}

/// Resolves one log entry.
///
/// `state` holds everything up to `applied` and is read at [`clock_ms`]; `version` is the entry's own,
/// above `applied.version`.
///
/// # Errors
///
/// Only what reading the state fails with; never because of the entry.
pub fn apply(
    state: &dyn State,
    applied: &Applied,
    version: u64,
    entry: &Entry,
) -> engine::Result<Application> {
    let time_ms = clock_ms(applied, entry);
    let mut outcomes = Vec::new();
    let (batches, marks) = match entry {
        Entry::Batch { writes, .. } => {
            let mut batch = Batch::new(state, time_ms, version);
            for (index, write) in writes.iter().enumerate() {
                outcomes.push(batch.apply(index, write)?);
            }
            (batch.committed, Vec::new())
        }
        Entry::Tick { .. } => (Vec::new(), Vec::new()),
        Entry::Progress { mark, .. } => (Vec::new(), within_bounds(mark).into_iter().collect()),
        Entry::DeleteDatabase { database, .. } => (deletion(*database).into_iter().collect(), Vec::new()),
    };
    let mut record =
        Record { version, term: applied.term, time_ms, hash: ContentHash::EMPTY, batches, marks };
    record.hash = record.hash_after(applied.hash);
    Ok(Application { record, outcomes })
}

/// The batch that ends a database, at order 0; none for the system's own keyspace.
fn deletion(database: DatabaseNumber) -> Option<(u16, WriteBatch)> {
    let mut batch = WriteBatch::new();
    let taken = batch.delete_prefix(&database_prefix(database));
    (database != SYSTEM_DATABASE && taken.is_ok()).then_some((0, batch))
}

fn within_bounds(mark: &Mark) -> Option<Mark> {
    let fits = (1..=MARK_NAME_LEN_MAX).contains(&mark.name.len()) && mark.value.len() <= MARK_VALUE_LEN_MAX;
    fits.then(|| mark.clone())
}

/// A batch half way through.
struct Batch<'a> {
    overlay: Overlay<'a>,
    version: u64,
    committed: Vec<(u16, WriteBatch)>,
    resolved_bytes: usize,
}

impl<'a> Batch<'a> {
    fn new(state: &'a dyn State, time_ms: u64, version: u64) -> Self {
        Self { overlay: Overlay::new(state, time_ms), version, committed: Vec::new(), resolved_bytes: 0 }
    }

    fn apply(&mut self, index: usize, write: &AtomicWrite) -> engine::Result<Outcome> {
        let order = match u16::try_from(index) {
            Ok(order) if index < WRITES_MAX => order,
            _ => return Ok(Outcome::Refused(Refusal::BatchFull)),
        };
        let failed = self.failed_checks(write)?;
        if !failed.is_empty() {
            return Ok(Outcome::ChecksFailed(failed));
        }
        match self.resolve(order, write) {
            Ok(stamp) => Ok(Outcome::Committed(stamp)),
            Err(Stop::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
            Err(Stop::Disk(error)) => Err(error),
        }
    }

    fn failed_checks(&self, write: &AtomicWrite) -> engine::Result<Vec<u32>> {
        let mut failed = Vec::new();
        for (index, check) in (0u32..).zip(&write.checks) {
            let key = engine_key(write.database, &check.key);
            if self.overlay.stamp_of(&key)? != check.stamp {
                failed.push(index);
            }
        }
        Ok(failed)
    }

    /// Does all mutations of a write, or none.
    fn resolve(&mut self, order: u16, write: &AtomicWrite) -> Result<Versionstamp, Stop> {
        let stamp = Versionstamp::new(self.version, order);
        let room = RESOLVED_BYTES_MAX.saturating_sub(self.resolved_bytes + BATCH_OVERHEAD);
        let mut changes = self.overlay.begin(stamp, room);
        for mutation in &write.mutations {
            changes.mutate(write.database, mutation)?;
        }
        let changes = changes.finish();
        let batch = overlay::to_batch(&changes)?;
        self.resolved_bytes += BATCH_OVERHEAD + batch.as_bytes().len();
        self.committed.push((order, batch));
        self.overlay.commit(stamp, changes);
        Ok(stamp)
    }
}

#[cfg(test)]
mod tests;
