//! From the bytes that a client sends as an operand to the typed operand of a log entry.
//!
//! This happens before an entry is made, on one node; apply sees typed operands alone.

use crate::number::{self, Number};
use crate::{Encoding, Operation, Refusal, StoredValue, Sum};

impl Sum {
    /// Types the operand of a sum and its bounds. Empty bounds are none; a u64 has none and ignores them.
    ///
    /// # Errors
    ///
    /// [`Refusal::SumParameters`] when one is not a number, [`Refusal::SumBoundTypes`] when a bound is
    /// of another type than the operand.
    pub fn from_client(
        operand: &StoredValue,
        min_v8: &[u8],
        max_v8: &[u8],
        clamp: bool,
    ) -> Result<Sum, Refusal> {
        match operand.encoding {
            Encoding::Le64 => u64_of(operand).map(Sum::U64).ok_or(Refusal::SumParameters),
            Encoding::Bytes => Err(Refusal::SumParameters),
            Encoding::V8 => {
                let operand = number::decode(&operand.bytes).map_err(|_other| Refusal::SumParameters)?;
                let (min, max) = (bound(min_v8)?, bound(max_v8)?);
                match operand {
                    Number::BigInt(operand) => {
                        Ok(Sum::BigInt { operand, min: bigint(min)?, max: bigint(max)?, clamp })
                    }
                    Number::Double(operand) => {
                        Ok(Sum::Number { operand, min: double(min)?, max: double(max)?, clamp })
                    }
                }
            }
        }
    }
}

/// Types the operand of a min or max.
///
/// # Errors
///
/// [`Refusal::NonU64Operand`] when it is not a u64.
pub fn u64_operand(operation: Operation, operand: &StoredValue) -> Result<u64, Refusal> {
    u64_of(operand).ok_or(Refusal::NonU64Operand(operation))
}

fn u64_of(value: &StoredValue) -> Option<u64> {
    let bytes = value.bytes.as_slice().try_into().ok()?;
    (value.encoding == Encoding::Le64).then(|| u64::from_le_bytes(bytes))
}

fn bound(v8: &[u8]) -> Result<Option<Number>, Refusal> {
    if v8.is_empty() {
        return Ok(None);
    }
    number::decode(v8).map(Some).map_err(|_other| Refusal::SumParameters)
}

fn bigint(bound: Option<Number>) -> Result<Option<crate::BigInt>, Refusal> {
    match bound {
        None => Ok(None),
        Some(Number::BigInt(bound)) => Ok(Some(bound)),
        Some(Number::Double(_)) => Err(Refusal::SumBoundTypes),
    }
}

fn double(bound: Option<Number>) -> Result<Option<f64>, Refusal> {
    match bound {
        None => Ok(None),
        Some(Number::Double(bound)) => Ok(Some(bound)),
        Some(Number::BigInt(_)) => Err(Refusal::SumBoundTypes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BigInt;

    const ONE: &[u8] = b"\xff\x0fI\x02";
    const BIG_ONE: &[u8] = b"\xff\x0fZ\x02\x01";

    fn v8(bytes: &[u8]) -> StoredValue {
        StoredValue { encoding: Encoding::V8, bytes: bytes.to_vec() }
    }

    #[test]
    fn operands_and_bounds_are_typed() {
        let number = Sum::Number { operand: 1.0, min: None, max: Some(1.0), clamp: true };
        assert_eq!(Sum::from_client(&v8(ONE), b"", ONE, true), Ok(number));
        let one = BigInt::from(1);
        let bigint = Sum::BigInt { operand: one.clone(), min: Some(one), max: None, clamp: false };
        assert_eq!(Sum::from_client(&v8(BIG_ONE), BIG_ONE, b"", false), Ok(bigint));
        assert_eq!(Sum::from_client(&StoredValue::u64(7), ONE, b"?", true), Ok(Sum::U64(7)));
        assert_eq!(u64_operand(Operation::Min, &StoredValue::u64(7)), Ok(7));
    }

    #[test]
    fn what_is_no_number_is_refused_in_known_words() {
        let bytes = StoredValue { encoding: Encoding::Bytes, bytes: ONE.to_vec() };
        let short = StoredValue { encoding: Encoding::Le64, bytes: vec![1] };
        for operand in [v8(b""), v8(b"\xff\x0fT"), bytes, short.clone()] {
            assert_eq!(Sum::from_client(&operand, b"", b"", false), Err(Refusal::SumParameters));
        }
        assert_eq!(Sum::from_client(&v8(ONE), b"x", b"", false), Err(Refusal::SumParameters));
        assert_eq!(Sum::from_client(&v8(ONE), BIG_ONE, b"", false), Err(Refusal::SumBoundTypes));
        assert_eq!(Sum::from_client(&v8(BIG_ONE), b"", ONE, false), Err(Refusal::SumBoundTypes));
        for operand in [v8(ONE), short] {
            let refusal = Refusal::NonU64Operand(Operation::Max);
            assert_eq!(u64_operand(Operation::Max, &operand), Err(refusal));
        }
        assert_eq!(
            Refusal::NonU64Operand(Operation::Max).to_string(),
            "Failed to perform 'max' mutation on a non-U64 operand"
        );
    }
}
