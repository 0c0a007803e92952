//! How a block stands in a file: compressed, and checked against damage and misplacement.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 1 | kind | 1 data, 2 index, 3 filter, 4 footer |
//! | 1 | 1 | codec | 1 raw, 2 LZ4 block, 3 Zstandard frame |
//! | 2 | 2 | reserved | 0 |
//! | 4 | 4 | stored length | of the stored bytes |
//! | 8 | 4 | length | of the bytes once decompressed, at most [`BLOCK_LEN_MAX`] |
//! | 12 | 4 | checksum | CRC-32 over the frame's offset in the file (u64), bytes 0 to 12, and the stored bytes |
//! | 16 | | stored bytes | |
//!
//! The offset is part of the checksum, so a block that was written to, or read from, the wrong
//! place does not pass. Raw blocks have equal lengths.

use crate::codec::{Decoder, Malformed};
use bytes::Bytes;
use std::cell::RefCell;

/// Bytes before the stored bytes.
pub(crate) const HEADER_LEN: usize = 16;
/// The longest block once decompressed, in bytes, inclusive: the largest value, a key, and a
/// block of other entries.
pub(crate) const BLOCK_LEN_MAX: usize = 66 << 20;
/// The longest frame, in bytes, inclusive: a block that does not shrink is stored raw.
pub(crate) const FRAME_LEN_MAX: usize = HEADER_LEN + BLOCK_LEN_MAX;
/// A block is stored compressed only when that saves at least one part in this many.
const SAVING_PARTS: usize = 8;
const ZSTD_LEVEL: i32 = 1;
/// Data blocks in a row that did not shrink, after which most are stored as they are.
const MISSES_MAX: u32 = 8;
/// From then on one block in this many is tried.
const TRIED_PARTS: u32 = 16;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Entries.
    Data = 1,
    /// Where blocks are.
    Index = 2,
    /// Which keys are not in the table.
    Filter = 3,
    /// What the table holds.
    Footer = 4,
}

/// How blocks are compressed when that helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Not at all.
    Raw = 1,
    /// Fast to write and to read.
    Lz4 = 2,
    /// Smaller, and slower to read.
    Zstd = 3,
}

/// Compresses blocks and frames them.
pub(crate) struct Framer {
    codec: Codec,
    lz4: lz4_flex::block::CompressTable,
    buffer: Vec<u8>,
    /// Data blocks in a row that did not shrink, or were not tried because of that.
    misses: u32,
}

impl std::fmt::Debug for Framer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Framer").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Framer {
    /// Frames with `codec` where it helps.
    pub(crate) fn new(codec: Codec) -> Self {
        Self { codec, lz4: lz4_flex::block::CompressTable::default(), buffer: Vec::new(), misses: 0 }
    }

    /// Appends the frame of `block` to `out`; the frame will stand at `offset` in the file.
    /// Filters and footers are stored raw.
    ///
    /// # Panics
    ///
    /// If the block is longer than [`BLOCK_LEN_MAX`].
    pub(crate) fn frame(&mut self, kind: Kind, block: &[u8], offset: u64, out: &mut Vec<u8>) {
        assert!(block.len() <= BLOCK_LEN_MAX, "a block of {} bytes is over its bound", block.len());
        let codec = match kind {
            Kind::Data if self.is_hopeless() => Codec::Raw,
            Kind::Data | Kind::Index => self.codec,
            Kind::Filter | Kind::Footer => Codec::Raw,
        };
        let compressed = match codec {
            Codec::Raw => None,
            Codec::Lz4 => self.lz4(block),
            Codec::Zstd => self.zstd(block),
        };
        let saves = |len: usize| len + block.len() / SAVING_PARTS < block.len();
        let compressed = compressed.filter(|len| saves(*len));
        if kind == Kind::Data {
            self.misses = if compressed.is_some() { 0 } else { self.misses.wrapping_add(1) };
        }
        match compressed {
            Some(len) => put_frame(kind, codec, block.len(), &self.buffer[..len], offset, out),
            None => put_frame(kind, Codec::Raw, block.len(), block, offset, out),
        }
    }

    /// Whether trying is likely to be in vain: media, encrypted or compressed values. A try costs as much as
    /// all else that is done for a block.
    const fn is_hopeless(&self) -> bool {
        self.misses >= MISSES_MAX && !self.misses.is_multiple_of(TRIED_PARTS)
    }

    /// Compresses into the buffer; `None` when that fails, which costs space only.
    fn lz4(&mut self, block: &[u8]) -> Option<usize> {
        self.buffer.resize(lz4_flex::block::get_maximum_output_size(block.len()), 0);
        lz4_flex::block::compress_into_with_table(block, &mut self.buffer, &mut self.lz4).ok()
    }

    fn zstd(&mut self, block: &[u8]) -> Option<usize> {
        thread_local! {
            static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
                RefCell::new(zstd::bulk::Compressor::new(ZSTD_LEVEL).ok());
        }
        self.buffer.resize(zstd::zstd_safe::compress_bound(block.len()), 0);
        COMPRESSOR.with_borrow_mut(|it| it.as_mut()?.compress_to_buffer(block, &mut self.buffer[..]).ok())
    }
}

fn put_frame(kind: Kind, codec: Codec, len: usize, stored: &[u8], offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let len_u32 = |len: usize| u32::try_from(len).expect("a block is bounded by BLOCK_LEN_MAX");
    out.extend_from_slice(&[kind as u8, codec as u8, 0, 0]);
    out.extend_from_slice(&len_u32(stored.len()).to_le_bytes());
    out.extend_from_slice(&len_u32(len).to_le_bytes());
    let checksum = checksum(offset, &out[start..], stored);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(stored);
}

fn checksum(offset: u64, header: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(header);
    hasher.update(stored);
    hasher.finalize()
}

/// The block inside `frame`, which stands at `offset` in its file. A raw block shares its bytes.
///
/// # Errors
///
/// When the frame is not exactly one sound frame of `kind`.
pub(crate) fn open(kind: Kind, frame: &Bytes, offset: u64) -> Result<Bytes, Malformed> {
    let mut rest = Decoder::new(frame);
    let header = rest.clone().take(HEADER_LEN - 4, "a block header")?;
    let tag = rest.u8("a block kind")?;
    let codec_at = rest.clone();
    let codec = rest.u8("a codec")?;
    let reserved = rest.u16("reserved bytes")?;
    let stored_len = rest.u32("a stored length")? as usize;
    let len = rest.u32("a length")? as usize;
    let sum = rest.u32("a checksum")?;
    rest.ensure(stored_len == rest.remaining(), "the stored length that the index says")?;
    let stored = rest.take(stored_len, "the stored bytes")?;
    let start = Decoder::new(frame);
    start.ensure(checksum(offset, header, stored) == sum, "a block that matches its checksum")?;
    start.ensure(tag == kind as u8, "a block of another kind")?;
    start.ensure(reserved == 0, "reserved bytes that are 0")?;
    start.ensure(len <= BLOCK_LEN_MAX, "a block within its bound")?;
    match codec {
        1 => {
            start.ensure(len == stored_len, "a raw block of equal lengths")?;
            Ok(frame.slice(HEADER_LEN..))
        }
        2 => lz4(stored, len).ok_or_else(|| start.malformed("an LZ4 block of the length it says")),
        3 => zstd(stored, len).ok_or_else(|| start.malformed("a Zstandard frame of the length it says")),
        _ => Err(codec_at.malformed("a codec from 1 to 3")),
    }
}

fn lz4(stored: &[u8], len: usize) -> Option<Bytes> {
    let mut block = vec![0; len];
    let done = lz4_flex::block::decompress_into(stored, &mut block).ok()?;
    (done == len).then(|| block.into())
}

fn zstd(stored: &[u8], len: usize) -> Option<Bytes> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            RefCell::new(zstd::bulk::Decompressor::new().ok());
    }
    let mut block = vec![0; len];
    let done =
        DECOMPRESSOR.with_borrow_mut(|it| it.as_mut()?.decompress_to_buffer(stored, &mut block[..]).ok())?;
    (done == len).then(|| block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn framed(codec: Codec, block: &[u8], offset: u64) -> Bytes {
        let mut out = Vec::new();
        Framer::new(codec).frame(Kind::Data, block, offset, &mut out);
        out.into()
    }

    #[test]
    fn the_format_is_frozen() -> TestResult {
        let raw = framed(Codec::Raw, b"block", 7);
        assert_eq!(&raw[..], b"\x01\x01\0\0\x05\0\0\0\x05\0\0\0\x96\x3e\xd0\x1cblock");
        let lz4 = b"\x01\x02\0\0\x0c\0\0\0\x64\0\0\0\x65\xec\xe8\xd4\x1fz\x01\0\x4a`zzzzzz";
        let zstd =
            b"\x01\x03\0\0\x11\0\0\0\x64\0\0\0vL[L\x28\xb5\x2f\xfd\x20\x64\x45\0\0\x10zz\x01\0\x3f\x01\x2c";
        assert_eq!(open(Kind::Data, &Bytes::from_static(lz4), 0)?, vec![b'z'; 100]);
        assert_eq!(open(Kind::Data, &Bytes::from_static(zstd), 0)?, vec![b'z'; 100]);
        Ok(())
    }

    #[test]
    fn a_block_survives_every_codec() -> TestResult {
        let blocks: [&[u8]; 4] = [b"", b"x", &[7; 5_000], &[0; 100_000]];
        for codec in [Codec::Raw, Codec::Lz4, Codec::Zstd] {
            for block in blocks {
                assert_eq!(open(Kind::Data, &framed(codec, block, 16), 16)?, block);
            }
        }
        Ok(())
    }

    #[test]
    fn what_does_not_shrink_is_stored_raw() {
        let mut noise = [0; 1_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for codec in [Codec::Lz4, Codec::Zstd] {
            assert_eq!(framed(codec, &noise, 0)[1], Codec::Raw as u8);
            assert_eq!(framed(codec, &[1; 1_000], 0)[1], codec as u8);
        }
    }

    #[test]
    fn after_noise_few_blocks_are_tried_until_one_shrinks() {
        let mut noise = [0; 1_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for codec in [Codec::Lz4, Codec::Zstd] {
            let mut framer = Framer::new(codec);
            let mut codec_of = |block: &[u8]| {
                let mut out = Vec::new();
                framer.frame(Kind::Data, block, 0, &mut out);
                out[1]
            };
            for _ in 0..100 {
                assert_eq!(codec_of(&noise), Codec::Raw as u8);
            }
            let first = (0..=TRIED_PARTS).position(|_| codec_of(&[1; 1_000]) == codec as u8);
            assert!(first.is_some(), "within {TRIED_PARTS} blocks it tries again");
            assert_eq!(codec_of(&[1; 1_000]), codec as u8, "and goes on from there");
        }
    }

    #[test]
    fn any_flipped_bit_cut_or_wrong_place_is_found() {
        for codec in [Codec::Raw, Codec::Lz4, Codec::Zstd] {
            let frame = framed(codec, &[b'z'; 200], 48);
            for bit in 0..8 * frame.len() {
                let mut flipped = frame.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(open(Kind::Data, &flipped.into(), 48).is_err(), "bit {bit}");
            }
            for cut in 0..frame.len() {
                assert!(open(Kind::Data, &frame.slice(..cut), 48).is_err(), "cut at {cut}");
            }
            assert!(open(Kind::Data, &frame, 47).is_err());
            assert!(open(Kind::Index, &frame, 48).is_err());
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_before_it_is_allocated() {
        for codec in [Codec::Lz4, Codec::Zstd] {
            for len in [0, 199, 201, BLOCK_LEN_MAX, u32::MAX as usize] {
                let honest = framed(codec, &[b'z'; 200], 0);
                let mut lying = Vec::new();
                put_frame(Kind::Data, codec, 0, &honest[HEADER_LEN..], 0, &mut lying);
                let len = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
                lying[8..12].copy_from_slice(&len);
                let sum = checksum(0, &lying[..12], &lying[HEADER_LEN..]).to_le_bytes();
                lying[12..16].copy_from_slice(&sum);
                assert!(open(Kind::Data, &lying.into(), 0).is_err());
            }
        }
    }
}
