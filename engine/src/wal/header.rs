//! The two frames that stand at the ends of a segment.
//!
//! Header (kind 1), integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | number | of the segment, as in its name |
//! | 8 | 16 | lineage | whose history this is |
//! | 24 | 8 | base | version of the last record before |
//! | 32 | 32 | hash before | content hash before the first record |
//!
//! Seal (kind 3): next u8 (1 the next segment exists, 2 the log was closed), last version u64,
//! commits u64. Records have kind 2.

use crate::codec::{Decoder, Malformed};
use crate::{ContentHash, LineageId};

pub(crate) const KIND_HEADER: u8 = 1;
pub(crate) const KIND_RECORD: u8 = 2;
pub(crate) const KIND_SEAL: u8 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    pub(crate) lineage: LineageId,
    pub(crate) base: u64,
    pub(crate) hash_before: ContentHash,
}

impl Header {
    /// Bytes of an encoded header.
    pub(crate) const LEN: usize = 64;

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.lineage.0);
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(self.hash_before.as_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, Malformed> {
        let mut rest = Decoder::new(bytes);
        let header = Header {
            number: rest.u64("segment number")?,
            lineage: LineageId(rest.array("lineage id")?),
            base: rest.u64("base version")?,
            hash_before: ContentHash::from_bytes(rest.array("content hash")?),
        };
        rest.finish()?;
        Ok(header)
    }
}

/// What follows a sealed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next segment existed before this one was sealed.
    Continues,
    /// The log was closed; whoever opens it starts the next segment.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) next: Next,
    pub(crate) last: u64,
    pub(crate) commits: u64,
}

impl Seal {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.next {
            Next::Continues => 1,
            Next::Closed => 2,
        });
        out.extend_from_slice(&self.last.to_le_bytes());
        out.extend_from_slice(&self.commits.to_le_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Seal, Malformed> {
        let mut rest = Decoder::new(bytes);
        let next = match rest.u8("what follows the seal")? {
            1 => Next::Continues,
            2 => Next::Closed,
            _ => return Err(Malformed { offset: 0, expected: "1 or 2 for what follows the seal" }),
        };
        let seal = Seal { next, last: rest.u64("last version")?, commits: rest.u64("number of commits")? };
        rest.finish()?;
        Ok(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        let mut bytes = Vec::new();
        let header = Header {
            number: 1,
            lineage: LineageId([2; 16]),
            base: 3,
            hash_before: ContentHash::from_bytes([4; 32]),
        };
        header.encode(&mut bytes);
        assert_eq!(bytes.len(), Header::LEN);
        let expected =
            [&[1, 0, 0, 0, 0, 0, 0, 0][..], &[2; 16], &[3, 0, 0, 0, 0, 0, 0, 0], &[4; 32]].concat();
        assert_eq!(bytes, expected);
        assert_eq!(Header::decode(&bytes), Ok(header));

        let mut bytes = Vec::new();
        let seal = Seal { next: Next::Closed, last: 5, commits: 6 };
        seal.encode(&mut bytes);
        assert_eq!(bytes, [2, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Seal::decode(&bytes), Ok(seal));
        assert!(Seal::decode(&[0; 17]).is_err());
    }
}
