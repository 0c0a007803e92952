//! Deletions of whole key prefixes: small facts beside the tables, instead of a delete for each key.
//!
//! An erasure hides every version of a key with its prefix that is older than its stamp from every reader
//! at or above that stamp.
//!
//! - Erasures of records that are not flushed are in the log; those of flushed records are in the manifest.
//!   A view has all of them.
//! - What an erasure hides is dropped once the horizon has passed its stamp, see
//!   [`retention`](crate::compaction::retention). It is forgotten when no table can hold anything that it
//!   hides: memtables hold only what is newer than a flushed erasure.
//! - There are at most [`ERASURES_MAX`]: each costs memory, and every read looks them through.

use crate::table::Meta;
use crate::{Record, Versionstamp};
use bytes::Bytes;

/// Erasures that an engine can have at once, inclusive.
pub(crate) const ERASURES_MAX: usize = 8_192;
/// Bytes of the prefixes of all erasures, inclusive.
pub(crate) const PREFIX_BYTES_MAX: usize = 4 << 20;

/// One deletion of a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Erasure {
    /// What the keys begin with; empty is every key.
    pub(crate) prefix: Bytes,
    /// The commit that deleted them.
    pub(crate) stamp: Versionstamp,
}

impl Erasure {
    /// Whether a key from `first` to `last`, both inclusive, can have the prefix.
    pub(crate) fn meets(&self, first: &[u8], last: &[u8]) -> bool {
        // Keys with the prefix stand together, from the prefix itself on.
        first.starts_with(&self.prefix) || (first < &self.prefix[..] && &self.prefix[..] <= last)
    }
}

/// All erasures, by prefix; those of one prefix rise by stamp.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Erasures {
    sorted: Vec<Erasure>,
    prefix_bytes: usize,
}

impl Erasures {
    /// Whether there are none: then a read has nothing to ask here.
    pub(crate) const fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether `more` erasures, whose prefixes have `bytes` bytes, can be added.
    pub(crate) const fn has_room(&self, more: usize, bytes: usize) -> bool {
        self.sorted.len() + more <= ERASURES_MAX && self.prefix_bytes + bytes <= PREFIX_BYTES_MAX
    }

    /// Every erasure, by prefix and stamp.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Erasure> {
        self.sorted.iter()
    }

    /// Adds one; whether it is new.
    pub(crate) fn add(&mut self, erasure: Erasure) -> bool {
        let at = self.sorted.binary_search(&erasure);
        if let Err(at) = at {
            self.prefix_bytes += erasure.prefix.len();
            self.sorted.insert(at, erasure);
        }
        at.is_err()
    }

    /// Removes one; whether it was there.
    pub(crate) fn remove(&mut self, erasure: &Erasure) -> bool {
        let at = self.sorted.binary_search(erasure);
        if let Ok(at) = at {
            self.prefix_bytes -= self.sorted.remove(at).prefix.len();
        }
        at.is_ok()
    }

    /// Those that these have and `removed` does not name.
    pub(crate) fn without(&self, removed: &[Erasure]) -> Self {
        let mut left = self.clone();
        for erasure in removed {
            left.remove(erasure);
        }
        left
    }

    /// Whether a reader at `at` must not see the version `stamp` of `key`.
    pub(crate) fn hide(&self, key: &[u8], stamp: Versionstamp, at: Versionstamp) -> bool {
        !self.sorted.is_empty() && self.newest(key, at).is_some_and(|erased| stamp < erased)
    }

    /// Whether a reader at `at` can see nothing of a table, because of one erasure.
    pub(crate) fn hide_all_of(&self, table: &Meta, at: Versionstamp) -> bool {
        let shared = &table.first_key[..common(&table.first_key, &table.last_key)];
        self.hide(shared, table.last_stamp, at)
    }

    /// The newest erasure, not newer than `at`, whose prefix all of `key` begins with: its stamp.
    pub(crate) fn newest(&self, key: &[u8], at: Versionstamp) -> Option<Versionstamp> {
        let stamps = self.runs_over(key).filter_map(|run| {
            let until = run.partition_point(|erasure| erasure.stamp <= at);
            run[..until].last().map(|erasure| erasure.stamp)
        });
        stamps.max()
    }

    /// The erasures of each prefix of `key`, from the longest prefix to the shortest.
    fn runs_over<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a [Erasure]> {
        let (mut bound, mut before) = (key, &self.sorted[..]);
        std::iter::from_fn(move || {
            loop {
                before = &before[..before.partition_point(|erasure| &erasure.prefix[..] <= bound)];
                let prefix = &before.last()?.prefix;
                if bound.starts_with(prefix) {
                    let start = before.partition_point(|erasure| erasure.prefix < *prefix);
                    let run;
                    (before, run) = before.split_at(start);
                    return Some(run);
                }
                // What both a prefix of the key and this prefix have in common is all that a shorter one can be.
                bound = &bound[..common(prefix, bound)];
            }
        })
    }
}

impl FromIterator<Erasure> for Erasures {
    fn from_iter<T: IntoIterator<Item = Erasure>>(erasures: T) -> Self {
        let mut all = Self::default();
        all.extend(erasures);
        all
    }
}

impl Extend<Erasure> for Erasures {
    fn extend<T: IntoIterator<Item = Erasure>>(&mut self, erasures: T) {
        for erasure in erasures {
            self.add(erasure);
        }
    }
}

/// How many bytes both begin with.
pub(crate) fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// The deletions of prefixes in a record.
pub(crate) fn of_record(record: &Record) -> impl Iterator<Item = Erasure> {
    let of_batch = |(stamp, batch): (Versionstamp, &crate::WriteBatch)| -> Vec<Erasure> {
        if !batch.deletes_prefixes() {
            return Vec::new();
        }
        batch.prefixes().map(|prefix| Erasure { prefix: Bytes::copy_from_slice(prefix), stamp }).collect()
    };
    record.commits().flat_map(of_batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{keys, stamp};
    use proptest::prelude::*;

    fn erasure(prefix: &[u8], at: u64) -> Erasure {
        Erasure { prefix: Bytes::copy_from_slice(prefix), stamp: stamp(at) }
    }

    proptest! {
        #[test]
        fn it_answers_as_a_walk_over_all_of_them_does(
            listed in prop::collection::vec((prop_oneof![Just(Vec::new()), keys()], 1..9u64), 0..40),
            probes in prop::collection::vec(keys(), 1..20),
        ) {
            let all: Vec<Erasure> = listed.iter().map(|(prefix, at)| erasure(prefix, *at)).collect();
            let erasures: Erasures = all.iter().cloned().collect();
            for key in &probes {
                for at in (0..10).map(stamp) {
                    let over = all.iter().filter(|it| key.starts_with(&it.prefix) && it.stamp <= at);
                    let newest = over.map(|it| it.stamp).max();
                    prop_assert_eq!(erasures.newest(key, at), newest);
                    for version in (0..10).map(stamp) {
                        prop_assert_eq!(erasures.hide(key, version, at), newest > Some(version));
                    }
                }
            }
        }
    }

    #[test]
    fn it_meets_the_tables_that_can_hold_its_keys() {
        let meets = |first: &str, last: &str| erasure(b"m", 1).meets(first.as_bytes(), last.as_bytes());
        assert!(
            meets("a", "m") && meets("a", "z") && meets("m", "ma") && meets("mz", "n") && meets("m1", "m2")
        );
        assert!(!meets("a", "lz") && !meets("n", "z"));
        assert!(erasure(b"", 1).meets(b"a", b"b"));
    }

    #[test]
    fn what_is_removed_hides_nothing_and_gives_its_room_back() {
        let mut erasures: Erasures =
            [erasure(b"a", 1), erasure(b"a", 3), erasure(b"b", 2)].into_iter().collect();
        assert!(!erasures.add(erasure(b"a", 1)), "it is there already");
        assert!(erasures.remove(&erasure(b"a", 3)) && !erasures.remove(&erasure(b"a", 2)));
        assert!(erasures.hide(b"ab", stamp(0), stamp(9)) && !erasures.hide(b"ab", stamp(1), stamp(9)));
        assert_eq!((erasures.len(), erasures.prefix_bytes), (2, 2));
        let left = erasures.without(&[erasure(b"a", 1), erasure(b"b", 2)]);
        assert!(left.is_empty() && left == Erasures::default());
    }

    #[test]
    fn there_is_a_bound_in_number_and_in_bytes() {
        let full: Erasures = (0..ERASURES_MAX as u64).map(|at| erasure(b"p", at)).collect();
        assert!(full.has_room(0, 0) && !full.has_room(1, 1));
        let long = vec![7; PREFIX_BYTES_MAX / 64];
        let wide: Erasures = (0..64).map(|at| erasure(&long, at)).collect();
        assert!(wide.has_room(1, 0) && !wide.has_room(1, 1));
    }
}
