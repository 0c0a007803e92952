//! Says of most keys that are not in a table that they are not: a binary fuse filter with 8-bit
//! fingerprints (Graf and Lemire, "Binary Fuse Filters", 2022): 9 bits a key, 0.4 % false positives.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 1 | kind | 1: binary fuse, 8 bits, over XXH3-64 of the key |
//! | 1 | 7 | reserved | 0 |
//! | 8 | 8 | seed | added to a key's hash before it is mixed |
//! | 16 | 4 | segment length | a power of two, at most [`SEGMENT_LEN_MAX`] |
//! | 20 | 4 | window | a multiple of the segment length, at least one |
//! | 24 | | fingerprints | window + 2 segments, one byte each |
//!
//! - A look-up is part of the format, so it stands here, and not in the package that builds
//!   filters: `mix`, [`Filter::slots`] and the fingerprint never change under this kind.
//! - The three numbers are checked against the number of fingerprints, which keeps every slot
//!   inside; a look-up is bounds-checked besides.
//!
//! Whether a filter is in memory is decided elsewhere: by [`cache`](crate::cache) and `levels`.
//!
//! A fuse filter and not a Bloom filter of our own: it takes 9 bits a key where a Bloom filter of
//! the same error takes 12, and checking its three numbers makes hostile bytes as harmless. It
//! can fail to build, for some sets of hashes and with no seed to help; a table without a filter
//! is slower to search and as right.

use crate::codec::{Decoder, Malformed};
use bytes::Bytes;
use xorf::BinaryFuse8;
use xxhash_rust::xxh3::xxh3_64;

const BINARY_FUSE_8: u8 = 1;
const HEADER_LEN: usize = 24;
/// The longest segment, in fingerprints, inclusive.
const SEGMENT_LEN_MAX: u32 = 1 << 18;
/// A table of more keys gets no filter, to bound the memory that builds it: 8 bytes a key to
/// collect, and about 40 more to build.
pub(crate) const KEYS_MAX: usize = 1 << 25;

/// The hash that the filter keeps of a key. Part of the format.
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Collects the hashes of a table's keys.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    hashes: Vec<u64>,
    too_many: bool,
}

impl Builder {
    /// Adds a key.
    pub(crate) fn add(&mut self, key: &[u8]) {
        if self.hashes.len() < KEYS_MAX {
            self.hashes.push(hash(key));
        } else {
            self.too_many = true;
        }
    }

    /// Bytes of memory in use.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.hashes.capacity() as u64 * 8
    }

    /// The encoded filter; `None` when there is none for these keys.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        if self.too_many || self.hashes.is_empty() {
            return None;
        }
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let built = BinaryFuse8::try_from(&self.hashes[..]).ok()?;
        let mut bytes = Vec::with_capacity(HEADER_LEN + built.fingerprints.len());
        bytes.extend_from_slice(&[BINARY_FUSE_8, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&built.descriptor.seed.to_le_bytes());
        bytes.extend_from_slice(&built.descriptor.segment_length.to_le_bytes());
        bytes.extend_from_slice(&built.descriptor.segment_count_length.to_le_bytes());
        bytes.extend_from_slice(&built.fingerprints);
        Some(bytes)
    }
}

/// A filter whose numbers were checked.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    seed: u64,
    segment_len: u32,
    window: u32,
    fingerprints: Bytes,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// When its numbers do not fit each other or the number of fingerprints.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        let kind = rest.u8("a filter kind")?;
        rest.ensure(kind == BINARY_FUSE_8, "filter kind 1")?;
        let reserved = rest.take(7, "reserved bytes")?;
        rest.ensure(reserved.iter().all(|byte| *byte == 0), "reserved bytes that are 0")?;
        let seed = rest.u64("a seed")?;
        let segment_len = rest.u32("a segment length")?;
        let segment_fits = segment_len.is_power_of_two() && segment_len <= SEGMENT_LEN_MAX;
        rest.ensure(segment_fits, "a segment length that is a power of two up to 262,144")?;
        let window = rest.u32("a window")?;
        rest.ensure(window > 0 && window % segment_len == 0, "a window of whole segments")?;
        let slots = u64::from(window) + 2 * u64::from(segment_len);
        rest.ensure(rest.remaining() as u64 == slots, "fingerprints for the window and two segments")?;
        Ok(Self { seed, segment_len, window, fingerprints: bytes.slice(HEADER_LEN..) })
    }

    /// Whether a key of this [`hash`] may be in the table; `false` is certain.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        let mixed = mix(hash.wrapping_add(self.seed));
        #[expect(clippy::cast_possible_truncation, reason = "the low byte is the fingerprint")]
        let wanted = (mixed ^ (mixed >> 32)) as u8;
        let mut slots = self.slots(mixed).into_iter();
        slots.try_fold(0, |xor, slot| Some(xor ^ self.fingerprints.get(slot)?)) == Some(wanted)
    }

    /// Three slots in three successive segments, the first of which starts in the window.
    fn slots(&self, mixed: u64) -> [usize; 3] {
        let mask = u64::from(self.segment_len - 1);
        let scaled = (u128::from(mixed) * u128::from(self.window)) >> 64;
        #[expect(clippy::cast_possible_truncation, reason = "a slot is below 2^32 + 2^19")]
        let slot = |slot: u64| slot as usize;
        let first = u64::try_from(scaled).unwrap_or(u64::MAX);
        let second = first + u64::from(self.segment_len);
        let third = second + u64::from(self.segment_len);
        [slot(first), slot(second ^ ((mixed >> 18) & mask)), slot(third ^ (mixed & mask))]
    }
}

/// The finalizer of MurmurHash3.
const fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xorf::Filter as _;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn built(keys: impl Iterator<Item = u64>) -> Result<Bytes, &'static str> {
        let mut builder = Builder::default();
        keys.for_each(|key| builder.add(&key.to_be_bytes()));
        Ok(builder.finish().ok_or("no filter")?.into())
    }

    #[test]
    fn the_format_is_frozen() -> TestResult {
        assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(hash(b"cairn"), 0x0019_2f35_82df_1eee);
        let frozen = b"\x01\0\0\0\0\0\0\0\xc1\x5c\x02\x89\xec\x2d\x0a\x91\x04\0\0\0\x04\0\0\0\
            \0\xd1\0\0\0\0\0\0\0\0\xe6\0";
        assert_eq!(&built(1..3)?[..], frozen);
        let filter = Filter::decode(&Bytes::from_static(frozen))?;
        let found: Vec<u64> =
            (0..100u64).filter(|key| filter.may_contain(hash(&key.to_be_bytes()))).collect();
        assert_eq!(found, [1, 2, 84], "the keys, and what looks like one");
        Ok(())
    }

    #[test]
    fn every_key_is_found_and_few_others_are() -> TestResult {
        for count in [1, 2, 3, 10, 100, 5_000] {
            let filter = Filter::decode(&built(0..count)?)?;
            for key in 0..count {
                assert!(filter.may_contain(hash(&key.to_be_bytes())), "key {key} of {count}");
            }
            let others = (1 << 32..(1 << 32) + 10_000u64).map(|key| hash(&key.to_be_bytes()));
            let wrong = others.filter(|hash| filter.may_contain(*hash)).count();
            assert!(wrong < 100, "{wrong} of 10,000 false positives at {count} keys");
        }
        Ok(())
    }

    #[test]
    fn a_look_up_agrees_with_the_package_that_builds() -> TestResult {
        let hashes: Vec<u64> = (0..1_000u64).map(|key| hash(&key.to_be_bytes())).collect();
        let theirs = BinaryFuse8::try_from(&hashes)?;
        let ours = Filter::decode(&built(0..1_000)?)?;
        for probe in 0..100_000u64 {
            let probe = hash(&probe.to_be_bytes());
            assert_eq!(ours.may_contain(probe), theirs.contains(&probe));
        }
        Ok(())
    }

    #[test]
    fn keys_that_repeat_or_collide_do_not_stop_it() -> TestResult {
        let filter = Filter::decode(&built([7, 7, 7, 9].into_iter())?)?;
        assert!(
            filter.may_contain(hash(&7u64.to_be_bytes())) && filter.may_contain(hash(&9u64.to_be_bytes()))
        );
        assert_eq!(Builder::default().finish(), None);
        Ok(())
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_and_no_look_up_panics() -> TestResult {
        let honest = built(0..50)?;
        for at in 0..HEADER_LEN {
            for value in [0, 1, 3, 127, 255] {
                let mut bytes = honest.to_vec();
                bytes[at] = value;
                if let Ok(filter) = Filter::decode(&bytes.into()) {
                    assert!(
                        (0..1_000).all(|n| filter
                            .slots(mix(n))
                            .iter()
                            .all(|slot| *slot < filter.fingerprints.len()))
                    );
                }
            }
        }
        for cut in 0..honest.len() {
            assert!(Filter::decode(&honest.slice(..cut)).is_err(), "cut at {cut}");
        }
        Ok(())
    }
}
