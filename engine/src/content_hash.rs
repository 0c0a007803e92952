//! The running hash of a lineage: equal hashes mean equal histories.
//!
//! `h = BLAKE3(h before ++ versionstamp ++ canonical bytes of the write batch)`, one step per commit.
//! Replicas compare it, and every archive segment carries it before and after, so that a
//! missing, altered or foreign segment breaks the chain.

use crate::{Versionstamp, WriteBatch};
use std::fmt;

/// Bytes of what stands before the batch.
const HEAD_LEN: usize = ContentHash::LEN + Versionstamp::LEN;
/// Inputs up to this many bytes are put together on the stack.
const SHORT_LEN: usize = 512;

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
        let batch = batch.as_bytes();
        let mut input = [0; SHORT_LEN];
        let len = HEAD_LEN + batch.len();
        if len > SHORT_LEN {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&self.0).update(stamp.as_bytes()).update(batch);
            return ContentHash(*hasher.finalize().as_bytes());
        }
        // In one piece, a short input needs no hasher that collects it.
        input[..Self::LEN].copy_from_slice(&self.0);
        input[Self::LEN..HEAD_LEN].copy_from_slice(stamp.as_bytes());
        input[HEAD_LEN..len].copy_from_slice(batch);
        ContentHash(*blake3::hash(&input[..len]).as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn the_format_is_frozen() -> TestResult {
        let mut batch = WriteBatch::new();
        batch.put(b"k", b"v", None)?;
        let first = ContentHash::EMPTY.then(Versionstamp::new(1, 0), &batch);
        batch.delete(b"d")?;
        let second = first.then(Versionstamp::new(2, 3), &batch);
        let text = [first, second].map(|hash| hash.to_string());
        assert_eq!(
            text,
            [
                "c1f2520f070ef0f9a767bf90c477267d4717ac6d4e62c150d514b5dfe5970dba",
                "fa2b71031c75fe7608e1f7a9f781cdb5be8046b9374db257dabd92cbc379957f",
            ]
        );
        Ok(())
    }

    #[test]
    fn short_and_long_inputs_are_hashed_alike() -> TestResult {
        let (before, stamp) = (ContentHash([7; 32]), Versionstamp::new(9, 3));
        for len in (440..500).chain([0, 5_000]) {
            let mut batch = WriteBatch::new();
            batch.put(b"k", &vec![1; len], None)?;
            let input = [&before.0[..], stamp.as_bytes(), batch.as_bytes()].concat();
            assert_eq!(before.then(stamp, &batch).as_bytes(), blake3::hash(&input).as_bytes());
        }
        Ok(())
    }
}
