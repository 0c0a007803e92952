//! Blocks of tables in memory, up to a number of bytes, shared by all tables of one or more engines.
//!
//! - Blocks are never altered, so a cached block is never stale: a table that is gone leaves
//!   blocks that nobody asks for, and they are the first to go.
//! - What a reader holds of a block that was evicted is not counted.

use crate::block::Block;
use crate::counters::Sharded;
use quick_cache::Weighter;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes a cached block takes besides its content.
const BLOCK_OVERHEAD_BYTES: u64 = 128;
/// How many bytes a block has, about, to size the tables of the cache.
const BLOCK_BYTES_USUAL: u64 = 4 << 10;

/// Which block of which table: see [`Cache::next_table`].
type Key = (u64, u64);

/// Blocks by table and offset.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: quick_cache::sync::Cache<Key, Block, ByLen>,
    tables: AtomicU64,
    /// Hits and misses.
    counters: Sharded<2>,
}

const HITS: usize = 0;
const MISSES: usize = 1;

#[derive(Debug, Clone)]
struct ByLen;

impl Weighter<Key, Block> for ByLen {
    fn weight(&self, _: &Key, block: &Block) -> u64 {
        block.len() as u64 + BLOCK_OVERHEAD_BYTES
    }
}

impl Cache {
    /// One that holds up to `bytes_max` bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let blocks = usize::try_from(bytes_max / BLOCK_BYTES_USUAL).unwrap_or(usize::MAX).max(16);
        Self {
            blocks: quick_cache::sync::Cache::with_weighter(blocks, bytes_max, ByLen),
            tables: AtomicU64::new(0),
            counters: Sharded::default(),
        }
    }

    /// A number that no other open table of this cache has.
    pub(crate) fn next_table(&self) -> u64 {
        self.tables.fetch_add(1, Ordering::Relaxed)
    }

    /// The block of `table` at `offset`, when it is there.
    pub(crate) fn get(&self, table: u64, offset: u64) -> Option<Block> {
        let found = self.blocks.get(&(table, offset));
        self.counters.add(if found.is_some() { HITS } else { MISSES }, 1);
        found
    }

    /// Keeps a block for as long as there is room and others are used less.
    pub(crate) fn insert(&self, table: u64, offset: u64, block: Block) {
        self.blocks.insert((table, offset), block);
    }

    /// How often a block was there, and how often not, since the cache was made.
    pub(crate) fn hits_and_misses(&self) -> (u64, u64) {
        (self.counters.total(HITS), self.counters.total(MISSES))
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Versionstamp;
    use crate::block::builder::Builder;
    use crate::entry::Version;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn block(value_len: usize) -> Result<Block, crate::codec::Malformed> {
        let mut builder = Builder::default();
        let value = vec![0; value_len].into();
        builder.add(b"k", Versionstamp::ZERO, Version::Put { value, expire_at_ms: None });
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        Block::open(bytes.into())
    }

    #[test]
    fn it_never_holds_more_than_its_bound() -> TestResult {
        let cache = Cache::new(1 << 20);
        for offset in 0..2_000 {
            cache.insert(0, offset, block(4_000)?);
            assert!(cache.bytes() <= 1 << 20);
        }
        assert!(cache.bytes() > 1 << 19, "it holds something");
        Ok(())
    }

    #[test]
    fn a_block_is_found_by_its_table_and_offset_alone() -> TestResult {
        let cache = Cache::new(1 << 20);
        let (one, two) = (cache.next_table(), cache.next_table());
        cache.insert(one, 16, block(10)?);
        assert!(cache.get(one, 16).is_some());
        assert!(cache.get(two, 16).is_none() && cache.get(one, 17).is_none());
        assert_eq!(cache.hits_and_misses(), (1, 2));
        Ok(())
    }

    #[test]
    fn a_cache_of_no_bytes_keeps_nothing_and_works() -> TestResult {
        let cache = Cache::new(0);
        cache.insert(0, 0, block(10)?);
        assert!(cache.get(0, 0).is_none());
        Ok(())
    }
}
