//! What the names and the small objects of a lineage say: is there a way to every point that should be reached?

use super::{Fork, Hole, Position, Report};
use crate::catalog::window::{Root, Window};
use crate::catalog::{Catalog, Content, History};
use crate::checkpoint::Before;
use crate::layout::{Kind, ShortHash, TableName};
use engine::Versionstamp;
use engine::versionstamp::epoch_of;
use std::collections::{BTreeMap, BTreeSet};

/// Checks one lineage of a group.
pub(super) fn check(group: u64, history: &History, report: &mut Report) {
    history.damaged.iter().for_each(|(object, reason)| report.problem(object.clone(), reason.clone()));
    if history.announcement.is_none() && history.damaged.is_empty() {
        let reason = "the object that says who the lineage is, is missing";
        report.problem(format!("lineage {}", history.folder), reason);
    }
    let (segments, checkpoints) = (history.segments.len(), history.checkpoints.len());
    report.listed += (segments + checkpoints + history.tables.len() + history.pruned.len()) as u64;
    report.listed += u64::from(history.announcement.is_some()) + history.ends.len() as u64;
    report.objects += history.ends.len() as u64;
    if let (Some(end), Some(last)) = (history.end(), history.beyond_its_end()) {
        let (lineage, child) = (history.folder.id, end.child);
        report.forks.push(Fork { group, lineage, child, after: end.stamp, last });
    }
    report.objects += u64::from(history.announcement.is_some());
    report.objects += history.checkpoints.iter().filter(|entry| entry.whole().is_some()).count() as u64;
    report.sealed += history.checkpoints.iter().filter(is_sealed).count() as u64;
    count_unnamed(history, report);
    check_claims(group, history, report);
    let windows = history.windows();
    let lefts = std::iter::once(None).chain(windows.iter().map(Some));
    let gaps: Vec<Gap> = lefts
        .zip(&windows)
        .filter_map(|(left, window)| account_for_start(group, history, left, window, report))
        .collect();
    check_reached(group, history, &windows, &gaps, report);
}

const fn is_sealed(entry: &&crate::catalog::CheckpointEntry) -> bool {
    matches!(entry.content, Content::Sealed(_))
}

/// A checkpoint that cannot be read may name any table.
fn count_unnamed(history: &History, report: &mut Report) {
    if history.checkpoints.iter().all(|entry| entry.whole().is_some()) {
        let whole = history.checkpoints.iter().filter_map(|entry| entry.whole());
        let named: BTreeSet<TableName> =
            whole.flat_map(|found| found.tables.iter().map(|table| table.name())).collect();
        report.unnamed_tables += history.tables.keys().filter(|name| !named.contains(name)).count() as u64;
    }
}

/// Names that speak of the same commit say the same hash.
fn check_claims(group: u64, history: &History, report: &mut Report) {
    let mut known: BTreeMap<Versionstamp, ShortHash> = BTreeMap::new();
    let checkpoints = history.checkpoints.iter().map(|entry| {
        (Kind::Checkpoint(group, entry.name), [Some((entry.name.stamp, entry.name.hash)), None])
    });
    let segments = history.segments.iter().map(|segment| {
        let name = segment.name;
        let said = [Some((name.base, name.hash_before)), Some((name.last, name.hash_after))];
        (Kind::Segment(group, name), said)
    });
    for (kind, said) in checkpoints.chain(segments) {
        let differs =
            said.iter().flatten().find(|(stamp, hash)| *known.entry(*stamp).or_insert(*hash) != *hash);
        if let Some((stamp, _)) = differs {
            let reason = format!("another object says another history at versionstamp {stamp}");
            report.problem(history.object(kind), reason);
        }
    }
}

/// A gap that a checkpoint records: the last point before it, and the first one after it.
type Gap = (Versionstamp, Versionstamp);

/// No segment stands alone; but in a recorded gap, where segments were shipped beside a checkpoint that never arrived.
fn check_reached(group: u64, history: &History, windows: &[Window], gaps: &[Gap], report: &mut Report) {
    let reached: BTreeSet<usize> =
        windows.iter().flat_map(|window| window.segments.iter().copied()).collect();
    let covered = |last| windows.iter().any(|window| window.holds_stamp(last));
    // What a checkpoint that cannot be opened reaches is reached.
    let sealed = history.checkpoints.iter().filter(is_sealed).map(|entry| entry.name.stamp).min();
    for (position, segment) in history.segments.iter().enumerate() {
        let pruned = history.pruned_below().is_some_and(|below| segment.name.last <= below);
        let unknown = sealed.is_some_and(|stamp| segment.name.last > stamp);
        let in_gap = gaps.iter().any(|(after, before)| {
            let name = &segment.name;
            *after <= name.base && name.last <= *before
        });
        if !reached.contains(&position) && !covered(segment.name.last) && !pruned && !unknown && !in_gap {
            let base = segment.name.base;
            let reason = format!("what it continues is missing: nothing reaches versionstamp {base}");
            report.problem(history.object(Kind::Segment(group, segment.name)), reason);
        }
    }
}

/// The archive holds what the cluster recorded as shipped.
pub(super) fn check_position(catalogs: &[Catalog], position: &Position, report: &mut Report) {
    let Position { group, stamp, checkpoint } = *position;
    let lineages = || catalogs.iter().filter(|catalog| catalog.group == group).flat_map(|c| &c.lineages);
    // A child that has not committed stands at the last stamp of its parent.
    let own = |history: &&History| history.folder.epoch >= epoch_of(stamp.version());
    let last = lineages().filter(own).flat_map(History::claimed_windows).map(|w| w.last.stamp).max();
    if last.is_none_or(|last| last < stamp) {
        let ends = last.map_or_else(|| "holds nothing of it".to_owned(), |last| format!("ends at {last}"));
        let reason = format!("the cluster recorded that {stamp} was shipped, and the archive {ends}");
        report.problem(format!("group {group}"), reason);
    }
    let there = |name| lineages().flat_map(|history| &history.checkpoints).any(|entry| entry.name == name);
    if let Some(name) = checkpoint.filter(|name| !there(*name)) {
        report.problem(format!("group {group}"), format!("its last checkpoint {name} is missing"));
    }
}

/// Finds out why a window starts where it does and not where the one on its left ended; returns what lies between when
/// shipping recorded that.
fn account_for_start(
    group: u64,
    history: &History,
    left: Option<&Window>,
    window: &Window,
    report: &mut Report,
) -> Option<Gap> {
    let Root::Checkpoint(position) = window.root else { return None };
    let checkpoint = history.checkpoints.get(position).and_then(|entry| entry.whole())?;
    let (after, before) = (left.map(|left| left.last.stamp), window.first.stamp);
    let pruned = history.pruned_below().is_some_and(|below| before <= below);
    let recorded = match checkpoint.before {
        Before::Nothing => after.is_none(),
        Before::Gap(gap) => after.is_none_or(|after| after >= gap),
        Before::Shipped => false,
    };
    if !pruned && !recorded {
        let from = after.map_or(String::new(), |after| format!("after versionstamp {after} and "));
        let reason = format!("commits {from}before {before} are missing");
        report.problem(format!("lineage {} group {group}", history.folder), reason);
    } else if let Some(after) = after {
        report.holes.push(Hole { group, after, before, pruned });
    }
    recorded.then_some((after.unwrap_or(Versionstamp::ZERO), before))
}
