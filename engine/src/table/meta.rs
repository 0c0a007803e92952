//! What the manifest says of a table, enough to know whether it is needed without opening it.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 32 | digest | BLAKE3 of the file |
//! | 32 | 8 | bytes | length of the file |
//! | 40 | 8 | entries | at least 1 |
//! | 48 | 10 | first stamp | the oldest |
//! | 58 | 10 | last stamp | the newest |
//! | 68 | 2 | length | of the first key, at least 1 |
//! | 70 | | first key | the smallest |
//! | | 2 | length | of the last key, at least 1 |
//! | | | last key | the greatest; it is in the table |

use crate::Versionstamp;
use crate::codec::{Decoder, Malformed};
use bytes::Bytes;
use std::fmt;

/// BLAKE3 of a whole table file: its identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableDigest(pub(crate) [u8; 32]);

impl TableDigest {
    /// The name of the file: 64 hexadecimal digits and `.tbl`.
    pub(crate) fn file_name(&self) -> String {
        format!("{self}.tbl")
    }
}

impl fmt::Display for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TableDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A table as the manifest knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Its identity and its name.
    pub(crate) digest: TableDigest,
    /// Length of the file, in bytes.
    pub(crate) bytes: u64,
    /// Entries in it, at least 1.
    pub(crate) entries: u64,
    /// The smallest key in it.
    pub(crate) first_key: Bytes,
    /// The greatest key in it, inclusive.
    pub(crate) last_key: Bytes,
    /// The oldest stamp in it.
    pub(crate) first_stamp: Versionstamp,
    /// The newest stamp in it, inclusive.
    pub(crate) last_stamp: Versionstamp,
}

impl Meta {
    /// Appends it to `out`.
    ///
    /// # Panics
    ///
    /// If a key is longer than a key can be.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.digest.0);
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        put_stamp(out, self.first_stamp);
        put_stamp(out, self.last_stamp);
        put_key(out, &self.first_key);
        put_key(out, &self.last_key);
    }

    /// Reads one, leaving what follows.
    ///
    /// # Errors
    ///
    /// When it is cut or its fields contradict each other.
    pub(crate) fn decode(rest: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let digest = TableDigest(rest.array("the digest of a table")?);
        let bytes = rest.u64("the length of a table")?;
        let entries = rest.u64("the number of entries in a table")?;
        rest.ensure(entries > 0, "a table of at least 1 entry")?;
        let first_stamp = stamp(rest)?;
        let last_stamp = stamp(rest)?;
        rest.ensure(first_stamp <= last_stamp, "a first stamp up to the last stamp")?;
        let first_key = key(rest)?;
        let last_key = key(rest)?;
        rest.ensure(first_key <= last_key, "a first key up to the last key")?;
        Ok(Self { digest, bytes, entries, first_key, last_key, first_stamp, last_stamp })
    }
}

/// Appends a stamp.
pub(super) fn put_stamp(out: &mut Vec<u8>, stamp: Versionstamp) {
    out.extend_from_slice(stamp.as_bytes());
}

/// Reads a stamp.
pub(super) fn stamp(rest: &mut Decoder<'_>) -> Result<Versionstamp, Malformed> {
    rest.array("a stamp").map(Versionstamp::from_bytes)
}

/// Appends a key and its length.
pub(super) fn put_key(out: &mut Vec<u8>, key: &[u8]) {
    let len = u16::try_from(key.len()).expect("a key is at most 65,535 bytes long");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(key);
}

/// Reads a key.
pub(super) fn key(rest: &mut Decoder<'_>) -> Result<Bytes, Malformed> {
    let len = usize::from(rest.u16("the length of a key")?);
    rest.ensure(len > 0, "a key of at least 1 byte")?;
    rest.take(len, "a key").map(Bytes::copy_from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn sample() -> Meta {
        Meta {
            digest: TableDigest([0xab; 32]),
            bytes: 0x0102,
            entries: 3,
            first_key: Bytes::from_static(b"a"),
            last_key: Bytes::from_static(b"bc"),
            first_stamp: Versionstamp::new(4, 5),
            last_stamp: Versionstamp::new(6, 7),
        }
    }

    #[test]
    fn the_format_is_frozen() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let mut expected = vec![0xab; 32];
        expected.extend_from_slice(b"\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\x04\0\x05\0\0\0\0\0\0\0\x06\0\x07\x01\0a\x02\0bc");
        assert_eq!(bytes, expected);
        assert_eq!(sample().digest.file_name(), format!("{}.tbl", "ab".repeat(32)));
    }

    #[test]
    fn it_survives_its_bytes_and_every_cut_is_refused() -> TestResult {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let mut rest = Decoder::new(&bytes);
        assert_eq!(Meta::decode(&mut rest)?, sample());
        rest.finish()?;
        for cut in 0..bytes.len() {
            assert!(Meta::decode(&mut Decoder::new(&bytes[..cut])).is_err(), "cut at {cut}");
        }
        Ok(())
    }

    #[test]
    fn contradictions_are_refused() {
        let wrong: [fn(&mut Meta); 4] = [
            |meta| meta.entries = 0,
            |meta| meta.last_key = Bytes::from_static(b"A"),
            |meta| meta.last_stamp = Versionstamp::ZERO,
            |meta| meta.first_key = Bytes::new(),
        ];
        for spoil in wrong {
            let mut meta = sample();
            spoil(&mut meta);
            let mut bytes = Vec::new();
            meta.encode(&mut bytes);
            assert!(Meta::decode(&mut Decoder::new(&bytes)).is_err(), "{meta:?}");
        }
    }
}
