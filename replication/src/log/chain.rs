//! A checksum over an entry and all before it.
//!
//! - `chain(n) = XXH3-64(term ++ index ++ kind ++ payload, seed = chain(n - 1))`, integers little-endian. It is no
//!   defence against an enemy; the content hash of the engine is.
//! - The chain of the first entry after a purge or a snapshot begins from what is known of the entry before it, or from
//!   nothing: then the first entry is taken as it comes.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The chained checksum of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain(pub(crate) u64);

impl Chain {
    /// Before the first entry.
    pub(crate) const START: Chain = Chain(0);

    /// The chain of the entry with these encoded bytes (see [`super::entry`]) that follows one with this chain.
    #[must_use]
    pub(crate) fn then(self, entry: &[u8]) -> Chain {
        Chain(xxh3_64_with_seed(entry, self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        let first = Chain::START.then(b"entry");
        assert_eq!(first, Chain(9_965_010_814_022_886_766));
        assert_ne!(first.then(b"entry"), first);
    }
}
