//! The literal bytes, and that there is one encoding for each entry.

use crate::command::{AtomicWrite, Check, Mutation, MutationKind, RequestId, Sum};
use crate::testing::entries;
use crate::{BigInt, DatabaseNumber, Encoding, Entry, StoredValue};
use engine::{Mark, Versionstamp};
use proptest::prelude::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    bytes
}

fn every_mutation() -> Vec<MutationKind> {
    let value = || StoredValue { encoding: Encoding::V8, bytes: b"v".to_vec() };
    let big = |value: i64| Some(BigInt::from(value));
    vec![
        MutationKind::Set { value: value(), expire_at_ms: None },
        MutationKind::SetSuffixed { value: value(), expire_at_ms: None },
        MutationKind::Set { value: value(), expire_at_ms: Some(5) },
        MutationKind::SetSuffixed { value: value(), expire_at_ms: Some(6) },
        MutationKind::Delete,
        MutationKind::Sum(Sum::U64(7)),
        MutationKind::Min(8),
        MutationKind::Max(9),
        MutationKind::Sum(Sum::BigInt { operand: BigInt::from(-256), min: big(0), max: big(2), clamp: true }),
        MutationKind::Sum(Sum::Number { operand: 1.5, min: None, max: Some(2.0), clamp: false }),
    ]
}

fn sample() -> Entry {
    let mutations = every_mutation().into_iter().map(|kind| Mutation { key: b"k".to_vec(), kind }).collect();
    let checks = vec![
        Check { key: b"a".to_vec(), stamp: None },
        Check { key: b"b".to_vec(), stamp: Some(Versionstamp::new(1, 2)) },
    ];
    let request = RequestId { node: 1, boot: 2, counter: 3 };
    let write = AtomicWrite { request, database: DatabaseNumber(300), checks, mutations };
    Entry::Batch { time_ms: 4, writes: vec![write] }
}

#[test]
fn the_format_is_frozen() {
    let expected = [
        &b"\x01\x01\x04\0\0\0\0\0\0\0\x01"[..],
        b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\xac\x02",
        b"\x02\x01\x01a\x02\x01b\0\0\0\0\0\0\0\x01\0\x02",
        b"\x0a\x01\x01k\x01\x01v",
        b"\x02\x01k\x01\x01v",
        b"\x03\x01k\x01\x01v\x05\0\0\0\0\0\0\0",
        b"\x04\x01k\x01\x01v\x06\0\0\0\0\0\0\0",
        b"\x05\x01k",
        b"\x06\x01k\x07\0\0\0\0\0\0\0",
        b"\x07\x01k\x08\0\0\0\0\0\0\0",
        b"\x08\x01k\x09\0\0\0\0\0\0\0",
        b"\x09\x01k\x07\x01\x02\0\x01\0\0\0\x01\x02",
        b"\x0a\x01k\x02\0\0\0\0\0\0\xf8\x3f\0\0\0\0\0\0\0\x40",
    ]
    .concat();
    assert_eq!(encoded(&sample()), expected);
    assert_eq!(encoded(&Entry::Tick { time_ms: 1 }), b"\x01\x02\x01\0\0\0\0\0\0\0");
    let mark = Mark { name: b"n".to_vec(), value: b"vv".to_vec() };
    let request = crate::RequestId { node: 1, boot: 2, counter: 3 };
    let expected =
        b"\x01\x03\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01n\x02vv";
    assert_eq!(encoded(&Entry::Progress { time_ms: 1, request, mark }), expected);
    let deletion = Entry::DeleteDatabase { time_ms: 1, request, database: DatabaseNumber(300) };
    let expected =
        b"\x01\x04\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\xac\x02";
    assert_eq!(encoded(&deletion), expected);
}

#[test]
fn an_entry_survives_its_bytes_and_every_cut_is_refused() -> TestResult {
    let bytes = encoded(&sample());
    assert_eq!(Entry::decode(&bytes)?, sample());
    for cut in 0..bytes.len() {
        assert!(Entry::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert!(Entry::decode(&[&bytes[..], b"\0"].concat()).is_err());
    Ok(())
}

#[test]
fn what_has_another_encoding_is_refused() {
    let sum = |tail: &[u8]| {
        let head = b"\x01\x01\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\x09\x01k";
        Entry::decode(&[&head[..], tail].concat())
    };
    assert!(sum(b"\0\0\x01\x05").is_ok());
    for (tail, expected) in [
        (&b"\0\0\x02\x05\0"[..], "a magnitude without leading zeros"),
        (b"\0\x01\0", "a zero without sign"),
        (b"\0\x02\x01\x05", "a sign from 0 to 1"),
        (b"\x08\0\x01\x05", "flags of a sum below 8"),
        (b"\0\0\x81\0\x05", "magnitude of a bigint"),
    ] {
        assert_eq!(sum(tail).map_err(|malformed| malformed.expected), Err(expected));
    }
}

#[test]
fn a_great_count_is_refused_without_its_memory() {
    let bytes = b"\x01\x01\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert!(Entry::decode(bytes).is_err());
}

proptest! {
    #[test]
    fn every_entry_survives_its_bytes(entry in entries()) {
        let bytes = encoded(&entry);
        prop_assert_eq!(encoded(&Entry::decode(&bytes)?), bytes);
    }

    #[test]
    fn altered_bytes_are_refused_or_are_an_entry_of_their_own(entry in entries(), at: prop::sample::Index, byte: u8) {
        let mut bytes = encoded(&entry);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(encoded(&entry), bytes);
        }
    }
}
