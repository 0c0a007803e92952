//! Which objects may leave an archive. Pure.
//!
//! - Every point of the last `window_ms` stays, and with it the newest checkpoint before that, from which
//!   the oldest of these points is reached. Without such a checkpoint nothing leaves.
//! - Of older points those stay that a rule asks for: the newest checkpoint of each of so many hours, days, weeks or months, and
//!   the newest checkpoints at all. Each is a point by itself and needs no segment.
//! - The newest state of a lineage stays, however old it is: it may be the only copy of a database
//!   that is quiet.
//! - Whatever leaves was not promised for [`Policy::grace_ms`] before: a restore, a copy or a standby that began by then finds
//!   all it planned with, without telling anybody that it is there.
//! - A table that no remaining checkpoint names stays until a checkpoint is there that was made [`GRACE_MS`] after it was
//!   written: one that is being uploaded, for however long, may be about to name it. Shippers reuse tables of their newest
//!   checkpoint only, which stays.

mod policy;

pub use policy::{Kept, Policy, RESTORE_GRACE_MS};

use crate::bugs::{self, Bug};
use crate::catalog::{CheckpointEntry, History};
use crate::checkpoint::{Checkpoint, Table};
use crate::layout::{CheckpointName, Kind, PrunedName, SegmentName, TableName};
use engine::Versionstamp;
use std::collections::BTreeSet;

/// How long before the newest checkpoint a table was written that nothing names and that may leave, in milliseconds.
pub const GRACE_MS: u64 = 24 * 3_600_000;

/// What may leave one lineage.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removal {
    /// Points below this stamp are given up; zero when none are.
    pub below: Versionstamp,
    /// Checkpoints.
    pub checkpoints: Vec<CheckpointName>,
    /// Segments.
    pub segments: Vec<SegmentName>,
    /// Tables.
    pub tables: Vec<TableName>,
    /// Records of earlier removals that this one replaces.
    pub pruned: Vec<PrunedName>,
}

impl Removal {
    /// Whether there is nothing to remove.
    pub const fn is_empty(&self) -> bool {
        self.checkpoints.is_empty() && self.segments.is_empty() && self.tables.is_empty()
    }

    /// What to remove, in an order in which nothing ever names what is gone already.
    pub fn kinds(&self, group: u64) -> Vec<Kind> {
        let checkpoints = self.checkpoints.iter().map(|name| Kind::Checkpoint(group, *name));
        let segments = self.segments.iter().map(|name| Kind::Segment(group, *name));
        let tables = self.tables.iter().map(|name| Kind::Table(group, *name));
        let pruned = self.pruned.iter().map(|name| Kind::Pruned(group, *name));
        checkpoints.chain(segments).chain(tables).chain(pruned).collect()
    }
}

/// Chooses what may leave.
pub fn choose(history: &History, now_ms: u64, policy: &Policy) -> Removal {
    let mut removal = Removal::default();
    // What leaves has not been promised for a while.
    let then_ms = now_ms.saturating_sub(policy.grace_ms);
    if let Some(below) = base(history, then_ms.saturating_sub(policy.window_ms)) {
        removal.below = below;
        let mut kept = points(history, now_ms, policy);
        kept.extend(points(history, then_ms, policy));
        kept.retain(|_| !bugs::seeded(Bug::KeptPointPruned));
        let checkpoints = history.checkpoints.iter().map(|entry| entry.name);
        removal.checkpoints = checkpoints.filter(|name| name.stamp < below && !kept.contains(name)).collect();
        let segments = history.segments.iter().map(|segment| segment.name);
        removal.segments = segments.filter(|name| name.last <= below).collect();
    }
    let left: BTreeSet<CheckpointName> = removal.checkpoints.iter().copied().collect();
    let mut kept = history.checkpoints.iter().filter(|entry| !left.contains(&entry.name));
    // A checkpoint that cannot be read may name any table.
    if kept.clone().all(|entry| entry.whole().is_some()) {
        let kept: Vec<&Checkpoint> = kept.by_ref().filter_map(CheckpointEntry::whole).collect();
        // An upload may take days: only a later checkpoint says that it is over.
        let last_ms = kept.iter().map(|checkpoint| checkpoint.made_ms).max().unwrap_or(0).min(now_ms);
        let named: BTreeSet<TableName> =
            kept.into_iter().flat_map(|checkpoint| checkpoint.tables.iter().map(Table::name)).collect();
        let abandoned = |modified_ms: u64| last_ms.saturating_sub(modified_ms) > GRACE_MS;
        let unnamed = history.tables.iter().filter(|(name, _)| !named.contains(*name));
        removal.tables =
            unnamed.filter(|(_, table)| abandoned(table.modified_ms)).map(|(name, _)| *name).collect();
    }
    // One record is enough, and it is written only when more is given up: a locked bucket never gives one back.
    if history.pruned_below().is_none_or(|below| below < removal.below) {
        removal.pruned = history.pruned.clone();
    }
    removal
}

/// The checkpoints before `now_ms` that the rules of a policy keep as points of their own.
pub fn points(history: &History, now_ms: u64, policy: &Policy) -> BTreeSet<CheckpointName> {
    let usable = history.checkpoints.iter().filter(|entry| entry.whole().is_some());
    let names: Vec<CheckpointName> =
        usable.map(|entry| entry.name).filter(|name| name.time_ms <= now_ms).collect();
    policy.kept.choose(&names)
}

/// The newest usable checkpoint that is not after `oldest_ms`, if every point after it can be reached
/// from it.
fn base(history: &History, oldest_ms: u64) -> Option<Versionstamp> {
    let windows = history.windows();
    let before = |entry: &&CheckpointEntry| {
        let is_before = entry.name.time_ms <= oldest_ms || bugs::seeded(Bug::WindowCut);
        entry.whole().is_some() && is_before
    };
    history.checkpoints.iter().rev().filter(before).find_map(|entry| {
        let reached = history.window_from(&history.start_at(entry)).last.stamp;
        let around = windows.iter().filter(|window| window.holds_stamp(entry.name.stamp));
        around.map(|window| window.last.stamp).all(|last| reached >= last).then_some(entry.name.stamp)
    })
}

#[cfg(test)]
mod tests;
