//! The newest writes, in memory, in internal order.
//!
//! - One writer, any number of readers, none of which waits.
//! - An entry is never removed: a memtable grows until it is flushed and dropped as a whole.
//! - Readers may see entries newer than their stamp; whoever reads at a stamp skips those.
//!
//! It is a B+tree whose nodes are filled slot by slot, each published by one store, after Masstree (Mao, Kohler, Morris:
//! Cache craftiness for fast multicore key-value storage, 2012). No slot or entry that a reader can reach is taken away or
//! overwritten, so there is nothing to wait for, nothing to free before the end, and no `unsafe`. Unlike there, a node
//! that splits is replaced, not emptied by half: readers need not notice. The parts, from the bottom up:
//!
//! - `chunks`: memory that grows and never moves.
//! - `entries`: key, stamp and value in words of it.
//! - `permutation`, `node`: the order of a node in one word; slots with the beginnings of keys.
//! - `tree`: how readers find a leaf. `items`, `writer`: how entries come in. `scan`: reading in order.

mod chunks;
mod entries;
#[cfg(all(test, loom))]
mod interleavings;
mod items;
mod node;
mod permutation;
mod scan;
mod tree;
mod writer;

use crate::Versionstamp;
use crate::entry::{Direction, Presence, Version};
use crate::source::{KeyRange, Source};
use entries::Sought;
use parking_lot::{Mutex, MutexGuard};
use scan::MemtableSource;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tree::Tree;
use writer::Writer;

/// A sorted map of (key, stamp) to what that commit wrote.
pub(crate) struct Memtable {
    tree: Tree,
    writer: Mutex<Writer>,
    bytes: AtomicUsize,
}

/// The right to add entries.
pub(crate) struct Inserter<'a> {
    memtable: &'a Memtable,
    writer: MutexGuard<'a, Writer>,
}

impl Memtable {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { tree: Tree::new(), writer: Mutex::new(Writer::new()), bytes: AtomicUsize::new(0) }
    }

    /// Starts to add entries. Other writers wait until the inserter is dropped, readers do not.
    pub(crate) fn inserter(&self) -> Inserter<'_> {
        Inserter { memtable: self, writer: self.writer.lock() }
    }

    /// Adds one entry, see [`Inserter::insert`].
    #[cfg(test)]
    pub(crate) fn insert(&self, key: &[u8], stamp: Versionstamp, version: Version) {
        let presence = version.presence();
        let value = match version {
            Version::Put { value, .. } => value,
            Version::Delete => bytes::Bytes::new(),
        };
        self.inserter().insert(key, stamp, presence, &value);
    }

    /// The newest version of `key` that is not newer than `at`, and its stamp.
    pub(crate) fn get(&self, key: &[u8], at: Versionstamp) -> Option<(Versionstamp, Version)> {
        let entry = self.tree.first_version(&Sought::new(key, at))?;
        Some((entry.stamp(), entry.to_version()))
    }

    /// As [`get`](Self::get), without reading the value.
    pub(crate) fn newest(&self, key: &[u8], at: Versionstamp) -> Option<(Versionstamp, Presence)> {
        let entry = self.tree.first_version(&Sought::new(key, at))?;
        Some((entry.stamp(), entry.presence()))
    }

    /// Memory in use, in bytes: all that was allocated for entries, used or not yet. An empty memtable takes
    /// about 20 KiB besides.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.tree.root().is_none()
    }

    /// Its entries in `range`. What is written meanwhile may or may not be among them.
    pub(crate) fn source(self: &Arc<Self>, range: KeyRange, direction: Direction) -> Box<dyn Source> {
        Box::new(MemtableSource::new(Arc::clone(self), range, direction))
    }
}

impl Inserter<'_> {
    /// Adds what the commit `stamp` wrote to `key`; a second write of the same commit replaces the first. `value` is
    /// empty in a delete.
    pub(crate) fn insert(&mut self, key: &[u8], stamp: Versionstamp, presence: Presence, value: &[u8]) {
        let Self { memtable, writer } = self;
        writer.insert(&memtable.tree, Sought::new(key, stamp), presence, value);
        memtable.bytes.store(writer.bytes(&memtable.tree), Ordering::Relaxed);
    }
}

impl fmt::Debug for Memtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memtable").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
