//! Where readable history begins: one horizon for all keys, and others for some prefixes.
//!
//! - The horizon of a key is that of the longest prefix that has one.
//! - A horizon never falls: what lies below it may be gone. It is in the manifest before anything below it is
//!   dropped.
//! - A prefix keeps the horizon that it reached, also after its rule was removed, until the one above it has
//!   come as far.

use crate::Versionstamp;
use crate::erasure::common;
use crate::source::KeyRange;
use bytes::Bytes;

/// The oldest point in history that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Horizon {
    /// No reader is at a stamp below this.
    pub(crate) stamp: Versionstamp,
    /// The replicated clock at that stamp, Unix milliseconds: no reader is at a time before.
    pub(crate) time_ms: u64,
}

impl Horizon {
    /// Before all history.
    pub(crate) const START: Horizon = Horizon { stamp: Versionstamp::ZERO, time_ms: 0 };
}

/// The horizons of all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Horizons {
    /// Of keys that have no other.
    default: Horizon,
    /// Of the keys with each prefix and no longer one, by prefix.
    sorted: Vec<(Bytes, Horizon)>,
}

impl Default for Horizons {
    fn default() -> Self {
        Self::all(Horizon::START)
    }
}

impl Horizons {
    /// The same for all keys.
    pub(crate) const fn all(default: Horizon) -> Self {
        Self { default, sorted: Vec::new() }
    }

    /// Of keys that have no other.
    pub(crate) const fn of_rest(&self) -> Horizon {
        self.default
    }

    /// The prefixes that have their own, in order.
    pub(crate) fn prefixes(&self) -> &[(Bytes, Horizon)] {
        &self.sorted
    }

    /// Of a prefix itself; the empty one is the default.
    pub(crate) fn at(&self, prefix: &[u8]) -> Option<Horizon> {
        if prefix.is_empty() {
            return Some(self.default);
        }
        let at = self.sorted.binary_search_by(|(other, _)| other[..].cmp(prefix)).ok()?;
        Some(self.sorted[at].1)
    }

    /// Of a key.
    pub(crate) fn of(&self, key: &[u8]) -> Horizon {
        self.longest(key).map_or(self.default, |at| self.sorted[at].1)
    }

    /// The longest prefix of a key that has its own; empty for the default.
    pub(crate) fn prefix_of(&self, key: &[u8]) -> Bytes {
        self.longest(key).map_or_else(Bytes::new, |at| self.sorted[at].0.clone())
    }

    /// The horizon that the keys of `prefix` would have if it had none of its own.
    pub(crate) fn above(&self, prefix: &[u8]) -> Horizon {
        prefix.split_last().map_or(self.default, |(_, shorter)| self.of(shorter))
    }

    /// Of any key, the lowest.
    pub(crate) fn lowest(&self) -> Horizon {
        self.sorted.iter().map(|(_, horizon)| *horizon).fold(self.default, Ord::min)
    }

    /// Of any key, the highest.
    pub(crate) fn highest(&self) -> Horizon {
        self.sorted.iter().map(|(_, horizon)| *horizon).fold(self.default, Ord::max)
    }

    /// Of any key in `range`, the highest.
    pub(crate) fn highest_in(&self, range: &KeyRange) -> Horizon {
        if self.sorted.is_empty() {
            return self.default;
        }
        self.within(range).reduce(Ord::max).unwrap_or(self.default)
    }

    /// Of any key in `range`, the lowest.
    pub(crate) fn lowest_in(&self, range: &KeyRange) -> Horizon {
        if self.sorted.is_empty() {
            return self.default;
        }
        self.within(range).reduce(Ord::min).unwrap_or(self.default)
    }

    /// Of any key that begins with `prefix`, the lowest.
    pub(crate) fn lowest_under(&self, prefix: &[u8]) -> Horizon {
        self.lowest_in(&KeyRange::with_prefix(prefix))
    }

    /// The horizon of each stretch of keys that meets `range`: a stretch begins with the range, with a prefix,
    /// or where the keys of a prefix end.
    fn within<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = Horizon> + 'a {
        let first = self.sorted.partition_point(|(prefix, _)| &prefix[..] <= range.start());
        let inside = self.sorted[first..].iter().map(|(prefix, _)| prefix);
        let inside = inside.take_while(|prefix| !range.ends_before(prefix));
        let shorter = |at: &usize| self.longest(&self.sorted[*at].0[..self.sorted[*at].0.len() - 1]);
        let around = std::iter::successors(self.longest(range.start()), shorter);
        let ends = around.map(|at| &self.sorted[at].0).chain(inside.clone());
        let ends = ends.filter_map(|prefix| KeyRange::with_prefix(prefix).end().map(<[u8]>::to_vec));
        let ends = ends.filter(|end| !range.ends_before(end)).map(|end| self.of(&end));
        let begins = inside.map(|prefix| self.of(prefix));
        [self.of(range.start())].into_iter().chain(begins).chain(ends)
    }

    /// Where the longest prefix of `key` stands.
    fn longest(&self, key: &[u8]) -> Option<usize> {
        let (mut bound, mut end) = (key, self.sorted.len());
        while end > 0 {
            end = self.sorted[..end].partition_point(|(prefix, _)| &prefix[..] <= bound);
            let (prefix, _) = self.sorted[..end].last()?;
            if bound.starts_with(prefix) {
                return Some(end - 1);
            }
            bound = &bound[..common(prefix, bound)];
        }
        None
    }

    /// Sets the horizon of a prefix; of the empty one the default.
    pub(crate) fn set(&mut self, prefix: Bytes, horizon: Horizon) {
        if prefix.is_empty() {
            self.default = horizon;
            return;
        }
        match self.sorted.binary_search_by(|(other, _)| other.cmp(&prefix)) {
            Ok(at) => self.sorted[at].1 = horizon,
            Err(at) => self.sorted.insert(at, (prefix, horizon)),
        }
    }

    /// Lets the keys of a prefix have the horizon above it; whether it had its own.
    pub(crate) fn remove(&mut self, prefix: &[u8]) -> bool {
        let at = self.sorted.binary_search_by(|(other, _)| other[..].cmp(prefix));
        at.map(|at| self.sorted.remove(at)).is_ok()
    }

    /// For each key the higher of both.
    #[must_use]
    pub(crate) fn max(&self, other: &Self) -> Self {
        let mut highest = Self::all(self.default.max(other.default));
        for (prefix, _) in self.sorted.iter().chain(&other.sorted) {
            highest.set(prefix.clone(), self.of(prefix).max(other.of(prefix)));
        }
        highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{keys, stamp};
    use proptest::prelude::*;

    fn horizon(at: u64) -> Horizon {
        Horizon { stamp: stamp(at), time_ms: at }
    }

    fn horizons() -> impl Strategy<Value = Horizons> {
        (0..9u64, prop::collection::vec((keys(), 0..9u64), 0..12)).prop_map(|(default, listed)| {
            let mut all = Horizons::all(horizon(default));
            listed.into_iter().for_each(|(prefix, at)| all.set(prefix.into(), horizon(at)));
            all
        })
    }

    /// The obvious way.
    fn of(all: &Horizons, key: &[u8]) -> Horizon {
        let over = all.sorted.iter().filter(|(prefix, _)| key.starts_with(prefix));
        over.max_by_key(|(prefix, _)| prefix.len()).map_or(all.default, |(_, horizon)| *horizon)
    }

    proptest! {
        #[test]
        fn the_longest_prefix_counts(all in horizons(), probes in prop::collection::vec(keys(), 1..20)) {
            for key in &probes {
                prop_assert_eq!(all.of(key), of(&all, key));
                prop_assert_eq!(all.at(&all.prefix_of(key)), Some(of(&all, key)));
            }
        }

        #[test]
        fn the_higher_of_two_is_so_for_every_key(
            left in horizons(),
            right in horizons(),
            probes in prop::collection::vec(keys(), 1..20),
        ) {
            let highest = left.max(&right);
            for key in &probes {
                prop_assert_eq!(highest.of(key), left.of(key).max(right.of(key)));
            }
        }

        #[test]
        fn a_range_has_the_bounds_of_its_keys(all in horizons(), start in keys(), end in keys()) {
            for range in [KeyRange::new(&start, &end), KeyRange::with_prefix(&start), KeyRange::all()] {
                if range.is_empty() {
                    continue;
                }
                // A stretch of keys with one horizon begins at a prefix, past the keys of a prefix, or at the start.
                let past = |prefix: &Bytes| KeyRange::with_prefix(prefix).end().map(<[u8]>::to_vec);
                let begins = all.sorted.iter().map(|(prefix, _)| prefix.to_vec());
                let begins = begins.chain(all.sorted.iter().filter_map(|(prefix, _)| past(prefix)));
                let inside = begins.filter(|key| &key[..] >= range.start() && !range.ends_before(key));
                let found: Vec<_> = inside.chain([range.start().to_vec()]).map(|key| of(&all, &key)).collect();
                prop_assert_eq!(Some(all.highest_in(&range)), found.iter().max().copied());
                prop_assert_eq!(Some(all.lowest_in(&range)), found.iter().min().copied());
            }
        }
    }

    #[test]
    fn a_prefix_that_has_none_of_its_own_has_that_above_it() {
        let mut all = Horizons::all(horizon(5));
        all.set(Bytes::from_static(b"ab"), horizon(2));
        assert_eq!(
            (all.above(b"ab"), all.above(b"abc"), all.above(b"")),
            (horizon(5), horizon(2), horizon(5))
        );
        assert_eq!((all.lowest(), all.highest()), (horizon(2), horizon(5)));
        assert!(all.remove(b"ab") && !all.remove(b"ab"));
        assert_eq!(all, Horizons::all(horizon(5)));
    }
}
