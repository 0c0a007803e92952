//! Raw bytes as raft-engine wants entries: a message that is nothing but its bytes.
//!
//! - raft-engine calls two methods of a protobuf message, to write it to a vector and to read it back. Both copy; no tag
//!   and no schema is involved. The other methods of the trait do the same where they can be reached.
//! - The first 8 bytes are the index of the entry, little-endian.

use protobuf::reflect::MessageDescriptor;
use protobuf::{Clear, CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields};
use std::any::Any;

/// One entry's bytes.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct RawEntry {
    pub(super) bytes: Vec<u8>,
    unknown: UnknownFields,
}

impl RawEntry {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, unknown: UnknownFields::default() }
    }

    fn index(&self) -> u64 {
        let head = self.bytes.first_chunk::<8>();
        head.map_or(0, |head| u64::from_le_bytes(*head))
    }

    fn len_u32(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("an entry is shorter than 4 GiB")
    }
}

impl Clear for RawEntry {
    fn clear(&mut self) {
        self.bytes.clear();
    }
}

impl Message for RawEntry {
    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("raw entries have no schema, and raft-engine asks for none")
    }

    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, input: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        let len = u32::try_from(input.bytes_until_limit()).unwrap_or(u32::MAX);
        self.bytes = input.read_raw_bytes(len)?;
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, output: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        output.write_raw_bytes(&self.bytes)
    }

    fn compute_size(&self) -> u32 {
        self.len_u32()
    }

    fn get_cached_size(&self) -> u32 {
        self.len_u32()
    }

    fn write_to_vec(&self, out: &mut Vec<u8>) -> ProtobufResult<()> {
        out.extend_from_slice(&self.bytes);
        Ok(())
    }

    fn parse_from_bytes(bytes: &[u8]) -> ProtobufResult<Self> {
        Ok(Self::new(bytes.to_vec()))
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        &self.unknown
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        &mut self.unknown
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn new() -> Self {
        Self::default()
    }

    fn default_instance() -> &'static Self {
        unreachable!("raw entries have no schema, and raft-engine asks for none")
    }
}

/// How raft-engine finds the index of an entry.
pub(super) struct RawEntries;

impl raft_engine::MessageExt for RawEntries {
    type Entry = RawEntry;

    fn index(entry: &RawEntry) -> u64 {
        entry.index()
    }
}
