//! The content hashes at the last records of a replica, to compare with those of others.
//!
//! - Versions rise. What is not known is not compared: it is too old, was never reached, or lies before a snapshot that was
//!   installed.

use engine::ContentHash;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Records whose content hash is remembered, at most.
const HASHES_MAX: usize = 4_096;

/// The hashes after the last records.
#[derive(Debug)]
pub(crate) struct Hashes {
    /// Versions rise.
    ring: Mutex<VecDeque<(u64, ContentHash)>>,
}

impl Hashes {
    /// At the record where a replica stands.
    pub(crate) fn at(version: u64, hash: ContentHash) -> Self {
        Self { ring: Mutex::new(VecDeque::from([(version, hash)])) }
    }

    /// Forgets all others: the replica stands here now, and what it stood at before need not lead up to it.
    pub(crate) fn begin_at(&self, version: u64, hash: ContentHash) {
        *self.ring.lock() = VecDeque::from([(version, hash)]);
    }

    /// Notes the hash after one more record.
    ///
    /// # Panics
    ///
    /// If its version is not above those before it.
    pub(crate) fn push(&self, version: u64, hash: ContentHash) {
        let mut ring = self.ring.lock();
        assert!(ring.back().is_none_or(|(last, _)| *last < version), "records are applied in order");
        if ring.len() == HASHES_MAX {
            ring.pop_front();
        }
        ring.push_back((version, hash));
    }

    /// The hash after the record with this version; `None` when it is not known.
    pub(crate) fn get(&self, version: u64) -> Option<ContentHash> {
        let ring = self.ring.lock();
        let place = ring.binary_search_by_key(&version, |(version, _)| *version).ok()?;
        ring.get(place).map(|(_, hash)| *hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(of: u64) -> ContentHash {
        let mut bytes = [0; ContentHash::LEN];
        bytes[..8].copy_from_slice(&of.to_le_bytes());
        ContentHash::from_bytes(bytes)
    }

    #[test]
    fn every_record_is_found_by_its_version_and_no_other_is() {
        let hashes = Hashes::at(10, hash(10));
        for version in (12..60).step_by(3) {
            hashes.push(version, hash(version));
        }
        for version in 0..70 {
            let known = version == 10 || (12..60).step_by(3).any(|pushed| pushed == version);
            assert_eq!(hashes.get(version), known.then(|| hash(version)), "version {version}");
        }
    }

    #[test]
    fn the_oldest_go_and_the_newest_stay() {
        let hashes = Hashes::at(0, hash(0));
        let last = HASHES_MAX as u64 * 3;
        for version in 1..=last {
            hashes.push(version, hash(version));
        }
        let oldest = last + 1 - HASHES_MAX as u64;
        assert_eq!(hashes.get(oldest - 1), None);
        for version in [oldest, oldest + 1, last] {
            assert_eq!(hashes.get(version), Some(hash(version)));
        }
    }

    #[test]
    fn a_new_beginning_forgets_what_was_before() {
        let hashes = Hashes::at(1, hash(1));
        hashes.push(2, hash(2));
        hashes.begin_at(9, hash(9));
        assert_eq!([1, 2, 9].map(|version| hashes.get(version)), [None, None, Some(hash(9))]);
    }
}
