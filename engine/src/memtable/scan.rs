//! Reading the entries of a memtable in order, a leaf at a time.
//!
//! - A source copies what a leaf holds, at most [`COPIED_BYTES_MAX`] and an entry, and goes on by looking for the place
//!   after that. So it holds on to no node, and what it yields is in order while entries come in.
//! - The keys and short values of one leaf are parts of one allocation.

use super::Memtable;
use super::entries::{Sought, Stored};
use super::permutation::SLOTS;
use super::tree::Found;
use crate::Result;
use crate::entry::{Direction, Entry, compare};
use crate::source::{KeyRange, Place, Source};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries that are copied first: many sources are asked for few.
const FIRST_ENTRIES: usize = 4;
/// Bytes of keys and values after which no more is copied at a time.
const COPIED_BYTES_MAX: usize = 64 << 10;

/// The entries of a memtable that are in a range.
pub(super) struct MemtableSource {
    memtable: Arc<Memtable>,
    range: KeyRange,
    direction: Direction,
    copied: VecDeque<Entry>,
    /// Entries to copy next, at most.
    entries_max: usize,
    resume: Resume,
}

/// Where to copy next.
enum Resume {
    /// At the bound of the range.
    Bound,
    /// After this entry, which was copied.
    After(Place),
    /// At this place, see [`Source::seek`].
    At(Place),
    /// Nowhere.
    End,
}

impl Source for MemtableSource {
    fn next(&mut self) -> Result<Option<Entry>> {
        while self.copied.is_empty() && !matches!(self.resume, Resume::End) {
            self.resume = match self.direction {
                Direction::Forward => self.copy_forward(),
                Direction::Reverse => self.copy_reverse(),
            };
            self.entries_max = SLOTS;
        }
        Ok(self.copied.pop_front())
    }

    fn seek(&mut self, place: &Place) -> Result<()> {
        while self.copied.front().is_some_and(|entry| place.leaves_out(entry, self.direction)) {
            self.copied.pop_front();
        }
        let is_ahead = !self.range.begins_past(place, self.direction);
        if self.copied.is_empty() && is_ahead && !matches!(self.resume, Resume::End) {
            self.resume = Resume::At(place.clone());
        }
        Ok(())
    }
}

impl MemtableSource {
    pub(super) fn new(memtable: Arc<Memtable>, range: KeyRange, direction: Direction) -> Self {
        let resume = if range.is_empty() { Resume::End } else { Resume::Bound };
        let copied = VecDeque::new();
        Self { memtable, range, direction, copied, entries_max: FIRST_ENTRIES, resume }
    }

    /// Copies the next entries upwards; where to go on.
    fn copy_forward(&mut self) -> Resume {
        let memtable = Arc::clone(&self.memtable);
        let tree = &memtable.tree;
        let found = match &self.resume {
            Resume::Bound => tree.find(&Sought::before(self.range.start())),
            Resume::At(place) => tree.find(&sought(place)),
            Resume::After(place) => tree.find_after(&sought(place)),
            Resume::End => None,
        };
        let Some(found) = found else {
            return Resume::End;
        };
        let (len, end) = (found.permutation.len(), self.end_in(&found));
        if !self.copy(&found, found.rank..end) {
            return self.after_last();
        }
        match found.next {
            Some(next) if end == len => self.at_next_leaf(memtable.tree.entries.get(next)),
            _ => Resume::End,
        }
    }

    /// Copies the next entries downwards; where to go on.
    fn copy_reverse(&mut self) -> Resume {
        let memtable = Arc::clone(&self.memtable);
        let tree = &memtable.tree;
        let found = match (&self.resume, self.range.end()) {
            (Resume::Bound, Some(end)) => tree.find_before(&Sought::before(end)),
            (Resume::Bound, None) => tree.find_last(),
            (Resume::At(place) | Resume::After(place), _) => tree.find_before(&sought(place)),
            (Resume::End, _) => None,
        };
        let Some(found) = found else {
            return Resume::End;
        };
        let start = self.start_in(&found);
        if self.copy(&found, (start..found.rank).rev()) && start > 0 {
            return Resume::End;
        }
        self.after_last()
    }

    /// The first entry of a leaf that is past the range.
    fn end_in(&self, found: &Found<'_>) -> usize {
        let len = found.permutation.len();
        let Some(end) = self.range.end() else {
            return len;
        };
        let is_inside = |rank| self.key_at(found, rank, end) == Ordering::Less;
        if is_inside(len - 1) {
            len
        } else {
            (found.rank..len).take_while(|rank| is_inside(*rank)).count() + found.rank
        }
    }

    /// The first entry of a leaf that is not before the range; one of those before the place found, or that place.
    fn start_in(&self, found: &Found<'_>) -> usize {
        let is_inside = |rank| self.key_at(found, rank, self.range.start()) != Ordering::Less;
        if is_inside(0) {
            0
        } else {
            found.rank - (0..found.rank).rev().take_while(|rank| is_inside(*rank)).count()
        }
    }

    /// How the key of an entry of a leaf compares to `key`. A leaf is never empty.
    fn key_at(&self, found: &Found<'_>, rank: usize, key: &[u8]) -> Ordering {
        let entry = found.leaf.entry(found.permutation.slot(rank));
        self.memtable.tree.entries.get(entry).compare_key(key, 0)
    }

    fn after_last(&self) -> Resume {
        self.copied.back().map_or(Resume::End, |Entry { key, stamp, .. }| {
            Resume::After(Place { key: key.clone(), stamp: *stamp })
        })
    }

    /// At the first entry of the next leaf. A leaf that was split after it was reached holds entries of the next one
    /// too; those were copied.
    fn at_next_leaf(&self, next: Stored<'_>) -> Resume {
        let place = Place { key: next.key(), stamp: next.stamp() };
        match self.copied.back() {
            Some(last) if compare((&last.key, last.stamp), place.as_pair()) != Ordering::Less => {
                self.after_last()
            }
            _ if self.range.ends_before(&place.key) => Resume::End,
            _ => Resume::At(place),
        }
    }

    /// Copies the entries of a leaf with these ranks, as far as its bounds let it; whether those were all.
    fn copy(&mut self, found: &Found<'_>, ranks: impl ExactSizeIterator<Item = usize>) -> bool {
        let (tree, count) = (&self.memtable.tree, ranks.len());
        let mut bytes = 0;
        let mut entries: Vec<Stored<'_>> = Vec::with_capacity(SLOTS);
        for rank in ranks.take(self.entries_max) {
            if bytes >= COPIED_BYTES_MAX {
                break;
            }
            let entry = tree.entries.get(found.leaf.entry(found.permutation.slot(rank)));
            bytes += entry.copied_len();
            entries.push(entry);
        }
        let mut buffer = vec![0; bytes];
        let mut rest = &mut buffer[..];
        let mut long: Vec<Option<Bytes>> = Vec::with_capacity(entries.len());
        for entry in &entries {
            let (part, after) = rest.split_at_mut(entry.copied_len());
            long.push(entry.copy_to(part));
            rest = after;
        }
        let mut buffer = Bytes::from(buffer);
        for (entry, long) in entries.iter().zip(long) {
            let key = buffer.split_to(entry.key_len());
            let value = long.unwrap_or_else(|| buffer.split_to(entry.copied_len() - key.len()));
            self.copied.push_back(Entry { key, stamp: entry.stamp(), version: entry.presence().with(value) });
        }
        entries.len() == count
    }
}

fn sought(place: &Place) -> Sought<'_> {
    Sought::new(&place.key, place.stamp)
}
