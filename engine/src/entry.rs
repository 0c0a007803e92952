//! What tables and memtables hold: one version of one key.
//!
//! Internal order: keys rise, and the versions of one key fall (newest first). A reverse scan is
//! exactly the reverse of it.

use crate::Versionstamp;
use bytes::Bytes;

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
