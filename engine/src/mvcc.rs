//! What a reader at a stamp sees of the versions of each key.
//!
//! - Of each key it is the newest version that is not newer than the reader's stamp, unless that
//!   is a delete or is expired at the reader's time: then nothing, whatever is older.
//! - What an erasure hides from the reader is not seen: if it hides the newest version of a key, it hides the
//!   older ones as well.
//! - A key with many versions costs a bounded number of steps: past [`VERSIONS_MAX`] of them it
//!   seeks. In reverse that takes a look-up of the key, see [`Visible::with_lookup`].
//! - In reverse the versions of a key come oldest first, so a key is known when the next one comes.

use crate::entry::{Direction, Version};
use crate::erasure::Erasures;
use crate::source::{Cursor, Place};
use crate::{KeyValue, Result, Value, Versionstamp};
use bytes::Bytes;
use std::sync::Arc;

/// The value that a version gives a reader at `now_ms`.
pub(crate) fn value(stamp: Versionstamp, version: Version, now_ms: u64) -> Option<Value> {
    if version.is_absent_at(now_ms) {
        return None;
    }
    match version {
        Version::Put { value, expire_at_ms } => Some(Value { stamp, bytes: value, expire_at_ms }),
        Version::Delete => None,
    }
}

/// Versions of one key that are stepped over before the rest is sought over.
const VERSIONS_MAX: u32 = 8;

/// Finds the newest version of a key that is not newer than a stamp.
pub(crate) type Lookup = Box<dyn Fn(&[u8], Versionstamp) -> Result<Option<(Versionstamp, Version)>> + Send>;

/// The keys and values of a cursor as a reader at one stamp and time sees them.
pub(crate) struct Visible<C> {
    cursor: C,
    direction: Direction,
    at: Versionstamp,
    now_ms: u64,
    lookup: Option<Lookup>,
    erasures: Arc<Erasures>,
    /// Where the next step goes, unless to the next entry.
    sought: Option<Place>,
    /// The key at hand, and how many of its versions were stepped over.
    key: Vec<u8>,
    versions: u32,
    /// Whether a version of that key was found that is not newer than the stamp: forward it is the newest.
    decided: bool,
    /// In reverse: what the newest such version so far shows.
    candidate: Option<KeyValue>,
}

impl<C> std::fmt::Debug for Visible<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visible").field("at", &self.at).field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

impl<C: Cursor> Visible<C> {
    /// Reads `cursor`, which goes in `direction`, at the stamp `at` (inclusive) and the time `now_ms`.
    pub(crate) fn new(cursor: C, direction: Direction, at: Versionstamp, now_ms: u64) -> Self {
        Self {
            cursor,
            direction,
            at,
            now_ms,
            lookup: None,
            erasures: Arc::default(),
            sought: None,
            key: Vec::new(),
            versions: 0,
            decided: false,
            candidate: None,
        }
    }

    /// Leaves out what these hide.
    #[must_use]
    pub(crate) fn with_erasures(mut self, erasures: Arc<Erasures>) -> Self {
        self.erasures = erasures;
        self
    }

    /// Uses `lookup`, which reads the same entries as the cursor, where a key has many versions.
    /// Without it a reverse read steps over each of them.
    #[must_use]
    pub(crate) fn with_lookup(mut self, lookup: Lookup) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// The next key that has a value, and that value.
    ///
    /// # Errors
    ///
    /// When the cursor fails. Nothing may be read after that.
    pub(crate) fn next(&mut self) -> Result<Option<KeyValue>> {
        match self.direction {
            Direction::Forward => self.next_forward(),
            Direction::Reverse => self.next_reverse(),
        }
    }

    fn step(&mut self) -> Result<bool> {
        match self.sought.take() {
            Some(place) => self.cursor.seek(&place),
            None => self.cursor.next(),
        }
    }

    fn next_forward(&mut self) -> Result<Option<KeyValue>> {
        while self.step()? {
            let key = self.cursor.key();
            if key != self.key {
                replace(&mut self.key, key);
                (self.versions, self.decided) = (0, false);
            }
            self.versions += 1;
            if !self.decided && self.cursor.stamp() <= self.at {
                self.decided = true;
                self.versions = 0;
                if let Some(value) = self.shown(self.cursor.stamp(), self.cursor.version()) {
                    return Ok(Some(KeyValue { key: Bytes::copy_from_slice(&self.key), value }));
                }
            }
            if self.versions == VERSIONS_MAX {
                self.sought = Some(if self.decided {
                    Place::after(&self.key)
                } else {
                    Place { key: Bytes::copy_from_slice(&self.key), stamp: self.at }
                });
            }
        }
        Ok(None)
    }

    fn next_reverse(&mut self) -> Result<Option<KeyValue>> {
        while self.step()? {
            let key = self.cursor.key();
            if key == self.key {
                self.propose()?;
                continue;
            }
            replace(&mut self.key, key);
            (self.versions, self.decided) = (0, false);
            let shown = self.candidate.take();
            self.propose()?;
            if shown.is_some() {
                return Ok(shown);
            }
        }
        Ok(self.candidate.take())
    }

    /// Takes note of a version that is newer than those of its key before it.
    fn propose(&mut self) -> Result<()> {
        self.versions += 1;
        if self.cursor.stamp() <= self.at {
            self.decided = true;
            self.show(self.cursor.stamp(), self.cursor.version());
        }
        if self.versions == VERSIONS_MAX && self.lookup.is_some() {
            self.seek_over_versions()?;
        }
        Ok(())
    }

    /// Makes a version of the key at hand the candidate.
    fn show(&mut self, stamp: Versionstamp, version: Version) {
        match (self.shown(stamp, version), &mut self.candidate) {
            (Some(value), Some(candidate)) => candidate.value = value,
            (Some(value), candidate) => {
                *candidate = Some(KeyValue { key: Bytes::copy_from_slice(&self.key), value })
            }
            (None, candidate) => *candidate = None,
        }
    }

    /// What a version of the key at hand shows.
    fn shown(&self, stamp: Versionstamp, version: Version) -> Option<Value> {
        if self.erasures.hide(&self.key, stamp, self.at) {
            return None;
        }
        value(stamp, version, self.now_ms)
    }

    /// Takes the version of the key at hand from the look-up, and goes on with the key before it.
    fn seek_over_versions(&mut self) -> Result<()> {
        if let Some(lookup) = &self.lookup
            && self.decided
        {
            match lookup(&self.key, self.at)? {
                Some((stamp, version)) => self.show(stamp, version),
                None => self.candidate = None,
            }
        }
        self.sought = Some(Place::before(Bytes::copy_from_slice(&self.key)));
        Ok(())
    }
}

fn replace(key: &mut Vec<u8>, by: &[u8]) {
    key.clear();
    key.extend_from_slice(by);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::erasure::Erasure;
    use crate::source::{Held, Source};
    use crate::testing::{Listed, entry, newest, put, stamp};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn read(entries: &[Entry], direction: Direction, at: Versionstamp, now_ms: u64) -> Result<Vec<KeyValue>> {
        let visible = || Visible::new(listed(entries, direction), direction, at, now_ms);
        let looked_up = entries.to_vec();
        let lookup = Box::new(move |key: &[u8], at| Ok(newest(&looked_up, key, at)));
        let found = collect(visible().with_lookup(lookup))?;
        assert_eq!(collect(visible())?, found, "a look-up changes nothing");
        Ok(found)
    }

    fn listed(entries: &[Entry], direction: Direction) -> Held {
        Held::new(Listed::source(entries.to_vec(), direction))
    }

    fn collect(mut visible: Visible<Held>) -> Result<Vec<KeyValue>> {
        std::iter::from_fn(|| visible.next().transpose()).collect()
    }

    /// Key by key, the obvious way.
    fn model(entries: &[Entry], at: Versionstamp, now_ms: u64) -> Vec<KeyValue> {
        (0..4)
            .filter_map(|key| {
                let versions = entries.iter().filter(|entry| entry.key[..] == [key] && entry.stamp <= at);
                let newest = versions.max_by_key(|entry| entry.stamp)?;
                let value = value(newest.stamp, newest.version.clone(), now_ms)?;
                Some(KeyValue { key: newest.key.clone(), value })
            })
            .collect()
    }

    fn version() -> impl Strategy<Value = Version> {
        let put = |expire_at_ms| Version::Put { value: Bytes::from_static(b"v"), expire_at_ms };
        prop_oneof![Just(Version::Delete), Just(put(None)), (0..20u64).prop_map(move |at| put(Some(at)))]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn each_key_shows_its_newest_version_at_every_stamp_in_both_directions(
            versions in prop::collection::btree_map((0..4u8, 0..30u64), version(), 0..90),
            now_ms in 0..20u64,
        ) {
            let entries: Vec<Entry> = versions
                .into_iter()
                .map(|((key, at), version)| Entry { key: vec![key].into(), stamp: Versionstamp::new(at, 0), version })
                .collect();
            for at in (0..31).map(|at| Versionstamp::new(at, 0)) {
                let mut expected = model(&entries, at, now_ms);
                prop_assert_eq!(read(&entries, Direction::Forward, at, now_ms).unwrap_or_default(), expected.clone());
                expected.reverse();
                prop_assert_eq!(read(&entries, Direction::Reverse, at, now_ms).unwrap_or_default(), expected);
            }
        }
    }

    /// Counts what is read of it.
    struct Counted(Box<dyn Source>, Arc<AtomicUsize>);

    impl Source for Counted {
        fn next(&mut self) -> Result<Option<Entry>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.next()
        }

        fn seek(&mut self, place: &Place) -> Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.seek(place)
        }
    }

    #[test]
    fn a_key_of_many_versions_costs_few_steps() -> Result<()> {
        let mut all: Vec<Entry> = (1..=5_000).map(|at| entry("hot", at, put(""))).collect();
        all.extend(["a", "z"].map(|key| entry(key, 1, put(""))));
        for direction in [Direction::Forward, Direction::Reverse] {
            for at in [1, 2_500, 5_000].map(stamp) {
                let steps = Arc::new(AtomicUsize::new(0));
                let source = Counted(Listed::source(all.clone(), direction), Arc::clone(&steps));
                let looked_up = all.clone();
                let lookup = Box::new(move |key: &[u8], at| Ok(newest(&looked_up, key, at)));
                let found =
                    collect(Visible::new(Held::new(Box::new(source)), direction, at, 0).with_lookup(lookup))?;
                assert_eq!(found.iter().map(|found| found.value.stamp).max(), Some(at));
                assert_eq!(found.len(), 3);
                assert!(steps.load(Ordering::Relaxed) < 30, "{steps:?} steps");
            }
        }
        Ok(())
    }

    #[test]
    fn an_erasure_hides_a_key_of_many_versions_in_both_directions() -> Result<()> {
        let mut all: Vec<Entry> = (1..=50).map(|at| entry("hot", at, put(""))).collect();
        all.extend(["a", "z"].map(|key| entry(key, 60, put(""))));
        let erasure = Erasure { prefix: Bytes::from_static(b"h"), stamp: stamp(55) };
        let erasures: Arc<Erasures> = Arc::new([erasure].into_iter().collect());
        for direction in [Direction::Forward, Direction::Reverse] {
            for (at, shown) in [(54, 1), (55, 0), (60, 2)] {
                let (looked_up, hiding) = (all.clone(), Arc::clone(&erasures));
                let lookup = Box::new(move |key: &[u8], at| {
                    let found = newest(&looked_up, key, at);
                    Ok(found.filter(|(stamp, _)| !hiding.hide(key, *stamp, at)))
                });
                let visible = Visible::new(listed(&all, direction), direction, stamp(at), 0);
                let found = collect(visible.with_erasures(Arc::clone(&erasures)).with_lookup(lookup))?;
                assert_eq!(found.len(), shown, "{direction:?} at {at}");
            }
        }
        Ok(())
    }

    #[test]
    fn an_expired_version_hides_older_ones() -> Result<()> {
        let expiring = Version::Put { value: Bytes::new(), expire_at_ms: Some(10) };
        let entries = [entry("k", 1, put("")), entry("k", 2, expiring)];
        for direction in [Direction::Forward, Direction::Reverse] {
            assert_eq!(read(&entries, direction, Versionstamp::MAX, 9)?.len(), 1);
            assert_eq!(read(&entries, direction, Versionstamp::MAX, 10)?.len(), 0);
            assert_eq!(read(&entries, direction, Versionstamp::new(1, 0), 10)?.len(), 1);
        }
        Ok(())
    }
}
