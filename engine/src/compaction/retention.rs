//! Which entries a reader at or above the horizon can still see.
//!
//! - Every version above the horizon is kept.
//! - Of those at or below it, the newest of each key is kept; what is older is hidden by it.
//! - If that newest is a delete, or has expired by the horizon's time, it only hides what is
//!   older: it is kept, as a delete, while something older may lie below, and dropped otherwise.

use super::Horizon;
use crate::entry::{Entry, Version};
use bytes::Bytes;

/// Decides entry by entry, going forward.
#[derive(Debug)]
pub(crate) struct Retention {
    horizon: Horizon,
    /// The key whose newest version at or below the horizon was seen.
    settled: Option<Bytes>,
}

impl Retention {
    /// Starts before the first entry.
    pub(crate) const fn new(horizon: Horizon) -> Self {
        Self { horizon, settled: None }
    }

    /// What to write in place of `entry`, the next in internal order; `None` drops it.
    /// `older_below` says whether older versions of a key may lie outside of what is rewritten.
    pub(crate) fn keep(&mut self, entry: Entry, older_below: impl FnOnce(&[u8]) -> bool) -> Option<Entry> {
        if entry.stamp > self.horizon.stamp {
            return Some(entry);
        }
        if self.settled.as_ref() == Some(&entry.key) {
            return None;
        }
        self.settled = Some(entry.key.clone());
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

    fn entry(key: &'static str, version: u64, what: Version) -> Entry {
        Entry { key: Bytes::from_static(key.as_bytes()), stamp: Versionstamp::new(version, 0), version: what }
    }

    fn put(expire_at_ms: Option<u64>) -> Version {
        Version::Put { value: Bytes::from_static(b"v"), expire_at_ms }
    }

    fn kept(entries: &[Entry], older_below: bool) -> Vec<Entry> {
        let mut retention = Retention::new(Horizon { stamp: Versionstamp::new(5, 0), time_ms: 50 });
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
}
