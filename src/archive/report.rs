//! How far each archive is, in the words of the admin API.
//!
//! - What was shipped is what this node's replica of the group's own log says: at most what is true, so that an archive that ends
//!   before it has lost something.
//! - Why shipping stands still is known to the node that ships.

use super::{Shipping, Shown};
use crate::database::Database;
use archiver::ship::{ProgressMark, chosen, follow, target_of};
use engine::Versionstamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// How far the archive of a group at a target is, as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveStatus {
    /// The group.
    pub group: u64,
    /// Where the archive is.
    pub target: String,
    /// The node that says this.
    pub node: u64,
    /// The node that ships; absent when the leader does.
    pub ships: Option<u64>,
    /// Whether the node that says this ships.
    pub ships_here: bool,
    /// The last commit that is recorded as shipped; absent when none is.
    pub shipped: Option<String>,
    /// The clock at it, Unix milliseconds.
    pub shipped_ms: u64,
    /// The last commit of the group.
    pub committed: String,
    /// Log entries after the last one that was shipped; progress and ticks count as well.
    pub behind_entries: u64,
    /// For how long the oldest commit that was not shipped has been waiting, in milliseconds; absent when this node does not ship.
    pub behind_ms: Option<u64>,
    /// Bytes of the log that wait.
    pub backlog_bytes: u64,
    /// When the last checkpoint was made, Unix milliseconds; absent when this node does not know of one.
    pub checkpoint_ms: Option<u64>,
    /// Gaps since this node began to ship.
    pub gaps: u64,
    /// Whether the lineage has ended there, because another cluster goes on from it.
    pub ended: bool,
    /// Why shipping, or checkpoints, stand still.
    pub error: Option<String>,
}

/// Tells how far the archives are. Clones tell the same.
#[derive(Clone)]
pub struct ArchiveReports {
    shown: Vec<(Shown, Database)>,
}

impl fmt::Debug for ArchiveReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArchiveReports")
    }
}

impl Shipping {
    /// How far each archive of these groups is, now and later.
    pub fn reports(&self, groups: &[Database]) -> Arc<ArchiveReports> {
        let of = |shown: &Shown| {
            let database = groups.iter().find(|database| database.group().id().0 == shown.group)?;
            Some((shown.clone(), database.clone()))
        };
        Arc::new(ArchiveReports { shown: self.shown.iter().filter_map(of).collect() })
    }
}

impl ArchiveReports {
    /// Says so when another cluster goes on from this one, as an archive says.
    pub fn ended(&self) -> Option<String> {
        let (shown, _) = self.shown.iter().find(|(shown, _)| shown.status.borrow().ended)?;
        let target = &shown.target;
        Some(format!(
            "the archive {target} says that another cluster goes on from this one: see cairn archive status"
        ))
    }

    /// How each archive stands.
    pub fn list(&self) -> Vec<ArchiveStatus> {
        self.shown.iter().map(|(shown, database)| report(shown, database)).collect()
    }
}

fn report(shown: &Shown, database: &Database) -> ArchiveStatus {
    let engine = database.engine();
    let mark = ProgressMark::read(&engine, shown.group, target_of(&shown.target));
    let shipped = mark.as_ref().map(ProgressMark::shipped).filter(|stamp| *stamp > Versionstamp::ZERO);
    let applied = engine.published();
    let ships_here = follow::ships_now(database);
    let status = shown.status.borrow();
    let behind = applied.stamp.version().saturating_sub(shipped.unwrap_or_default().version());
    ArchiveStatus {
        group: shown.group,
        target: shown.target.clone(),
        node: database.group().status().node.0,
        ships: chosen::read(&engine, shown.group),
        ships_here,
        shipped: shipped.map(|stamp| stamp.to_string()),
        shipped_ms: mark.as_ref().map_or(0, ProgressMark::shipped_ms),
        committed: applied.stamp.to_string(),
        behind_entries: behind,
        behind_ms: ships_here.then(|| status.lag_ms(database.clock().now_ms())),
        backlog_bytes: status.backlog_bytes,
        checkpoint_ms: status.checkpoint_ms,
        gaps: status.gaps,
        ended: status.ended,
        error: status.error.clone().or_else(|| status.checkpoint_error.clone()),
    }
}
