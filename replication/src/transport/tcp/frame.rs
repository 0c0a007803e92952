//! What two nodes say to each other once they know each other, as bytes.
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 4 | checksum | CRC-32 of all that follows, little-endian |
//! | 4 | 4 | length | of the payload, at most [`MESSAGE_LEN_MAX`], little-endian |
//! | 8 | 8 | id | of the call or stream, given by who dialled; little-endian |
//! | 16 | 1 | kind | [`Kind`] |
//! | 17 | length | payload | |
//!
//! - A frame has one encoding, and no other is read. Tag 0 is never valid.
//! - A length that is too great is refused when its header is read, before anything is allocated for it.

use crate::transport::MESSAGE_LEN_MAX;
use bytes::{Buf, Bytes, BytesMut};
use engine::codec::{Decoder, Malformed};

/// Bytes before the payload.
pub(crate) const HEADER_LEN: usize = 17;
/// Bytes of the checksum, which does not cover itself.
const CHECKSUM_LEN: usize = 4;
/// Payloads up to this many bytes are copied out of the buffer, so that one that is kept does not keep the buffer.
const COPY_LEN_MAX: usize = 4 << 10;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request; the payload is for the service. Only from who dialled.
    Request = 1,
    /// The answer to a request.
    Answer = 2,
    /// A request that gets no answer; the payload says why, in words.
    Failed = 3,
    /// A new stream; the payload is its header. Only from who dialled.
    Open = 4,
    /// A message of a stream.
    Data = 5,
    /// The receiver of a stream has taken what cost as much as the payload says, a u32.
    Credit = 6,
    /// The sender of a stream says no more.
    End = 7,
    /// The receiver of a stream reads no more.
    Stop = 8,
    /// Whether the other side is there.
    Ping = 9,
    /// It is.
    Pong = 10,
    /// The connection ends; the payload says why, in words.
    Bye = 11,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::Request,
        Kind::Answer,
        Kind::Failed,
        Kind::Open,
        Kind::Data,
        Kind::Credit,
        Kind::End,
        Kind::Stop,
        Kind::Ping,
        Kind::Pong,
        Kind::Bye,
    ];

    fn of(tag: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == tag)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// Of the call or stream; 0 where there is none.
    pub(crate) id: u64,
    pub(crate) payload: Bytes,
}

/// The bytes before the payload of a frame.
///
/// # Panics
///
/// When the payload is over [`MESSAGE_LEN_MAX`] bytes, which nobody may send.
pub(crate) fn header(kind: Kind, id: u64, payload: &[u8]) -> [u8; HEADER_LEN] {
    assert!(payload.len() <= MESSAGE_LEN_MAX, "a message is checked before it is sent");
    let len = u32::try_from(payload.len()).expect("the longest message fits in a u32");
    let mut bytes = [0; HEADER_LEN];
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[8..16].copy_from_slice(&id.to_le_bytes());
    bytes[16] = kind as u8;
    let checksum = checksum(&bytes[CHECKSUM_LEN..], payload);
    bytes[..CHECKSUM_LEN].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Takes one frame from the front of what was received. `None` when it is not whole yet; then `buffer` has room for
/// the rest of it.
///
/// # Errors
///
/// When what was received is no frame: the connection is of no use any more.
pub(crate) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    if buffer.len() < HEADER_LEN {
        return Ok(None);
    }
    let mut rest = Decoder::new(buffer);
    let expected = rest.u32("checksum of a frame")?;
    let start = rest.clone();
    let len = rest.u32("length of a frame")? as usize;
    start.ensure(len <= MESSAGE_LEN_MAX, "a frame of at most 16 MiB")?;
    let id = rest.u64("id of a frame")?;
    let at_kind = rest.clone();
    let Some(kind) = Kind::of(rest.u8("kind of a frame")?) else {
        return Err(at_kind.malformed("a frame kind from 1 to 11"));
    };
    let end = HEADER_LEN + len;
    if buffer.len() < end {
        buffer.reserve(end - buffer.len());
        return Ok(None);
    }
    start.ensure(
        checksum(&buffer[CHECKSUM_LEN..HEADER_LEN], &buffer[HEADER_LEN..end]) == expected,
        "a frame that fits its checksum",
    )?;
    let payload = if len <= COPY_LEN_MAX {
        let payload = Bytes::copy_from_slice(&buffer[HEADER_LEN..end]);
        buffer.advance(end);
        payload
    } else {
        buffer.advance(HEADER_LEN);
        buffer.split_to(len).freeze()
    };
    Ok(Some(Frame { kind, id, payload }))
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(kind: Kind, id: u64, payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&header(kind, id, payload)[..]);
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn the_format_is_frozen() {
        let bytes = encoded(Kind::Data, 0x0102_0304_0506_0708, b"cairn");
        let expected =
            [0xdc, 0x84, 0x55, 0x7a, 5, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 5, b'c', b'a', b'i', b'r', b'n'];
        assert_eq!(bytes[..], expected);
        for (tag, kind) in (1..).zip(Kind::ALL) {
            assert_eq!(kind as u8, tag);
        }
    }

    #[test]
    fn a_length_that_is_too_great_is_refused_before_the_payload_comes() {
        let mut bytes = encoded(Kind::Request, 1, b"");
        bytes[4..8].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        assert_eq!(take(&mut bytes), Ok(None), "the longest message is awaited");
        let mut bytes = encoded(Kind::Request, 1, b"");
        bytes[4..8].copy_from_slice(&((16_u32 << 20) + 1).to_le_bytes());
        assert!(take(&mut bytes).is_err());
        assert!(bytes.capacity() < 1 << 20, "nothing was allocated for it");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let whole = encoded(Kind::Answer, 7, b"some payload");
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(take(&mut bytes), Ok(Some(_))), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn frames_survive_their_bytes_however_these_arrive(
            frames in prop::collection::vec((0_usize..11, any::<u64>(), prop::collection::vec(any::<u8>(), 0..6_000)), 1..6),
            piece_len in 1_usize..5_000,
        ) {
            let sent: Vec<Frame> = frames
                .into_iter()
                .map(|(kind, id, payload)| Frame { kind: Kind::ALL[kind], id, payload: payload.into() })
                .collect();
            let mut bytes = BytesMut::new();
            sent.iter().for_each(|frame| bytes.extend_from_slice(&encoded(frame.kind, frame.id, &frame.payload)));
            let (mut buffer, mut received) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(piece_len) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = take(&mut buffer).expect("whole frames are read") {
                    received.push(frame);
                }
            }
            prop_assert_eq!(received, sent);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut buffer) {}
        }
    }
}
