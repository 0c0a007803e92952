//! What a reader at a stamp sees of the versions of each key.
//!
//! - Of each key it is the newest version that is not newer than the reader's stamp, unless that
//!   is a delete or is expired at the reader's time: then nothing, whatever is older.
//! - In reverse the versions of a key come oldest first, so a key is known when the next one comes.

use crate::entry::{Direction, Entry, Version};
use crate::source::Source;
use crate::{KeyValue, Result, Value, Versionstamp};
use bytes::Bytes;

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

/// The keys and values of a source as a reader at one stamp and time sees them.
pub(crate) struct Visible {
    source: Box<dyn Source>,
    direction: Direction,
    at: Versionstamp,
    now_ms: u64,
    /// Forward: the key whose version was found. In reverse: the newest version, so far, of the
    /// key at hand.
    decided: Option<Bytes>,
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
        Self { source, direction, at, now_ms, decided: None, candidate: None }
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
            if let Some(value) = value(stamp, version, self.now_ms) {
                return Ok(Some(KeyValue { key, value }));
            }
        }
    }

    /// The newest version of the next key that has one at this stamp.
    fn next_newest(&mut self) -> Result<Option<Entry>> {
        while let Some(entry) = self.source.next()? {
            if entry.stamp <= self.at && self.decided.as_ref() != Some(&entry.key) {
                self.decided = Some(entry.key.clone());
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn next_newest_reverse(&mut self) -> Result<Option<Entry>> {
        while let Some(entry) = self.source.next()? {
            if entry.stamp > self.at {
                continue;
            }
            match self.candidate.replace(entry) {
                Some(before) if Some(&before.key) != self.candidate.as_ref().map(|entry| &entry.key) => {
                    return Ok(Some(before));
                }
                _ => {}
            }
        }
        Ok(self.candidate.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Listed;
    use proptest::prelude::*;

    fn read(entries: &[Entry], direction: Direction, at: Versionstamp, now_ms: u64) -> Result<Vec<KeyValue>> {
        let mut visible = Visible::new(Listed::new(entries.to_vec(), direction), direction, at, now_ms);
        std::iter::from_fn(|| visible.next().transpose()).collect()
    }

    /// Key by key, the obvious way.
    fn model(entries: &[Entry], at: Versionstamp, now_ms: u64) -> Vec<KeyValue> {
        (0..=u8::MAX)
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
        #[test]
        fn each_key_shows_its_newest_version_at_every_stamp_in_both_directions(
            versions in prop::collection::btree_map((0..5u8, 0..8u64), version(), 0..25),
            now_ms in 0..20u64,
        ) {
            let entries: Vec<Entry> = versions
                .into_iter()
                .map(|((key, at), version)| Entry { key: vec![key].into(), stamp: Versionstamp::new(at, 0), version })
                .collect();
            for at in (0..9).map(|at| Versionstamp::new(at, 0)) {
                let mut expected = model(&entries, at, now_ms);
                prop_assert_eq!(read(&entries, Direction::Forward, at, now_ms).unwrap_or_default(), expected.clone());
                expected.reverse();
                prop_assert_eq!(read(&entries, Direction::Reverse, at, now_ms).unwrap_or_default(), expected);
            }
        }
    }

    #[test]
    fn an_expired_version_hides_older_ones() -> Result<()> {
        let entry = |version, expire_at_ms| Entry {
            key: Bytes::from_static(b"k"),
            stamp: Versionstamp::new(version, 0),
            version: Version::Put { value: Bytes::new(), expire_at_ms },
        };
        let entries = [entry(1, None), entry(2, Some(10))];
        for direction in [Direction::Forward, Direction::Reverse] {
            assert_eq!(read(&entries, direction, Versionstamp::MAX, 9)?.len(), 1);
            assert_eq!(read(&entries, direction, Versionstamp::MAX, 10)?.len(), 0);
            assert_eq!(read(&entries, direction, Versionstamp::new(1, 0), 10)?.len(), 1);
        }
        Ok(())
    }
}
