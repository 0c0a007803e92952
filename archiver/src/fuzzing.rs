//! Entry points for the fuzzer: every decoder of the archive, fed with anything.

use crate::segment::{HEADER_LEN, Reader};
use bytes::Bytes;

/// Reads a segment to its end. The checksum of the header is mended first, so that what lies behind
/// it is reached; the same bytes are also read as they are.
///
/// # Panics
///
/// Never: that is what the fuzzer looks for.
pub fn segment(bytes: &[u8]) {
    read(Bytes::copy_from_slice(bytes));
    let mut mended = bytes.to_vec();
    if mended.len() < HEADER_LEN {
        return;
    }
    let checksum = crc32fast::hash(&mended[..HEADER_LEN - 4]);
    mended[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
    read(mended.into());
}

fn read(bytes: Bytes) {
    let Ok(mut reader) = Reader::new(bytes) else { return };
    while let Ok(Some(step)) = reader.next_record() {
        assert_eq!(step.record.hash_after(step.hash_before), step.record.hash, "the hash was checked");
    }
}

/// Decodes a checkpoint; what decodes encodes to the same bytes.
///
/// # Panics
///
/// When it does not: that is what the fuzzer looks for.
pub fn checkpoint(bytes: &[u8]) {
    if let Ok(checkpoint) = crate::checkpoint::Checkpoint::decode(bytes) {
        assert_eq!(checkpoint.encode(), bytes, "there is one way to write a checkpoint");
    }
}

/// Decodes the end of a lineage, its checksum mended first so that what lies behind it is reached; what decodes encodes to the same
/// bytes.
///
/// # Panics
///
/// When it does not: that is what the fuzzer looks for.
pub fn end(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    if let Some((content, checksum)) = mended.split_last_chunk_mut::<4>() {
        *checksum = crc32fast::hash(content).to_le_bytes();
    }
    for bytes in [bytes, &mended] {
        if let Ok(end) = crate::end::End::decode(bytes) {
            assert_eq!(end.encode(), bytes, "there is one way to write an end");
        }
    }
}

/// Reads what an SFTP server may send: the answer to the first packet, and one to a request.
///
/// # Panics
///
/// When more was read than was sent: that is what the fuzzer looks for.
pub fn sftp_reply(bytes: &[u8]) {
    let read = crate::store::sftp::read_reply(Bytes::copy_from_slice(bytes));
    assert!(read <= bytes.len(), "{read} bytes were read out of {}", bytes.len());
}
