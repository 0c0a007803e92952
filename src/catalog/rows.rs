//! Rows of the catalog as bytes.
//!
//! Integers of fixed size are little-endian; a varint is in its shortest form; text is a varint length and that many bytes.
//!
//! | row | fields |
//! |---|---|
//! | node | format `01`, intent u8 (1 expected, 2 learner, 3 voter, 4 leaving), since u64 Unix ms, attempt 16 bytes, address text, region text |
//! | database | format `01`, state u8 (1 active, 2 ended, 3 loading), created u64 Unix ms, ended u64 Unix ms, number varint, group varint, digest of its token 32 bytes, name text |

use engine::codec::{Decoder, Malformed, put_varint};
use replication::{DatabaseNumber, GroupId};

const FORMAT: u8 = 1;

/// What is to become of a node. What it is at present, its groups know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// An operator has announced it; it has not joined yet.
    Expected,
    /// It has all data and no vote.
    Learner,
    /// It votes, as soon as it has all data.
    Voter,
    /// It is taken out of every group, then forgotten.
    Leaving,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// What is to become of it.
    pub intent: Intent,
    /// Since when it is known, Unix milliseconds.
    pub since_ms: u64,
    /// The attempt to join by which it got its id; zero for one that was announced.
    pub attempt: [u8; 16],
    /// Where other nodes reach it; empty when they cannot.
    pub address: String,
    /// Where it stands; may be empty.
    pub region: String,
}

/// Whether a database can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// It can.
    Active,
    /// It was deleted: its data is removed, and then its row.
    Ended,
    /// A restore is filling it: nobody sees it.
    Loading,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseRow {
    /// Whether it can be used.
    pub state: DatabaseState,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it was deleted, Unix milliseconds; 0 when it was not.
    pub ended_ms: u64,
    /// Its number in its group.
    pub number: DatabaseNumber,
    /// The group that holds it.
    pub group: GroupId,
    /// BLAKE3 of its access token.
    pub token_digest: [u8; 32],
    /// What people call it; unique among active ones.
    pub name: String,
}

impl Intent {
    const fn as_byte(self) -> u8 {
        match self {
            Intent::Expected => 1,
            Intent::Learner => 2,
            Intent::Voter => 3,
            Intent::Leaving => 4,
        }
    }

    const fn from_byte(byte: u8) -> Option<Intent> {
        match byte {
            1 => Some(Intent::Expected),
            2 => Some(Intent::Learner),
            3 => Some(Intent::Voter),
            4 => Some(Intent::Leaving),
            _ => None,
        }
    }
}

impl NodeRow {
    /// The row as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, self.intent.as_byte()];
        out.extend_from_slice(&self.since_ms.to_le_bytes());
        out.extend_from_slice(&self.attempt);
        put_text(&mut out, &self.address);
        put_text(&mut out, &self.region);
        out
    }

    /// Reads a row.
    pub(super) fn decode(bytes: &[u8]) -> Result<NodeRow, Malformed> {
        let mut rest = Decoder::new(bytes);
        check_format(&mut rest)?;
        let start = rest.clone();
        let intent = Intent::from_byte(rest.u8("intent")?);
        let row = NodeRow {
            intent: intent.ok_or_else(|| start.malformed("an intent from 1 to 4"))?,
            since_ms: rest.u64("since")?,
            attempt: rest.array("attempt")?,
            address: text(&mut rest, "address")?,
            region: text(&mut rest, "region")?,
        };
        rest.finish()?;
        Ok(row)
    }
}

impl DatabaseRow {
    /// The row as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            DatabaseState::Active => 1,
            DatabaseState::Ended => 2,
            DatabaseState::Loading => 3,
        };
        let mut out = vec![FORMAT, state];
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        out.extend_from_slice(&self.ended_ms.to_le_bytes());
        put_varint(&mut out, u64::from(self.number.0));
        put_varint(&mut out, self.group.0);
        out.extend_from_slice(&self.token_digest);
        put_text(&mut out, &self.name);
        out
    }

    /// Reads a row.
    pub(super) fn decode(bytes: &[u8]) -> Result<DatabaseRow, Malformed> {
        let mut rest = Decoder::new(bytes);
        check_format(&mut rest)?;
        let start = rest.clone();
        let state = match rest.u8("state")? {
            1 => DatabaseState::Active,
            2 => DatabaseState::Ended,
            3 => DatabaseState::Loading,
            _ => return Err(start.malformed("a state from 1 to 3")),
        };
        let (created_ms, ended_ms) = (rest.u64("created")?, rest.u64("ended")?);
        let start = rest.clone();
        let number = u32::try_from(rest.varint("number")?);
        let number = number.map_err(|_too_large| start.malformed("a number of 32 bits"))?;
        let row = DatabaseRow {
            state,
            created_ms,
            ended_ms,
            number: DatabaseNumber(number),
            group: GroupId(rest.varint("group")?),
            token_digest: rest.array("digest")?,
            name: text(&mut rest, "name")?,
        };
        rest.finish()?;
        Ok(row)
    }
}

fn check_format(rest: &mut Decoder<'_>) -> Result<(), Malformed> {
    let start = rest.clone();
    start.ensure(rest.u8("format of a row")? == FORMAT, "row format 1")
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn text(rest: &mut Decoder<'_>, what: &'static str) -> Result<String, Malformed> {
    let start = rest.clone();
    let len = usize::try_from(rest.varint(what)?).unwrap_or(usize::MAX);
    let bytes = rest.take(len, what)?;
    String::from_utf8(bytes.to_vec()).map_err(|_not_text| start.malformed("text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeRow {
        NodeRow {
            intent: Intent::Voter,
            since_ms: 258,
            attempt: [7; 16],
            address: "a:1".to_owned(),
            region: "eu".to_owned(),
        }
    }

    fn database() -> DatabaseRow {
        DatabaseRow {
            state: DatabaseState::Ended,
            created_ms: 1,
            ended_ms: 2,
            number: DatabaseNumber(300),
            group: GroupId(3),
            token_digest: [9; 32],
            name: "shop".to_owned(),
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let mut expected = b"\x01\x03\x02\x01\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(&[7; 16]);
        expected.extend_from_slice(b"\x03a:1\x02eu");
        assert_eq!(node().encode(), expected);
        let mut expected = b"\x01\x02\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\xac\x02\x03".to_vec();
        expected.extend_from_slice(&[9; 32]);
        expected.extend_from_slice(b"\x04shop");
        assert_eq!(database().encode(), expected);
    }

    #[test]
    fn a_row_survives_its_bytes_and_every_cut_is_refused() -> Result<(), Malformed> {
        let (node_bytes, database_bytes) = (node().encode(), database().encode());
        assert_eq!(NodeRow::decode(&node_bytes)?, node());
        assert_eq!(DatabaseRow::decode(&database_bytes)?, database());
        for cut in 0..node_bytes.len() {
            assert!(NodeRow::decode(&node_bytes[..cut]).is_err(), "cut at {cut}");
        }
        for cut in 0..database_bytes.len() {
            assert!(DatabaseRow::decode(&database_bytes[..cut]).is_err(), "cut at {cut}");
        }
        for intent in [Intent::Expected, Intent::Learner, Intent::Voter, Intent::Leaving] {
            assert_eq!(Intent::from_byte(intent.as_byte()), Some(intent));
        }
        for (bytes, at) in [(&node_bytes, 0), (&node_bytes, 1), (&database_bytes, 1)] {
            let mut unknown = bytes.clone();
            unknown[at] = 9;
            assert!(
                NodeRow::decode(&unknown).is_err() && DatabaseRow::decode(&unknown).is_err(),
                "byte {at}"
            );
        }
        Ok(())
    }
}
