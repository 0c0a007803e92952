//! Group commit: what many threads commit at the same time becomes one record and one sync.
//!
//! - The first to come to a group leads it: it waits for the group before, closes its own, and
//!   commits it. While it does, the next group fills.
//! - Groups are committed in the order in which they were begun, and batches keep the order in which they came.
//! - One call wakes all who wait for a group: on a machine with few cores, waking costs more than the
//!   commit itself.

use crate::record::BATCHES_MAX;
use crate::{Error, Result, Versionstamp, WriteBatch};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

/// Bytes of batches in one record, at most, unless one batch alone is larger.
const GROUP_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    /// Groups that nobody commits yet, oldest first; the last one takes more batches while it has room.
    waiting: VecDeque<Group>,
    /// What the newest group came to, or will.
    newest: Option<Arc<Outcome>>,
}

#[derive(Debug)]
struct Group {
    batches: Vec<WriteBatch>,
    bytes: usize,
    outcome: Arc<Outcome>,
}

/// The version of a group's record, once it is durable and published.
type Outcome = OnceLock<Result<u64>>;

/// What a thread has to do for its batch.
enum Part {
    /// Wait for the group, in which the batch has this order.
    Follow(Arc<Outcome>, u16),
    /// Wait for the group before, then commit the oldest group that waits: one's own.
    Lead { before: Option<Arc<Outcome>>, own: Arc<Outcome> },
}

impl CommitQueue {
    /// Commits `batch` through `commit_group`, which gets batches in order and returns the version of
    /// their record.
    pub(crate) fn commit(
        &self,
        batch: WriteBatch,
        commit_group: impl FnOnce(Vec<WriteBatch>) -> Result<u64>,
    ) -> Result<Versionstamp> {
        let part = self.groups.lock().join(batch);
        let (before, own) = match part {
            Part::Follow(outcome, order) => return stamp(outcome.wait(), order),
            Part::Lead { before, own } => (before, own),
        };
        if let Some(before) = before {
            before.wait();
        }
        let group = self.groups.lock().waiting.pop_front();
        let result = commit_group(group.expect("a group waits until its leader takes it").batches);
        assert!(own.set(tell(&result)).is_ok(), "a group has one leader");
        result.map(|version| Versionstamp::new(version, 0))
    }
}

impl Groups {
    fn join(&mut self, batch: WriteBatch) -> Part {
        let len = batch.as_bytes().len();
        if let Some(group) = self.waiting.back_mut()
            && group.batches.len() < BATCHES_MAX
            && group.bytes + len <= GROUP_BYTES_MAX
        {
            let order = u16::try_from(group.batches.len()).expect("a group has at most 65,535 batches");
            group.batches.push(batch);
            group.bytes += len;
            return Part::Follow(Arc::clone(&group.outcome), order);
        }
        let own = Arc::new(Outcome::new());
        self.waiting.push_back(Group { batches: vec![batch], bytes: len, outcome: Arc::clone(&own) });
        Part::Lead { before: self.newest.replace(Arc::clone(&own)), own }
    }
}

/// What the others of a group are told.
fn tell(result: &Result<u64>) -> Result<u64> {
    match result {
        Ok(version) => Ok(*version),
        Err(Error::DiskFull { available, reserve }) => {
            Err(Error::DiskFull { available: *available, reserve: *reserve })
        }
        Err(error) => Err(Error::Stopped { reason: error.to_string() }),
    }
}

/// The result of one batch of a group.
fn stamp(outcome: &Result<u64>, order: u16) -> Result<Versionstamp> {
    tell(outcome).map(|version| Versionstamp::new(version, order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn batch(name: &str) -> Result<WriteBatch, crate::OpError> {
        let mut batch = WriteBatch::new();
        batch.put(name.as_bytes(), b"", None)?;
        Ok(batch)
    }

    #[test]
    fn each_batch_gets_the_stamp_of_its_place_and_none_is_committed_twice_or_left() -> TestResult {
        let (queue, version) = (CommitQueue::default(), AtomicU64::new(0));
        let committed: Mutex<Vec<(Versionstamp, WriteBatch)>> = Mutex::default();
        let commit_group = |batches: Vec<WriteBatch>| {
            let version = version.fetch_add(1, Ordering::Relaxed) + 1;
            let stamps = (0..).map(|order| Versionstamp::new(version, order));
            committed.lock().extend(stamps.zip(batches));
            Ok(version)
        };
        let told: Vec<(Versionstamp, WriteBatch)> = std::thread::scope(|threads| {
            let worker = |thread: u64| {
                let (queue, commit_group) = (&queue, &commit_group);
                move || -> Result<Vec<(Versionstamp, WriteBatch)>> {
                    let one = |n| {
                        let batch = batch(&format!("{thread}-{n}"))?;
                        Ok((queue.commit(batch.clone(), commit_group)?, batch))
                    };
                    (0..500).map(one).collect()
                }
            };
            let workers: Vec<_> = (0..4).map(|thread| threads.spawn(worker(thread))).collect();
            let joined = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
            joined.collect::<Result<Vec<_>>>().map(|all| all.concat())
        })?;
        let sorted = |mut all: Vec<(Versionstamp, WriteBatch)>| {
            all.sort_by_key(|(stamp, _)| *stamp);
            all
        };
        assert_eq!(sorted(told), sorted(committed.into_inner()));
        Ok(())
    }

    #[test]
    fn groups_are_bounded_in_bytes_and_led_in_order() -> TestResult {
        let mut groups = Groups::default();
        let mut large = WriteBatch::new();
        large.put(b"k", &vec![0; GROUP_BYTES_MAX / 2], None)?;
        let parts: Vec<Part> = (0..3).map(|_| groups.join(large.clone())).collect();
        assert_eq!(groups.waiting.len(), 3, "no two of them fit together");
        let Part::Lead { own: first, before: None } = &parts[0] else { panic!("the first leads") };
        let Part::Lead { before: Some(before), .. } = &parts[1] else { panic!("the second leads") };
        assert!(Arc::ptr_eq(first, before), "and waits for the first");
        let Part::Follow(_, 1) = groups.join(batch("small")?) else { panic!("the last has room") };
        Ok(())
    }

    #[test]
    fn a_full_disk_is_told_to_all_as_such_and_other_failures_stop() {
        let full = Err(Error::DiskFull { available: 1, reserve: 2 });
        assert!(matches!(stamp(&full, 3), Err(Error::DiskFull { available: 1, reserve: 2 })));
        let stopped = Err(Error::Stopped { reason: "r".to_owned() });
        assert!(matches!(stamp(&stopped, 0), Err(Error::Stopped { .. })));
    }
}
