//! Carries a plan out: fetches, checks and builds; nothing is a data directory before all is right.

use super::plan::Plan;
use super::replay::Replay;
use super::target::Target;
use crate::checkpoint::Table;
use crate::error::blocking;
use crate::fetch::{self, FETCHES_MAX};
use crate::job::Job;
use crate::layout::LineageFolder;
use crate::{Archive, Error, Result};
use engine::{Applied, ContentHash, Engine, Env, Lineage, LineageId, Options, Versionstamp};
use futures::{StreamExt, TryStreamExt};
use std::path::PathBuf;

/// Where a restore goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The disk it is on, and the randomness for the new lineage.
    pub env: Env,
    /// An absent or empty directory.
    pub dir: PathBuf,
    /// For the engine while it replays.
    pub options: Options,
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The last commit it holds.
    pub stamp: Versionstamp,
    /// The clock at it, Unix milliseconds.
    pub time_ms: u64,
    /// The content hash at it.
    pub hash: ContentHash,
    /// Commits that were replayed on top of the checkpoint.
    pub commits: u64,
    /// The lineage that begins with it.
    pub lineage: Lineage,
}

/// Restores what the plan says into a directory, which is left empty when that fails.
///
/// # Errors
///
/// [`Error::Target`] before anything is touched; otherwise which object is damaged or missing, where
/// histories part, or what the store, the disk or the engine says.
pub async fn run(
    archive: &Archive,
    plan: &Plan,
    group: u64,
    destination: &Destination,
    job: &Job,
) -> Result<Restored> {
    let (fs, dir) = (destination.env.fs.clone(), destination.dir.clone());
    let target = blocking(move || Target::begin(fs, &dir, group)).await?;
    job.total_bytes(plan.bytes());
    let done = build(archive, plan, group, destination, &target, job).await;
    blocking(move || match done {
        Ok(restored) => target.finish().map(|()| restored),
        Err(error) => {
            if let Err(left) = target.abandon() {
                tracing::warn!(error = %left, "an unfinished restore is left");
            }
            Err(error)
        }
    })
    .await
}

async fn build(
    archive: &Archive,
    plan: &Plan,
    group: u64,
    destination: &Destination,
    target: &Target,
    job: &Job,
) -> Result<Restored> {
    job.phase("tables");
    fetch_checkpoint(archive, plan, group, target, job).await?;
    job.phase("log");
    let (to, env, options) = (target.clone(), destination.env.clone(), destination.options.clone());
    let start = start_of(plan);
    let folder = plan.history.folder;
    let engine = blocking(move || open(&to, env, options, &start, folder)).await?;
    let mut replay = Replay::new(engine, &start, plan.until, !plan.rivals.is_empty());
    let fetches = plan.segments.iter().map(|segment| async move {
        job.throttle(segment.bytes).await;
        let fetched = fetch::segment(archive, &plan.history, group, segment).await?;
        Ok::<_, Error>((segment.bytes, fetched))
    });
    let mut fetches = futures::stream::iter(fetches).buffered(FETCHES_MAX);
    while let Some((bytes, (object, reader))) = fetches.try_next().await? {
        job.checkpoint()?;
        replay = blocking(move || replay.segment(&object, reader).map(|()| replay)).await?;
        job.done_bytes(bytes);
    }
    for rival in &plan.rivals {
        let (object, reader) = fetch::segment(archive, &plan.history, group, rival).await?;
        replay = blocking(move || replay.compare(&object, reader).map(|()| replay)).await?;
    }
    let mut id = LineageId([0; 16]);
    destination.env.random.fill(&mut id.0);
    blocking(move || close(replay, id)).await
}

/// The state before the first segment.
fn start_of(plan: &Plan) -> Applied {
    plan.checkpoint.as_ref().map_or(Applied::START, |(_, checkpoint)| checkpoint.applied)
}

async fn fetch_checkpoint(
    archive: &Archive,
    plan: &Plan,
    group: u64,
    target: &Target,
    job: &Job,
) -> Result<()> {
    let Some((_, checkpoint)) = &plan.checkpoint else { return Ok(()) };
    let fetch = |table: Table| async move {
        job.checkpoint()?;
        job.throttle(table.bytes).await;
        let bytes = fetch::table(archive, &plan.history, group, &table).await?;
        let to = target.clone();
        blocking(move || to.add_table(&table.digest.file_name(), &bytes)).await?;
        job.done_bytes(table.bytes);
        Ok::<_, Error>(())
    };
    let tables = futures::stream::iter(checkpoint.tables.iter().copied());
    tables.map(fetch).buffer_unordered(FETCHES_MAX).try_collect::<()>().await?;
    let (to, manifest) = (target.clone(), checkpoint.manifest.clone());
    blocking(move || to.add_manifest(&manifest)).await
}

/// Opens the engine and checks that it holds what the archive says it starts from.
fn open(
    target: &Target,
    env: Env,
    options: Options,
    start: &Applied,
    folder: LineageFolder,
) -> Result<Engine> {
    let engine = if start.version == 0 {
        let lineage = Lineage { id: folder.id, epoch: folder.epoch, parent: None };
        Engine::create(env, target.engine_dir(), options, lineage)?
    } else {
        Engine::open(env, target.engine_dir(), options)?.0
    };
    let (applied, lineage) = (engine.applied(), engine.lineage());
    if LineageFolder::from(lineage) != folder || (applied.stamp, applied.hash) != (start.stamp, start.hash) {
        let what = format!("it starts at {} of lineage {}", applied.stamp, lineage.id);
        return Err(Error::Differs { what });
    }
    Ok(engine)
}

/// Makes the result durable and begins its lineage.
fn close(replay: Replay, id: LineageId) -> Result<Restored> {
    let (stamp, hash, time_ms, commits) = replay.reached();
    let engine = replay.finish()?;
    let lineage = engine.begin_lineage(id)?;
    engine.close()?;
    Ok(Restored { stamp, time_ms, hash, commits, lineage })
}
