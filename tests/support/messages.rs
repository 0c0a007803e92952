//! Protocol messages in one line.

use denokv_proto::datapath as pb;

pub const V8: i32 = 1;
pub const LE64: i32 = 2;
pub const BYTES: i32 = 3;

pub fn value(encoding: i32, data: &[u8]) -> Option<pb::KvValue> {
    Some(pb::KvValue { data: data.to_vec(), encoding })
}

pub fn mutation(kind: pb::MutationType, key: &[u8], value: Option<pb::KvValue>) -> pb::Mutation {
    pb::Mutation { key: key.to_vec(), value, mutation_type: kind.into(), ..Default::default() }
}

pub fn set(key: &[u8], data: &[u8]) -> pb::Mutation {
    mutation(pb::MutationType::MSet, key, value(BYTES, data))
}

pub fn set_until(key: &[u8], data: &[u8], expire_at_ms: u64) -> pb::Mutation {
    pb::Mutation { expire_at_ms: i64::try_from(expire_at_ms).unwrap_or(i64::MAX), ..set(key, data) }
}

pub fn set_v8(key: &[u8], data: &[u8]) -> pb::Mutation {
    mutation(pb::MutationType::MSet, key, value(V8, data))
}

pub fn set_u64(key: &[u8], n: u64) -> pb::Mutation {
    mutation(pb::MutationType::MSet, key, value(LE64, &n.to_le_bytes()))
}

pub fn delete(key: &[u8]) -> pb::Mutation {
    mutation(pb::MutationType::MDelete, key, None)
}

pub fn on_u64(kind: pb::MutationType, key: &[u8], n: u64) -> pb::Mutation {
    mutation(kind, key, value(LE64, &n.to_le_bytes()))
}

pub fn sum_v8(key: &[u8], operand: &[u8]) -> pb::Mutation {
    mutation(pb::MutationType::MSum, key, value(V8, operand))
}

pub fn check(key: &[u8], versionstamp: &[u8]) -> pb::Check {
    pb::Check { key: key.to_vec(), versionstamp: versionstamp.to_vec() }
}

pub fn range(start: &[u8], end: &[u8], limit: i32, reverse: bool) -> pb::ReadRange {
    pb::ReadRange { start: start.to_vec(), end: end.to_vec(), limit, reverse }
}

/// The range by which Deno reads one key.
pub fn get(key: &[u8]) -> pb::ReadRange {
    range(key, &[key, &[0]].concat(), 1, false)
}

/// The range by which `@deno/kv` reads one key.
pub fn npm_get(key: &[u8]) -> pb::ReadRange {
    range(key, &[key, &[0xff]].concat(), 1, false)
}

/// A V8 double.
pub fn v8_number(n: f64) -> Vec<u8> {
    [&b"\xff\x0fN"[..], &n.to_le_bytes()].concat()
}

/// A V8 bigint that fits 63 bits.
pub fn v8_bigint(n: i64) -> Vec<u8> {
    if n == 0 {
        return b"\xff\x0fZ\0".to_vec();
    }
    let bitfield = 8 << 1 | u8::from(n < 0);
    [&b"\xff\x0fZ"[..], &[bitfield], &n.unsigned_abs().to_le_bytes()].concat()
}

/// The same value as Deno 2.9 writes it, in wire format 16.
pub fn wire_format_16(value: &[u8]) -> Vec<u8> {
    [&b"\xff\x10"[..], &value[2..]].concat()
}
