//! The engines behind one small trait, each set up as its users would for this job: 64 MiB of block cache and
//! of memtable where there is such a thing, its own default compression, two threads for background work.

mod cairn;
#[cfg(feature = "peers")]
mod fjall;
#[cfg(feature = "peers")]
mod lmdb;
#[cfg(feature = "peers")]
mod redb;
#[cfg(feature = "peers")]
mod rocksdb;

use crate::keys::Key;
use anyhow::Result;
use std::path::Path;

/// Block cache of those that have one, in bytes.
pub const CACHE_BYTES: u64 = 64 << 20;
/// Memtable of those that have one, in bytes.
#[cfg(feature = "peers")]
pub const MEMTABLE_BYTES: u64 = 64 << 20;

/// The direction of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Rising,
    Falling,
}

/// Whether a commit is on disk when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    Synced,
    /// The operating system has it, or the engine has.
    Unsynced,
}

/// An engine at work.
pub trait Store: Send + Sync {
    /// Writes all of these in one commit.
    fn commit(&self, writes: &[(Key, &[u8])]) -> Result<()>;

    /// The length of the value of a key; the value itself is read.
    fn get(&self, key: &Key) -> Result<Option<usize>>;

    /// Reads up to `count` entries from `start` on, inclusive, in this order; how many bytes they had.
    fn scan(&self, start: &Key, count: usize, order: Order) -> Result<usize>;

    /// Returns when all is on disk and no work is left in the background.
    fn settle(&self) -> Result<()>;

    /// What the engine says about itself.
    fn describe(&self) -> Option<String> {
        None
    }
}

/// Touches a value that was read, so that no engine gets away with finding it; its length.
fn read(value: &[u8]) -> usize {
    std::hint::black_box(value.last());
    value.len()
}

/// What each engine is called, ours first.
pub const NAMES: &[&str] =
    if cfg!(feature = "peers") { &["cairn", "fjall", "rocksdb", "redb", "lmdb"] } else { &["cairn"] };

/// Opens an engine in an empty directory.
pub fn open(name: &str, dir: &Path, durability: Durability) -> Result<Box<dyn Store>> {
    match name {
        "cairn" => Ok(Box::new(cairn::Cairn::open(dir, durability)?)),
        #[cfg(feature = "peers")]
        "fjall" => Ok(Box::new(fjall::Fjall::open(dir, durability)?)),
        #[cfg(feature = "peers")]
        "rocksdb" => Ok(Box::new(rocksdb::Rocks::open(dir, durability)?)),
        #[cfg(feature = "peers")]
        "redb" => Ok(Box::new(redb::Redb::open(dir, durability)?)),
        #[cfg(feature = "peers")]
        "lmdb" => Ok(Box::new(lmdb::Lmdb::open(dir, durability)?)),
        _ => anyhow::bail!("no engine is called {name}; there are {}", NAMES.join(", ")),
    }
}
