//! Short ways to say atomic writes, and to read everything there is.

use super::TestResult;
use cairn::bench::client::Client;
use denokv_proto::datapath::{
    AtomicWrite, AtomicWriteStatus, Check, KvEntry, KvValue, Mutation, MutationType, ReadRange, SnapshotRead,
    ValueEncoding,
};
use denokv_proto::{KeyPart, encode_key};
use engine::Versionstamp;

/// The most entries of one read.
const PAGE: i32 = 1000;

/// The encoded key of text parts.
pub(crate) fn key(parts: &[&str]) -> Vec<u8> {
    let parts = parts.iter().map(|part| KeyPart::String((*part).to_owned())).collect();
    encode_key(&denokv_proto::Key(parts)).expect("a key of short parts is within every limit")
}

fn mutation(key: &[u8], kind: MutationType, encoding: ValueEncoding, data: &[u8]) -> Mutation {
    let value = KvValue { data: data.to_vec(), encoding: encoding as i32 };
    Mutation { key: key.to_vec(), value: Some(value), mutation_type: kind as i32, ..Mutation::default() }
}

/// Sets a plain byte value.
pub(crate) fn set(key: &[u8], value: &[u8]) -> Mutation {
    mutation(key, MutationType::MSet, ValueEncoding::VeBytes, value)
}

/// Changes an unsigned counter.
pub(crate) fn number(key: &[u8], kind: MutationType, value: u64) -> Mutation {
    mutation(key, kind, ValueEncoding::VeLe64, &value.to_le_bytes())
}

/// Removes a key.
pub(crate) fn delete(key: &[u8]) -> Mutation {
    Mutation { key: key.to_vec(), mutation_type: MutationType::MDelete as i32, ..Mutation::default() }
}

/// A check that a key has this stamp; with `None`, that it is absent.
pub(crate) fn check(key: &[u8], stamp: Option<Versionstamp>) -> Check {
    Check { key: key.to_vec(), versionstamp: stamp.map_or_else(Vec::new, |stamp| stamp.as_bytes().to_vec()) }
}

/// Performs mutations in one atomic write, which must succeed.
pub(crate) async fn commit(client: &mut Client, mutations: Vec<Mutation>) -> TestResult<Versionstamp> {
    let write = AtomicWrite { mutations, ..AtomicWrite::default() };
    let output = client.atomic_write(&write).await?;
    anyhow::ensure!(output.status == AtomicWriteStatus::AwSuccess as i32, "the write has {}", output.status);
    stamp_of(&output.versionstamp)
}

/// A stamp from the wire.
pub(crate) fn stamp_of(bytes: &[u8]) -> TestResult<Versionstamp> {
    Ok(Versionstamp::from_bytes(bytes.try_into()?))
}

/// Every entry from `start`, inclusive, to `end`, exclusive, page by page.
pub(crate) async fn list(client: &mut Client, start: &[u8], end: &[u8]) -> TestResult<Vec<KvEntry>> {
    let mut entries: Vec<KvEntry> = Vec::new();
    let mut start = start.to_vec();
    loop {
        let range = ReadRange { start, end: end.to_vec(), limit: PAGE, reverse: false };
        let read = SnapshotRead { ranges: vec![range] };
        let page = client.snapshot_read(&read).await?.ranges.remove(0).values;
        let full = page.len() == usize::try_from(PAGE)?;
        entries.extend(page);
        match entries.last() {
            Some(last) if full => start = [&last.key[..], &[0]].concat(),
            _ => return Ok(entries),
        }
    }
}
