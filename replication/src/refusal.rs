//! Why an atomic write was not applied although its checks held, in the words that clients know.
//!
//! The texts are those of `denokv`, which client tests look for. Each refuses its whole atomic
//! write and nothing else.

use std::fmt;

/// An operation on numbers, as messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Addition.
    Sum,
    /// The smaller of two.
    Min,
    /// The greater of two.
    Max,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Sum => "sum",
            Operation::Min => "min",
            Operation::Max => "max",
        })
    }
}

/// Why an atomic write was refused. `Display` is the text of the client's 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The stored value is not a u64. Use another key or another type.
    #[error("Failed to perform '{0}' mutation on a non-U64 value in the database")]
    NonU64Value(Operation),
    /// The operand is not a u64. Send one.
    #[error("Failed to perform '{0}' mutation on a non-U64 operand")]
    NonU64Operand(Operation),
    /// The stored value and the operand are of different types. Use the type that is stored.
    #[error("Cannot sum {stored} with {operand}")]
    SumTypes {
        /// Type of the stored value: `KvU64`, `BigInt` or `Number`.
        stored: &'static str,
        /// Type of the operand, one of the same three.
        operand: &'static str,
    },
    /// The result is outside the bounds of the operand. Sum less, or clamp.
    #[error("The result of a Sum operation would exceed its range limit")]
    SumOutOfRange,
    /// The operand or a bound is not a V8 number or bigint. Send one.
    #[error("Some of the parameters are not valid V8 values")]
    SumParameters,
    /// A bound is of another type than the operand. Send one of the same.
    #[error("Min/max parameters have different types than the operand")]
    SumBoundTypes,
    /// The stored value is neither a number nor a bigint. Set it first.
    #[error("unsupported value type")]
    UnsupportedValueType,
    /// The stored value is not readable V8 bytes. Set it first.
    #[error("invalid v8 value")]
    InvalidV8Value,
    /// A key is longer than the engine can hold. Give a shorter one.
    #[error("A key exceeds the key size limit.")]
    KeyTooLong,
    /// A value is longer than the engine can hold. Give a shorter one.
    #[error("A value exceeds the value size limit.")]
    ValueTooLong,
    /// The batch would come to more than [`crate::apply::RESOLVED_BYTES_MAX`]. Send it again alone, or in parts.
    #[error("The total size of the atomic write is too large.")]
    TooLarge,
    /// The write stands after the last place in its batch. Send it again.
    #[error("Too many atomic writes in one batch.")]
    BatchFull,
}
