//! Puts several sources together into one, in internal order or its reverse.
//!
//! - Of two entries with the same key and stamp, that of the earlier source is kept: it is the
//!   same commit, replayed from a log whose entries were flushed before.

use crate::Result;
use crate::entry::{Direction, Entry};
use crate::source::{Place, Source};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// The source of all entries of `sources`, each of which goes in `direction`.
pub(crate) fn merge(mut sources: Vec<Box<dyn Source>>, direction: Direction) -> Box<dyn Source> {
    if sources.len() == 1 {
        return sources.swap_remove(0);
    }
    Box::new(Merge { fresh: (0..sources.len()).collect(), sources, direction, heads: BinaryHeap::new() })
}

/// Keeps the next entry of each source in a heap.
struct Merge {
    sources: Vec<Box<dyn Source>>,
    /// Sources whose next entry is not in the heap.
    fresh: Vec<usize>,
    direction: Direction,
    heads: BinaryHeap<Head>,
}

/// The next entry of one source.
struct Head {
    entry: Entry,
    source: usize,
    direction: Direction,
}

impl Source for Merge {
    fn next(&mut self) -> Result<Option<Entry>> {
        while let Some(source) = self.fresh.pop() {
            if let Some(entry) = self.sources[source].next()? {
                self.heads.push(Head { entry, source, direction: self.direction });
            }
        }
        let Some(entry) = self.pop()? else {
            return Ok(None);
        };
        while self.heads.peek().is_some_and(|head| is_same(&head.entry, &entry)) {
            self.pop()?;
        }
        Ok(Some(entry))
    }

    fn seek(&mut self, place: &Place) -> Result<()> {
        for source in &self.fresh {
            self.sources[*source].seek(place)?;
        }
        let mut heads = std::mem::take(&mut self.heads).into_vec();
        for head in heads.extract_if(.., |head| place.leaves_out(&head.entry, self.direction)) {
            self.sources[head.source].seek(place)?;
            self.fresh.push(head.source);
        }
        self.heads = heads.into();
        Ok(())
    }
}

impl Merge {
    /// Takes the first entry and puts the next one of its source in its place.
    fn pop(&mut self) -> Result<Option<Entry>> {
        let Some(mut head) = self.heads.peek_mut() else {
            return Ok(None);
        };
        match self.sources[head.source].next()? {
            Some(next) => Ok(Some(std::mem::replace(&mut head.entry, next))),
            None => Ok(Some(PeekMut::pop(head).entry)),
        }
    }
}

fn is_same(left: &Entry, right: &Entry) -> bool {
    left.stamp == right.stamp && left.key == right.key
}

impl Ord for Head {
    /// The greatest is the next one: the heap has its greatest on top.
    fn cmp(&self, other: &Self) -> Ordering {
        let forward = self.entry.cmp_to(&other.entry.key, other.entry.stamp);
        self.direction.apply(forward).then(self.source.cmp(&other.source)).reverse()
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Versionstamp;
    use crate::entry::Version;
    use crate::testing::{Listed, check_seeks, drain};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(key: u8, version: u64, source: usize) -> Entry {
        let value = vec![u8::try_from(source).unwrap_or(u8::MAX)].into();
        Entry {
            key: vec![key].into(),
            stamp: Versionstamp::new(version, 0),
            version: Version::Put { value, expire_at_ms: None },
        }
    }

    proptest! {
        #[test]
        fn it_is_the_sorted_union_and_the_earlier_source_wins(
            sources in prop::collection::vec(prop::collection::btree_set((0..6u8, 0..6u64), 0..12), 0..5),
            reverse: bool,
        ) {
            let direction = if reverse { Direction::Reverse } else { Direction::Forward };
            let mut expected = BTreeMap::new();
            let mut listed: Vec<Box<dyn Source>> = Vec::new();
            for (index, places) in sources.iter().enumerate() {
                let entries: Vec<Entry> = places.iter().map(|(key, at)| entry(*key, *at, index)).collect();
                for entry in &entries {
                    expected.entry((entry.key.clone(), std::cmp::Reverse(entry.stamp))).or_insert(entry.clone());
                }
                listed.push(Listed::source(entries, direction));
            }
            let mut expected: Vec<Entry> = expected.into_values().collect();
            if reverse {
                expected.reverse();
            }
            let make = || {
                let mut listed: Vec<Box<dyn Source>> = Vec::new();
                for (index, places) in sources.iter().enumerate() {
                    let entries = places.iter().map(|(key, at)| entry(*key, *at, index)).collect();
                    listed.push(Listed::source(entries, direction));
                }
                merge(listed, direction)
            };
            prop_assert!(check_seeks(&expected, direction, make).is_ok());
            prop_assert_eq!(drain(merge(listed, direction)).unwrap_or_default(), expected);
        }
    }
}
