//! Log entries as bytes, on disk and between nodes.
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | index | little-endian, as all integers |
//! | 8 | 8 | chain | see [`super::chain`]; of the bytes from offset 16 on and the index |
//! | 16 | 8 | term | |
//! | 24 | 1 | kind | 1 blank, 2 proposal, 3 membership |
//! | 25 | | payload | nothing; a proposal ([`crate::proposal`]); a membership ([`crate::membership`]) |

use super::chain::Chain;
use crate::membership;
use crate::raft::{LogEntry, Payload, Proposed, log_id};
use bytes::Bytes;
use engine::codec::{Decoder, Malformed};

const BLANK: u8 = 1;
const PROPOSAL: u8 = 2;
const MEMBERSHIP: u8 = 3;
/// Where the chain stands.
const CHAIN_AT: usize = 8;
/// Where what is chained begins.
const BODY_AT: usize = 16;

/// Encodes an entry after one with the chain `before`; its own chain is computed when it has none.
pub(crate) fn encode(entry: &LogEntry, before: Chain) -> (Vec<u8>, Chain) {
    let mut bytes = Vec::with_capacity(BODY_AT + entry.len());
    bytes.extend_from_slice(&entry.id.index.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    encode_body(entry, &mut bytes);
    let chain = chain_of(&bytes, before);
    bytes[CHAIN_AT..BODY_AT].copy_from_slice(&entry.chain.unwrap_or(chain).0.to_le_bytes());
    (bytes, chain)
}

/// Appends an entry that has its chain.
///
/// # Panics
///
/// If it has none: entries leave a node through its log alone.
pub(crate) fn encode_chained(entry: &LogEntry, out: &mut Vec<u8>) {
    let chain = entry.chain.expect("an entry from the log has its chain");
    out.extend_from_slice(&entry.id.index.to_le_bytes());
    out.extend_from_slice(&chain.0.to_le_bytes());
    encode_body(entry, out);
}

fn encode_body(entry: &LogEntry, out: &mut Vec<u8>) {
    out.extend_from_slice(&entry.id.leader_id.term.to_le_bytes());
    match &entry.payload {
        Payload::Blank => out.push(BLANK),
        Payload::Normal(proposed) => {
            out.push(PROPOSAL);
            out.extend_from_slice(&proposed.0);
        }
        Payload::Membership(members) => {
            out.push(MEMBERSHIP);
            membership::encode(members, out);
        }
    }
}

/// The chain of an encoded entry that follows one with the chain `before`.
pub(crate) fn chain_of(bytes: &[u8], before: Chain) -> Chain {
    let index: [u8; 8] = bytes[..8].try_into().expect("an encoded entry begins with its index");
    Chain(before.0 ^ u64::from_le_bytes(index)).then(&bytes[BODY_AT..])
}

/// Reads an entry; its payload shares `bytes`.
///
/// # Errors
///
/// When the bytes are not exactly one entry.
pub(crate) fn decode(bytes: &Bytes) -> Result<LogEntry, Malformed> {
    let mut rest = Decoder::new(bytes);
    let index = rest.u64("index of an entry")?;
    let chain = Chain(rest.u64("chain of an entry")?);
    let term = rest.u64("term of an entry")?;
    let start = rest.clone();
    let payload = match rest.u8("kind of an entry")? {
        BLANK => {
            rest.finish()?;
            Payload::Blank
        }
        PROPOSAL => Payload::Normal(Proposed(bytes.slice(rest.offset()..))),
        MEMBERSHIP => Payload::Membership(membership::decode(&bytes[rest.offset()..])?),
        _ => return Err(start.malformed("an entry kind from 1 to 3")),
    };
    Ok(LogEntry { id: log_id(term, index), payload, chain: Some(chain) })
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn proposal() -> LogEntry {
        LogEntry {
            id: log_id(3, 7),
            payload: Payload::Normal(Proposed(Bytes::from_static(b"writes"))),
            chain: None,
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let (bytes, chain) = encode(&proposal(), Chain(5));
        let mut expected = b"\x07\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&chain.0.to_le_bytes());
        expected.extend_from_slice(b"\x03\0\0\0\0\0\0\0\x02writes");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_entry_survives_its_bytes_with_the_chain_it_was_given() -> TestResult {
        for payload in [
            Payload::Blank,
            Payload::Normal(Proposed(Bytes::from_static(b"x"))),
            Payload::Membership(crate::membership::testing::sample()?),
        ] {
            let entry = LogEntry { payload, ..proposal() };
            let (bytes, chain) = encode(&entry, Chain::START);
            let read = decode(&Bytes::from(bytes.clone()))?;
            assert_eq!(read, LogEntry { chain: Some(chain), ..entry });
            let mut again = Vec::new();
            encode_chained(&read, &mut again);
            assert_eq!(again, bytes);
        }
        Ok(())
    }

    #[test]
    fn the_chain_covers_index_term_kind_payload_and_what_came_before() {
        let (bytes, chain) = encode(&proposal(), Chain(5));
        assert_ne!(chain_of(&bytes, Chain(6)), chain);
        for at in (0..8).chain(16..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(chain_of(&changed, Chain(5)), chain, "byte {at}");
        }
    }
}
