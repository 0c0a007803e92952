//! The framing that the WAL and the manifest share: appended, checksummed records in one file.
//!
//! A file is a preamble and frames, integers little-endian, each frame at a multiple of 8.
//!
//! Preamble, 32 bytes:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | what kind of file |
//! | 8 | 4 | format | 1 |
//! | 12 | 4 | reserved | 0 |
//! | 16 | 8 | salt | random, so that bytes of a value never look like a frame of this file |
//! | 24 | 4 | checksum | CRC-32 of bytes 0 to 23 |
//! | 28 | 4 | reserved | 0 |
//!
//! Frame, 24 bytes and the payload, padded with zeros to a multiple of 8:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 4 | checksum | CRC-32 of salt, offset of the frame in the file (8 bytes), bytes 4 to 23 |
//! | 4 | 4 | length | of the payload, in bytes |
//! | 8 | 4 | payload checksum | CRC-32 of the payload |
//! | 12 | 1 | kind | never 0 |
//! | 13 | 3 | reserved | 0 |
//! | 16 | 8 | durable | below this offset the file was known to be durable when this was written |
//!
//! Invariants:
//!
//! - Below the greatest durable mark of a file everything is intact; a bad frame there is damage.
//! - Above it, writes may have been lost in any order: the log ends at the first bad frame,
//!   whatever follows.
//! - A preamble is durable before the file has its name, so a bad one is damage.

use crate::codec::{Decoder, Malformed};
use std::ops::Range;

/// Bytes in a preamble.
pub(crate) const PREAMBLE_LEN: usize = 32;
/// Bytes in a frame before its payload.
pub(crate) const FRAME_HEADER_LEN: usize = 24;
/// The most bytes in a payload, inclusive.
pub(crate) const PAYLOAD_LEN_MAX: usize = crate::record::RECORD_LEN_MAX;
const ALIGN: usize = 8;
const FORMAT: u32 = 1;

/// Appends frames to a buffer, which the caller writes at the offset it gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framer {
    pub(crate) salt: u64,
}

impl Framer {
    pub(crate) fn preamble(&self, magic: &[u8; 8]) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[0..8].copy_from_slice(magic);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..24]);
        bytes[24..28].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Appends one frame to `out`; its first byte will stand at `offset` of the file.
    ///
    /// # Panics
    ///
    /// If the payload is over [`PAYLOAD_LEN_MAX`], the kind is 0 or the offset is not aligned.
    pub(crate) fn frame(
        &self,
        out: &mut Vec<u8>,
        offset: u64,
        kind: u8,
        durable: u64,
        payload: impl FnOnce(&mut Vec<u8>),
    ) {
        assert!(kind != 0, "kind 0 is never valid");
        assert!(offset.is_multiple_of(ALIGN as u64), "frames are aligned");
        let start = out.len();
        out.resize(start + FRAME_HEADER_LEN, 0);
        payload(out);
        let len = out.len() - start - FRAME_HEADER_LEN;
        assert!(len <= PAYLOAD_LEN_MAX, "a payload stays within its limit");
        let payload_checksum = crc32fast::hash(&out[start + FRAME_HEADER_LEN..]);
        out.resize(start + frame_len(len), 0);
        let header = &mut out[start..start + FRAME_HEADER_LEN];
        let len = u32::try_from(len).expect("a payload is shorter than 4 GiB");
        header[4..8].copy_from_slice(&len.to_le_bytes());
        header[8..12].copy_from_slice(&payload_checksum.to_le_bytes());
        header[12] = kind;
        header[16..24].copy_from_slice(&durable.to_le_bytes());
        let checksum = self.header_checksum(offset, &header[4..]);
        header[..4].copy_from_slice(&checksum.to_le_bytes());
    }

    fn header_checksum(&self, offset: u64, header: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.salt.to_le_bytes());
        hasher.update(&offset.to_le_bytes());
        hasher.update(header);
        hasher.finalize()
    }
}

/// Bytes that a frame with `payload_len` bytes of payload takes.
pub(crate) const fn frame_len(payload_len: usize) -> usize {
    (FRAME_HEADER_LEN + payload_len).next_multiple_of(ALIGN)
}

/// A frame that is intact, with its payload as a range of the file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) offset: usize,
    pub(crate) kind: u8,
    pub(crate) payload: Range<usize>,
    durable: u64,
}

impl Frame {
    fn end(&self) -> usize {
        self.offset + frame_len(self.payload.len())
    }
}

/// The frames of a file up to its first bad one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) salt: u64,
    pub(crate) frames: Vec<Frame>,
    /// The greatest durable mark of an intact frame, wherever it stands.
    pub(crate) durable: u64,
    /// Where the next frame would stand.
    pub(crate) end: usize,
    /// Bytes from `end` to the last one that is not zero: what a crash left half written.
    pub(crate) torn: usize,
}

/// Reads a file that may end in writes that a crash cut short.
///
/// # Errors
///
/// When the preamble is bad, or a bad frame stands below the greatest durable mark.
pub(crate) fn read(bytes: &[u8], magic: &[u8; 8]) -> Result<Frames, Malformed> {
    let salt = read_preamble(bytes, magic)?;
    let framer = Framer { salt };
    let mut frames: Vec<Frame> = Vec::new();
    let mut end = PREAMBLE_LEN;
    let bad = loop {
        match framer.read_frame(bytes, end) {
            Ok(frame) => {
                end = frame.end();
                frames.push(frame);
            }
            Err(malformed) => break malformed,
        }
    };
    let later = (end..bytes.len()).step_by(ALIGN).filter_map(|offset| framer.read_frame(bytes, offset).ok());
    let durable = later.chain(frames.last().cloned()).map(|frame| frame.durable).max().unwrap_or(0);
    if durable > end as u64 {
        return Err(bad);
    }
    let torn = bytes[end.min(bytes.len())..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(Frames { salt, frames, durable, end, torn })
}

fn read_preamble(bytes: &[u8], magic: &[u8; 8]) -> Result<u64, Malformed> {
    let mut rest = Decoder::new(bytes);
    let found = rest.clone().array::<8>("the magic bytes of the file")?;
    rest.ensure(found == *magic, "the magic bytes of the file")?;
    rest.take(8, "the magic bytes of the file")?;
    let format = rest.clone().u32("the format number")?;
    rest.ensure(format == FORMAT, "format number 1")?;
    rest.take(4, "the format number")?;
    rest.ensure(rest.clone().u32("reserved zeros")? == 0, "reserved zeros")?;
    rest.take(4, "reserved zeros")?;
    let salt = rest.u64("the salt")?;
    let checksum = rest.clone().u32("the checksum of the preamble")?;
    rest.ensure(crc32fast::hash(&bytes[..24]) == checksum, "the checksum of the preamble")?;
    rest.take(4, "the checksum of the preamble")?;
    rest.ensure(rest.clone().u32("reserved zeros")? == 0, "reserved zeros")?;
    Ok(salt)
}

impl Framer {
    fn read_frame(&self, bytes: &[u8], offset: usize) -> Result<Frame, Malformed> {
        let bad = |expected| Malformed { offset, expected };
        let header = bytes.get(offset..offset + FRAME_HEADER_LEN).ok_or(bad("a frame header"))?;
        if header[12] == 0 {
            return Err(bad("a frame of a known kind"));
        }
        let mut rest = Decoder::new(header);
        let checksum = rest.u32("checksum")?;
        if self.header_checksum(offset as u64, &header[4..]) != checksum {
            return Err(bad("the checksum of the frame header"));
        }
        let len = rest.u32("length")? as usize;
        let payload_checksum = rest.u32("payload checksum")?;
        let kind = rest.u8("kind")?;
        let reserved = rest.array::<3>("reserved zeros")?;
        let durable = rest.u64("durable mark")?;
        if reserved != [0; 3] || len > PAYLOAD_LEN_MAX {
            return Err(bad("a frame of a known layout and length"));
        }
        let padded =
            bytes.get(offset..offset + frame_len(len)).ok_or(bad("a frame that ends in the file"))?;
        let payload = FRAME_HEADER_LEN..FRAME_HEADER_LEN + len;
        if crc32fast::hash(&padded[payload.clone()]) != payload_checksum {
            return Err(bad("the checksum of the frame payload"));
        }
        if padded[payload.end..].iter().any(|byte| *byte != 0) {
            return Err(bad("zeros after the frame payload"));
        }
        Ok(Frame { offset, kind, payload: offset + payload.start..offset + payload.end, durable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &[u8; 8] = b"CAIRNTST";
    const FRAMER: Framer = Framer { salt: 0x0102_0304_0506_0708 };

    /// Three frames, each with a mark at its own start: all but the last were synced.
    fn synced_one_by_one() -> Vec<u8> {
        let mut bytes = FRAMER.preamble(MAGIC).to_vec();
        for payload in [&b"one"[..], b"", b"three"] {
            let offset = bytes.len() as u64;
            FRAMER.frame(&mut bytes, offset, 7, offset, |out| out.extend_from_slice(payload));
        }
        bytes
    }

    fn payloads(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
        Ok(read(bytes, MAGIC)?.frames.into_iter().map(|frame| bytes[frame.payload].to_vec()).collect())
    }

    #[test]
    fn the_format_is_frozen() {
        let mut bytes = FRAMER.preamble(MAGIC).to_vec();
        FRAMER.frame(&mut bytes, 32, 7, 32, |out| out.extend_from_slice(b"abc"));
        let expected: &[u8] =
            b"CAIRNTST\x01\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01\x0e\xed\x4d\xce\0\0\0\0\
            \x12\x35\x4b\x0a\x03\0\0\0\xc2\x41\x24\x35\x07\0\0\0\x20\0\0\0\0\0\0\0abc\0\0\0\0\0";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn frames_come_back_and_zeros_after_them_are_the_end() -> Result<(), Malformed> {
        let mut bytes = synced_one_by_one();
        let len = bytes.len();
        bytes.resize(len + 4096, 0);
        assert_eq!(payloads(&bytes)?, [&b"one"[..], b"", b"three"]);
        let frames = read(&bytes, MAGIC)?;
        assert_eq!((frames.end, frames.torn), (len, 0));
        Ok(())
    }

    #[test]
    fn a_torn_tail_is_dropped_and_damage_is_not() -> Result<(), Malformed> {
        let whole = synced_one_by_one();
        let frames = read(&whole, MAGIC)?.frames;
        let last = frames.last().map_or(0, |frame| frame.offset);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            match payloads(&bytes) {
                Ok(kept) => {
                    assert!(at >= last, "byte {at} was durable");
                    assert_eq!(kept, [&b"one"[..], b""]);
                    assert!(read(&bytes, MAGIC)?.torn > 0);
                }
                Err(malformed) => {
                    assert!(at < last, "byte {at} was not durable");
                    // A checksum names where it stands: in the preamble that is after what it covers.
                    assert!(malformed.offset <= at.max(PREAMBLE_LEN - 8), "byte {at}: {malformed}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn unsynced_frames_after_a_hole_are_not_read() -> Result<(), Malformed> {
        let mut bytes = FRAMER.preamble(MAGIC).to_vec();
        for payload in [b"a", b"b", b"c"] {
            let offset = bytes.len() as u64;
            FRAMER.frame(&mut bytes, offset, 7, 0, |out| out.extend_from_slice(payload));
        }
        bytes[32 + 32..32 + 64].fill(0);
        assert_eq!(payloads(&bytes)?, [b"a"]);
        assert_eq!(read(&bytes, MAGIC)?.torn, 32 + 25);
        Ok(())
    }

    #[test]
    fn a_payload_that_holds_a_frame_is_not_mistaken_for_one() -> Result<(), Malformed> {
        let offset = PREAMBLE_LEN as u64;
        let mut inner = Vec::new();
        let elsewhere = offset + FRAME_HEADER_LEN as u64;
        Framer { salt: 9 }.frame(&mut inner, elsewhere, 7, u64::MAX, |out| out.push(1));
        let mut bytes = FRAMER.preamble(MAGIC).to_vec();
        FRAMER.frame(&mut bytes, offset, 7, 0, |out| out.extend_from_slice(&inner));
        bytes[PREAMBLE_LEN] ^= 1;
        assert!(payloads(&bytes)?.is_empty());
        Ok(())
    }
}
