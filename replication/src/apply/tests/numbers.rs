//! Sums, minima and maxima of every pair of types.

use super::*;
use crate::number::{self, Number};
use crate::{BigInt, Operation};
use std::error::Error;

fn put(value: StoredValue) -> MutationKind {
    MutationKind::Set { value, expire_at_ms: None }
}

fn v8(bytes: &[u8]) -> StoredValue {
    StoredValue { encoding: Encoding::V8, bytes: bytes.to_vec() }
}

fn big(value: i128) -> StoredValue {
    v8(&number::encode(&Number::BigInt(BigInt::from(value))).unwrap_or_default())
}

fn double(value: f64) -> StoredValue {
    v8(&number::encode(&Number::Double(value)).unwrap_or_default())
}

fn add_big(operand: i128, min: Option<i128>, max: Option<i128>, clamp: bool) -> MutationKind {
    let [min, max] = [min, max].map(|bound| bound.map(BigInt::from));
    MutationKind::Sum(Sum::BigInt { operand: BigInt::from(operand), min, max, clamp })
}

fn add_double(operand: f64, min: Option<f64>, max: Option<f64>, clamp: bool) -> MutationKind {
    MutationKind::Sum(Sum::Number { operand, min, max, clamp })
}

fn add_u64(operand: u64) -> MutationKind {
    MutationKind::Sum(Sum::U64(operand))
}

/// The value after a mutation of a stored value, or the text of the refusal.
fn after(stored: Option<StoredValue>, kind: MutationKind) -> Result<Result<Vec<u8>, String>, Box<dyn Error>> {
    let mut history = History::new();
    if let Some(stored) = stored {
        history.step(&batch_at(1, [write(vec![], vec![mutation(b"k", put(stored))])]))?;
    }
    let application = history.step(&batch_at(2, [write(vec![], vec![mutation(b"k", kind)])]))?;
    Ok(match &application.outcomes[0] {
        Outcome::Committed(_) => Ok(read(&history, b"k").ok_or("no value")?.1),
        Outcome::Refused(refusal) => Err(refusal.to_string()),
        Outcome::ChecksFailed(_) => return Err("there was no check".into()),
    })
}

fn becomes(stored: Option<StoredValue>, kind: MutationKind, expected: StoredValue) -> TestResult {
    let label = format!("{stored:?} {kind:?}");
    assert_eq!(after(stored, kind)?, Ok(expected.to_engine()), "{label}");
    Ok(())
}

fn refused(stored: StoredValue, kind: MutationKind, text: &str) -> TestResult {
    let label = format!("{stored:?} {kind:?}");
    assert_eq!(after(Some(stored), kind)?, Err(text.to_owned()), "{label}");
    Ok(())
}

#[test]
fn an_absent_value_becomes_the_operand_whatever_the_bounds() -> TestResult {
    becomes(None, add_u64(5), StoredValue::u64(5))?;
    becomes(None, MutationKind::Min(5), StoredValue::u64(5))?;
    becomes(None, MutationKind::Max(5), StoredValue::u64(5))?;
    becomes(None, add_big(5, None, Some(1), false), big(5))?;
    becomes(None, add_double(5.0, Some(6.0), None, false), double(5.0))
}

#[test]
fn u64_wraps_and_takes_bigints_that_fit() -> TestResult {
    becomes(Some(StoredValue::u64(u64::MAX)), add_u64(2), StoredValue::u64(1))?;
    becomes(Some(StoredValue::u64(7)), MutationKind::Min(5), StoredValue::u64(5))?;
    becomes(Some(StoredValue::u64(7)), MutationKind::Max(5), StoredValue::u64(7))?;
    becomes(
        Some(StoredValue::u64(1)),
        add_big(i128::from(u64::MAX), None, None, false),
        StoredValue::u64(0),
    )?;
    let text = "Cannot sum KvU64 with BigInt";
    for operand in [-1, i128::from(u64::MAX) + 1] {
        refused(StoredValue::u64(1), add_big(operand, None, None, false), text)?;
    }
    refused(StoredValue::u64(1), add_big(1, Some(0), None, false), text)?;
    refused(StoredValue::u64(1), add_big(1, None, None, true), text)
}

#[test]
fn numbers_and_bigints_add_within_bounds() -> TestResult {
    becomes(Some(big(40)), add_big(2, None, None, false), big(42))?;
    becomes(Some(big(1 << 70)), add_big(-(1 << 70), None, None, false), big(0))?;
    becomes(Some(big(40)), add_big(2, Some(42), Some(42), false), big(42))?;
    becomes(Some(big(40)), add_big(2, Some(50), None, true), big(50))?;
    becomes(Some(big(40)), add_big(2, None, Some(41), true), big(41))?;
    becomes(Some(double(1.0)), add_double(0.5, None, None, false), double(1.5))?;
    becomes(Some(v8(b"\xff\x10I\x02")), add_double(0.5, None, Some(1.5), false), double(1.5))?;
    becomes(Some(double(1.0)), add_double(9.0, None, Some(5.0), true), double(5.0))?;
    becomes(Some(double(1.0)), add_double(9.0, Some(20.0), Some(5.0), true), double(5.0))?;
    becomes(Some(double(1.0)), add_double(f64::NAN, Some(0.0), Some(5.0), false), double(f64::NAN))?;
    let text = "The result of a Sum operation would exceed its range limit";
    refused(big(40), add_big(2, Some(43), None, false), text)?;
    refused(big(40), add_big(2, None, Some(41), false), text)?;
    refused(double(1.0), add_double(-2.0, Some(0.0), None, false), text)?;
    refused(double(1.0), add_double(2.0, None, Some(2.5), false), text)
}

#[test]
fn types_that_do_not_add_are_refused_in_known_words() -> TestResult {
    refused(StoredValue::u64(1), add_double(1.0, None, None, false), "Cannot sum KvU64 with Number")?;
    refused(big(1), add_double(1.0, None, None, false), "Cannot sum BigInt with Number")?;
    refused(double(1.0), add_big(1, None, None, false), "Cannot sum Number with BigInt")?;
    for (kind, name) in [(add_u64(1), "sum"), (MutationKind::Min(1), "min"), (MutationKind::Max(1), "max")] {
        let text = format!("Failed to perform '{name}' mutation on a non-U64 value in the database");
        refused(big(1), kind.clone(), &text)?;
        refused(StoredValue { encoding: Encoding::Le64, bytes: vec![1] }, kind, &text)?;
    }
    let bytes = StoredValue { encoding: Encoding::Bytes, bytes: vec![1] };
    for stored in [bytes, v8(b"\xff\x0fT"), StoredValue { encoding: Encoding::Le64, bytes: vec![1] }] {
        refused(stored, add_big(1, None, None, false), "unsupported value type")?;
    }
    refused(v8(b"junk"), add_double(1.0, None, None, false), "invalid v8 value")
}

#[test]
fn a_value_that_has_expired_is_not_added_to_and_a_sum_clears_the_expiry() -> TestResult {
    let mut history = History::new();
    let expiring = MutationKind::Set { value: StoredValue::u64(5), expire_at_ms: Some(10) };
    history.step(&batch_at(1, [write(vec![], vec![mutation(b"k", expiring)])]))?;
    let mut before = history.clone();
    before.step(&batch_at(9, [write(vec![], vec![add(b"k", 1)])]))?;
    before.step(&Entry::Tick { time_ms: 100 })?;
    assert_eq!(read(&before, b"k"), Some((Versionstamp::new(2, 0), StoredValue::u64(6).to_engine())));
    history.step(&batch_at(10, [write(vec![absent(b"k")], vec![add(b"k", 1)])]))?;
    assert_eq!(read(&history, b"k"), Some((Versionstamp::new(2, 0), StoredValue::u64(1).to_engine())));
    let text = Refusal::NonU64Operand(Operation::Min).to_string();
    assert_eq!(text, "Failed to perform 'min' mutation on a non-U64 operand");
    Ok(())
}
