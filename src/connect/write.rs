//! `atomic_write`: from the message to typed checks and mutations, and from the outcome to an answer.
//!
//! - Everything that can be refused without looking at the data is refused here; what depends on
//!   the data is decided by `apply`, which must not know any limit.
//! - A refused write changes nothing.

use super::errors::Error;
use super::limits::{
    CHECKS_MAX, MUTATIONS_MAX, READ_KEY_LEN_MAX, SUFFIX_LEN, VALUE_LEN_MAX, WRITE_KEY_LEN_MAX, WRITE_LEN_MAX,
};
use denokv_proto::datapath as pb;
use engine::Versionstamp;
use prost::Message;
use replication::number::{self, Number};
use replication::{
    AtomicWrite, Check, DatabaseNumber, Encoding, Mutation, MutationKind, Operation, Outcome, Refusal,
    RequestId, StoredValue, Sum,
};

/// Reads an atomic write to a database and checks it against the limits.
///
/// # Errors
///
/// 400 with what is wrong.
pub fn decode(body: &[u8], database: DatabaseNumber, request: RequestId) -> Result<AtomicWrite, Error> {
    let message = pb::AtomicWrite::decode(body)?;
    check_limits(&message)?;
    Ok(AtomicWrite {
        request,
        database,
        checks: message.checks.into_iter().map(check).collect::<Result<_, _>>()?,
        mutations: message.mutations.into_iter().map(mutation).collect::<Result<_, _>>()?,
    })
}

/// The answer to a write that was evaluated.
///
/// # Errors
///
/// 400 when the write could not be applied to what is stored.
pub fn encode(outcome: Outcome) -> Result<pb::AtomicWriteOutput, Error> {
    match outcome {
        Outcome::Committed(stamp) => Ok(pb::AtomicWriteOutput {
            status: pb::AtomicWriteStatus::AwSuccess.into(),
            versionstamp: stamp.as_bytes().to_vec(),
            failed_checks: Vec::new(),
        }),
        Outcome::ChecksFailed(failed_checks) => Ok(pb::AtomicWriteOutput {
            status: pb::AtomicWriteStatus::AwCheckFailure.into(),
            versionstamp: Vec::new(),
            failed_checks,
        }),
        Outcome::Refused(refusal) => Err(Error::Refused(refusal)),
    }
}

fn check_limits(write: &pb::AtomicWrite) -> Result<(), Error> {
    if write.checks.len() > CHECKS_MAX {
        return Err(Error::TooManyChecks);
    }
    if write.mutations.len() + write.enqueues.len() > MUTATIONS_MAX {
        return Err(Error::TooManyMutations);
    }
    let checks: usize = write.checks.iter().map(|check| check.key.len()).sum();
    let mutations: usize = write.mutations.iter().map(len).sum();
    let enqueues: usize = write.enqueues.iter().map(|enqueue| enqueue.payload.len()).sum();
    if checks + mutations + enqueues > WRITE_LEN_MAX {
        // A key or a value over its own limit is the better answer.
        write.checks.iter().try_for_each(|check| key_len(&check.key, READ_KEY_LEN_MAX))?;
        write.mutations.iter().try_for_each(mutation_lens)?;
        return Err(Error::WriteTooLarge);
    }
    if write.enqueues.is_empty() { Ok(()) } else { Err(Error::EnqueueUnsupported) }
}

fn len(mutation: &pb::Mutation) -> usize {
    let value = mutation.value.as_ref().map_or(0, |value| value.data.len());
    mutation.key.len() + value + mutation.sum_min.len() + mutation.sum_max.len()
}

fn mutation_lens(mutation: &pb::Mutation) -> Result<(), Error> {
    let suffixed = mutation.mutation_type() == pb::MutationType::MSetSuffixVersionstampedKey;
    if suffixed {
        // The suffix alone makes a key, so nothing need stand before it.
        key_at_most(&mutation.key, WRITE_KEY_LEN_MAX - SUFFIX_LEN)?;
    } else {
        key_len(&mutation.key, WRITE_KEY_LEN_MAX)?;
    }
    let value = mutation.value.as_ref().map_or(0, |value| value.data.len());
    let longest = value.max(mutation.sum_min.len()).max(mutation.sum_max.len());
    if longest > VALUE_LEN_MAX { Err(Error::ValueTooLong) } else { Ok(()) }
}

/// Checks that a key has 1 to `len_max` bytes.
pub(super) fn key_len(key: &[u8], len_max: usize) -> Result<(), Error> {
    if key.is_empty() { Err(Error::KeyEmpty) } else { key_at_most(key, len_max) }
}

fn key_at_most(key: &[u8], len_max: usize) -> Result<(), Error> {
    if key.len() > len_max { Err(Error::KeyTooLong) } else { Ok(()) }
}

fn check(check: pb::Check) -> Result<Check, Error> {
    key_len(&check.key, READ_KEY_LEN_MAX)?;
    let stamp = if check.versionstamp.is_empty() {
        None
    } else {
        let bytes = <[u8; Versionstamp::LEN]>::try_from(check.versionstamp)
            .map_err(|_other_len| Error::InvalidVersionstamp)?;
        Some(Versionstamp::from_bytes(bytes))
    };
    Ok(Check { key: check.key, stamp })
}

fn mutation(mut mutation: pb::Mutation) -> Result<Mutation, Error> {
    mutation_lens(&mutation)?;
    let kind = kind(&mut mutation)?;
    Ok(Mutation { key: mutation.key, kind })
}

fn kind(mutation: &mut pb::Mutation) -> Result<MutationKind, Error> {
    let expire_at_ms = match mutation.expire_at_ms {
        -1 | 0 => None,
        at => Some(u64::try_from(at).map_err(|_negative| Error::InvalidExpireAt)?),
    };
    match mutation.mutation_type() {
        pb::MutationType::MDelete => Ok(MutationKind::Delete),
        pb::MutationType::MSet => Ok(MutationKind::Set { value: value(mutation)?, expire_at_ms }),
        pb::MutationType::MSetSuffixVersionstampedKey => {
            Ok(MutationKind::SetSuffixed { value: value(mutation)?, expire_at_ms })
        }
        pb::MutationType::MSum => sum(mutation).map(MutationKind::Sum),
        pb::MutationType::MMin => u64_operand(value(mutation)?, Operation::Min).map(MutationKind::Min),
        pb::MutationType::MMax => u64_operand(value(mutation)?, Operation::Max).map(MutationKind::Max),
        pb::MutationType::MUnspecified => Err(Error::InvalidMutation),
    }
}

fn value(mutation: &mut pb::Mutation) -> Result<StoredValue, Error> {
    let value = mutation.value.take().ok_or(Error::InvalidMutation)?;
    let encoding = u8::try_from(value.encoding).ok().and_then(Encoding::from_byte);
    let encoding = encoding.ok_or(Error::UnknownEncoding(value.encoding))?;
    if encoding == Encoding::Le64 && value.data.len() != 8 {
        return Err(Error::InvalidLe64);
    }
    Ok(StoredValue { encoding, bytes: value.data })
}

fn u64_operand(value: StoredValue, operation: Operation) -> Result<u64, Error> {
    match (value.encoding, <[u8; 8]>::try_from(value.bytes)) {
        (Encoding::Le64, Ok(bytes)) => Ok(u64::from_le_bytes(bytes)),
        _ => Err(Error::Refused(Refusal::NonU64Operand(operation))),
    }
}

fn sum(mutation: &mut pb::Mutation) -> Result<Sum, Error> {
    let operand = value(mutation)?;
    match operand.encoding {
        Encoding::Le64 if !mutation.sum_min.is_empty() || !mutation.sum_max.is_empty() => {
            Err(Error::BoundsOnU64)
        }
        Encoding::Le64 => u64_operand(operand, Operation::Sum).map(Sum::U64),
        Encoding::V8 => v8_sum(&operand.bytes, mutation).map_err(Error::Refused),
        Encoding::Bytes => Err(Error::Refused(Refusal::SumParameters)),
    }
}

fn v8_sum(operand: &[u8], mutation: &pb::Mutation) -> Result<Sum, Refusal> {
    let number = |bytes: &[u8]| number::decode(bytes).map_err(|_other| Refusal::SumParameters);
    let bound = |bytes: &[u8]| if bytes.is_empty() { Ok(None) } else { number(bytes).map(Some) };
    let operand = number(operand)?;
    let (min, max) = (bound(&mutation.sum_min)?, bound(&mutation.sum_max)?);
    let clamp = mutation.sum_clamp;
    match operand {
        Number::BigInt(operand) => Ok(Sum::BigInt { operand, min: bigint(min)?, max: bigint(max)?, clamp }),
        Number::Double(operand) => Ok(Sum::Number { operand, min: double(min)?, max: double(max)?, clamp }),
    }
}

fn bigint(bound: Option<Number>) -> Result<Option<replication::BigInt>, Refusal> {
    match bound {
        None => Ok(None),
        Some(Number::BigInt(value)) => Ok(Some(value)),
        Some(Number::Double(_)) => Err(Refusal::SumBoundTypes),
    }
}

fn double(bound: Option<Number>) -> Result<Option<f64>, Refusal> {
    match bound {
        None => Ok(None),
        Some(Number::Double(value)) => Ok(Some(value)),
        Some(Number::BigInt(_)) => Err(Refusal::SumBoundTypes),
    }
}

#[cfg(test)]
mod tests;
