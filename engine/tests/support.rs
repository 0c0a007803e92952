//! A model of the engine: every version of every key that was ever committed.

use engine::{Applied, Direction, Op, Options, Snapshot, Versionstamp, WriteBatch};
use std::collections::BTreeMap;

/// What a version says: the value and its expiry, or nothing for a delete.
type Said = Option<(Vec<u8>, Option<u64>)>;
/// Key, value, stamp, expiry of a visible entry.
pub(crate) type Row = (Vec<u8>, Vec<u8>, Versionstamp, Option<u64>);

/// Options that make a small workload cross every boundary.
pub(crate) fn small() -> Options {
    Options {
        memtable_bytes_max: 2 << 10,
        block_bytes: 128,
        table_bytes: 1 << 10,
        level0_tables_max: 2,
        level1_bytes: 4 << 10,
        segment_bytes_max: 4 << 10,
        disk_reserve_bytes: Some(0),
        ..Options::default()
    }
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Model {
    versions: BTreeMap<(Vec<u8>, Versionstamp), Said>,
    /// Stamp and clock of each commit, in order.
    pub(crate) commits: Vec<(Versionstamp, u64)>,
}

impl Model {
    pub(crate) fn commit(&mut self, stamp: Versionstamp, time_ms: u64, batch: &WriteBatch) {
        self.commits.push((stamp, time_ms));
        // First what was there before the batch goes.
        for op in batch.ops() {
            if let Op::DeletePrefix { prefix } = op {
                for key in self.keys().into_iter().filter(|key| key.starts_with(prefix)) {
                    self.versions.insert((key, stamp), None);
                }
            }
        }
        for op in batch.ops() {
            let (key, said) = match op {
                Op::Put { key, value, expire_at_ms } => (key, Some((value.to_vec(), expire_at_ms))),
                Op::Delete { key } => (key, None),
                Op::DeletePrefix { .. } => continue,
            };
            self.versions.insert((key.to_vec(), stamp), said);
        }
    }

    /// The first `count` commits alone.
    pub(crate) fn prefix(&self, count: usize) -> Model {
        let commits = self.commits[..count].to_vec();
        let last = commits.last().map_or(Versionstamp::ZERO, |(stamp, _)| *stamp);
        let versions = self.versions.iter().filter(|((_, stamp), _)| *stamp <= last);
        Model { versions: versions.map(|(at, said)| (at.clone(), said.clone())).collect(), commits }
    }

    /// What a reader at `at` and `time_ms` sees, in key order.
    pub(crate) fn rows(&self, at: Versionstamp, time_ms: u64) -> Vec<Row> {
        let mut newest: BTreeMap<&[u8], (Versionstamp, &Said)> = BTreeMap::new();
        for ((key, stamp), said) in self.versions.iter().filter(|((_, stamp), _)| *stamp <= at) {
            newest.insert(key, (*stamp, said));
        }
        let visible = newest.into_iter().filter_map(|(key, (stamp, said))| {
            let (value, expire_at_ms) = said.as_ref()?;
            let lives = expire_at_ms.is_none_or(|at| at > time_ms);
            lives.then(|| (key.to_vec(), value.clone(), stamp, *expire_at_ms))
        });
        visible.collect()
    }

    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<_> = self.versions.keys().map(|(key, _)| key.clone()).collect();
        keys.dedup();
        keys
    }
}

/// What a snapshot sees, read in one direction and given in key order.
pub(crate) fn rows(snapshot: &Snapshot, direction: Direction) -> engine::Result<Vec<Row>> {
    let row = |entry: engine::KeyValue| {
        (entry.key.to_vec(), entry.value.bytes.to_vec(), entry.value.stamp, entry.value.expire_at_ms)
    };
    let mut rows = snapshot.all(direction).map(|entry| entry.map(row)).collect::<engine::Result<Vec<_>>>()?;
    if direction == Direction::Reverse {
        rows.reverse();
    }
    Ok(rows)
}

/// Compares what a snapshot says of one key with the model.
pub(crate) fn check_key(
    snapshot: &Snapshot,
    model: &Model,
    key: &[u8],
) -> Result<(), Box<dyn std::error::Error>> {
    let (at, time_ms) = (snapshot.stamp(), snapshot.time_ms());
    let row = |value: engine::Value| (value.bytes.to_vec(), value.stamp, value.expire_at_ms);
    let found = snapshot.get(key)?.map(row);
    let expected = model.rows(at, time_ms).into_iter().find(|row| row.0 == key);
    let expected = expected.map(|(_, value, stamp, expire_at_ms)| (value, stamp, expire_at_ms));
    let end = [key, &[0]].concat();
    let in_range = snapshot.range(key, &end, Direction::Reverse)?.next().transpose()?;
    let in_range = in_range.map(|entry| row(entry.value));
    if found != expected || in_range != expected || snapshot.newest_stamp(key)? != expected.map(|row| row.1) {
        return Err(format!("at {at}, key {key:?}: found {found:?}, in a range {in_range:?}").into());
    }
    Ok(())
}

/// Compares a snapshot with the model: both directions, and every key alone.
pub(crate) fn check(snapshot: &Snapshot, model: &Model) -> Result<(), Box<dyn std::error::Error>> {
    let (at, time_ms) = (snapshot.stamp(), snapshot.time_ms());
    let expected = model.rows(at, time_ms);
    for direction in [Direction::Forward, Direction::Reverse] {
        let found = rows(snapshot, direction)?;
        if found != expected {
            return Err(format!("at {at}, {direction:?}: found {found:?}, expected {expected:?}").into());
        }
    }
    let by_key: BTreeMap<_, _> = expected.into_iter().map(|row| (row.0.clone(), row)).collect();
    for key in model.keys() {
        let found = snapshot.get(&key)?.map(|value| (value.bytes.to_vec(), value.stamp, value.expire_at_ms));
        let expected = by_key.get(&key).map(|row| (row.1.clone(), row.2, row.3));
        if found != expected || snapshot.newest_stamp(&key)? != expected.map(|row| row.1) {
            return Err(format!("at {at}, key {key:?}: found {found:?}").into());
        }
    }
    Ok(())
}

/// The stamp of the last commit that the engine holds.
pub(crate) fn last(applied: &Applied) -> Versionstamp {
    applied.stamp
}

/// Does `work` for each item on as many threads as there are cores; the results in the order of the items.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match items.get(at) {
                Some(item) => done.push((at, work(item))),
                None => return done,
            }
        }
    };
    let mut done: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("the work does not panic")).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
