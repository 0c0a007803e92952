//! The entries of a memtable, each written once, next to each other in words of eight bytes.
//!
//! | words | meaning |
//! |---|---|
//! | 1 | order of the stamp (16 bits), length of the key (16), kind (2), length of the value (30) |
//! | 1 | version of the stamp |
//! | key length / 8, up | the key, big-endian and filled up with zeros: comparing words compares bytes |
//! | 1 | of a put that expires: when, Unix milliseconds |
//! | value length / 8, up | the value, when it has at most [`INLINE_MAX`] bytes |
//! | 1 | otherwise: the address of a value that is shared with those who read it |
//!
//! - An entry is written before its address is published, and never after.
//! - A short value is copied to who reads it, in less time than two threads need to count references to it. A
//!   long one is copied once, when it is written.

use super::chunks::{Address, Chunks, End};
use crate::Versionstamp;
use crate::entry::{Presence, Version};
use crate::sync::AtomicU64;
use crate::write_batch::{KEY_LEN_MAX, VALUE_LEN_MAX};
use bytes::Bytes;
use std::cmp::Ordering;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

/// Bytes of the longest value that stands in the words of its entry.
pub(super) const INLINE_MAX: usize = 512;
/// Bytes in a word.
const WORD: usize = 8;
/// Words before the key.
const FIXED_WORDS: usize = 2;
/// Words of the first chunk.
const WORDS_MIN: usize = 32;
/// Long values of the first chunk.
const VALUES_MIN: usize = 4;
/// Memory that a long value takes besides its bytes: two allocations, and what counts its references.
const VALUE_OVERHEAD: usize = 64;

/// Where the header has the kind, above the length of the value.
const KIND_SHIFT: u32 = 30;
const DELETE: u32 = 0;
const PUT: u32 = 1;
const PUT_EXPIRING: u32 = 2;

/// A place in internal order: that of the version with this stamp of `key`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sought<'a> {
    /// The key.
    pub(super) key: &'a [u8],
    stamp: Versionstamp,
}

impl<'a> Sought<'a> {
    /// The place of the version `stamp` of `key`.
    pub(super) const fn new(key: &'a [u8], stamp: Versionstamp) -> Self {
        Self { key, stamp }
    }

    /// Before every version of `key`.
    pub(super) const fn before(key: &'a [u8]) -> Self {
        Self::new(key, Versionstamp::MAX)
    }

    /// The eight bytes of the key from `skip` on, or the version, so that heads sort as places do.
    #[inline]
    pub(super) fn head(&self, reading: Reading) -> u64 {
        match reading {
            Reading::Key { skip } => padded(self.key.get(skip..).unwrap_or_default()),
            Reading::Version => !self.stamp.version(),
        }
    }
}

/// What the heads of a node are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Eight bytes of the key after the first `skip`, which all keys of the node share.
    Key {
        /// At most the length of a key.
        skip: usize,
    },
    /// The version, inverted: all entries of the node are versions of one key.
    Version,
}

/// The first eight bytes as a big-endian number; zeros where there are fewer.
#[inline]
fn padded(bytes: &[u8]) -> u64 {
    if let Some(whole) = bytes.first_chunk() {
        return u64::from_be_bytes(*whole);
    }
    bytes.iter().rev().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56)
}

/// All entries, for readers.
pub(super) struct Entries {
    words: Chunks<AtomicU64>,
    values: Chunks<OnceLock<Bytes>>,
}

/// Where the writer adds entries.
#[derive(Debug)]
pub(super) struct EntriesEnd {
    words: End,
    values: End,
    long_values_bytes: usize,
}

impl EntriesEnd {
    /// Of no entries.
    pub(super) const fn new() -> Self {
        Self { words: End::new(WORDS_MIN), values: End::new(VALUES_MIN), long_values_bytes: 0 }
    }

    /// Memory for entries, in bytes.
    pub(super) fn bytes(&self, all: &Entries) -> usize {
        self.words.bytes(&all.words) + self.values.bytes(&all.values) + self.long_values_bytes
    }
}

impl Entries {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { words: Chunks::new(), values: Chunks::new() }
    }

    /// Writes an entry; `value` is empty in a delete.
    pub(super) fn push(
        &self,
        end: &mut EntriesEnd,
        place: Sought<'_>,
        presence: Presence,
        value: &[u8],
    ) -> Address {
        debug_assert!(place.key.len() <= KEY_LEN_MAX && value.len() <= VALUE_LEN_MAX, "a batch checks both");
        let (kind, expire_at_ms) = match presence {
            Presence::Put { expire_at_ms: None } => (PUT, None),
            Presence::Put { expire_at_ms: at } => (PUT_EXPIRING, at),
            Presence::Delete => (DELETE, None),
        };
        let key_words = place.key.len().div_ceil(WORD);
        let is_long = value.len() > INLINE_MAX;
        let value_words = if is_long { 1 } else { value.len().div_ceil(WORD) };
        let count = FIXED_WORDS + key_words + usize::from(expire_at_ms.is_some()) + value_words;
        let at = end.words.take(&self.words, count);
        let words = &self.words.from(at)[..count];
        words[0].store(header(place, kind, value.len()), Relaxed);
        words[1].store(place.stamp.version(), Relaxed);
        let (key, rest) = words[FIXED_WORDS..].split_at(key_words);
        write(key, place.key);
        let rest = match (expire_at_ms, rest) {
            (Some(at), [word, rest @ ..]) => {
                word.store(at, Relaxed);
                rest
            }
            (_, rest) => rest,
        };
        match rest {
            [word] if is_long => word.store(self.push_long(end, value), Relaxed),
            rest => write(rest, value),
        }
        at
    }

    /// Keeps a long value; returns its address.
    fn push_long(&self, end: &mut EntriesEnd, value: &[u8]) -> u64 {
        let at = end.values.take(&self.values, 1);
        let kept = self.values.get(at).set(Bytes::copy_from_slice(value));
        assert!(kept.is_ok(), "a place for a value is taken once");
        end.long_values_bytes += value.len() + VALUE_OVERHEAD;
        u64::from(at.bits())
    }

    /// The entry at `at`.
    #[inline]
    pub(super) fn get(&self, at: Address) -> Stored<'_> {
        let words = self.words.from(at);
        Stored { entries: self, header: words[0].load(Relaxed), words }
    }

    /// Where the entry at `at` stands relative to `place`, given that the first `shared` bytes of the keys
    /// are the same.
    #[inline]
    pub(super) fn compare(&self, at: Address, place: &Sought<'_>, shared: usize) -> Ordering {
        let entry = self.get(at);
        entry.compare_key(place.key, shared).then_with(|| place.stamp.cmp(&entry.stamp()))
    }

    /// The head of the entry at `at`, see [`Sought::head`].
    pub(super) fn head(&self, at: Address, reading: Reading) -> u64 {
        let entry = self.get(at);
        match reading {
            Reading::Key { skip } => entry.key_head(skip),
            Reading::Version => !entry.version(),
        }
    }

    /// How many bytes the keys of two entries share at their beginning.
    pub(super) fn shared_len(&self, left: Address, right: Address) -> usize {
        let (left, right) = (self.get(left), self.get(right));
        let pairs = left.key_words().iter().zip(right.key_words());
        let differences = pairs.map(|(left, right)| left.load(Relaxed) ^ right.load(Relaxed));
        shared(differences, left.key_len().min(right.key_len()))
    }

    /// Whether two entries are versions of one key.
    pub(super) fn is_same_key(&self, left: Address, right: Address) -> bool {
        let len = self.get(left).key_len();
        len == self.get(right).key_len() && len == self.shared_len(left, right)
    }
}

fn header(place: Sought<'_>, kind: u32, value_len: usize) -> u64 {
    let (order, key_len) = (u64::from(place.stamp.order()), place.key.len() as u64);
    order << 48 | key_len << 32 | u64::from(kind) << KIND_SHIFT | value_len as u64
}

/// Fills words with bytes; there are as many as it takes.
fn write(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<WORD>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_be_bytes(*bytes), Relaxed);
    }
    if let (false, Some(last)) = (rest.is_empty(), words.last()) {
        last.store(padded(rest), Relaxed);
    }
}

/// Fills `to` with bytes that [`write`] wrote.
fn read(words: &[AtomicU64], to: &mut [u8]) {
    let (whole, rest) = to.as_chunks_mut::<WORD>();
    for (bytes, word) in whole.iter_mut().zip(words) {
        *bytes = word.load(Relaxed).to_be_bytes();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&words[whole.len()].load(Relaxed).to_be_bytes()[..rest.len()]);
    }
}

/// How many of `len` bytes are the same, given the differences of their words.
fn shared(differences: impl Iterator<Item = u64>, len: usize) -> usize {
    for (index, difference) in differences.enumerate() {
        if difference != 0 {
            return len.min(index * WORD + difference.leading_zeros() as usize / 8);
        }
    }
    len
}

/// One entry.
pub(super) struct Stored<'a> {
    entries: &'a Entries,
    header: u64,
    /// From the entry to the end of its chunk.
    words: &'a [AtomicU64],
}

impl Stored<'_> {
    /// Bytes of the key.
    pub(super) fn key_len(&self) -> usize {
        let [_, _, high, low, ..] = self.header.to_be_bytes();
        usize::from(u16::from_be_bytes([high, low]))
    }

    /// The lowest 32 bits of the header.
    fn kind_and_value_len(&self) -> u32 {
        let [.., a, b, c, d] = self.header.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    fn value_len(&self) -> usize {
        (self.kind_and_value_len() & ((1 << KIND_SHIFT) - 1)) as usize
    }

    fn kind(&self) -> u32 {
        self.kind_and_value_len() >> KIND_SHIFT
    }

    fn version(&self) -> u64 {
        self.words[1].load(Relaxed)
    }

    fn key_words(&self) -> &[AtomicU64] {
        &self.words[FIXED_WORDS..][..self.key_len().div_ceil(WORD)]
    }

    fn words_after_key(&self) -> &[AtomicU64] {
        &self.words[FIXED_WORDS + self.key_len().div_ceil(WORD)..]
    }

    /// The commit that wrote it.
    pub(super) fn stamp(&self) -> Versionstamp {
        let [high, low, ..] = self.header.to_be_bytes();
        Versionstamp::new(self.version(), u16::from_be_bytes([high, low]))
    }

    /// Whether it gives its key a value.
    pub(super) fn presence(&self) -> Presence {
        match self.kind() {
            DELETE => Presence::Delete,
            PUT => Presence::Put { expire_at_ms: None },
            _ => Presence::Put { expire_at_ms: Some(self.words_after_key()[0].load(Relaxed)) },
        }
    }

    /// Bytes of a short value; `None` of a long one.
    fn short_value_len(&self) -> Option<usize> {
        Some(self.value_len()).filter(|len| *len <= INLINE_MAX)
    }

    /// Bytes of the key and of a short value: what [`copy_to`](Self::copy_to) fills.
    pub(super) fn copied_len(&self) -> usize {
        self.key_len() + self.short_value_len().unwrap_or(0)
    }

    /// The key.
    pub(super) fn key(&self) -> Bytes {
        let mut key = vec![0; self.key_len()];
        read(self.key_words(), &mut key);
        key.into()
    }

    fn value_words(&self) -> &[AtomicU64] {
        &self.words_after_key()[usize::from(self.kind() == PUT_EXPIRING)..]
    }

    /// A long value.
    fn long_value(&self) -> Bytes {
        let at = u32::try_from(self.value_words()[0].load(Relaxed)).expect("an address was written here");
        let value = self.entries.values.get(Address::from_bits(at)).get();
        value.expect("a value is kept before its entry is seen").clone()
    }

    /// Fills `to` with the key and a short value; returns a long one.
    pub(super) fn copy_to(&self, to: &mut [u8]) -> Option<Bytes> {
        let (key, value) = to.split_at_mut(self.key_len());
        read(self.key_words(), key);
        read(self.value_words(), value);
        self.short_value_len().is_none().then(|| self.long_value())
    }

    /// What it says, with a copy of a short value.
    pub(super) fn to_version(&self) -> Version {
        let value = match self.short_value_len() {
            Some(len) => {
                let mut copy = vec![0; len];
                read(self.value_words(), &mut copy);
                copy.into()
            }
            None => self.long_value(),
        };
        self.presence().with(value)
    }

    /// Whether it is a version of `key`.
    pub(super) fn is_of(&self, key: &[u8]) -> bool {
        self.key_len() == key.len() && self.compare_key(key, 0) == Ordering::Equal
    }

    /// How its key compares to `key`, given that the first `shared` bytes are the same.
    #[inline]
    pub(super) fn compare_key(&self, key: &[u8], shared: usize) -> Ordering {
        let words = self.key_words();
        let (whole, rest) = key.as_chunks::<WORD>();
        let from = (shared / WORD).min(words.len()).min(whole.len());
        for (word, bytes) in words[from..].iter().zip(&whole[from..]) {
            let (word, bytes) = (word.load(Relaxed), u64::from_be_bytes(*bytes));
            if word != bytes {
                return word.cmp(&bytes);
            }
        }
        // Of the rest, zeros were filled in; where that hides a difference, the lengths show it.
        let last = words.get(whole.len()).map_or(0, |word| word.load(Relaxed));
        let tail = if words.len() < whole.len() { 0 } else { padded(rest) };
        last.cmp(&tail).then(self.key_len().cmp(&key.len()))
    }

    /// How its first `len` bytes compare to those of `key`.
    pub(super) fn compare_prefix(&self, key: &[u8], len: usize) -> Ordering {
        match self.shared_with(key) {
            shared if shared >= len => Ordering::Equal,
            _ => self.compare_key(key, 0),
        }
    }

    /// How many bytes its key and `key` share at their beginning.
    pub(super) fn shared_with(&self, key: &[u8]) -> usize {
        let pairs = self.key_words().iter().zip(key.chunks(WORD));
        let differences = pairs.map(|(word, bytes)| word.load(Relaxed) ^ padded(bytes));
        shared(differences, self.key_len().min(key.len()))
    }

    /// The eight bytes of the key from `skip` on, and zeros.
    fn key_head(&self, skip: usize) -> u64 {
        let words = self.key_words();
        let word = |index: usize| words.get(index).map_or(0, |word| word.load(Relaxed));
        match (skip / WORD, 8 * (skip % WORD)) {
            (index, 0) => word(index),
            (index, shift) => word(index) << shift | word(index + 1) >> (64 - shift),
        }
    }
}
