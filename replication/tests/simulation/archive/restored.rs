//! Restores to fresh simulated directories, on a thread beside the simulation: a restore hands records from thread to thread.
//!
//! - It reads a copy of the bucket, so that the simulation stands still meanwhile and follows from its seed alone.

use archiver::bugs::{self, Bug};
use archiver::job::{Job, JobKind};
use archiver::restore::{Destination, Point, Wanted, restore};
use archiver::ship::{Direct, Keep, Settings, Shipper, Source, Step};
use archiver::store::sim::Sim;
use archiver::{Archive, Error};
use engine::{ContentHash, Direction, Engine, LineageId, Options, Versionstamp, WriteBatch};
use replication::check::{Model, Row, Selection};
use replication::runtime::sim::SplitMix;
use replication::{DEFAULT_DATABASE, engine_key};
use std::path::PathBuf;
use std::sync::Arc;

/// Where restores go to, on a disk of their own each.
const DIR: &str = "/restored";

/// What came out of a restore.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) asked: Point,
    /// The last commit.
    pub(super) stamp: Versionstamp,
    pub(super) hash: ContentHash,
    /// The clock by which expiry was judged.
    time_ms: u64,
    rows: Vec<Row>,
}

impl Found {
    /// What differs from the state that was asked for.
    pub(super) fn difference(&self, model: &Model) -> Option<String> {
        let place = model.place_at(self.stamp);
        let wanted = match self.asked {
            Point::Stamp(stamp) => model.place_at(stamp),
            Point::TimeMs(time_ms) => {
                model.commits().partition_point(|commit| commit.time_ms.is_none_or(|at| at <= time_ms))
            }
            // The caller knows what the latest is.
            Point::Latest => place,
        };
        if place != wanted || model.stamp_at(place) != self.stamp {
            let (ends, should) = (self.stamp, model.stamp_at(wanted));
            return Some(format!("restored to {}, it ends at {ends} and not at {should}", self.asked));
        }
        let difference = model.difference(place, Some(self.time_ms), &self.rows)?;
        Some(format!("restored to {}: {difference}", self.asked))
    }
}

/// Does something on a thread of its own, with tokio, and with the mistake of this thread.
pub(super) fn aside<T, F>(bug: Option<Bug>, work: impl FnOnce() -> F + Send) -> T
where
    F: Future<Output = T>,
    T: Send,
{
    let work = || {
        bugs::seed(bug);
        let mut tokio = tokio::runtime::Builder::new_current_thread();
        let tokio = tokio.enable_time().on_thread_start(move || bugs::seed(bug)).build();
        tokio.expect("tokio starts").block_on(work())
    };
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The archive in a copy of the bucket.
pub(super) fn archive(copy: &Sim) -> Archive {
    Archive::plain(Arc::new(copy.clone()))
}

/// Restores a point of a group.
pub(super) async fn restored(
    archive: &Archive,
    group: u64,
    wanted: &Wanted,
    seed: u64,
) -> Result<Found, Error> {
    let (env, _disk, _clock) = engine::env::sim::env(seed);
    let options = options(seed);
    let destination =
        Destination { env: env.clone(), dir: PathBuf::from(DIR), options: options.clone(), threads: false };
    let restored = restore(archive, group, wanted, &destination, &Job::unwatched(JobKind::Restore)).await?;
    let dir = destination.dir.join(format!("groups/{group}"));
    let (engine, _recovery) = Engine::open(env, &dir, options)?;
    let (time_ms, rows) = rows(&engine)?;
    engine.close()?;
    Ok(Found { asked: wanted.point, stamp: restored.stamp, hash: restored.hash, time_ms, rows })
}

/// A cluster that began with a restored point, and ships beside its parent.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) lineage: LineageId,
    /// Its latest state.
    pub(super) latest: Found,
}

impl Branch {
    /// What differs between its latest state and what came out of a restore of that.
    pub(super) fn difference(&self, found: &Found) -> Option<String> {
        let Branch { lineage, latest } = self;
        let is_same = (found.stamp, found.hash, &found.rows) == (latest.stamp, latest.hash, &latest.rows);
        (!is_same)
            .then(|| format!("the latest of lineage {lineage} is not {} but {}", latest.stamp, found.stamp))
    }
}

/// Commits that a branch makes.
const BRANCH_COMMITS: u64 = 5;

/// Restores a point, goes on from there at `now_ms`, and ships that into the bucket.
pub(super) async fn branch(bucket: &Sim, wanted: &Wanted, now_ms: u64, seed: u64) -> Result<Branch, Error> {
    let (group, (env, _disk, clock)) = (super::DATA, engine::env::sim::env(seed));
    clock.set(now_ms);
    let options = options(seed);
    let destination =
        Destination { env: env.clone(), dir: PathBuf::from(DIR), options: options.clone(), threads: false };
    restore(&archive(bucket), group, wanted, &destination, &Job::unwatched(JobKind::Restore)).await?;
    let (engine, _recovery) = Engine::open(env, &destination.dir.join(format!("groups/{group}")), options)?;
    let source =
        Source { engine: engine.clone(), progress: Arc::new(Direct(engine.clone())), keep: Keep::new() };
    let settings = Settings { group, ..Settings::new(PathBuf::from("/scratch")) };
    let mut shipper = Shipper::new(source, Arc::new(bucket.clone()), settings)?;
    for number in 0..BRANCH_COMMITS {
        let mut batch = WriteBatch::new();
        let key = engine_key(DEFAULT_DATABASE, format!("\x02branch{number}\0").as_bytes());
        batch.put(&key, &seed.to_le_bytes(), None).expect("a small operation is taken");
        engine.commit(batch)?;
        engine.seal_segment()?;
        while shipper.step().await? != Step::Idle {}
    }
    let (applied, (time_ms, rows)) = (engine.applied(), rows(&engine)?);
    let lineage = engine.lineage().id;
    drop(shipper);
    engine.close()?;
    let latest = Found { asked: Point::Latest, stamp: applied.stamp, hash: applied.hash, time_ms, rows };
    Ok(Branch { lineage, latest })
}

/// Now with small tables, now with what serves.
fn options(seed: u64) -> Options {
    let options = Options { disk_reserve_bytes: Some(0), ..Options::default() };
    match SplitMix(seed).below(2) {
        0 => Options { memtable_bytes_max: 16 << 10, table_bytes: 8 << 10, ..options },
        _ => options,
    }
}

/// All rows of the database that clients write to, and the time by which they are there.
fn rows(engine: &Engine) -> Result<(u64, Vec<Row>), engine::Error> {
    let snapshot = engine.snapshot();
    let all = Selection::prefix(&engine_key(DEFAULT_DATABASE, b""));
    let mut rows = Vec::new();
    for entry in snapshot.range(&all.start, &all.end, Direction::Forward)? {
        let entry = entry?;
        let (key, value) = (entry.key.to_vec(), entry.value.bytes.to_vec());
        rows.push(Row { key, value, stamp: entry.value.stamp });
    }
    Ok((snapshot.time_ms(), rows))
}
