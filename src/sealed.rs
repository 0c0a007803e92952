//! A cluster that takes no more writes, because another one is to go on from what it has.
//!
//! - Each group says so in a row of the system's own keyspace, written through its log as any other: the stamp of that commit is where
//!   the group ends. It names the lineage that ends, so that what goes on from a copy of the row is not sealed.
//! - A write is refused where the row is seen. One that was under way is not acknowledged where the row is seen after it: so everything
//!   that was acknowledged stands before the row, and is in an archive that has the row.
//!
//! The row stands under `sealed`. Its value, integers little-endian: format u8 (1), lineage 16 bytes, since u64 Unix milliseconds,
//! reason to the end.

use engine::codec::{Decoder, Malformed};
use engine::{LineageId, Snapshot};
use replication::{
    AtomicWrite, Encoding, Mutation, MutationKind, RequestId, SYSTEM_DATABASE, StoredValue, engine_key,
    split_value,
};

/// The most bytes of a reason, inclusive.
pub const REASON_LEN_MAX: usize = 200;
const KEY: &[u8] = b"sealed";
const FORMAT: u8 = 1;
/// Bytes of a value before the reason.
const HEAD_LEN: usize = 1 + 16 + 8;

/// Why a group takes no more writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Why.
    pub reason: String,
}

/// The write that seals a lineage, or with `None` the one that lets it go on.
pub fn write(request: RequestId, lineage: LineageId, seal: Option<&Seal>) -> AtomicWrite {
    let kind = match seal {
        None => MutationKind::Delete,
        Some(seal) => {
            let value = StoredValue { encoding: Encoding::Bytes, bytes: encode(lineage, seal) };
            MutationKind::Set { value, expire_at_ms: None }
        }
    };
    let mutations = vec![Mutation { key: KEY.to_vec(), kind }];
    AtomicWrite { request, database: SYSTEM_DATABASE, checks: Vec::new(), mutations }
}

/// Whether a lineage is sealed, as a snapshot of its group shows. A row that cannot be read seals: somebody meant it to.
pub fn of(snapshot: &Snapshot, lineage: LineageId) -> Option<Seal> {
    let unreadable = |reason: String| Some(Seal { since_ms: 0, reason });
    let value = match snapshot.get(&engine_key(SYSTEM_DATABASE, KEY)) {
        Ok(value) => value?,
        Err(error) => return unreadable(error.to_string()),
    };
    let row = split_value(&value.bytes).map(|(_, bytes)| decode(&bytes));
    match row {
        Some(Ok((of, seal))) => (of == lineage).then_some(seal),
        Some(Err(malformed)) => unreadable(malformed.to_string()),
        None => unreadable("its row cannot be read".to_owned()),
    }
}

fn encode(lineage: LineageId, seal: &Seal) -> Vec<u8> {
    let mut value = vec![FORMAT];
    value.extend_from_slice(&lineage.0);
    value.extend_from_slice(&seal.since_ms.to_le_bytes());
    value.extend_from_slice(seal.reason.as_bytes());
    value
}

fn decode(value: &[u8]) -> Result<(LineageId, Seal), Malformed> {
    let mut rest = Decoder::new(value);
    let start = rest.clone();
    start.ensure(rest.u8("format")? == FORMAT, "format 1")?;
    let lineage = LineageId(rest.array("lineage")?);
    let since_ms = rest.u64("since")?;
    let start = rest.clone();
    let reason = rest.take(value.len().saturating_sub(HEAD_LEN), "reason")?.to_vec();
    let reason = String::from_utf8(reason).map_err(|_not_text| start.malformed("text"))?;
    Ok((lineage, Seal { since_ms, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::testing::Store;
    use crate::testing::TestResult;

    const REQUEST: RequestId = RequestId { node: 1, boot: 1, counter: 1 };

    #[test]
    fn the_format_is_frozen_and_every_cut_is_refused() -> Result<(), Malformed> {
        let (lineage, seal) = (LineageId([3; 16]), Seal { since_ms: 258, reason: "why".to_owned() });
        let mut expected = vec![1];
        expected.extend_from_slice(&[3; 16]);
        expected.extend_from_slice(b"\x02\x01\0\0\0\0\0\0why");
        let bytes = encode(lineage, &seal);
        assert_eq!(bytes, expected);
        assert_eq!(decode(&bytes)?, (lineage, seal));
        for cut in 0..HEAD_LEN {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode(&[&bytes[..HEAD_LEN], &[0xff]].concat()).is_err(), "no text");
        Ok(())
    }

    #[test]
    fn a_seal_counts_for_its_lineage_alone_and_until_it_is_undone() -> TestResult {
        let store = Store::new()?;
        let (ours, other) = (LineageId([3; 16]), LineageId([4; 16]));
        let seal = Seal { since_ms: 7, reason: "moved".to_owned() };
        assert_eq!(of(&store.snapshot(), ours), None);
        store.write(write(REQUEST, ours, Some(&seal)))?;
        assert_eq!(of(&store.snapshot(), ours), Some(seal));
        assert_eq!(of(&store.snapshot(), other), None, "what went on from a copy is not sealed");
        store.write(write(REQUEST, ours, None))?;
        assert_eq!(of(&store.snapshot(), ours), None);
        Ok(())
    }
}
