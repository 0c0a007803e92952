//! What tests of this crate share: arbitrary entries over few keys, so that they meet.

use crate::command::{AtomicWrite, Check, Entry, Mutation, MutationKind, RequestId, Sum};
use crate::number::{self, Number};
use crate::{BigInt, DatabaseNumber, Encoding, StoredValue};
use engine::{Mark, Versionstamp};
use proptest::prelude::*;

/// The first version that a test applies; checks guess stamps just above it.
pub(crate) const FIRST_VERSION: u64 = 1;

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        10 => prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"ab".to_vec(), b"c".to_vec()]),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        // What a suffixed set of `a` in the first write of the first entry becomes.
        1 => Just(b"a\x0200000000000000010000\0".to_vec()),
    ]
}

fn bigints() -> impl Strategy<Value = BigInt> {
    prop_oneof![
        any::<i8>().prop_map(BigInt::from),
        any::<i128>().prop_map(BigInt::from),
        any::<u64>().prop_map(BigInt::from),
    ]
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![any::<i8>().prop_map(f64::from), any::<f64>(), Just(f64::NAN), Just(f64::INFINITY)]
}

fn values() -> impl Strategy<Value = StoredValue> {
    let v8 = |number: Number| StoredValue {
        encoding: Encoding::V8,
        bytes: number::encode(&number).unwrap_or_default(),
    };
    let encodings = prop::sample::select(vec![Encoding::V8, Encoding::Le64, Encoding::Bytes]);
    prop_oneof![
        3 => any::<u64>().prop_map(StoredValue::u64),
        3 => bigints().prop_map(move |n| v8(Number::BigInt(n))),
        3 => numbers().prop_map(move |n| v8(Number::Double(n))),
        1 => Just(StoredValue { encoding: Encoding::V8, bytes: b"\xff\x0fT".to_vec() }),
        1 => (encodings, prop::collection::vec(any::<u8>(), 0..10))
            .prop_map(|(encoding, bytes)| StoredValue { encoding, bytes }),
    ]
}

/// Times near those of entries, so that some expire.
fn times() -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..20u64, 1 => any::<u64>()]
}

fn sums() -> impl Strategy<Value = Sum> {
    let bounds = || prop::option::of(bigints());
    let number_bounds = || prop::option::of(numbers());
    prop_oneof![
        any::<u64>().prop_map(Sum::U64),
        (bigints(), bounds(), bounds(), any::<bool>()).prop_map(|(operand, min, max, clamp)| Sum::BigInt {
            operand,
            min,
            max,
            clamp
        }),
        bigints().prop_map(|operand| Sum::BigInt { operand, min: None, max: None, clamp: false }),
        (numbers(), number_bounds(), number_bounds(), any::<bool>())
            .prop_map(|(operand, min, max, clamp)| Sum::Number { operand, min, max, clamp }),
    ]
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let kinds = prop_oneof![
        4 => (values(), prop::option::of(times()))
            .prop_map(|(value, expire_at_ms)| MutationKind::Set { value, expire_at_ms }),
        1 => (values(), prop::option::of(times()))
            .prop_map(|(value, expire_at_ms)| MutationKind::SetSuffixed { value, expire_at_ms }),
        2 => Just(MutationKind::Delete),
        4 => sums().prop_map(MutationKind::Sum),
        1 => any::<u64>().prop_map(MutationKind::Min),
        1 => any::<u64>().prop_map(MutationKind::Max),
    ];
    (keys(), kinds).prop_map(|(key, kind)| Mutation { key, kind })
}

fn checks() -> impl Strategy<Value = Check> {
    let stamps = (FIRST_VERSION..FIRST_VERSION + 4, 0..3u16).prop_map(|(v, o)| Versionstamp::new(v, o));
    (keys(), prop::option::of(stamps)).prop_map(|(key, stamp)| Check { key, stamp })
}

fn writes() -> impl Strategy<Value = AtomicWrite> {
    (
        (any::<u64>(), any::<u64>(), any::<u64>()),
        prop::sample::select(vec![1u32, 1, 1, 2, u32::MAX]),
        prop::collection::vec(checks(), 0..2),
        prop::collection::vec(mutations(), 0..5),
    )
        .prop_map(|((node, boot, counter), database, checks, mutations)| AtomicWrite {
            request: RequestId { node, boot, counter },
            database: DatabaseNumber(database),
            checks,
            mutations,
        })
}

/// Entries of every kind.
pub(crate) fn entries() -> impl Strategy<Value = Entry> {
    prop_oneof![
        8 => (times(), prop::collection::vec(writes(), 0..6))
            .prop_map(|(time_ms, writes)| Entry::Batch { time_ms, writes }),
        1 => times().prop_map(|time_ms| Entry::Tick { time_ms }),
        1 => (times(), prop::collection::vec(any::<u8>(), 0..70), prop::collection::vec(any::<u8>(), 0..9))
            .prop_map(|(time_ms, name, value)| Entry::Progress { time_ms, request: REQUEST, mark: Mark { name, value } }),
        1 => (times(), prop::sample::select(vec![0u32, 1, 1, 2, u32::MAX])).prop_map(|(time_ms, database)| {
            Entry::DeleteDatabase { time_ms, request: REQUEST, database: DatabaseNumber(database) }
        }),
    ]
}

/// Whose request an entry is.
pub(crate) const REQUEST: RequestId = RequestId { node: 1, boot: 2, counter: 3 };
