//! Which segments say the same as others, as far as names tell.

use super::{History, Segment};
use crate::layout::{SegmentName, ShortHash};
use engine::Versionstamp;
use std::collections::BTreeSet;

impl History {
    /// The segments that agree with a run of them: equal hashes of history at the end of a segment mean that all before is equal,
    /// so that what leads up to a common point need not be read to be believed.
    pub fn agreeing(&self, run: &[Segment]) -> BTreeSet<SegmentName> {
        let ends = |name: &SegmentName| [(name.base, name.hash_before), (name.last, name.hash_after)];
        let mut points: BTreeSet<(Versionstamp, ShortHash)> =
            run.iter().flat_map(|segment| ends(&segment.name)).collect();
        let mut by_end: Vec<&SegmentName> = self.segments.iter().map(|segment| &segment.name).collect();
        by_end.sort_unstable_by_key(|name| std::cmp::Reverse(name.last));
        let mut agreeing = BTreeSet::new();
        for name in by_end {
            if points.contains(&(name.last, name.hash_after)) {
                points.insert((name.base, name.hash_before));
                agreeing.insert(*name);
            }
        }
        agreeing
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::window::tests::Builder;

    #[test]
    fn what_leads_up_to_a_common_point_agrees_and_a_fork_does_not() {
        let history =
            Builder::new(0, 1).segment(0, 0, 9).segment(0, 0, 3).segment(0, 3, 9).segment(1, 3, 9).0;
        let whole =
            history.segments.iter().find(|s| s.name.first.version() == 1 && s.name.last.version() == 9);
        let run: Vec<_> = whole.copied().into_iter().collect();
        let agreeing = history.agreeing(&run);
        assert_eq!(agreeing.len(), 3);
        assert!(agreeing.iter().all(|name| name.node == 0), "the branch stands in the node");
    }
}
