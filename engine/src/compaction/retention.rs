//! Which entries a reader at or above the horizon of their key can still see.
//!
//! - Every version above the horizon is kept.
//! - What an erasure at or below the horizon hides is dropped, and nothing is left in its place: the erasure
//!   stays as long as any table holds what it hides.
//! - Of those at or below it, the newest of each key is kept; what is older is hidden by it.
//! - If that newest is a delete, or has expired by the horizon's time, it only hides what is
//!   older: it is kept, as a delete, while something older may lie below, and dropped otherwise.

use super::Bounds;
use crate::bugs::{self, Bug};
use crate::entry::{Entry, Version};
use crate::horizon::Horizon;
use bytes::Bytes;

/// Decides entry by entry, going forward.
#[derive(Debug)]
pub(crate) struct Retention {
    bounds: Bounds,
    /// The key at hand, and its horizon.
    key: Bytes,
    horizon: Horizon,
    /// Whether the newest version of that key at or below the horizon was seen.
    settled: bool,
}

impl Retention {
    /// Starts before the first entry.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, key: Bytes::new(), horizon: Horizon::START, settled: false }
    }

    /// What to write in place of `entry`, the next in internal order; `None` drops it.
    /// `older_below` says whether older versions of a key may lie outside of what is rewritten.
    pub(crate) fn keep(&mut self, entry: Entry, older_below: impl FnOnce(&[u8]) -> bool) -> Option<Entry> {
        if bugs::seeded(Bug::TombstoneDropped) && matches!(entry.version, Version::Delete) {
            return None;
        }
        if entry.key != self.key {
            self.key = entry.key.clone();
            self.horizon = self.bounds.horizons.of(&entry.key);
            self.settled = false;
        }
        if entry.stamp > self.horizon.stamp {
            return Some(entry);
        }
        if self.settled {
            return None;
        }
        self.settled = true;
        if self.bounds.erasures.hide(&entry.key, entry.stamp, self.horizon.stamp) {
            return None;
        }
        if !entry.version.is_absent_at(self.horizon.time_ms) {
            return Some(entry);
        }
        older_below(&entry.key).then_some(Entry { version: Version::Delete, ..entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Versionstamp;
    use crate::erasure::Erasure;
    use crate::horizon::Horizons;
    use std::sync::Arc;

    fn entry(key: &'static str, version: u64, what: Version) -> Entry {
        Entry { key: Bytes::from_static(key.as_bytes()), stamp: Versionstamp::new(version, 0), version: what }
    }

    fn put(expire_at_ms: Option<u64>) -> Version {
        Version::Put { value: Bytes::from_static(b"v"), expire_at_ms }
    }

    fn kept(entries: &[Entry], older_below: bool) -> Vec<Entry> {
        kept_within(&bounds(&[]), entries, older_below)
    }

    /// A horizon at 5 for all keys, and some erasures.
    fn bounds(erasures: &[(&'static str, u64)]) -> Bounds {
        let horizon = Horizon { stamp: Versionstamp::new(5, 0), time_ms: 50 };
        let erasure = |(prefix, at): &(&'static str, u64)| Erasure {
            prefix: Bytes::from_static(prefix.as_bytes()),
            stamp: Versionstamp::new(*at, 0),
        };
        let erasures = erasures.iter().map(erasure).collect();
        Bounds { horizons: Arc::new(Horizons::all(horizon)), erasures: Arc::new(erasures) }
    }

    fn kept_within(bounds: &Bounds, entries: &[Entry], older_below: bool) -> Vec<Entry> {
        let mut retention = Retention::new(bounds.clone());
        entries.iter().filter_map(|entry| retention.keep(entry.clone(), |_| older_below)).collect()
    }

    #[test]
    fn all_above_the_horizon_and_the_newest_at_or_below_it_stay() {
        let entries = [7, 6, 5, 4].map(|version| entry("a", version, put(None)));
        assert_eq!(kept(&entries, false), entries[..3]);
        let entries = [entry("a", 7, Version::Delete), entry("a", 3, put(None)), entry("b", 2, put(None))];
        assert_eq!(kept(&entries, false), entries);
    }

    #[test]
    fn a_delete_goes_when_nothing_older_can_lie_below() {
        let entries = [entry("a", 5, Version::Delete), entry("a", 4, put(None))];
        assert_eq!(kept(&entries, false), []);
        assert_eq!(kept(&entries, true), entries[..1]);
        let above = [entry("a", 6, Version::Delete)];
        assert_eq!(kept(&above, false), above);
    }

    #[test]
    fn an_expired_put_goes_only_once_the_horizon_has_passed_it_in_stamp_and_time() {
        let expired = [entry("a", 5, put(Some(50)))];
        assert_eq!(kept(&expired, false), []);
        assert_eq!(kept(&expired, true), [entry("a", 5, Version::Delete)]);
        for stays in [entry("a", 5, put(Some(51))), entry("a", 6, put(Some(1)))] {
            assert_eq!(kept(std::slice::from_ref(&stays), false), [stays]);
        }
    }

    #[test]
    fn what_an_erasure_below_the_horizon_hides_goes_without_a_trace() {
        let entries = [7, 5, 4, 3, 2].map(|version| entry("ab", version, put(None)));
        for older_below in [true, false] {
            let kept = |erasures: &[_]| kept_within(&bounds(erasures), &entries, older_below);
            assert_eq!(kept(&[("a", 5)]), entries[..2], "what the same commit puts stays");
            assert_eq!(kept(&[("a", 6)]), entries[..2], "above the horizon");
            assert_eq!(kept(&[("b", 5), ("abc", 5)]), entries[..2], "other keys");
            assert_eq!(kept_within(&bounds(&[("a", 5)]), &entries[2..], older_below), []);
            let deleted = [entry("ab", 4, Version::Delete)];
            assert_eq!(kept_within(&bounds(&[("", 5)]), &deleted, older_below), []);
        }
    }

    #[test]
    fn each_key_has_the_horizon_of_its_longest_prefix() {
        let mut horizons = Horizons::all(Horizon { stamp: Versionstamp::new(5, 0), time_ms: 50 });
        horizons.set(Bytes::from_static(b"b"), Horizon { stamp: Versionstamp::new(2, 0), time_ms: 20 });
        let bounds = Bounds { horizons: Arc::new(horizons), ..Bounds::default() };
        let of = |key| [4, 3, 2, 1].map(|version| entry(key, version, put(Some(40))));
        assert_eq!(kept_within(&bounds, &of("a"), false), []);
        assert_eq!(kept_within(&bounds, &of("b"), false), of("b")[..3]);
        let both = [of("a"), of("b")].concat();
        assert_eq!(kept_within(&bounds, &both, true).len(), 4, "each key is settled by itself");
    }
}
