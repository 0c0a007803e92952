//! Readers and copies while everything moves: writers, flushes, compactions and a rising horizon.

use crate::TestResult;
use crate::support::{Model, Row, check, rows, small};
use engine::env::sim::{SimClock, SimRandom};
use engine::{Direction, Engine, Env, Error, Options, Snapshot, Versionstamp, WriteBatch, background};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const WRITERS: u64 = 3;
const READERS: u64 = 2;
const COMMITS: u64 = 500;
const KEYS: u64 = 40;
/// Commits among which a reader chooses a stamp, of those it may read.
const RECENT: usize = 300;
/// How many of them are the oldest: what a compaction drops too early shows there first.
const OLDEST: usize = 8;
/// What one reader writes down, at most: comparing it takes time.
const SEEN_MAX: usize = 400;
/// Checkpoints that are made, at most.
const COPIES_MAX: usize = 12;

/// What a reader saw at a stamp.
struct Seen {
    stamp: Versionstamp,
    rows: Vec<Row>,
}

struct Shared {
    engine: Engine,
    clock: SimClock,
    /// What was acknowledged, in any order.
    commits: Mutex<Vec<(Versionstamp, WriteBatch)>>,
    writing: AtomicU64,
}

/// Counts a writer as done, however it ends.
struct Done<'a>(&'a AtomicU64);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn is_written(&self) -> bool {
        self.writing.load(Ordering::SeqCst) == 0
    }

    fn write(&self, writer: u64) -> engine::Result<()> {
        let _done = Done(&self.writing);
        let random = SimRandom::new(writer);
        for n in 0..COMMITS {
            let mut batch = WriteBatch::new();
            for _ in 0..=random.below(3) {
                let key = random.below(KEYS).to_be_bytes();
                match random.below(8) {
                    0 => batch.delete(&key)?,
                    _ => batch.put(
                        &key,
                        &[writer, n, random.next_u64()].map(u64::to_le_bytes).concat(),
                        None,
                    )?,
                }
            }
            let stamp = self.engine.commit(batch.clone())?;
            self.commits.lock().push((stamp, batch));
            self.clock.advance(1);
        }
        Ok(())
    }

    /// A snapshot at some stamp that can be read: every other time one of the oldest.
    fn somewhere(&self, random: &SimRandom) -> engine::Result<Option<Snapshot>> {
        let horizon = self.engine.horizon();
        let mut stamps: Vec<_> = {
            let commits = self.commits.lock();
            let recent = commits.len().saturating_sub(RECENT);
            commits[recent..].iter().map(|(stamp, _)| *stamp).filter(|stamp| *stamp >= horizon).collect()
        };
        stamps.sort_unstable();
        if random.below(2) == 0 {
            stamps.truncate(OLDEST);
        }
        let Some(last) = (stamps.len() as u64).checked_sub(1) else {
            return Ok(None);
        };
        let stamp = stamps[usize::try_from(random.below(last + 1)).expect("a small number")];
        match self.engine.snapshot_at(stamp) {
            Err(Error::BelowHorizon { horizon, .. }) if stamp < horizon => Ok(None),
            snapshot => snapshot.map(Some),
        }
    }

    /// Reads at old stamps until all is written; every second read is of a snapshot that is a few reads old.
    fn read(&self, reader: u64) -> engine::Result<Vec<Seen>> {
        let random = SimRandom::new(1_000 + reader);
        let (mut seen, mut held) = (Vec::new(), Vec::<Snapshot>::new());
        while !self.is_written() && seen.len() < SEEN_MAX {
            let Some(snapshot) = self.somewhere(&random)? else {
                std::thread::yield_now();
                continue;
            };
            seen.push(Seen { stamp: snapshot.stamp(), rows: rows(&snapshot, Direction::Forward)? });
            held.push(snapshot);
            if held.len() > 8 {
                let old = held.remove(0);
                seen.push(Seen { stamp: old.stamp(), rows: rows(&old, Direction::Reverse)? });
            }
        }
        Ok(seen)
    }

    /// Makes checkpoints until all is written.
    fn copy(&self, below: &Path) -> engine::Result<Vec<(PathBuf, engine::Checkpoint)>> {
        let mut copies = Vec::new();
        while copies.is_empty() || (!self.is_written() && copies.len() < COPIES_MAX) {
            let to = below.join(copies.len().to_string());
            let checkpoint = self.engine.checkpoint(&to)?;
            copies.push((to, checkpoint));
        }
        Ok(copies)
    }

    fn model(&self) -> Model {
        let mut commits = std::mem::take(&mut *self.commits.lock());
        commits.sort_by_key(|(stamp, _)| *stamp);
        let mut model = Model::default();
        commits.iter().for_each(|(stamp, batch)| model.commit(*stamp, 0, batch));
        model
    }
}

#[test]
fn readers_at_old_stamps_and_checkpoints_see_their_version_while_all_else_moves() -> TestResult {
    for history_ms in [0, 40] {
        under_load(history_ms).map_err(|error| format!("history of {history_ms} ms: {error}"))?;
    }
    Ok(())
}

fn under_load(history_ms: u64) -> TestResult {
    let dir = tempfile::tempdir()?;
    let clock = SimClock::new(1_000_000);
    let env = Env { clock: Arc::new(clock.clone()), ..Env::real() };
    let options = Options { history_ms, ..small() };
    let (engine, _) = Engine::open(env, &dir.path().join("db"), options)?;
    let writing = AtomicU64::new(WRITERS);
    let shared = Shared { engine, clock, commits: Mutex::default(), writing };
    let background = background::start(&shared.engine);
    let (first, seen, copies) = run(&shared, dir.path())?;
    drop(background);
    let model = shared.model();
    let rows_at = |stamp| model.rows(stamp, 0);
    for Seen { stamp, rows } in &seen {
        assert!(*rows == rows_at(*stamp), "at {stamp}: {rows:?}");
    }
    assert!(seen.len() > 20, "{} reads", seen.len());
    let statistics = shared.engine.statistics();
    assert!(statistics.flushes > 0 && statistics.compactions > 0, "{statistics:?}");
    assert!(first.stamp() < shared.engine.horizon(), "the horizon passed the oldest reader");
    check(&first, &model)?;
    drop((first, shared));
    for (path, checkpoint) in copies {
        let (copy, recovery) = Engine::open(Env::real(), &path, small())?;
        assert_eq!((recovery.created, recovery.records), (false, 0));
        assert_eq!(copy.applied(), checkpoint.applied);
        let snapshot = copy.snapshot();
        assert_eq!(rows(&snapshot, Direction::Forward)?, rows_at(checkpoint.applied.stamp));
        copy.verify()?;
    }
    Ok(())
}

type Ran = (Snapshot, Vec<Seen>, Vec<(PathBuf, engine::Checkpoint)>);

/// Writes, reads and copies at the same time; the first snapshot is held all along.
fn run(shared: &Shared, dir: &Path) -> Result<Ran, Box<dyn std::error::Error>> {
    let mut batch = WriteBatch::new();
    batch.put(b"before all", b"else", None)?;
    let stamp = shared.engine.commit(batch.clone())?;
    shared.commits.lock().push((stamp, batch));
    let first = shared.engine.snapshot();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || shared.write(n))).collect();
        let readers: Vec<_> = (0..READERS).map(|n| scope.spawn(move || shared.read(n))).collect();
        let copier = scope.spawn(|| shared.copy(&dir.join("copies")));
        for writer in writers {
            writer.join().map_err(|_panic| "a writer panicked")??;
        }
        let mut seen = Vec::new();
        for reader in readers {
            seen.extend(reader.join().map_err(|_panic| "a reader panicked")??);
        }
        Ok((first, seen, copier.join().map_err(|_panic| "the copier panicked")??))
    })
}
