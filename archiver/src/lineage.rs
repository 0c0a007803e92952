//! The object that says who a lineage is and where it left its parent.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNLIN` |
//! | 8 | 4 | format | 1 |
//! | 12 | 4 | reserved | 0 |
//! | 16 | 16 | lineage | its id |
//! | 32 | 4 | epoch | of its stamps |
//! | 36 | 8 | begun | when its first object was shipped, Unix milliseconds |
//! | 44 | 1 | parent | 1 when it has one, else 0 |
//! | 45 | 16 | parent id | zero without one |
//! | 61 | 10 | parent stamp | the last commit of the parent that it holds; zero without one |
//! | 71 | 4 | checksum | CRC-32 of all bytes before |

use crate::layout::TIME_MS_MAX;
use engine::codec::{Decoder, Malformed};
use engine::{Lineage, LineageId, Versionstamp};

/// The first bytes of the object.
pub const MAGIC: [u8; 8] = *b"CAIRNLIN";
/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// The most bytes the object can have, inclusive.
pub const OBJECT_BYTES_MAX: u64 = 75;

/// Who a lineage is, and when its archive began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// Who it is.
    pub lineage: Lineage,
    /// When its first object was shipped, by the shipper's clock, Unix milliseconds.
    pub begun_ms: u64,
}

impl Announcement {
    /// The bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        crate::in_envelope(MAGIC, FORMAT, |out| {
            out.extend_from_slice(&self.lineage.id.0);
            out.extend_from_slice(&self.lineage.epoch.to_le_bytes());
            out.extend_from_slice(&self.begun_ms.to_le_bytes());
            let parent = self.lineage.parent;
            out.push(u8::from(parent.is_some()));
            let (id, stamp) = parent.unwrap_or((LineageId([0; 16]), Versionstamp::ZERO));
            out.extend_from_slice(&id.0);
            out.extend_from_slice(stamp.as_bytes());
        })
    }

    /// Reads the object.
    ///
    /// # Errors
    ///
    /// Where the bytes are not exactly one announcement.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        crate::open_envelope(&mut rest, bytes, MAGIC, FORMAT..=FORMAT)?;
        let id = LineageId(rest.array("lineage")?);
        let epoch = rest.u32("epoch")?;
        rest.ensure(epoch <= engine::versionstamp::EPOCH_MAX, "an epoch of 20 bits")?;
        let begun_ms = rest.u64("when it began")?;
        rest.ensure(begun_ms <= TIME_MS_MAX, "a time of 48 bits")?;
        let flag = rest.u8("parent")?;
        let parent_id = LineageId(rest.array("parent id")?);
        let stamp = Versionstamp::from_bytes(rest.array("parent stamp")?);
        let parent = match flag {
            0 if parent_id == LineageId([0; 16]) && stamp == Versionstamp::ZERO => None,
            1 => Some((parent_id, stamp)),
            _ => return Err(rest.malformed("a parent of 0 or 1, and zeros without one")),
        };
        rest.u32("checksum")?;
        rest.finish()?;
        Ok(Self { lineage: Lineage { id, epoch, parent }, begun_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn sample() -> Announcement {
        let parent = Some((LineageId([3; 16]), Versionstamp::new(4, 5)));
        Announcement { lineage: Lineage { id: LineageId([1; 16]), epoch: 2, parent }, begun_ms: 6 }
    }

    #[test]
    fn the_format_is_frozen() {
        let mut expected = b"CAIRNLIN\x01\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&[1; 16]);
        expected.extend_from_slice(b"\x02\0\0\0\x06\0\0\0\0\0\0\0\x01");
        expected.extend_from_slice(&[3; 16]);
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\x04\0\x05");
        let checksum = crc32fast::hash(&expected);
        expected.extend_from_slice(&checksum.to_le_bytes());
        assert_eq!(sample().encode(), expected);
        assert_eq!(expected.len() as u64, OBJECT_BYTES_MAX);
    }

    #[test]
    fn an_announcement_survives_its_bytes_and_no_other_bytes_are_read() -> TestResult {
        let mut without = sample();
        without.lineage.parent = None;
        for announcement in [sample(), without] {
            let bytes = announcement.encode();
            assert_eq!(Announcement::decode(&bytes)?, announcement);
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                assert!(Announcement::decode(&flipped).is_err(), "byte {at}");
                assert!(Announcement::decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
        Ok(())
    }
}
