//! Carries plans out: fetches, checks and builds; nothing is a data directory before all groups are right.
//!
//! - Tables arrive several at once, segments ahead of the replay; hashing and replaying happen off the runtime's threads.
//! - What fails leaves the marker and what was fetched, so that the same command goes on from there. A part is begun anew: how
//!   its tables will be called is not known before they are written.

use super::parts::PartTables;
use super::pipeline;
use super::plan::Plan;
use super::replay::{Reached, Replay};
use super::target::{GroupTarget, Target};
use crate::archive::Archive;
use crate::checkpoint::Table;
use crate::error::blocking;
use crate::fetch;
use crate::job::Job;
use crate::layout::{LineageFolder, TableDigest};
use crate::{Error, Result};
use engine::part::{Narrowed, Part};
use engine::{Applied, ContentHash, Engine, Env, Lineage, LineageId, Options, Versionstamp};
use futures::StreamExt;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tables fetched at a time.
const TABLES_AHEAD: usize = 6;

/// Where a restore goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The disk it is on, and the randomness for the new lineage.
    pub env: Env,
    /// An absent or empty directory, or one in which the same restore did not finish.
    pub dir: PathBuf,
    /// For the engine while it replays.
    pub options: Options,
    /// Whether threads flush and compact meanwhile. A simulation has none.
    pub threads: bool,
}

/// What was restored of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The last commit it holds.
    pub stamp: Versionstamp,
    /// The clock at it, Unix milliseconds.
    pub time_ms: u64,
    /// The content hash of the archive's history at it.
    pub hash: ContentHash,
    /// Commits that were replayed on top of the checkpoint.
    pub commits: u64,
    /// The lineage that begins with it.
    pub lineage: Lineage,
}

/// What becomes of a directory when it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// A data directory, in lineages of its own.
    Data,
    /// One that goes on following the archive, in the lineages that it follows.
    Standby,
}

/// Restores what the plans say, each of one group, into one directory. It opens when all of them are there.
///
/// # Errors
///
/// [`Error::Target`] and [`Error::NoRoom`] before anything is fetched; otherwise which object is damaged or missing, where
/// histories part, or what the store, the disk or the engine says. What was fetched stays then, marked as unfinished.
pub async fn run(
    archive: &Archive,
    plans: &[(u64, Plan)],
    destination: &Destination,
    job: &Job,
) -> Result<Vec<(u64, Restored)>> {
    run_to(archive, plans, destination, Ends::Data, job).await
}

/// As [`run`], to either end.
pub(crate) async fn run_to(
    archive: &Archive,
    plans: &[(u64, Plan)],
    destination: &Destination,
    ends: Ends,
    job: &Job,
) -> Result<Vec<(u64, Restored)>> {
    let (fs, dir) = (destination.env.fs.clone(), destination.dir.clone());
    let lines = plans.iter().map(|(group, plan)| format!("group {group}: {plan}\n"));
    let request: String = [format!("from {}\n", archive.location())].into_iter().chain(lines).collect();
    let target = blocking(move || Target::begin(fs, &dir, &request)).await?;
    let bytes = plans.iter().map(|(_, plan)| plan.bytes()).sum();
    job.total_bytes(bytes);
    if !target.goes_on() {
        ensure_room(&target, destination, bytes)?;
    }
    let mut done = Vec::new();
    for (group, plan) in plans {
        let to = target.group(*group);
        let restored = Group { archive, plan, group: *group, to, destination, ends, job };
        done.push((*group, restored.restore().await?));
    }
    job.phase("finishing");
    let finish = move || match ends {
        Ends::Data => target.finish(),
        Ends::Standby => target.finish_as_standby(),
    };
    blocking(finish).await?;
    Ok(done)
}

fn ensure_room(target: &Target, destination: &Destination, needed: u64) -> Result<()> {
    let free = target.free_bytes()?;
    if needed <= free {
        return Ok(());
    }
    target.finish()?;
    Err(Error::NoRoom { path: destination.dir.clone(), needed, free })
}

/// One group while it is restored.
struct Group<'a> {
    archive: &'a Archive,
    plan: &'a Plan,
    group: u64,
    to: GroupTarget,
    destination: &'a Destination,
    ends: Ends,
    job: &'a Job,
}

impl Group<'_> {
    async fn restore(&self) -> Result<Restored> {
        if let Some(restored) = self.done_before().await? {
            self.job.done_bytes(self.plan.bytes());
            return Ok(restored);
        }
        let (engine, start) = match self.begun_before().await? {
            Some(begun) => begun,
            None => self.open_checkpoint().await?,
        };
        self.job.phase("log");
        let mut replay = Replay::new(engine, &start, self.plan.until).of(self.plan.scope.clone());
        if !self.plan.rivals.is_empty() {
            replay = replay.that_compares();
        }
        if self.destination.threads {
            replay = replay.with_threads();
        }
        let mut replay = pipeline::replay(self.archive, self.plan, self.group, replay, self.job).await?;
        for rival in &self.plan.rivals {
            let fetched = fetch::segment(self.archive, &self.plan.history, self.group, rival).await;
            let (object, reader) = fetched?;
            replay = blocking(move || replay.compare(&object, reader).map(|()| replay)).await?;
        }
        self.job.phase("closing");
        let mut id = LineageId([0; 16]);
        self.destination.env.random.fill(&mut id.0);
        let (to, scope, ends) = (self.to.clone(), self.plan.scope.clone(), self.ends);
        blocking(move || close(replay, id, &scope, ends, &to)).await
    }

    /// What an earlier attempt at the same restore finished.
    async fn done_before(&self) -> Result<Option<Restored>> {
        let to = self.to.clone();
        blocking(move || {
            let Some(text) = to.done()? else { return Ok(None) };
            Ok(to.lineage().and_then(|lineage| Done::parse(&text).map(|done| done.restored(lineage))))
        })
        .await
    }

    /// The engine that an earlier attempt at the same restore was filling, and where it stood.
    async fn begun_before(&self) -> Result<Option<(Engine, Applied)>> {
        // Who compares has to see the whole way again, and a part does not say how far it got.
        if !self.plan.rivals.is_empty() || !self.plan.scope.is_all() {
            return Ok(None);
        }
        let (to, env) = (self.to.clone(), self.destination.env.clone());
        let options = self.destination.options.clone();
        let folder = self.plan.history.folder;
        let begun = blocking(move || {
            if to.lineage().map(LineageFolder::from) != Some(folder) {
                return Ok(None);
            }
            // Whatever is wrong with it: it is built anew.
            let engine = Engine::open(env, to.engine_dir(), options).ok().map(|(engine, _)| engine);
            Ok(engine.map(|engine| (engine.applied(), engine)).map(|(applied, engine)| (engine, applied)))
        });
        let begun = begun.await?;
        if begun.is_some() {
            self.job.done_bytes(self.plan.tables.iter().map(Table::stored_bytes).sum());
        }
        Ok(begun)
    }

    async fn open_checkpoint(&self) -> Result<(Engine, Applied)> {
        self.job.phase("tables");
        self.fetch_tables().await?;
        let start = self.plan.start_applied();
        let (to, env) = (self.to.clone(), self.destination.env.clone());
        let options = self.destination.options.clone();
        let folder = self.plan.history.folder;
        let engine = blocking(move || open(&to, env, options, &start, folder)).await?;
        Ok((engine, start))
    }

    /// Brings the tables that are needed, and writes the manifest that names them.
    async fn fetch_tables(&self) -> Result<()> {
        let plan = self.plan;
        let damaged = |malformed| plan.damaged_checkpoint(self.group, malformed);
        let part = match &plan.checkpoint {
            Some((_, checkpoint)) => plan.scope.part(checkpoint).map_err(damaged)?,
            None => None,
        };
        let kept = if part.is_some() { &[] } else { plan.tables.as_slice() };
        let kept: BTreeSet<TableDigest> = kept.iter().map(|table| table.digest).collect();
        let to = self.to.clone();
        let there = blocking(move || to.clear(&kept)).await?;
        let Some((_, checkpoint)) = &plan.checkpoint else { return Ok(()) };
        let manifest = match part {
            Some(part) => self.fetch_part(part).await?,
            None => {
                let fetches =
                    plan.tables.iter().map(|table| self.fetch_table(*table, there.contains(&table.digest)));
                bring_all(fetches).await?;
                checkpoint.manifest.clone()
            }
        };
        let to = self.to.clone();
        blocking(move || to.add_manifest(&manifest)).await
    }

    /// Brings what a part needs of its tables; the manifest that names the tables which hold it.
    async fn fetch_part(&self, part: Part) -> Result<Vec<u8>> {
        let tables =
            PartTables::new(self.archive, self.plan, self.group, &part, &self.to, self.destination, self.job);
        let fetches = self.plan.tables.iter().map(|table| tables.bring(*table));
        let written: Vec<Option<Narrowed>> = bring_all(fetches).await?;
        let mut salt = [0; 8];
        self.destination.env.random.fill(&mut salt);
        Ok(part.manifest(written.into_iter().flatten().collect(), u64::from_le_bytes(salt)))
    }

    /// Brings one table, unless it `is_there` and right.
    async fn fetch_table(&self, table: Table, is_there: bool) -> Result<()> {
        self.job.checkpoint()?;
        let to = self.to.clone();
        let whole = is_there && blocking(move || to.is_whole(table.digest, table.bytes)).await?;
        if !whole {
            self.job.throttle(table.stored_bytes()).await;
            let bytes = fetch::table(self.archive, &self.plan.history, self.group, &table).await?;
            let to = self.to.clone();
            blocking(move || to.add_table(table.digest, &bytes)).await?;
        }
        self.job.done_bytes(table.stored_bytes());
        Ok(())
    }
}

/// Brings tables, several at a time. After a failure no more are begun, and those that were end before this does: nobody writes into
/// a directory whose restore has failed.
async fn bring_all<T>(fetches: impl Iterator<Item = impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    let failed = &AtomicBool::new(false);
    let unless_failed = fetches.map(|fetch| async move {
        if failed.load(Ordering::Relaxed) {
            return None;
        }
        let brought = fetch.await;
        failed.fetch_or(brought.is_err(), Ordering::Relaxed);
        Some(brought)
    });
    let brought: Vec<Option<Result<T>>> =
        futures::stream::iter(unless_failed).buffer_unordered(TABLES_AHEAD).collect().await;
    brought.into_iter().flatten().collect()
}

/// Opens the engine and checks that it holds what the archive says it starts from.
fn open(
    target: &GroupTarget,
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
fn close(
    replay: Replay,
    id: LineageId,
    scope: &super::Scope,
    ends: Ends,
    to: &GroupTarget,
) -> Result<Restored> {
    let reached = replay.reached();
    let engine = replay.finish()?;
    let lineage = match ends {
        Ends::Data => engine.begin_lineage(id)?,
        Ends::Standby => engine.lineage(),
    };
    scope.begin(&engine)?;
    engine.close()?;
    to.set_done(&Done(reached).to_string())?;
    Ok(Done(reached).restored(lineage))
}

/// How a group that is done is written down.
struct Done(Reached);

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reached { stamp, hash, time_ms, commits } = self.0;
        write!(f, "{stamp} {time_ms} {commits} {hash}")
    }
}

impl Done {
    fn parse(text: &str) -> Option<Done> {
        let fields: Vec<&str> = text.split(' ').collect();
        let &[stamp, time_ms, commits, hash] = fields.as_slice() else { return None };
        let digits = (hash.len() == 64 && hash.is_ascii()).then_some(hash)?;
        let mut bytes = [0; ContentHash::LEN];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Done(Reached {
            stamp: stamp.parse().ok()?,
            time_ms: time_ms.parse().ok()?,
            commits: commits.parse().ok()?,
            hash: ContentHash::from_bytes(bytes),
        }))
    }

    fn restored(&self, lineage: Lineage) -> Restored {
        let Reached { stamp, hash, time_ms, commits } = self.0;
        Restored { stamp, time_ms, hash, commits, lineage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_failure_begins_nothing_more_and_waits_for_what_was_begun() {
        let (begun, ended) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
        let fetches = (0..3 * TABLES_AHEAD as u64).map(|number| async move {
            begun.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(number)).await;
            ended.fetch_add(1, Ordering::Relaxed);
            if number == 1 { Err(Error::Stopped) } else { Ok(number) }
        });
        assert!(matches!(bring_all(fetches).await, Err(Error::Stopped)));
        let [begun, ended] = [begun, ended].map(|count| count.load(Ordering::Relaxed));
        assert_eq!(begun, ended, "nothing goes on");
        assert!(begun <= TABLES_AHEAD + 1, "{begun} were begun");
    }
}
