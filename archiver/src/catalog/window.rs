//! Which points can be restored: runs of history that start at something whole.
//!
//! - A window starts at a usable checkpoint, or at the empty beginning of a lineage without parent.
//! - It goes on as long as segments continue it: each starts at the commit that is held already, with
//!   the same hash of history, or starts before it and reaches beyond (the hash inside is compared
//!   when it is read).
//! - What a child lineage took over from its parent is not a point in time of the child: its window
//!   starts when its own life began.

use super::{CheckpointEntry, History, Segment};
use crate::layout::{SegmentName, ShortHash};
use engine::versionstamp::epoch_of;
use engine::{ContentHash, Versionstamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A commit and the clock at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The commit.
    pub stamp: Versionstamp,
    /// Unix milliseconds.
    pub time_ms: u64,
}

/// Where a window starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Nothing was ever committed before.
    Empty,
    /// A checkpoint, by its position in [`History::checkpoints`].
    Checkpoint(usize),
}

/// A run of history without a gap: each point in it can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Where it starts.
    pub root: Root,
    /// The first point, inclusive.
    pub first: Moment,
    /// The last point, inclusive.
    pub last: Moment,
    /// Its segments in order, as positions in [`History::segments`].
    pub segments: Vec<usize>,
}

impl Window {
    /// Whether it reaches the state at a stamp.
    pub fn holds_stamp(&self, stamp: Versionstamp) -> bool {
        self.first.stamp <= stamp && stamp <= self.last.stamp
    }

    /// Whether it reaches the state at a time.
    pub const fn holds_time(&self, time_ms: u64) -> bool {
        self.first.time_ms <= time_ms && time_ms <= self.last.time_ms
    }
}

/// The state from which a run of segments starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Where it starts.
    pub root: Root,
    /// The last commit held.
    pub stamp: Versionstamp,
    /// The clock there.
    pub time_ms: u64,
    /// The hash of history there.
    pub hash: ShortHash,
}

/// A segment that may come next: where it ends, where it begins, its position.
type Candidate = (Versionstamp, Versionstamp, Reverse<usize>);

impl History {
    /// The empty beginning, when history from there was shipped.
    pub fn empty_start(&self) -> Option<Start> {
        let orphan = self.announcement.is_none_or(|found| found.lineage.parent.is_none());
        let hash = ShortHash::from(ContentHash::EMPTY);
        let from_empty = |s: &Segment| s.name.base == Versionstamp::ZERO && s.name.hash_before == hash;
        let begins = orphan && self.folder.epoch == 0 && self.segments.iter().any(from_empty);
        begins.then_some(Start { root: Root::Empty, stamp: Versionstamp::ZERO, time_ms: 0, hash })
    }

    /// The state in a checkpoint of this history.
    ///
    /// # Panics
    ///
    /// If the checkpoint is not one of this history.
    pub fn start_at(&self, entry: &CheckpointEntry) -> Start {
        let position = self.checkpoints.iter().position(|known| known.name == entry.name);
        let position = position.expect("the checkpoint is one of this history");
        let name = &entry.name;
        Start { root: Root::Checkpoint(position), stamp: name.stamp, time_ms: name.time_ms, hash: name.hash }
    }

    /// The segments that continue from a state as far as they reach, as positions, in order. Of those
    /// that continue it, the one that reaches furthest is taken; of equals the one that starts exactly
    /// there.
    pub fn chain(&self, start: &Start) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut candidates = BinaryHeap::new();
        let mut unseen = self.segments.iter().enumerate().peekable();
        let (mut stamp, mut hash) = (start.stamp, start.hash);
        loop {
            while let Some((position, segment)) = unseen.next_if(|(_, s)| s.name.base <= stamp) {
                candidates.push((segment.name.last, segment.name.base, Reverse(position)));
            }
            let Some((last, base, Reverse(position))) = candidates.pop() else { return chain };
            let name = &self.segments[position].name;
            if last <= stamp {
                return chain;
            }
            // One that starts here with another hash continues another history.
            if base < stamp || name.hash_before == hash {
                chain.push(self.widest(&mut candidates, position));
                (stamp, hash) = (last, name.hash_after);
            }
        }
    }

    /// Of the segments that end with the same history, the one that begins first: what a merged segment holds as well may be
    /// removed at any time.
    fn widest(&self, candidates: &mut BinaryHeap<Candidate>, chosen: usize) -> usize {
        let mut widest = chosen;
        let end = |position: usize| {
            let name = &self.segments[position].name;
            (name.last, name.hash_after)
        };
        while candidates.peek().is_some_and(|(last, ..)| *last == self.segments[chosen].name.last) {
            let Some((_, base, Reverse(position))) = candidates.pop() else { break };
            if end(position) == end(chosen) && base < self.segments[widest].name.base {
                widest = position;
            }
        }
        widest
    }

    /// Every run of history that can be restored, by rising stamp.
    pub fn windows(&self) -> Vec<Window> {
        let usable = self.checkpoints.iter().filter(|entry| entry.whole().is_some());
        self.windows_from(usable.map(|entry| self.start_at(entry)))
    }

    /// Every run of history that could be restored if no checkpoint were damaged, by rising stamp.
    pub fn claimed_windows(&self) -> Vec<Window> {
        self.windows_from(self.checkpoints.iter().map(|entry| self.start_at(entry)))
    }

    fn windows_from(&self, starts: impl Iterator<Item = Start>) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        for start in self.empty_start().into_iter().chain(starts) {
            let window = self.window_from(&start);
            let inside = |known: &Window| {
                known.holds_stamp(window.first.stamp) && known.last.stamp >= window.last.stamp
            };
            if !windows.iter().any(inside) {
                windows.push(window);
            }
        }
        windows
    }

    /// The run of history that starts at a state.
    pub fn window_from(&self, start: &Start) -> Window {
        let segments = self.chain(start);
        let names: Vec<&SegmentName> = segments.iter().map(|i| &self.segments[*i].name).collect();
        let own = Moment { stamp: start.stamp, time_ms: self.own_time(start, names.first().copied()) };
        let first = match (start.root, names.first()) {
            (Root::Empty, Some(name)) => Moment { stamp: name.first, time_ms: name.first_ms },
            _ => own,
        };
        let (stamp, time_ms, hash) = names.last().map_or((start.stamp, start.time_ms, start.hash), |name| {
            (name.last, name.last_ms, name.hash_after)
        });
        // A checkpoint at the end says until when nothing was committed.
        let at_end = |entry: &&CheckpointEntry| entry.name.stamp == stamp && entry.name.hash == hash;
        let later = self.checkpoints.iter().filter(at_end).map(|entry| entry.name.time_ms).max();
        let time_ms = time_ms.max(later.unwrap_or(0)).max(first.time_ms);
        Window { root: start.root, first, last: Moment { stamp, time_ms }, segments }
    }

    /// The first time at which a state was this lineage's, and not only its parent's.
    fn own_time(&self, start: &Start, next: Option<&SegmentName>) -> u64 {
        let inherited = start.root != Root::Empty && epoch_of(start.stamp.version()) != self.folder.epoch;
        let begun = self.announcement.filter(|_| inherited).map_or(start.time_ms, |found| found.begun_ms);
        begun.min(next.map_or(u64::MAX, |name| name.first_ms)).max(start.time_ms)
    }
}

#[cfg(test)]
pub(crate) mod tests;
