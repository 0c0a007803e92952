//! Arithmetic on stored values: pure, and as `denokv` does it.
//!
//! - An absent value becomes the operand, whatever the bounds.
//! - A u64 stays a u64: a bigint without bounds that fits is taken as one.
//! - Bounds are applied the lower first. A NaN is neither below nor above one.

use crate::command::Sum;
use crate::number::{self, Number};
use crate::{BigInt, Encoding, Operation, Refusal, StoredValue};

/// A stored value that can be added to.
enum Stored {
    U64(u64),
    Number(Number),
}

impl Stored {
    fn read(bytes: &[u8]) -> Result<Stored, Refusal> {
        let (encoding, bytes) = split(bytes).ok_or(Refusal::UnsupportedValueType)?;
        match encoding {
            Encoding::Le64 => read_u64(bytes).map(Stored::U64).ok_or(Refusal::UnsupportedValueType),
            Encoding::V8 => number::decode(bytes).map(Stored::Number),
            Encoding::Bytes => Err(Refusal::UnsupportedValueType),
        }
    }

    const fn type_name(&self) -> &'static str {
        match self {
            Stored::U64(_) => "KvU64",
            Stored::Number(Number::BigInt(_)) => "BigInt",
            Stored::Number(Number::Double(_)) => "Number",
        }
    }
}

/// The stored value plus the operand. `stored` is an engine value.
pub(super) fn sum(stored: Option<&[u8]>, sum: &Sum) -> Result<StoredValue, Refusal> {
    match sum {
        Sum::U64(operand) => on_u64(stored, *operand, Operation::Sum, u64::wrapping_add),
        Sum::BigInt { operand, min, max, clamp } => sum_bigint(stored, operand, min, max, *clamp),
        Sum::Number { operand, min, max, clamp } => sum_number(stored, *operand, min, max, *clamp),
    }
}

/// The smaller of the stored value and the operand.
pub(super) fn min(stored: Option<&[u8]>, operand: u64) -> Result<StoredValue, Refusal> {
    on_u64(stored, operand, Operation::Min, Ord::min)
}

/// The greater of the stored value and the operand.
pub(super) fn max(stored: Option<&[u8]>, operand: u64) -> Result<StoredValue, Refusal> {
    on_u64(stored, operand, Operation::Max, Ord::max)
}

fn on_u64(
    stored: Option<&[u8]>,
    operand: u64,
    operation: Operation,
    combine: fn(u64, u64) -> u64,
) -> Result<StoredValue, Refusal> {
    let Some(stored) = stored else {
        return Ok(StoredValue::u64(operand));
    };
    match split(stored) {
        Some((Encoding::Le64, bytes)) => read_u64(bytes).map(|stored| combine(stored, operand)),
        _ => None,
    }
    .map(StoredValue::u64)
    .ok_or(Refusal::NonU64Value(operation))
}

fn sum_bigint(
    stored: Option<&[u8]>,
    operand: &BigInt,
    min: &Option<BigInt>,
    max: &Option<BigInt>,
    clamp: bool,
) -> Result<StoredValue, Refusal> {
    let Some(stored) = stored else {
        return v8(Number::BigInt(operand.clone()));
    };
    let unbounded = min.is_none() && max.is_none() && !clamp;
    match Stored::read(stored)? {
        Stored::Number(Number::BigInt(stored)) => {
            bounded(stored + operand, min, max, clamp).map(Number::BigInt).and_then(v8)
        }
        stored @ Stored::U64(value) => match u64::try_from(operand) {
            Ok(operand) if unbounded => Ok(StoredValue::u64(value.wrapping_add(operand))),
            _ => Err(Refusal::SumTypes { stored: stored.type_name(), operand: "BigInt" }),
        },
        stored => Err(Refusal::SumTypes { stored: stored.type_name(), operand: "BigInt" }),
    }
}

fn sum_number(
    stored: Option<&[u8]>,
    operand: f64,
    min: &Option<f64>,
    max: &Option<f64>,
    clamp: bool,
) -> Result<StoredValue, Refusal> {
    let Some(stored) = stored else {
        return v8(Number::Double(operand));
    };
    match Stored::read(stored)? {
        Stored::Number(Number::Double(stored)) => {
            bounded(stored + operand, min, max, clamp).map(Number::Double).and_then(v8)
        }
        stored => Err(Refusal::SumTypes { stored: stored.type_name(), operand: "Number" }),
    }
}

fn bounded<T: PartialOrd + Clone>(
    mut result: T,
    min: &Option<T>,
    max: &Option<T>,
    clamp: bool,
) -> Result<T, Refusal> {
    if let Some(min) = min.as_ref().filter(|min| result < **min) {
        result = if clamp { min.clone() } else { return Err(Refusal::SumOutOfRange) };
    }
    if let Some(max) = max.as_ref().filter(|max| result > **max) {
        result = if clamp { max.clone() } else { return Err(Refusal::SumOutOfRange) };
    }
    Ok(result)
}

fn v8(number: Number) -> Result<StoredValue, Refusal> {
    Ok(StoredValue { encoding: Encoding::V8, bytes: number::encode(&number)? })
}

fn split(stored: &[u8]) -> Option<(Encoding, &[u8])> {
    let (encoding, bytes) = stored.split_first()?;
    Some((Encoding::from_byte(*encoding)?, bytes))
}

fn read_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}
