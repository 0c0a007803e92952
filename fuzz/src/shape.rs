//! Entries made from bytes, over few keys and near times so that they meet.

use arbitrary::Arbitrary;
use engine::{Mark, Versionstamp};
use num_bigint::BigInt;
use replication::{
    AtomicWrite, Check, DatabaseNumber, Encoding, Entry, Mutation, MutationKind, RequestId, StoredValue, Sum,
};

/// An entry.
#[derive(Debug, Arbitrary)]
pub enum EntryShape {
    /// Atomic writes.
    Batch(u8, Vec<WriteShape>),
    /// A tick.
    Tick(u8),
    /// A mark of any size.
    Progress(u8, Vec<u8>, Vec<u8>),
    /// The end of a database.
    DeleteDatabase(u8, bool),
}

/// An atomic write.
#[derive(Debug, Arbitrary)]
pub struct WriteShape {
    other_database: bool,
    checks: Vec<(KeyShape, Option<(u8, u8)>)>,
    mutations: Vec<(KeyShape, KindShape)>,
}

#[derive(Debug, Arbitrary)]
enum KeyShape {
    Few(u8),
    Any(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum KindShape {
    Set(ValueShape, Option<u8>),
    SetSuffixed(ValueShape, Option<u8>),
    Delete,
    SumU64(u64),
    SumBigInt(Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, bool),
    SumNumber(f64, Option<f64>, Option<f64>, bool),
    Min(u64),
    Max(u64),
}

#[derive(Debug, Arbitrary)]
enum ValueShape {
    U64(u64),
    Int(i32),
    Double(f64),
    BigInt(Vec<u8>),
    V8(Vec<u8>),
    Le64(Vec<u8>),
    Bytes(Vec<u8>),
}

impl From<EntryShape> for Entry {
    fn from(shape: EntryShape) -> Entry {
        match shape {
            EntryShape::Batch(time, writes) => {
                Entry::Batch { time_ms: time.into(), writes: writes.into_iter().map(Into::into).collect() }
            }
            EntryShape::Tick(time) => Entry::Tick { time_ms: time.into() },
            EntryShape::Progress(time, name, value) => {
                Entry::Progress { time_ms: time.into(), request: REQUEST, mark: Mark { name, value } }
            }
            EntryShape::DeleteDatabase(time, other) => {
                Entry::DeleteDatabase { time_ms: time.into(), request: REQUEST, database: database(other) }
            }
        }
    }
}

const REQUEST: RequestId = RequestId { node: 0, boot: 0, counter: 0 };

fn database(other: bool) -> DatabaseNumber {
    DatabaseNumber(1 + u32::from(other))
}

impl From<WriteShape> for AtomicWrite {
    fn from(shape: WriteShape) -> AtomicWrite {
        let stamp = |(version, order): (u8, u8)| Versionstamp::new(version.into(), order.into());
        let checks = shape.checks.into_iter();
        let mutations = shape.mutations.into_iter();
        AtomicWrite {
            request: REQUEST,
            database: database(shape.other_database),
            checks: checks.map(|(key, guess)| Check { key: key.into(), stamp: guess.map(stamp) }).collect(),
            mutations: mutations.map(|(key, kind)| Mutation { key: key.into(), kind: kind.into() }).collect(),
        }
    }
}

impl From<KeyShape> for Vec<u8> {
    fn from(shape: KeyShape) -> Vec<u8> {
        match shape {
            KeyShape::Few(u8::MAX) => vec![b'k'; engine::write_batch::KEY_LEN_MAX],
            KeyShape::Few(key) => vec![key % 4],
            KeyShape::Any(key) => key,
        }
    }
}

impl From<KindShape> for MutationKind {
    fn from(shape: KindShape) -> MutationKind {
        let big = |bytes: Vec<u8>| BigInt::from_signed_bytes_le(&bytes);
        match shape {
            KindShape::Set(value, expiry) => {
                MutationKind::Set { value: value.into(), expire_at_ms: expiry.map(u64::from) }
            }
            KindShape::SetSuffixed(value, expiry) => {
                MutationKind::SetSuffixed { value: value.into(), expire_at_ms: expiry.map(u64::from) }
            }
            KindShape::Delete => MutationKind::Delete,
            KindShape::SumU64(operand) => MutationKind::Sum(Sum::U64(operand)),
            KindShape::SumBigInt(operand, min, max, clamp) => MutationKind::Sum(Sum::BigInt {
                operand: big(operand),
                min: min.map(big),
                max: max.map(big),
                clamp,
            }),
            KindShape::SumNumber(operand, min, max, clamp) => {
                MutationKind::Sum(Sum::Number { operand, min, max, clamp })
            }
            KindShape::Min(operand) => MutationKind::Min(operand),
            KindShape::Max(operand) => MutationKind::Max(operand),
        }
    }
}

impl From<ValueShape> for StoredValue {
    fn from(shape: ValueShape) -> StoredValue {
        let v8 = |tag: u8, bytes: &[u8]| StoredValue {
            encoding: Encoding::V8,
            bytes: [&[0xff, 16, tag], bytes].concat(),
        };
        match shape {
            ValueShape::U64(value) => StoredValue::u64(value),
            ValueShape::Int(value) => v8(b'I', &value.to_le_bytes()),
            ValueShape::Double(value) => v8(b'N', &value.to_le_bytes()),
            ValueShape::BigInt(bytes) => v8(b'Z', &bytes),
            ValueShape::V8(bytes) => StoredValue { encoding: Encoding::V8, bytes },
            ValueShape::Le64(bytes) => StoredValue { encoding: Encoding::Le64, bytes },
            ValueShape::Bytes(bytes) => StoredValue { encoding: Encoding::Bytes, bytes },
        }
    }
}
