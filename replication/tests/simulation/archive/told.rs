//! What the cluster was told of its archive: what is recorded as shipped, and what pruning was asked for.

use archiver::layout::CheckpointName;
use archiver::ship::ProgressMark;
use engine::{Mark, Versionstamp};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};

/// What was told of one group.
#[derive(Debug, Clone, Default)]
pub(super) struct OfGroup {
    /// The ends of what is recorded as shipped, and can be restored.
    pub(super) shipped: BTreeSet<Versionstamp>,
    /// Checkpoints that are recorded.
    pub(super) checkpoints: BTreeSet<CheckpointName>,
    /// The latest time at which pruning was begun, Unix milliseconds, if ever.
    pub(super) pruned_ms: Option<u64>,
}

/// What was told of all groups.
#[derive(Debug, Default)]
pub(super) struct Told {
    groups: Mutex<BTreeMap<u64, OfGroup>>,
    disputed: Mutex<Vec<String>>,
}

impl Told {
    /// A mark is in the log of the group: acknowledged.
    pub(super) fn recorded(&self, group: u64, mark: &Mark) {
        let Ok(mark) = ProgressMark::decode(&mark.value) else { return };
        let mut groups = self.groups.lock();
        let of = groups.entry(group).or_default();
        if mark.is_rooted() {
            of.shipped.insert(mark.shipped());
        }
        of.checkpoints.extend(mark.checkpoint());
    }

    /// Pruning begins.
    pub(super) fn prunes(&self, group: u64, now_ms: u64) {
        let mut groups = self.groups.lock();
        let of = groups.entry(group).or_default();
        of.pruned_ms = of.pruned_ms.max(Some(now_ms));
    }

    /// Objects that merging found to contradict others.
    pub(super) fn disputed(&self, objects: Vec<String>) {
        self.disputed.lock().extend(objects);
    }

    pub(super) fn of(&self, group: u64) -> OfGroup {
        self.groups.lock().get(&group).cloned().unwrap_or_default()
    }

    pub(super) fn all_disputed(&self) -> Vec<String> {
        self.disputed.lock().clone()
    }
}
