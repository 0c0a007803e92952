//! Memory that only grows: what was taken from it stays where it is until all of it is dropped.
//!
//! - One writer takes items, through its [`End`]; readers reach the items whose addresses they were given.
//! - An item is shared from the moment its chunk exists, so it changes through `&T`: items are atomics.
//! - A chunk is as large as all before it up to [`DOUBLED_BYTES_MAX`], and a sixteenth of them from there: little
//!   memory is empty, whether there is much or little in it, and no writer waits long for a chunk.

use std::sync::OnceLock;

/// Chunks of one kind. A sixteenth at a time they hold 2 GiB in 180; a memtable has at most 1 GiB and
/// what one record of 128 MiB adds to it. (The threads of `loom` have small stacks.)
const CHUNKS_MAX: usize = if cfg!(loom) { 16 } else { 192 };
/// Bits of an address that are the place in its chunk.
const OFFSET_BITS: u32 = 24;
/// Items of a chunk, at most.
const CHUNK_LEN_MAX: usize = 1 << OFFSET_BITS;
/// Up to here each chunk doubles what there is.
const DOUBLED_BYTES_MAX: usize = 64 << 10;

/// Where an item is: the number of its chunk and the place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address(u32);

impl Address {
    /// As it is kept in an atomic.
    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// From what [`bits`](Self::bits) gave.
    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    fn chunk(self) -> usize {
        (self.0 >> OFFSET_BITS) as usize
    }

    fn offset(self) -> usize {
        self.0 as usize & (CHUNK_LEN_MAX - 1)
    }
}

/// Items in chunks, for readers.
pub(super) struct Chunks<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS_MAX],
}

impl<T> Chunks<T> {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS_MAX] }
    }

    /// The item at `at`.
    #[inline]
    pub(super) fn get(&self, at: Address) -> &T {
        &self.chunk(at)[at.offset()]
    }

    /// The items from `at` to the end of their chunk.
    #[inline]
    pub(super) fn from(&self, at: Address) -> &[T] {
        &self.chunk(at)[at.offset()..]
    }

    #[inline]
    fn chunk(&self, at: Address) -> &[T] {
        self.chunks[at.chunk()].get().expect("an address is of a chunk that exists")
    }
}

/// Where the writer takes the next items.
#[derive(Debug)]
pub(super) struct End {
    /// Items of the first chunk.
    least: usize,
    /// Chunks that exist.
    chunks: u32,
    /// Items of the last chunk, and how many of them are taken.
    len: usize,
    taken: usize,
    /// Items of all chunks.
    total: usize,
}

impl End {
    /// Of chunks of which none exists; the first is to have `least` items.
    pub(super) const fn new(least: usize) -> Self {
        Self { least, chunks: 0, len: 0, taken: 0, total: 0 }
    }

    /// Takes `count` items that are next to each other; they are as `T::default` made them.
    ///
    /// # Panics
    ///
    /// If there are no more addresses, see [`CHUNKS_MAX`].
    pub(super) fn take<T: Default>(&mut self, all: &Chunks<T>, count: usize) -> Address {
        if self.len - self.taken < count {
            self.add_chunk(all, count);
        }
        let offset = u32::try_from(self.taken).expect("a chunk has at most 2^24 items");
        self.taken += count;
        Address((self.chunks - 1) << OFFSET_BITS | offset)
    }

    /// Bytes of all chunks, whether taken or not.
    pub(super) fn bytes<T>(&self, _all: &Chunks<T>) -> usize {
        self.total * size_of::<T>()
    }

    fn add_chunk<T: Default>(&mut self, all: &Chunks<T>, count: usize) {
        let len = chunk_len(self.total, self.total * size_of::<T>()).max(self.least).max(count);
        assert!(count <= CHUNK_LEN_MAX, "an entry fits into a chunk");
        let chunk: Box<[T]> = (0..len).map(|_| T::default()).collect();
        let next = all.chunks.get(self.chunks as usize).expect("a memtable is sealed long before");
        assert!(next.set(chunk).is_ok(), "one writer adds chunks");
        (self.chunks, self.len, self.taken) = (self.chunks + 1, len, 0);
        self.total += len;
    }
}

/// How many items to add to `total`, which take `bytes`.
fn chunk_len(total: usize, bytes: usize) -> usize {
    if bytes < DOUBLED_BYTES_MAX { total } else { (total / 16).min(CHUNK_LEN_MAX) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn items_stay_where_they_are_and_runs_do_not_overlap() {
        let all = Chunks::<AtomicU64>::new();
        let mut end = End::new(4);
        let taken: Vec<(Address, usize)> = (1..400).map(|count| (end.take(&all, count), count)).collect();
        for (at, count) in &taken {
            for word in &all.from(*at)[..*count] {
                assert_eq!(word.swap(*count as u64, Ordering::Relaxed), 0);
            }
        }
        assert!(taken.iter().all(|(at, count)| all.get(*at).load(Ordering::Relaxed) == *count as u64));
    }

    #[test]
    fn little_is_empty_and_the_addresses_last() {
        let (mut chunks, mut total) = (1, 32);
        while total * 8 < 3 << 30 {
            let more = chunk_len(total, total * 8);
            assert!(more * 8 <= DOUBLED_BYTES_MAX || more <= total / 16);
            (chunks, total) = (chunks + 1, total + more);
        }
        assert!(chunks < CHUNKS_MAX, "{chunks} chunks for 3 GiB");
    }
}
