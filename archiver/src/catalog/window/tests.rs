use super::*;
use crate::catalog::{Content, Segment};
use crate::checkpoint::{Before, Checkpoint};
use crate::layout::{CheckpointName, Digest, LineageFolder, SegmentName};
use crate::lineage::Announcement;
use engine::{Applied, Lineage, LineageId};

/// A history by value: small numbers stand for stamps, hashes are the number of the branch.
pub(crate) struct Builder(pub(crate) History);

pub(crate) fn stamp(version: u64) -> Versionstamp {
    Versionstamp::new(version, 0)
}

/// The clock at a version of any epoch: ten milliseconds for each.
fn time_of(version: u64) -> u64 {
    10 * (version & 0xfff)
}

/// The hash of history at a version on a branch; branch 0 starts empty.
pub(crate) fn hash_at(branch: u8, version: u64) -> ContentHash {
    if branch == 0 && version == 0 {
        return ContentHash::EMPTY;
    }
    let mut hash = [branch; 32];
    hash[1..8].copy_from_slice(&version.to_be_bytes()[1..]);
    ContentHash::from_bytes(hash)
}

impl Builder {
    pub(crate) fn new(epoch: u32, id: u8) -> Self {
        Self(History::new(LineageFolder { epoch, id: LineageId([id; 16]) }))
    }

    pub(crate) fn child_of(mut self, parent: u8, at: u64, begun_ms: u64) -> Self {
        let LineageFolder { epoch, id } = self.0.folder;
        let parent = Some((LineageId([parent; 16]), stamp(at)));
        self.0.announcement = Some(Announcement { lineage: Lineage { id, epoch, parent }, begun_ms });
        self
    }

    /// A segment of the commits after `base` up to `last`; commit `n` was made at `10 * n` ms.
    pub(crate) fn segment(mut self, branch: u8, base: u64, last: u64) -> Self {
        let name = SegmentName {
            first: stamp(base + 1),
            last: stamp(last),
            base: stamp(base),
            hash_before: hash_at(branch, base).into(),
            hash_after: hash_at(branch, last).into(),
            first_ms: time_of(base + 1),
            last_ms: time_of(last),
            term: 0,
            node: u64::from(branch),
            digest: Digest([branch; 16]),
            sealed: false,
        };
        self.0.segments.push(Segment { name, bytes: 100, modified_ms: 0 });
        self.0.segments.sort_unstable_by_key(|segment| (segment.name.base, segment.name));
        self
    }

    pub(crate) fn checkpoint(self, branch: u8, at: u64) -> Self {
        self.checkpoint_at(branch, at, time_of(at))
    }

    pub(crate) fn checkpoint_at(mut self, branch: u8, at: u64, time_ms: u64) -> Self {
        let hash = hash_at(branch, at);
        let applied = Applied { version: at, term: 0, time_ms, hash, stamp: stamp(at) };
        let checkpoint = Checkpoint {
            lineage: self.0.folder,
            group: 1,
            applied,
            made_ms: time_ms,
            before: Before::Shipped,
            tables: Vec::new(),
            manifest: Vec::new(),
        };
        let name: CheckpointName = checkpoint.name(Digest([branch; 16]), false);
        let content = Content::Whole(checkpoint);
        self.0.checkpoints.push(CheckpointEntry { name, bytes: 10, content });
        self.0.checkpoints.sort_by_key(|entry| entry.name);
        self
    }

    pub(crate) fn unusable(mut self, at: u64) -> Self {
        for entry in &mut self.0.checkpoints {
            if entry.name.stamp == stamp(at) {
                entry.content = Content::Unusable("a table is missing".to_owned());
            }
        }
        self
    }
}

fn spans(history: &History) -> Vec<(u64, u64, usize)> {
    let span = |w: &Window| (w.first.stamp.version(), w.last.stamp.version(), w.segments.len());
    history.windows().iter().map(span).collect()
}

#[test]
fn a_window_goes_from_the_beginning_as_far_as_segments_continue_it() {
    let history = Builder::new(0, 1).segment(0, 0, 5).segment(0, 5, 9).segment(0, 10, 12).0;
    assert_eq!(spans(&history), [(1, 9, 2)]);
    assert_eq!(history.windows()[0].first.time_ms, 10);
    assert_eq!(history.windows()[0].last.time_ms, 90);
}

#[test]
fn a_checkpoint_after_a_gap_starts_another_window() {
    let history = Builder::new(0, 1).segment(0, 0, 5).checkpoint(0, 8).segment(0, 8, 9).0;
    assert_eq!(spans(&history), [(1, 5, 1), (8, 9, 1)]);
}

#[test]
fn segments_that_no_checkpoint_reaches_are_not_in_the_archive() {
    assert_eq!(spans(&Builder::new(0, 1).segment(0, 3, 9).0), []);
    assert_eq!(spans(&Builder::new(1, 1).segment(0, 0, 9).0), [], "an epoch above 0 never begins empty");
    assert_eq!(spans(&Builder::new(0, 1).segment(0, 3, 9).checkpoint(0, 5).unusable(5).0), []);
}

#[test]
fn a_checkpoint_inside_a_segment_is_continued_by_it() {
    assert_eq!(spans(&Builder::new(0, 1).segment(0, 3, 9).checkpoint(0, 5).0), [(5, 9, 1)]);
}

#[test]
fn of_overlapping_segments_the_one_that_reaches_further_is_taken() {
    let history = Builder::new(0, 1).segment(0, 0, 5).segment(0, 0, 7).segment(0, 5, 9).0;
    assert_eq!(spans(&history), [(1, 9, 2)]);
    let history = Builder::new(0, 1).segment(0, 0, 9).segment(0, 2, 4).segment(0, 4, 6).0;
    assert_eq!(spans(&history), [(1, 9, 1)]);
}

#[test]
fn another_hash_is_another_history() {
    let history = Builder::new(0, 1).segment(0, 0, 5).segment(2, 5, 9).0;
    assert_eq!(spans(&history), [(1, 5, 1)]);
}

#[test]
fn a_child_does_not_claim_the_time_before_its_own_life() {
    let own = 1 << engine::versionstamp::INDEX_BITS;
    let child = Builder::new(1, 2).child_of(1, 4, 500).checkpoint(0, 4).0;
    assert_eq!(child.windows()[0].first.time_ms, 500, "it began at 500 with the state of 40");
    let child = Builder::new(1, 2).child_of(1, 4, 500).checkpoint(0, 4);
    let mut child = child.segment(0, own, own + 30).0;
    child.segments[0].name.base = stamp(4);
    child.segments[0].name.hash_before = hash_at(0, 4).into();
    child.segments[0].name.first_ms = 300;
    child.segments[0].name.last_ms = 600;
    let window = &child.windows()[0];
    assert_eq!((window.first.time_ms, window.last.time_ms), (300, 600), "its first commit came before");
}

#[test]
fn a_checkpoint_at_the_end_says_until_when_nothing_was_committed() {
    let history = Builder::new(0, 1).segment(0, 0, 5).checkpoint_at(0, 5, 70).0;
    assert_eq!(spans(&history), [(1, 5, 1)]);
    assert_eq!(history.windows()[0].last.time_ms, 70);
}
