//! What a reader at a stamp sees of the versions of each key.
//!
//! - Of each key it is the newest version that is not newer than the reader's stamp, unless that
//!   is a delete or is expired at the reader's time: then nothing, whatever is older.
//! - What an erasure hides from the reader is not seen: if it hides the newest version of a key, it hides the
//!   older ones as well.
//! - A key with many versions costs a bounded number of steps: past [`VERSIONS_MAX`] of them it
//!   seeks. In reverse that takes a look-up of the key, see [`Visible::with_lookup`].
//! - In reverse the versions of a key come oldest first, so a key is known when the next one comes.

use crate::entry::{Direction, Entry, Version};
use crate::erasure::Erasures;
use crate::source::{Place, Source};
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

/// The keys and values of a source as a reader at one stamp and time sees them.
pub(crate) struct Visible {
    source: Box<dyn Source>,
    direction: Direction,
    at: Versionstamp,
    now_ms: u64,
    lookup: Option<Lookup>,
    erasures: Arc<Erasures>,
    /// The key of the last entry read, and how many of its versions were stepped over.
    key: Bytes,
    versions: u32,
    /// Forward: whether the version of that key was found.
    decided: bool,
    /// In reverse: the newest version so far of the key at hand.
    candidate: Option<Entry>,
}

impl std::fmt::Debug for Visible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visible").field("at", &self.at).field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

impl Visible {
    /// Reads `source`, which goes in `direction`, at the stamp `at` (inclusive) and the time `now_ms`.
    pub(crate) fn new(source: Box<dyn Source>, direction: Direction, at: Versionstamp, now_ms: u64) -> Self {
        let (key, versions, decided) = (Bytes::new(), 0, false);
        let erasures = Arc::default();
        Self {
            source,
            direction,
            at,
            now_ms,
            lookup: None,
            erasures,
            key,
            versions,
            decided,
            candidate: None,
        }
    }

    /// Leaves out what these hide.
    #[must_use]
    pub(crate) fn with_erasures(mut self, erasures: Arc<Erasures>) -> Self {
        self.erasures = erasures;
        self
    }

    /// Uses `lookup`, which reads the same entries as the source, where a key has many versions.
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
    /// When the source fails. Nothing may be read after that.
    pub(crate) fn next(&mut self) -> Result<Option<KeyValue>> {
        loop {
            let entry = match self.direction {
                Direction::Forward => self.next_newest()?,
                Direction::Reverse => self.next_newest_reverse()?,
            };
            let Some(Entry { key, stamp, version }) = entry else {
                return Ok(None);
            };
            if self.erasures.hide(&key, stamp, self.at) {
                continue;
            }
            if let Some(value) = value(stamp, version, self.now_ms) {
                return Ok(Some(KeyValue { key, value }));
            }
        }
    }

    /// The newest version of the next key that has one at this stamp.
    fn next_newest(&mut self) -> Result<Option<Entry>> {
        while let Some(entry) = self.source.next()? {
            let is_new_key = self.count(&entry);
            self.decided &= !is_new_key;
            if !self.decided && entry.stamp <= self.at {
                self.decided = true;
                self.versions = 0;
                return Ok(Some(entry));
            }
            if self.versions == VERSIONS_MAX {
                let place = if self.decided {
                    Place::after(&self.key)
                } else {
                    Place { key: self.key.clone(), stamp: self.at }
                };
                self.source.seek(&place)?;
            }
        }
        Ok(None)
    }

    fn next_newest_reverse(&mut self) -> Result<Option<Entry>> {
        while let Some(entry) = self.source.next()? {
            self.count(&entry);
            let mut before = None;
            if entry.stamp <= self.at {
                before = self.candidate.replace(entry).filter(|before| before.key != self.key);
            }
            if self.versions == VERSIONS_MAX {
                self.seek_over_versions()?;
            }
            if before.is_some() {
                return Ok(before);
            }
        }
        Ok(self.candidate.take())
    }

    /// Counts the versions read of a key; whether it is a new one.
    fn count(&mut self, entry: &Entry) -> bool {
        let is_new = entry.key != self.key;
        if is_new {
            self.key = entry.key.clone();
            self.versions = 0;
        }
        self.versions += 1;
        is_new
    }

    /// Takes the version of the key at hand from the look-up, and goes on with the key before it.
    fn seek_over_versions(&mut self) -> Result<()> {
        let Some(lookup) = &self.lookup else {
            return Ok(());
        };
        if self.candidate.as_ref().is_some_and(|candidate| candidate.key == self.key) {
            let found = lookup(&self.key, self.at)?;
            self.candidate = found.map(|(stamp, version)| Entry { key: self.key.clone(), stamp, version });
        }
        self.source.seek(&Place::before(self.key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Listed, entry, newest, put, stamp};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn read(entries: &[Entry], direction: Direction, at: Versionstamp, now_ms: u64) -> Result<Vec<KeyValue>> {
        let visible = || Visible::new(Listed::source(entries.to_vec(), direction), direction, at, now_ms);
        let looked_up = entries.to_vec();
        let lookup = Box::new(move |key: &[u8], at| Ok(newest(&looked_up, key, at)));
        let found = collect(visible().with_lookup(lookup))?;
        assert_eq!(collect(visible())?, found, "a look-up changes nothing");
        Ok(found)
    }

    fn collect(mut visible: Visible) -> Result<Vec<KeyValue>> {
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
                let found = collect(Visible::new(Box::new(source), direction, at, 0).with_lookup(lookup))?;
                assert_eq!(found.iter().map(|found| found.value.stamp).max(), Some(at));
                assert_eq!(found.len(), 3);
                assert!(steps.load(Ordering::Relaxed) < 30, "{steps:?} steps");
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
