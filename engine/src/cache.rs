//! Blocks of tables in memory, up to a number of bytes, shared by all tables of one or more engines.
//!
//! - Blocks are never altered, so a cached block is never stale: a table that is gone leaves
//!   blocks that nobody asks for, and they are the first to go.
//! - What stays in memory for as long as a table is open, its top index and its filter, is pinned: it counts
//!   against the same number of bytes, and blocks have what is left, at least a quarter. Top indexes are always
//!   pinned (about 1 byte for each 4,000 of a table). Filters (9 bits a key) are pinned while three quarters are not
//!   reached; a table without its filter is searched as if each key might be in it. So memory does not
//!   grow with the data, and data whose filters do not fit costs its readers of absent keys a block or two each.
//! - What a reader holds of a block that was evicted is not counted.

use crate::block::Block;
use crate::counters::Sharded;
use parking_lot::Mutex;
use quick_cache::Weighter;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes a cached block takes besides its content.
const BLOCK_OVERHEAD_BYTES: u64 = 128;
/// How many bytes a block has, about, to size the tables of the cache.
const BLOCK_BYTES_USUAL: u64 = 4 << 10;
/// Blocks have at least one part in this many of the cache, whatever is pinned.
const BLOCKS_PART: u64 = 4;

/// Which block of which table: see [`Cache::next_table`].
type Key = (u64, u64);

/// Blocks by table and offset.
#[derive(Debug)]
pub(crate) struct Cache {
    blocks: quick_cache::sync::Cache<Key, Block, ByLen>,
    bytes_max: u64,
    pinned: Mutex<u64>,
    tables: AtomicU64,
    looked_up: Sharded<2>,
}

const HITS: usize = 0;
const MISSES: usize = 1;

/// A part of a table that stays in memory, and is counted, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Pinned<T> {
    part: T,
    bytes: u64,
    cache: Arc<Cache>,
}

impl<T> Deref for Pinned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        self.cache.change_pinned(|pinned| pinned.saturating_sub(self.bytes));
    }
}

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
            bytes_max,
            pinned: Mutex::new(0),
            tables: AtomicU64::new(0),
            looked_up: Sharded::default(),
        }
    }

    /// A number that no other open table of this cache has.
    pub(crate) fn next_table(&self) -> u64 {
        self.tables.fetch_add(1, Ordering::Relaxed)
    }

    /// The block of `table` at `offset`, when it is there.
    pub(crate) fn get(&self, table: u64, offset: u64) -> Option<Block> {
        let found = self.blocks.get(&(table, offset));
        self.looked_up.add(if found.is_some() { HITS } else { MISSES }, 1);
        found
    }

    /// Keeps a block for as long as there is room and others are used less.
    pub(crate) fn insert(&self, table: u64, offset: u64, block: Block) {
        self.blocks.insert((table, offset), block);
    }

    /// How often a block was there, and how often not, since the cache was made.
    pub(crate) fn hits_and_misses(&self) -> (u64, u64) {
        (self.looked_up.total(HITS), self.looked_up.total(MISSES))
    }

    /// Bytes of blocks in use.
    pub(crate) fn bytes(&self) -> u64 {
        self.blocks.weight()
    }

    /// Bytes that are pinned.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        *self.pinned.lock()
    }

    /// Whether a filter of `bytes` can be pinned when `leaving` bytes of what is pinned are about to go.
    pub(crate) fn has_room(&self, bytes: u64, leaving: u64) -> bool {
        let pinned = self.pinned_bytes().saturating_sub(leaving);
        pinned.saturating_add(bytes) <= self.bytes_max - self.bytes_max / BLOCKS_PART
    }

    /// Pins a part of a table that takes `bytes`, whether there is room or not.
    pub(crate) fn pin<T>(self: &Arc<Self>, part: T, bytes: u64) -> Pinned<T> {
        self.change_pinned(|pinned| pinned.saturating_add(bytes));
        Pinned { part, bytes, cache: Arc::clone(self) }
    }

    /// Blocks get what is left. Under the lock, so that the last change decides.
    fn change_pinned(&self, change: impl FnOnce(u64) -> u64) {
        let mut pinned = self.pinned.lock();
        *pinned = change(*pinned);
        let left = self.bytes_max.saturating_sub(*pinned);
        self.blocks.set_capacity(left.max(self.bytes_max / BLOCKS_PART));
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
        let mut builder = Builder::new();
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
    fn what_is_pinned_leaves_less_to_blocks_but_at_least_a_quarter() -> TestResult {
        let cache = Arc::new(Cache::new(1 << 20));
        let fill = || -> Result<u64, crate::codec::Malformed> {
            for offset in 0..1_000 {
                cache.insert(0, offset, block(4_000)?);
            }
            Ok(cache.bytes())
        };
        let all = fill()?;
        assert!(cache.has_room(3 << 18, 0) && !cache.has_room((3 << 18) + 1, 0));
        let half = cache.pin((), 1 << 19);
        assert!(cache.bytes() <= 1 << 19, "blocks make room at once");
        assert!(cache.has_room(1 << 18, 0) && !cache.has_room((1 << 18) + 1, 0));
        assert!(cache.has_room(1 << 19, 1 << 18));
        let more = cache.pin((), 1 << 20);
        let least = fill()?;
        assert!((1 << 17..=1 << 18).contains(&least), "{least} bytes of blocks");
        assert_eq!(cache.pinned_bytes(), 3 << 19);
        drop((half, more));
        assert_eq!((cache.pinned_bytes(), fill()?), (0, all));
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
