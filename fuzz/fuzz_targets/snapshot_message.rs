//! Messages of the snapshot stream: no bytes make the decoder panic, and what is read has one encoding.
//!
//! The checksum is put in, so that what stands before it is reached.
#![no_main]

use bytes::Bytes;
use replication::raft_snapshot::Message;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let checksum = crc32fast::hash(body).to_le_bytes();
    let bytes = Bytes::from([body, &checksum[..]].concat());
    if let Ok(message) = Message::decode(&bytes) {
        assert_eq!(message.encode(), bytes, "a message has one encoding");
    }
    let _other = Message::decode(&Bytes::copy_from_slice(body));
});
