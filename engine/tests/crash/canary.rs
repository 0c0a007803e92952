//! The canary: it shows that the crash test can fail. For each kind of sync, some are left out on purpose, each
//! alone, and the power goes soon after: the same check must fail.

use super::recovery::crash_and_check;
use super::workload::measure;
use crate::support::in_parallel;
use engine::fs::sim::{Faults, Synced, Unsynced};
use std::collections::BTreeMap;

/// Syncs of a kind that are tried, spread over the workload.
const TRIED_MAX: usize = 12;
/// The power goes at one of this many syncs after the one that is left out.
const STOPS_AFTER: u64 = 10;

/// Which promise a sync keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The header of a new log segment, before the segment has its name.
    SegmentHeader,
    /// The name of a new log segment, before a record in it is acknowledged.
    SegmentName,
    /// Records of the log, before they are acknowledged.
    Records,
    /// The seal of a segment.
    Seal,
    /// The end of a segment that recovery cuts and seals.
    Cut,
    /// A table, before it has its name.
    Table,
    /// The name of a table, before the manifest names it.
    TableName,
    /// A new manifest, before it has its name.
    Manifest,
    /// The name of a new manifest.
    ManifestName,
    /// An edit of the manifest, before what it replaces is removed.
    Edit,
}

/// Each kind; the check must fail for at least one sync of it that is left out alone.
const KINDS: [Kind; 10] = [
    Kind::SegmentHeader,
    Kind::SegmentName,
    Kind::Records,
    Kind::Seal,
    Kind::Cut,
    Kind::Table,
    Kind::TableName,
    Kind::Manifest,
    Kind::ManifestName,
    Kind::Edit,
];

fn kind(synced: &Synced) -> Option<Kind> {
    let name = synced.path.file_name()?.to_str()?;
    Some(match (synced.is_dir, name) {
        (true, "wal") => Kind::SegmentName,
        (true, "tables") => Kind::TableName,
        (true, _) => Kind::ManifestName,
        (false, name) if name.ends_with(".tmp") => Kind::Table,
        // A file goes by the name under which it was created or opened.
        (false, "manifest.new") if synced.is_first => Kind::Manifest,
        (false, "manifest.new") => Kind::Edit,
        (false, name) if name.ends_with(".wal") => Kind::Cut,
        (false, _) if synced.is_first => Kind::SegmentHeader,
        (false, _) if synced.cuts => Kind::Seal,
        (false, _) => Kind::Records,
    })
}

/// The syncs of a run without faults, by kind: their numbers.
fn by_kind(seed: u64) -> BTreeMap<Kind, Vec<u64>> {
    let mut kinds: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
    for (number, synced) in (1..).zip(measure(seed).1.synced()) {
        if let Some(kind) = kind(&synced) {
            kinds.entry(kind).or_default().push(number);
        }
    }
    kinds
}

/// Whether the check fails when this sync alone is left out.
fn is_missed(seed: u64, sync: u64) -> bool {
    (sync + 1..=sync + STOPS_AFTER).any(|stop| {
        let faults = Faults { ignore_sync: Some(sync), stop_at_sync: Some(stop), ..Faults::default() };
        [Unsynced::Lost, Unsynced::Torn(stop), Unsynced::Reordered(stop), Unsynced::Reordered(sync)]
            .into_iter()
            .any(|unsynced| crash_and_check(seed, faults.clone(), unsynced).is_err())
    })
}

#[test]
fn without_a_sync_of_any_kind_the_same_check_fails() {
    let seed = 0;
    let kinds = by_kind(seed);
    let mut said = Vec::new();
    for kind in KINDS {
        let syncs = kinds.get(&kind).map_or(&[][..], Vec::as_slice);
        let tried: Vec<u64> = syncs.iter().step_by(syncs.len().div_ceil(TRIED_MAX).max(1)).copied().collect();
        let missed = in_parallel(&tried, |sync| is_missed(seed, *sync));
        let missed = missed.into_iter().filter(|missed| *missed).count();
        said.push((kind, missed, tried.len()));
    }
    let text: Vec<_> = said.iter().map(|(kind, missed, of)| format!("{kind:?} {missed} of {of}")).collect();
    println!("the canary: left out alone, the check fails for {}", text.join(", "));
    for (kind, missed, _) in said {
        assert!(missed > 0, "{kind:?}: the check passes whichever sync is left out");
    }
}
