//! A proposal: an entry of ours, and what must hold for it to count.
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 1 | format | 1 |
//! | 1 | 8 | term | the term in which it was proposed, little-endian as all integers |
//! | 9 | 8 | version | a record that the proposer had applied |
//! | 17 | 32 | hash | the content hash after that record |
//! | 49 | | entry | see [`crate::codec`] |
//!
//! - Appended in another term it does nothing, on any replica. So a write that was proposed in a term is certain never to
//!   happen once an entry of a later term has been applied without it, and only then is it proposed again.
//! - A replica that applied that record with another hash differs from the proposer, and stops.

use crate::Entry;
use bytes::Bytes;
use engine::ContentHash;
use engine::codec::{Decoder, Malformed};

const FORMAT: u8 = 1;

/// A proposal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) term: u64,
    pub(crate) reference: (u64, ContentHash),
    pub(crate) entry: Entry,
}

impl Proposal {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&self.term.to_le_bytes());
        bytes.extend_from_slice(&self.reference.0.to_le_bytes());
        bytes.extend_from_slice(self.reference.1.as_bytes());
        self.entry.encode(&mut bytes);
        Bytes::from(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Proposal, Malformed> {
        let mut rest = Decoder::new(bytes);
        let format = rest.u8("format of a proposal")?;
        rest.ensure(format == FORMAT, "proposal format 1")?;
        let term = rest.u64("term of a proposal")?;
        let version = rest.u64("version of a proposal's reference")?;
        let hash = ContentHash::from_bytes(rest.array("hash of a proposal's reference")?);
        let at = rest.offset();
        let shift = |inner: Malformed| Malformed { offset: at + inner.offset, ..inner };
        let entry = Entry::decode(&bytes[at..]).map_err(shift)?;
        Ok(Proposal { term, reference: (version, hash), entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() -> Result<(), Malformed> {
        let proposal = Proposal {
            term: 3,
            reference: (7, ContentHash::from_bytes([9; 32])),
            entry: Entry::Tick { time_ms: 5 },
        };
        let mut expected = b"\x01\x03\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&[9; 32]);
        expected.extend_from_slice(b"\x01\x02\x05\0\0\0\0\0\0\0");
        assert_eq!(proposal.encode(), expected);
        assert_eq!(Proposal::decode(&expected)?, proposal);
        for cut in 0..expected.len() {
            assert!(Proposal::decode(&expected[..cut]).is_err(), "cut at {cut}");
        }
        Ok(())
    }
}
