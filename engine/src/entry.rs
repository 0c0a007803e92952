//! What tables and memtables hold: one version of one key.
//!
//! Internal order: keys rise, and the versions of one key fall (newest first). A reverse scan is
//! exactly the reverse of it.

use crate::Versionstamp;
use bytes::Bytes;
use std::cmp::Ordering;

/// What one version of a key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// The key has this value.
    Put {
        /// The bytes.
        value: Bytes,
        /// Unix milliseconds from which on the key is absent; `None` is never.
        expire_at_ms: Option<u64>,
    },
    /// The key is absent.
    Delete,
}

/// What one version of a key says about whether the key is there, without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The key has a value.
    Put {
        /// Unix milliseconds from which on the key is absent; `None` is never.
        expire_at_ms: Option<u64>,
    },
    /// The key is absent.
    Delete,
}

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The commit that wrote it.
    pub stamp: Versionstamp,
    /// What it wrote.
    pub version: Version,
}

/// The value of a key at a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The commit that wrote it.
    pub stamp: Versionstamp,
    /// The bytes.
    pub bytes: Bytes,
    /// Unix milliseconds from which on the key is absent; `None` is never.
    pub expire_at_ms: Option<u64>,
}

/// A key with its value at a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Value,
}

/// Which way a range is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the greatest key down.
    Reverse,
}

impl Direction {
    /// `forward` as this direction sees it.
    pub(crate) fn apply(self, forward: Ordering) -> Ordering {
        match self {
            Direction::Forward => forward,
            Direction::Reverse => forward.reverse(),
        }
    }
}

impl Presence {
    /// Whether a reader at `now_ms` finds the key absent because of this version.
    pub(crate) fn is_absent_at(self, now_ms: u64) -> bool {
        match self {
            Presence::Put { expire_at_ms } => expire_at_ms.is_some_and(|at| at <= now_ms),
            Presence::Delete => true,
        }
    }
}

impl Version {
    /// All of it but the value.
    pub(crate) fn presence(&self) -> Presence {
        match self {
            Version::Put { expire_at_ms, .. } => Presence::Put { expire_at_ms: *expire_at_ms },
            Version::Delete => Presence::Delete,
        }
    }

    /// Whether a reader at `now_ms` finds the key absent because of this version.
    pub(crate) fn is_absent_at(&self, now_ms: u64) -> bool {
        self.presence().is_absent_at(now_ms)
    }

    /// Bytes of the value.
    pub(crate) fn value_len(&self) -> usize {
        match self {
            Version::Put { value, .. } => value.len(),
            Version::Delete => 0,
        }
    }
}

impl Presence {
    /// The version that says this, with its value; a delete has none.
    pub(crate) fn with(self, value: Bytes) -> Version {
        match self {
            Presence::Put { expire_at_ms } => Version::Put { value, expire_at_ms },
            Presence::Delete => Version::Delete,
        }
    }
}

/// Internal order: keys rise, and the stamps of one key fall.
pub(crate) fn compare(left: (&[u8], Versionstamp), right: (&[u8], Versionstamp)) -> Ordering {
    left.0.cmp(right.0).then_with(|| right.1.cmp(&left.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_rise_and_the_stamps_of_one_key_fall() {
        let at = |version| Versionstamp::new(version, 0);
        let sorted: [(&[u8], _); 5] = [
            (b"a", at(9)),
            (b"a", at(1)),
            (b"a\0", at(5)),
            (b"b", Versionstamp::MAX),
            (b"b", Versionstamp::ZERO),
        ];
        assert!(sorted.is_sorted_by(|left, right| compare(*left, *right) == Ordering::Less));
    }

    #[test]
    fn an_entry_is_absent_from_its_expiry_on() {
        let put = Version::Put { value: Bytes::new(), expire_at_ms: Some(7) };
        assert!(!put.is_absent_at(6) && put.is_absent_at(7));
        assert!(!Version::Put { value: Bytes::new(), expire_at_ms: None }.is_absent_at(u64::MAX));
        assert!(Version::Delete.is_absent_at(0));
    }
}
