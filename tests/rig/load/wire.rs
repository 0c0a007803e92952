//! From requests as the checker knows them to messages, and back.

use super::draw::{self, Keys};
use super::{TestResult, writes};
use cairn::bench::client::Error;
use denokv_proto::datapath::{
    self as pb, AtomicWriteOutput, AtomicWriteStatus, KvEntry, KvValue, MutationType, ReadRange, SnapshotRead,
};
use engine::Versionstamp;
use replication::check::{Row, Selection, Written};
use replication::{AtomicWrite, DEFAULT_DATABASE, Mutation, MutationKind, StoredValue, Sum, engine_key};

/// The message of a write.
///
/// # Panics
///
/// For kinds of mutation that no test draws.
pub(crate) fn write(write: &AtomicWrite) -> pb::AtomicWrite {
    let checks = write.checks.iter().map(|check| writes::check(&check.key, check.stamp)).collect();
    let mutations = write.mutations.iter().map(mutation).collect();
    pb::AtomicWrite { checks, mutations, ..pb::AtomicWrite::default() }
}

fn mutation(mutation: &Mutation) -> pb::Mutation {
    let (kind, value) = match &mutation.kind {
        MutationKind::Set { value, .. } => (MutationType::MSet, Some(value.clone())),
        MutationKind::SetSuffixed { value, .. } => {
            (MutationType::MSetSuffixVersionstampedKey, Some(value.clone()))
        }
        MutationKind::Delete => (MutationType::MDelete, None),
        MutationKind::Sum(Sum::U64(operand)) => (MutationType::MSum, Some(StoredValue::u64(*operand))),
        MutationKind::Max(operand) => (MutationType::MMax, Some(StoredValue::u64(*operand))),
        kind => panic!("no test draws {kind:?}"),
    };
    let value =
        value.map(|value| KvValue { encoding: i32::from(value.encoding.as_byte()), data: value.bytes });
    pb::Mutation { key: mutation.key.clone(), value, mutation_type: kind as i32, ..pb::Mutation::default() }
}

/// What a client is told of its write.
pub(crate) fn written(output: &AtomicWriteOutput) -> Result<Written, Error> {
    match output.status() {
        AtomicWriteStatus::AwSuccess => {
            let stamp = output.versionstamp.as_slice().try_into();
            let stamp = stamp.map_err(|_length| Error::Protocol("a stamp of another length".to_owned()))?;
            Ok(Written::Committed(Versionstamp::from_bytes(stamp)))
        }
        AtomicWriteStatus::AwCheckFailure => Ok(Written::ChecksFailed(output.failed_checks.clone())),
        status => Err(Error::Protocol(format!("a write with status {status:?}"))),
    }
}

/// The message of a read.
pub(crate) fn read(keys: &Keys) -> SnapshotRead {
    let range = |(start, end): &(Vec<u8>, Vec<u8>)| ReadRange {
        start: start.clone(),
        end: end.clone(),
        limit: i32::try_from(draw::ENTRIES).expect("400"),
        reverse: false,
    };
    SnapshotRead { ranges: keys.0.iter().map(range).collect() }
}

/// What a read asks for, as the checker knows it.
pub(crate) fn selections(keys: &Keys) -> Vec<Selection> {
    keys.0.iter().map(draw::selection).collect()
}

/// An entry, as the checker knows it.
pub(crate) fn row(entry: KvEntry) -> TestResult<Row> {
    let encoding = u8::try_from(entry.encoding)?;
    let stamp = writes::stamp_of(&entry.versionstamp)?;
    Ok(Row {
        key: engine_key(DEFAULT_DATABASE, &entry.key),
        value: [&[encoding], &entry.value[..]].concat(),
        stamp,
    })
}
