//! The running hash of a lineage: equal hashes mean equal histories.
//!
//! `h = BLAKE3(h before ++ versionstamp ++ canonical bytes of the write batch)`, one step per commit.
//! Replicas compare it, and every archive segment carries it before and after, so that a
//! missing, altered or foreign segment breaks the chain.

use crate::{Versionstamp, WriteBatch};
use std::fmt;

/// The hash of every commit from the start of history up to some commit, inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; ContentHash::LEN]);

impl ContentHash {
    /// Bytes in a hash.
    pub const LEN: usize = 32;
    /// The hash of the empty history.
    pub const EMPTY: ContentHash = ContentHash([0; Self::LEN]);

    /// The hash after one more commit.
    #[must_use]
    pub fn then(&self, stamp: Versionstamp, batch: &WriteBatch) -> ContentHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(stamp.as_bytes()).update(batch.as_bytes());
        ContentHash(*hasher.finalize().as_bytes())
    }

    /// Reads a hash from its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
