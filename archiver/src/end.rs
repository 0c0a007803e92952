//! The object that says that a lineage ends at a stamp: a standby was promoted there, and its lineage goes on.
//!
//! - Whoever ships the lineage and sees it stops. What it shipped after the stamp is a fork: it stays, is told of, and is restored only
//!   where the lineage is named.
//! - It is put by the side that goes on. Several may be there, one for each promotion: the last stamp counts.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNEND` |
//! | 8 | 4 | format | 1 |
//! | 12 | 4 | reserved | 0 |
//! | 16 | 16 | lineage | that ends |
//! | 32 | 4 | epoch | of its stamps |
//! | 36 | 8 | group | |
//! | 44 | 10 | stamp | the last commit that the child holds |
//! | 54 | 8 | made | when, Unix milliseconds |
//! | 62 | 16 | child | the lineage that goes on; its epoch is one above |
//! | 78 | 4 | checksum | CRC-32 of all bytes before |

use crate::layout::{Digest, EndName, LineageFolder, TIME_MS_MAX};
use engine::codec::{Decoder, Malformed};
use engine::{LineageId, Versionstamp};

/// The first bytes of the object.
pub const MAGIC: [u8; 8] = *b"CAIRNEND";
/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// The most bytes the object can have, inclusive.
pub const OBJECT_BYTES_MAX: u64 = 82;

/// Where a lineage ends, and which one goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The lineage that ends.
    pub lineage: LineageFolder,
    /// The group.
    pub group: u64,
    /// The last commit that the child holds.
    pub stamp: Versionstamp,
    /// When it was promoted, by its own clock, Unix milliseconds.
    pub made_ms: u64,
    /// The lineage that goes on.
    pub child: LineageId,
}

impl End {
    /// What the name of the object with these bytes says.
    pub const fn name(&self, digest: Digest) -> EndName {
        EndName { stamp: self.stamp, made_ms: self.made_ms, child: self.child, digest }
    }

    /// The bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        crate::in_envelope(MAGIC, FORMAT, |out| {
            out.extend_from_slice(&self.lineage.id.0);
            out.extend_from_slice(&self.lineage.epoch.to_le_bytes());
            out.extend_from_slice(&self.group.to_le_bytes());
            out.extend_from_slice(self.stamp.as_bytes());
            out.extend_from_slice(&self.made_ms.to_le_bytes());
            out.extend_from_slice(&self.child.0);
        })
    }

    /// Reads the object.
    ///
    /// # Errors
    ///
    /// Where the bytes are not exactly one end.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        crate::open_envelope(&mut rest, bytes, MAGIC, FORMAT..=FORMAT)?;
        let id = LineageId(rest.array("lineage")?);
        let epoch = rest.u32("epoch")?;
        rest.ensure(epoch < engine::versionstamp::EPOCH_MAX, "an epoch that another can follow")?;
        let group = rest.u64("group")?;
        let stamp = Versionstamp::from_bytes(rest.array("stamp")?);
        let made_ms = rest.u64("when it was made")?;
        rest.ensure(made_ms <= TIME_MS_MAX, "a time of 48 bits")?;
        let child = LineageId(rest.array("child")?);
        rest.u32("checksum")?;
        rest.finish()?;
        Ok(Self { lineage: LineageFolder { epoch, id }, group, stamp, made_ms, child })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> End {
        let lineage = LineageFolder { epoch: 2, id: LineageId([1; 16]) };
        End { lineage, group: 3, stamp: Versionstamp::new(4, 5), made_ms: 6, child: LineageId([7; 16]) }
    }

    #[test]
    fn the_format_is_frozen() {
        let mut expected = b"CAIRNEND\x01\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&[1; 16]);
        expected.extend_from_slice(b"\x02\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\x05\x06\0\0\0\0\0\0\0");
        expected.extend_from_slice(&[7; 16]);
        let checksum = crc32fast::hash(&expected);
        expected.extend_from_slice(&checksum.to_le_bytes());
        assert_eq!(sample().encode(), expected);
        assert_eq!(expected.len() as u64, OBJECT_BYTES_MAX);
    }

    #[test]
    fn an_end_survives_its_bytes_and_no_other_bytes_are_read() -> Result<(), Malformed> {
        let bytes = sample().encode();
        assert_eq!(End::decode(&bytes)?, sample());
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(End::decode(&flipped).is_err(), "byte {at}");
            assert!(End::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        Ok(())
    }
}
