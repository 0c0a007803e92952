//! Follows an archive: what is shipped to it is applied here a moment later, and can be read.
//!
//! - A standby is in the lineages that it follows and writes nothing of its own, so each commit has the stamp that it had.
//! - It lists what comes after what it has, with a pause that grows while nothing comes, and applies a segment only where it
//!   continues the content hash.
//! - What it has is durable at each step: after a crash it goes on from there.
//! - Promoted, it begins lineages of its own, and follows no more. Before that it can write into the archive that those which it
//!   followed have ended, so that whoever ships them stops.

use crate::archive::Archive;
use crate::catalog::window::{Root, Start};
use crate::catalog::{History, Segment};
use crate::end::End;
use crate::error::blocking;
use crate::fetch;
use crate::job::Job;
use crate::layout::{Digest, Kind, LINEAGES, LineageFolder, Name, ShortHash, TIME_MS_MAX};
use crate::restore::replay::Replay;
use crate::restore::{Destination, Restored, STANDBY_MARKER, Until, restore_standby};
use crate::segment::Reader;
use crate::store::list_all;
use crate::{Error, Result};
use engine::{Applied, Engine, Env, Lineage, LineageId, Options, Versionstamp};
use futures::{StreamExt, TryStreamExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Segments fetched at a time.
const SEGMENTS_AHEAD: usize = 8;
/// The pause after something came.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause while nothing comes.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What one look at the archive came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// So many segments were applied.
    Applied(usize),
    /// There was nothing new.
    Nothing,
    /// There is something new, and what it continues is not there, or not yet.
    Waits,
}

/// Fills an empty directory with the end of an archive, to be followed from there. It can be interrupted and done again.
///
/// # Errors
///
/// As [`restore_cluster`](crate::restore::restore_cluster).
pub async fn begin(
    archive: &Archive,
    lineages: Vec<LineageId>,
    destination: &Destination,
    job: &Job,
) -> Result<Vec<(u64, Restored)>> {
    restore_standby(archive, lineages, destination, job).await
}

/// One group that follows.
#[derive(Debug)]
pub struct Follower {
    archive: Archive,
    group: u64,
    folder: LineageFolder,
    engine: Engine,
    /// `None` only while a step runs, or after one that did not end.
    replay: Option<Replay>,
    /// The first commit of the newest segment that was applied.
    newest: Option<Versionstamp>,
}

impl Follower {
    /// Opens what [`begin`] made, or what was followed before.
    ///
    /// # Errors
    ///
    /// When the engine cannot be opened.
    pub fn open(archive: Archive, env: Env, data: &Path, group: u64, options: Options) -> Result<Follower> {
        let (engine, _recovery) = Engine::open(env, &engine_dir(data, group), options)?;
        let replay = Some(replay_from(&engine));
        let folder = engine.lineage().into();
        Ok(Follower { archive, group, folder, engine, replay, newest: None })
    }

    /// Which group it is.
    pub const fn group(&self) -> u64 {
        self.group
    }

    /// What it has, for readers.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Looks once, and applies what is new.
    ///
    /// # Errors
    ///
    /// What the store, the engine or the disk says; an object that is damaged. Look again: nothing is lost.
    pub async fn step(&mut self) -> Result<Followed> {
        let applied = self.engine.applied();
        let (mut chain, mut beyond) = self.list(self.newest, applied).await?;
        if chain.is_empty() && beyond {
            // What goes on from here may begin before what was applied last.
            (chain, beyond) = self.list(None, applied).await?;
        }
        if chain.is_empty() {
            return Ok(if beyond { Followed::Waits } else { Followed::Nothing });
        }
        let (count, newest) = (chain.len(), chain.last().map(|segment| segment.name.first));
        self.apply(chain).await?;
        self.newest = newest;
        Ok(Followed::Applied(count))
    }

    /// The segments that continue what is here, and whether any goes beyond it.
    async fn list(&self, from: Option<Versionstamp>, applied: Applied) -> Result<(Vec<Segment>, bool)> {
        let prefix = format!("{LINEAGES}{}/groups/{}/segments/", self.folder, self.group);
        let objects = match from {
            None => list_all(&**self.archive.store(), &prefix).await?,
            Some(first) => list_from(&self.archive, &prefix, &format!("{prefix}{first}")).await?,
        };
        let mut history = History::new(self.folder);
        for object in objects {
            if let Some(Name { kind: Kind::Segment(_, name), .. }) = Name::parse(&object.name) {
                history.segments.push(Segment { name, bytes: object.bytes, modified_ms: object.modified_ms });
            }
        }
        history.segments.sort_unstable_by_key(|segment| (segment.name.base, segment.name));
        let beyond = history.segments.iter().any(|segment| segment.name.last > applied.stamp);
        let Applied { stamp, time_ms, hash, .. } = applied;
        let start = Start { root: Root::Empty, stamp, time_ms, hash: ShortHash::from(hash) };
        let chain = history.chain(&start).into_iter().map(|at| history.segments[at]).collect();
        Ok((chain, beyond))
    }

    async fn apply(&mut self, chain: Vec<Segment>) -> Result<()> {
        let (archive, folder, group) = (self.archive.clone(), self.folder, self.group);
        let fetches =
            chain.into_iter().map(move |segment| fetch_one(archive.clone(), folder, group, segment));
        let mut fetches = futures::stream::iter(fetches).buffered(SEGMENTS_AHEAD);
        while let Some((object, reader)) = fetches.try_next().await? {
            // After a step that failed half way it goes on from what the engine has.
            let replay = self.replay.take().unwrap_or_else(|| replay_from(&self.engine));
            let applied = blocking(move || {
                let mut replay = replay;
                replay.segment(&object, reader)?;
                replay.publish().map(|()| replay)
            });
            self.replay = Some(applied.await?);
        }
        Ok(())
    }

    /// Writes into the archive that the lineage which it follows ends with what is here, as `child` goes on. Needs the right to put.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub async fn end_what_it_follows(&self, child: LineageId) -> Result<()> {
        let made_ms = self.engine.env().clock.now_ms().min(TIME_MS_MAX);
        let stamp = self.engine.applied().stamp;
        let end = End { lineage: self.folder, group: self.group, stamp, made_ms, child };
        let bytes = end.encode();
        let kind = Kind::End(self.group, end.name(Digest::of(&bytes)));
        let name = Name { lineage: self.folder, kind }.to_string();
        Ok(self.archive.store().put(&name, bytes.into()).await?)
    }

    /// An id for the lineage that is to go on.
    pub fn new_lineage(&self) -> LineageId {
        let mut id = LineageId([0; 16]);
        self.engine.env().random.fill(&mut id.0);
        id
    }

    /// Durably begins a lineage of its own, and closes the engine.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn promote(self, id: LineageId) -> Result<Lineage> {
        drop(self.replay);
        let lineage = self.engine.begin_lineage(id)?;
        self.engine.close()?;
        Ok(lineage)
    }
}

async fn fetch_one(
    archive: Archive,
    folder: LineageFolder,
    group: u64,
    segment: Segment,
) -> Result<(String, Reader)> {
    fetch::segment(&archive, &History::new(folder), group, &segment).await
}

/// How long to wait after a look: longer each time nothing came.
pub fn pause_after(followed: Followed, last: Duration) -> Duration {
    match followed {
        Followed::Applied(_) => PAUSE_MIN,
        Followed::Nothing | Followed::Waits => PAUSE_MAX.min(last * 3 / 2).max(PAUSE_MIN),
    }
}

fn replay_from(engine: &Engine) -> Replay {
    Replay::new(engine.clone(), &engine.applied(), Until::TimeMs(u64::MAX))
}

/// The engine's directory of a group in a standby.
fn engine_dir(data: &Path, group: u64) -> PathBuf {
    data.join("groups").join(group.to_string())
}

/// Everything below `prefix` that sorts after `start_after`.
async fn list_from(archive: &Archive, prefix: &str, start_after: &str) -> Result<Vec<crate::store::Object>> {
    let mut all: Vec<crate::store::Object> = Vec::new();
    loop {
        let after = all.last().map_or(start_after, |object| object.name.as_str()).to_owned();
        let page = archive.store().list(prefix, Some(&after)).await?;
        let empty = page.objects.is_empty();
        all.extend(page.objects);
        if !page.more || empty {
            return Ok(all);
        }
    }
}

/// Says that a directory follows no more: it is a data directory from now on.
///
/// # Errors
///
/// When the disk fails.
pub fn end(env: &Env, data: &Path) -> Result<()> {
    let marker = data.join(STANDBY_MARKER);
    env.fs.remove(&marker).map_err(Error::io("remove", &marker))?;
    env.fs.sync_dir(data).map_err(Error::io("sync", data))
}
