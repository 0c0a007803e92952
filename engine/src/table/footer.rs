//! What a table holds and where its parts are.
//!
//! Footer block, integers little-endian:
//!
//! | size | field | meaning |
//! |---|---|---|
//! | 8 | entries | at least 1 |
//! | 8 | keys | different ones, 1 to entries |
//! | 8 | deletes | entries that are deletes |
//! | 8 | expiring | entries that expire |
//! | 8 | half expired | Unix milliseconds at which half of those are expired; 0 when there are none |
//! | 8 | content | bytes of all keys and values, before truncation and compression |
//! | 10 | first stamp | the oldest |
//! | 10 | last stamp | the newest |
//! | 2, n | first key | length, bytes |
//! | 2, n | last key | length, bytes |
//! | varints | top index | offset and length of its frame |
//! | 1 | filter | 0 none, 1 there is one |
//! | varints | filter | offset and length of its frame, when there is one |
//! | | hidden | as [`hidden`] says |
//!
//! Trailer, the last [`TRAILER_LEN`] bytes of the file:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | footer offset | of its frame |
//! | 8 | 4 | footer length | of its frame; it ends where the trailer starts |
//! | 12 | 4 | checksum | CRC-32 of the bytes before |
//! | 16 | 8 | magic | `CAIRNEND` |

use super::hidden::{self, Hidden};
use super::meta::{key, put_key, put_stamp, stamp};
use super::{HEADER_LEN, Handle, Meta};
use crate::Versionstamp;
use crate::block::frame;
use crate::codec::{Decoder, Malformed};
use bytes::Bytes;

/// The last bytes of a table.
pub(crate) const TRAILER_LEN: usize = 24;
const END_MAGIC: &[u8; 8] = b"CAIRNEND";

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Entries, at least 1.
    pub(crate) entries: u64,
    /// Different keys.
    pub(crate) keys: u64,
    /// Entries that are deletes.
    pub(crate) deletes: u64,
    /// Entries that expire.
    pub(crate) expiring: u64,
    /// Unix milliseconds at which half of the expiring entries, or more, are expired; 0 when
    /// there are none.
    pub(crate) half_expired_ms: u64,
    /// Bytes of all keys and values.
    pub(crate) content_bytes: u64,
    /// The oldest stamp.
    pub(crate) first_stamp: Versionstamp,
    /// The newest stamp.
    pub(crate) last_stamp: Versionstamp,
    /// The smallest key.
    pub(crate) first_key: Bytes,
    /// The greatest key.
    pub(crate) last_key: Bytes,
    /// The index of index blocks.
    pub(crate) top_index: Handle,
    /// The filter, when there is one.
    pub(crate) filter: Option<Handle>,
    /// The hidden versions, by prefix.
    pub(crate) hidden: Vec<Hidden>,
}

impl Footer {
    /// Appends it to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let counts =
            [self.entries, self.keys, self.deletes, self.expiring, self.half_expired_ms, self.content_bytes];
        counts.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
        put_stamp(out, self.first_stamp);
        put_stamp(out, self.last_stamp);
        put_key(out, &self.first_key);
        put_key(out, &self.last_key);
        self.top_index.encode(out);
        out.push(u8::from(self.filter.is_some()));
        if let Some(filter) = self.filter {
            filter.encode(out);
        }
        hidden::encode(&self.hidden, out);
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// When it is cut or its fields contradict each other.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        let entries = rest.u64("the number of entries")?;
        rest.ensure(entries > 0, "a table of at least 1 entry")?;
        let keys = rest.u64("the number of keys")?;
        rest.ensure((1..=entries).contains(&keys), "at least 1 key and at most as many as entries")?;
        let deletes = rest.u64("the number of deletes")?;
        let expiring = rest.u64("the number of expiring entries")?;
        let others = deletes.checked_add(expiring);
        rest.ensure(others.is_some_and(|sum| sum <= entries), "no more deletes and expiries than entries")?;
        let half_expired_ms = rest.u64("a time of expiry")?;
        let content_bytes = rest.u64("the bytes of keys and values")?;
        let (first_stamp, last_stamp) = (stamp(&mut rest)?, stamp(&mut rest)?);
        rest.ensure(first_stamp <= last_stamp, "a first stamp up to the last stamp")?;
        let (first_key, last_key) = (key(&mut rest)?, key(&mut rest)?);
        rest.ensure(first_key <= last_key, "a first key up to the last key")?;
        let top_index = Handle::decode_from(&mut rest)?;
        let filter = match rest.u8("whether there is a filter")? {
            0 => None,
            1 => Some(Handle::decode_from(&mut rest)?),
            _ => return Err(rest.malformed("0 or 1 before the filter")),
        };
        let hidden = hidden::decode(&mut rest, content_bytes)?;
        rest.finish()?;
        Ok(Self {
            entries,
            keys,
            deletes,
            expiring,
            half_expired_ms,
            content_bytes,
            first_stamp,
            last_stamp,
            first_key,
            last_key,
            top_index,
            filter,
            hidden,
        })
    }

    /// Whether the manifest says the same of the table.
    pub(crate) fn agrees_with(&self, meta: &Meta) -> bool {
        self.entries == meta.entries
            && (self.first_stamp, self.last_stamp) == (meta.first_stamp, meta.last_stamp)
            && (&self.first_key, &self.last_key) == (&meta.first_key, &meta.last_key)
    }
}

/// Appends the trailer for a footer frame at `footer`.
pub(crate) fn put_trailer(out: &mut Vec<u8>, footer: Handle) {
    let start = out.len();
    out.extend_from_slice(&footer.offset.to_le_bytes());
    out.extend_from_slice(&footer.len.to_le_bytes());
    let checksum = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(END_MAGIC);
}

/// Where the footer of a table of `bytes` bytes stands.
///
/// # Errors
///
/// When the trailer is damaged or points elsewhere than right before itself.
pub(crate) fn decode_trailer(trailer: &[u8], bytes: u64) -> Result<Handle, Malformed> {
    let mut rest = Decoder::new(trailer);
    let start = rest.clone();
    let checked = rest.clone().take(12, "a trailer")?;
    let footer = Handle { offset: rest.u64("a footer offset")?, len: rest.u32("a footer length")? };
    let checksum_at = rest.clone();
    let checksum = rest.u32("a checksum")?;
    let magic_at = rest.clone();
    let magic = rest.array::<8>("the magic of a trailer")?;
    rest.finish()?;
    magic_at.ensure(magic == *END_MAGIC, "the magic of a trailer, CAIRNEND")?;
    checksum_at.ensure(crc32fast::hash(checked) == checksum, "a trailer that matches its checksum")?;
    let len_fits = (frame::HEADER_LEN..=frame::FRAME_LEN_MAX).contains(&(footer.len as usize));
    start.ensure(len_fits && footer.offset >= HEADER_LEN as u64, "a footer within its bounds")?;
    let ends = footer.end().checked_add(TRAILER_LEN as u64) == Some(bytes);
    start.ensure(ends, "a footer that ends where the trailer starts")?;
    Ok(footer)
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn sample() -> Footer {
        Footer {
            entries: 9,
            keys: 8,
            deletes: 2,
            expiring: 3,
            half_expired_ms: 4,
            content_bytes: 50,
            first_stamp: Versionstamp::new(1, 2),
            last_stamp: Versionstamp::new(3, 4),
            first_key: Bytes::from_static(b"a"),
            last_key: Bytes::from_static(b"bc"),
            top_index: Handle { offset: 300, len: 20 },
            filter: Some(Handle { offset: 320, len: 60 }),
            hidden: vec![Hidden {
                prefix: Bytes::from_static(b"a"),
                points: vec![hidden::Point { stamp: Versionstamp::new(2, 1), bytes: 7 }],
            }],
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let expected: &[u8] = b"\x09\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\
            \x04\0\0\0\0\0\0\0\x32\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x02\0\0\0\0\0\0\0\x03\0\x04\
            \x01\0a\x02\0bc\xac\x02\x14\x01\xc0\x02\x3c\
            \x01\x01\0a\x01\0\0\0\0\0\0\0\x02\0\x01\x07";
        assert_eq!(bytes, expected);
        let mut bytes = Vec::new();
        put_trailer(&mut bytes, Handle { offset: 0x0102, len: 0x30 });
        assert_eq!(bytes, b"\x02\x01\0\0\0\0\0\0\x30\0\0\0\x91\x7fK\xa6CAIRNEND");
    }

    #[test]
    fn a_footer_survives_its_bytes_and_every_cut_is_refused() -> TestResult {
        for filter in [None, sample().filter] {
            let footer = Footer { filter, ..sample() };
            let mut bytes = Vec::new();
            footer.encode(&mut bytes);
            assert_eq!(Footer::decode(&bytes)?, footer);
            for cut in 0..bytes.len() {
                assert!(Footer::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            bytes.push(0);
            assert!(Footer::decode(&bytes).is_err(), "one byte more");
        }
        Ok(())
    }

    #[test]
    fn contradictions_are_refused() {
        let wrong: [fn(&mut Footer); 6] = [
            |footer| footer.entries = 0,
            |footer| footer.keys = 10,
            |footer| footer.deletes = 7,
            |footer| footer.expiring = u64::MAX,
            |footer| footer.last_key = Bytes::from_static(b"A"),
            |footer| footer.first_stamp = Versionstamp::MAX,
        ];
        for spoil in wrong {
            let mut footer = sample();
            spoil(&mut footer);
            let mut bytes = Vec::new();
            footer.encode(&mut bytes);
            assert!(Footer::decode(&bytes).is_err(), "{footer:?}");
        }
    }

    #[test]
    fn any_flipped_bit_or_wrong_length_of_a_trailer_is_found() -> TestResult {
        let footer = Handle { offset: 100, len: 50 };
        let mut bytes = Vec::new();
        put_trailer(&mut bytes, footer);
        assert_eq!(decode_trailer(&bytes, 174)?, footer);
        assert!(decode_trailer(&bytes, 173).is_err() && decode_trailer(&bytes, 175).is_err());
        for bit in 0..8 * bytes.len() {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_trailer(&bytes, 174).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(())
    }
}
