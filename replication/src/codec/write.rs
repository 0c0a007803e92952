//! Atomic writes as bytes; the layout stands in [`crate::codec`].

use super::{bytes_of, database, list, put_bytes};
use crate::command::{AtomicWrite, Check, Mutation, MutationKind, RequestId, Sum};
use crate::{BigInt, Encoding, StoredValue};
use engine::Versionstamp;
use engine::codec::{Decoder, Malformed, put_varint};
use num_bigint::Sign;

const CHECK_ABSENT: u8 = 1;
const CHECK_STAMP: u8 = 2;

const SET: u8 = 1;
const SET_SUFFIXED: u8 = 2;
const SET_EXPIRING: u8 = 3;
const SET_SUFFIXED_EXPIRING: u8 = 4;
const DELETE: u8 = 5;
const SUM_U64: u8 = 6;
const MIN: u8 = 7;
const MAX: u8 = 8;
const SUM_BIGINT: u8 = 9;
const SUM_NUMBER: u8 = 10;

const HAS_MIN: u8 = 1;
const HAS_MAX: u8 = 2;
const CLAMPS: u8 = 4;

pub(crate) fn encode(write: &AtomicWrite, out: &mut Vec<u8>) {
    put_request(write.request, out);
    put_varint(out, u64::from(write.database.0));
    put_varint(out, write.checks.len() as u64);
    for check in &write.checks {
        out.push(if check.stamp.is_some() { CHECK_STAMP } else { CHECK_ABSENT });
        put_bytes(out, &check.key);
        out.extend(check.stamp.iter().flat_map(|stamp| stamp.as_bytes()));
    }
    put_varint(out, write.mutations.len() as u64);
    for mutation in &write.mutations {
        out.push(kind_of(&mutation.kind));
        put_bytes(out, &mutation.key);
        encode_fields(&mutation.kind, out);
    }
}

pub(crate) fn decode(rest: &mut Decoder<'_>) -> Result<AtomicWrite, Malformed> {
    Ok(AtomicWrite {
        request: request(rest)?,
        database: database(rest)?,
        checks: list(rest, "number of checks", decode_check)?,
        mutations: list(rest, "number of mutations", decode_mutation)?,
    })
}

pub(super) fn put_request(request: RequestId, out: &mut Vec<u8>) {
    for part in [request.node, request.boot, request.counter] {
        out.extend_from_slice(&part.to_le_bytes());
    }
}

pub(super) fn request(rest: &mut Decoder<'_>) -> Result<RequestId, Malformed> {
    Ok(RequestId { node: rest.u64("node")?, boot: rest.u64("boot")?, counter: rest.u64("counter")? })
}

fn decode_check(rest: &mut Decoder<'_>) -> Result<Check, Malformed> {
    let start = rest.clone();
    let kind = rest.u8("kind of a check")?;
    let key = bytes_of(rest, "key of a check")?.to_vec();
    let stamp = match kind {
        CHECK_ABSENT => None,
        CHECK_STAMP => Some(Versionstamp::from_bytes(rest.array("stamp of a check")?)),
        _ => return Err(start.malformed("a check kind from 1 to 2")),
    };
    Ok(Check { key, stamp })
}

const fn kind_of(kind: &MutationKind) -> u8 {
    match kind {
        MutationKind::Set { expire_at_ms: None, .. } => SET,
        MutationKind::Set { expire_at_ms: Some(_), .. } => SET_EXPIRING,
        MutationKind::SetSuffixed { expire_at_ms: None, .. } => SET_SUFFIXED,
        MutationKind::SetSuffixed { expire_at_ms: Some(_), .. } => SET_SUFFIXED_EXPIRING,
        MutationKind::Delete => DELETE,
        MutationKind::Sum(Sum::U64(_)) => SUM_U64,
        MutationKind::Sum(Sum::BigInt { .. }) => SUM_BIGINT,
        MutationKind::Sum(Sum::Number { .. }) => SUM_NUMBER,
        MutationKind::Min(_) => MIN,
        MutationKind::Max(_) => MAX,
    }
}

fn encode_fields(kind: &MutationKind, out: &mut Vec<u8>) {
    match kind {
        MutationKind::Set { value, expire_at_ms } | MutationKind::SetSuffixed { value, expire_at_ms } => {
            out.push(value.encoding.as_byte());
            put_bytes(out, &value.bytes);
            out.extend(expire_at_ms.iter().flat_map(|at| at.to_le_bytes()));
        }
        MutationKind::Delete => {}
        MutationKind::Sum(Sum::U64(operand)) | MutationKind::Min(operand) | MutationKind::Max(operand) => {
            out.extend_from_slice(&operand.to_le_bytes());
        }
        MutationKind::Sum(Sum::BigInt { operand, min, max, clamp }) => {
            out.push(flags(min.is_some(), max.is_some(), *clamp));
            [Some(operand), min.as_ref(), max.as_ref()]
                .into_iter()
                .flatten()
                .for_each(|n| put_bigint(out, n));
        }
        MutationKind::Sum(Sum::Number { operand, min, max, clamp }) => {
            out.push(flags(min.is_some(), max.is_some(), *clamp));
            let numbers = [Some(*operand), *min, *max].into_iter().flatten();
            out.extend(numbers.flat_map(|number| number.to_bits().to_le_bytes()));
        }
    }
}

fn decode_mutation(rest: &mut Decoder<'_>) -> Result<Mutation, Malformed> {
    let start = rest.clone();
    let kind = rest.u8("kind of a mutation")?;
    let key = bytes_of(rest, "key of a mutation")?.to_vec();
    let kind = match kind {
        SET => MutationKind::Set { value: value(rest)?, expire_at_ms: None },
        SET_SUFFIXED => MutationKind::SetSuffixed { value: value(rest)?, expire_at_ms: None },
        SET_EXPIRING => MutationKind::Set { value: value(rest)?, expire_at_ms: expiry(rest)? },
        SET_SUFFIXED_EXPIRING => {
            MutationKind::SetSuffixed { value: value(rest)?, expire_at_ms: expiry(rest)? }
        }
        DELETE => MutationKind::Delete,
        SUM_U64 => MutationKind::Sum(Sum::U64(rest.u64("operand")?)),
        MIN => MutationKind::Min(rest.u64("operand")?),
        MAX => MutationKind::Max(rest.u64("operand")?),
        SUM_BIGINT => {
            let (operand, min, max, clamp) = operands(rest, bigint)?;
            MutationKind::Sum(Sum::BigInt { operand, min, max, clamp })
        }
        SUM_NUMBER => {
            let (operand, min, max, clamp) = operands(rest, number)?;
            MutationKind::Sum(Sum::Number { operand, min, max, clamp })
        }
        _ => return Err(start.malformed("a mutation kind from 1 to 10")),
    };
    Ok(Mutation { key, kind })
}

fn value(rest: &mut Decoder<'_>) -> Result<StoredValue, Malformed> {
    let start = rest.clone();
    let encoding = Encoding::from_byte(rest.u8("encoding of a value")?);
    let encoding = encoding.ok_or_else(|| start.malformed("an encoding from 1 to 3"))?;
    Ok(StoredValue { encoding, bytes: bytes_of(rest, "value")?.to_vec() })
}

fn expiry(rest: &mut Decoder<'_>) -> Result<Option<u64>, Malformed> {
    rest.u64("expire_at_ms").map(Some)
}

fn flags(has_min: bool, has_max: bool, clamps: bool) -> u8 {
    u8::from(has_min) * HAS_MIN + u8::from(has_max) * HAS_MAX + u8::from(clamps) * CLAMPS
}

type Operands<T> = (T, Option<T>, Option<T>, bool);

fn operands<T>(
    rest: &mut Decoder<'_>,
    read: fn(&mut Decoder<'_>) -> Result<T, Malformed>,
) -> Result<Operands<T>, Malformed> {
    let start = rest.clone();
    let flags = rest.u8("flags of a sum")?;
    start.ensure(flags <= HAS_MIN | HAS_MAX | CLAMPS, "flags of a sum below 8")?;
    let operand = read(rest)?;
    let min = (flags & HAS_MIN != 0).then(|| read(rest)).transpose()?;
    let max = (flags & HAS_MAX != 0).then(|| read(rest)).transpose()?;
    Ok((operand, min, max, flags & CLAMPS != 0))
}

fn number(rest: &mut Decoder<'_>) -> Result<f64, Malformed> {
    rest.u64("a double").map(f64::from_bits)
}

fn put_bigint(out: &mut Vec<u8>, value: &BigInt) {
    out.push(u8::from(value.sign() == Sign::Minus));
    let magnitude = if value.sign() == Sign::NoSign { Vec::new() } else { value.magnitude().to_bytes_le() };
    put_bytes(out, &magnitude);
}

fn bigint(rest: &mut Decoder<'_>) -> Result<BigInt, Malformed> {
    let start = rest.clone();
    let sign = match rest.u8("sign of a bigint")? {
        0 => Sign::Plus,
        1 => Sign::Minus,
        _ => return Err(start.malformed("a sign from 0 to 1")),
    };
    let magnitude = bytes_of(rest, "magnitude of a bigint")?;
    start.ensure(magnitude.last() != Some(&0), "a magnitude without leading zeros")?;
    start.ensure(!magnitude.is_empty() || sign == Sign::Plus, "a zero without sign")?;
    Ok(BigInt::from_bytes_le(sign, magnitude))
}
