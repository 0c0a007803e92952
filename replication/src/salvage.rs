//! A forced recovery: goes on with what one node holds, in a new lineage of each group.
//!
//! - Every entry that stands in the node's Raft log is applied first, agreed on or not: what was acknowledged anywhere and reached
//!   this node is among them, and what nobody was told of may have happened.
//! - Then a child lineage begins, in which no versionstamp of the lost one is given again. A node that opens the directory
//!   after that forgets the Raft log and is the only member of each group.
//! - It can be done again after a crash: entries are applied once, and one more lineage does no harm.

use crate::log::{Log, LogOptions, LogStore};
use crate::replica::{Replica, index_of};
use crate::replica_dir::ReplicaDir;
use crate::{GroupId, OpenError};
use engine::{Engine, Env, Lineage, LineageId, Options, Versionstamp};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salvaged {
    /// Which group.
    pub group: GroupId,
    /// Entries of the Raft log that were applied.
    pub entries: u64,
    /// The last commit; the new lineage goes on from there.
    pub stamp: Versionstamp,
    /// The new lineage.
    pub lineage: Lineage,
}

/// Applies what the Raft log of a data directory holds, and begins a new lineage in each of these groups. `mirror` is for
/// simulations, as in [`NodeOptions`](crate::NodeOptions).
///
/// # Errors
///
/// When something cannot be opened, read or written. Ask again.
pub async fn salvage(
    env: &Env,
    data: &Path,
    groups: &[GroupId],
    mirror: Option<PathBuf>,
) -> Result<Vec<Salvaged>, OpenError> {
    let log = Log::open(env, data, &LogOptions { mirror, ..LogOptions::default() })?;
    // All of them are opened before any is changed.
    let mut opened = Vec::new();
    for group in groups.iter().copied() {
        let dir = ReplicaDir::open(Arc::clone(&env.fs), &data.join("groups"), group)
            .map_err(|source| OpenError::Replica { group, source })?;
        let engine = Engine::open(env.clone(), &dir.engine_dir(), Options::default());
        let (engine, _recovery) = engine.map_err(|source| OpenError::Engine { group, source })?;
        let entries = match LogStore::open(&log, group) {
            Ok(entries) if belongs(&log, group, &engine)? => Some(entries),
            // What is left of the log cannot be trusted to be what it was: the engine is what there is.
            Ok(_) | Err(OpenError::LogBehind { .. }) => None,
            Err(error) => return Err(error),
        };
        opened.push((group, engine, entries));
    }
    let mut salvaged = Vec::new();
    for (group, engine, entries) in opened {
        let applied = match entries {
            Some(entries) => apply_all(group, engine.clone(), &entries).await,
            None => Ok(0),
        };
        let applied = applied.map_err(|source| OpenError::ReadLog { group, source })?;
        let mut id = LineageId([0; 16]);
        env.random.fill(&mut id.0);
        let begun = engine.sync().and_then(|_synced| engine.begin_lineage(id));
        let lineage = begun.map_err(|source| OpenError::Engine { group, source })?;
        let stamp = engine.applied().stamp;
        engine.close().map_err(|source| OpenError::Engine { group, source })?;
        salvaged.push(Salvaged { group, entries: applied, stamp, lineage });
    }
    Ok(salvaged)
}

/// Whether the Raft log is that of the engine's lineage, and not of one that it has left.
fn belongs(log: &Log, group: GroupId, engine: &Engine) -> Result<bool, OpenError> {
    let lineage = log.lineage(group).map_err(|source| OpenError::ReadLog { group, source })?;
    Ok(lineage.is_some_and(|(lineage, _)| lineage == engine.lineage().id))
}

/// Applies what the log holds after what the engine does; returns how many entries.
async fn apply_all(group: GroupId, engine: Engine, entries: &LogStore) -> io::Result<u64> {
    let Some(last) = entries.last() else { return Ok(0) };
    let replica = Replica::new(group, 0, 0, engine);
    let mut next = index_of(replica.engine().applied().version) + 1;
    let first = next;
    while next <= last.index {
        let some = entries.applied_entries(next, last.index)?;
        if some.first().is_none_or(|entry| entry.id.index != next) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("entry {next} is missing")));
        }
        next += some.len() as u64;
        for entry in some {
            replica.apply(entry).await?;
        }
    }
    Ok(next - first)
}
