//! Which objects may leave an archive. Pure.
//!
//! - Every point of the last `keep` stays, and with it the newest checkpoint before that, from which
//!   the oldest of these points is reached. Without such a checkpoint nothing leaves.
//! - The newest state of a lineage stays, however old it is: it may be the only copy of a database
//!   that is quiet.
//! - A table that no remaining checkpoint names stays for [`GRACE_MS`] after it was written: a
//!   checkpoint that is being uploaded may be about to name it. Shippers reuse tables of their newest
//!   checkpoint only, which stays.

use crate::catalog::History;
use crate::checkpoint::Table;
use crate::layout::{CheckpointName, Kind, PrunedName, SegmentName, TableName};
use engine::Versionstamp;
use std::collections::BTreeSet;

/// How long a table that nothing names stays, in milliseconds.
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

/// Chooses what may leave, when every point younger than `keep_ms` stays.
pub fn choose(history: &History, now_ms: u64, keep_ms: u64) -> Removal {
    let mut removal = Removal::default();
    if let Some(below) = base(history, now_ms.saturating_sub(keep_ms)) {
        removal.below = below;
        let checkpoints = history.checkpoints.iter().map(|entry| entry.name);
        removal.checkpoints = checkpoints.filter(|name| name.stamp < below).collect();
        let segments = history.segments.iter().map(|segment| segment.name);
        removal.segments = segments.filter(|name| name.last <= below).collect();
    }
    let kept = history.checkpoints.iter().filter(|entry| entry.name.stamp >= removal.below);
    // A checkpoint that cannot be read may name any table.
    if kept.clone().all(|entry| entry.whole().is_some()) {
        let tables = Table::name;
        let named: BTreeSet<TableName> =
            kept.filter_map(|entry| entry.whole()).flat_map(|c| c.tables.iter().map(tables)).collect();
        let abandoned = |modified_ms: u64| now_ms.saturating_sub(modified_ms) > GRACE_MS;
        let unnamed = history.tables.iter().filter(|(digest, _)| !named.contains(*digest));
        removal.tables =
            unnamed.filter(|(_, table)| abandoned(table.modified_ms)).map(|(digest, _)| *digest).collect();
    }
    if !removal.is_empty() {
        removal.pruned = history.pruned.clone();
    }
    removal
}

/// The newest usable checkpoint that is not after `oldest_ms`, if every point after it can be reached
/// from it.
fn base(history: &History, oldest_ms: u64) -> Option<Versionstamp> {
    let windows = history.windows();
    let before =
        |entry: &&crate::catalog::CheckpointEntry| entry.whole().is_some() && entry.name.time_ms <= oldest_ms;
    history.checkpoints.iter().rev().filter(before).find_map(|entry| {
        let reached = history.window_from(&history.start_at(entry)).last.stamp;
        let around = windows.iter().filter(|window| window.holds_stamp(entry.name.stamp));
        around.map(|window| window.last.stamp).all(|last| reached >= last).then_some(entry.name.stamp)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::window::tests::{Builder, stamp};
    use crate::catalog::{Content, Table as Listed};
    use crate::layout::TableDigest;

    /// Commits 1 to 20 at 10 to 200 ms, checkpoints at 7 and 15.
    fn history() -> Builder {
        let segments = Builder::new(0, 1).segment(0, 0, 5).segment(0, 5, 10).segment(0, 10, 15);
        segments.segment(0, 15, 20).checkpoint(0, 7).checkpoint(0, 15)
    }

    fn lasts(removal: &Removal) -> Vec<u64> {
        removal.segments.iter().map(|name| name.last.version()).collect()
    }

    #[test]
    fn what_reaches_the_oldest_kept_point_stays() {
        let history = history().0;
        let removal = choose(&history, 300, 200);
        assert_eq!((removal.below, lasts(&removal)), (stamp(7), vec![5]));
        assert!(removal.checkpoints.is_empty());
        let removal = choose(&history, 300, 150);
        assert_eq!((removal.below, lasts(&removal)), (stamp(15), vec![5, 10, 15]));
        assert_eq!(removal.checkpoints.len(), 1);
    }

    #[test]
    fn without_a_checkpoint_before_the_kept_points_nothing_leaves() {
        assert_eq!(choose(&history().0, 300, 231), Removal::default());
        assert_eq!(choose(&Builder::new(0, 1).segment(0, 0, 5).0, 1 << 40, 1), Removal::default());
    }

    #[test]
    fn the_newest_state_stays_however_old_it_is() {
        let removal = choose(&history().0, 1 << 40, 1);
        assert_eq!((removal.below, lasts(&removal)), (stamp(15), vec![5, 10, 15]));
    }

    #[test]
    fn a_damaged_checkpoint_is_nothing_to_rely_on() {
        let removal = choose(&history().unusable(15).0, 1 << 40, 1);
        assert_eq!((removal.below, lasts(&removal)), (stamp(7), vec![5]));
    }

    #[test]
    fn tables_stay_while_they_are_named_or_young() {
        let mut history = history().0;
        let digest = |n: u8| TableName { digest: TableDigest([n; 32]), sealed: None };
        for (n, modified_ms) in [(1, 0), (2, 0), (3, GRACE_MS)] {
            history.tables.insert(digest(n), Listed { bytes: 1, modified_ms });
        }
        if let Content::Whole(checkpoint) = &mut history.checkpoints[1].content {
            checkpoint.tables.push(Table { digest: digest(1).digest, bytes: 1, sealed: None });
        }
        let now = GRACE_MS + 1;
        assert_eq!(choose(&history, now, 1).tables, [digest(2)]);
        history.checkpoints[1].content = Content::Unusable("it cannot be read".to_owned());
        assert_eq!(choose(&history, now, 1).tables, [], "nobody knows what it names");
    }
}
