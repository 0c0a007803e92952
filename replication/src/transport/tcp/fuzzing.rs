//! Entrance for a fuzz target: takes any bytes and must return.

use super::frame::{self, HEADER_LEN};
use super::handshake::{self, Hello, Reply};
use bytes::BytesMut;

/// Reads `bytes` as what a peer says: in the handshake, or, by its first byte, as frames whose checksums are right or
/// as they come.
///
/// # Panics
///
/// If something was read that has not exactly these bytes, which fuzzing is there to find.
pub fn peer_frame(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, body)) => words(body),
        Some((1, frame)) => frames(&with_checksum(frame)),
        Some((_, frame)) => frames(frame),
        None => {}
    }
}

fn words(body: &[u8]) {
    if let Ok(hello) = Hello::decode(body) {
        let said = hello.encode();
        assert_eq!(
            said[handshake::HEADER_LEN..],
            body[..said.len() - handshake::HEADER_LEN],
            "what comes later is passed over"
        );
    }
    if let Ok(reply) = Reply::decode(body) {
        let said = reply.encode();
        assert_eq!(Reply::decode(&said[handshake::HEADER_LEN..]), Ok(reply));
    }
    if let Some(header) = body.first_chunk()
        && let Ok((len, _checksum)) = handshake::decode_header(header)
    {
        assert!(len <= handshake::BODY_LEN_MAX);
    }
}

/// Puts the right checksum before a frame, if it is whole.
fn with_checksum(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if let Some(covered) = frame.get(4..)
        && let Some(len) = covered.first_chunk()
        && let Some(covered) =
            covered.get(..(HEADER_LEN - 4).saturating_add(u32::from_le_bytes(*len) as usize))
    {
        bytes[..4].copy_from_slice(&crc32fast::hash(covered).to_le_bytes());
    }
    bytes
}

fn frames(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let mut said = Vec::new();
    while let Ok(Some(frame)) = frame::take(&mut buffer) {
        said.extend_from_slice(&frame::header(frame.kind, frame.id, &frame.payload));
        said.extend_from_slice(&frame.payload);
    }
    assert!(bytes.starts_with(&said), "a frame has one encoding");
}
