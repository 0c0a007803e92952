//! Keys and values as the engine holds them.
//!
//! - Engine key: database number, u32 big-endian, then the KV Connect key.
//! - Engine value: one byte of encoding, then the bytes of the value.

use bytes::Bytes;

/// Names a database inside its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatabaseNumber(pub u32);

/// The system's own keyspace.
pub const SYSTEM_DATABASE: DatabaseNumber = DatabaseNumber(0);
/// The database that exists from the start.
pub const DEFAULT_DATABASE: DatabaseNumber = DatabaseNumber(1);

/// How the bytes of a value are to be read; the numbers are those of KV Connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// What V8's serializer wrote.
    V8 = 1,
    /// A u64, little-endian.
    Le64 = 2,
    /// Bytes.
    Bytes = 3,
}

impl Encoding {
    /// The encoding of this number; `None` for a number that names none.
    pub const fn from_byte(byte: u8) -> Option<Encoding> {
        match byte {
            1 => Some(Encoding::V8),
            2 => Some(Encoding::Le64),
            3 => Some(Encoding::Bytes),
            _ => None,
        }
    }

    /// Its number.
    pub const fn as_byte(self) -> u8 {
        self as u8
    }
}

/// A value and how to read it. A [`Encoding::Le64`] of other than 8 bytes is no u64 to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// How to read it.
    pub encoding: Encoding,
    /// It.
    pub bytes: Vec<u8>,
}

impl StoredValue {
    /// A u64.
    pub fn u64(value: u64) -> Self {
        Self { encoding: Encoding::Le64, bytes: value.to_le_bytes().to_vec() }
    }

    /// The value as the engine holds it.
    pub fn to_engine(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.bytes.len());
        bytes.push(self.encoding.as_byte());
        bytes.extend_from_slice(&self.bytes);
        bytes
    }
}

/// The key of the engine for a key of a database.
pub fn engine_key(database: DatabaseNumber, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + key.len());
    bytes.extend_from_slice(&database_prefix(database));
    bytes.extend_from_slice(key);
    bytes
}

/// What every engine key of a database begins with, and no other key does.
pub const fn database_prefix(database: DatabaseNumber) -> [u8; 4] {
    database.0.to_be_bytes()
}

/// Takes a value of the engine apart, without copying; `None` when its encoding is unknown.
pub fn split_value(value: &Bytes) -> Option<(Encoding, Bytes)> {
    let encoding = Encoding::from_byte(*value.first()?)?;
    Some((encoding, value.slice(1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        assert_eq!(engine_key(DatabaseNumber(0x0102), b"k"), b"\0\0\x01\x02k");
        assert_eq!(StoredValue::u64(0x0102).to_engine(), b"\x02\x02\x01\0\0\0\0\0\0");
        assert_eq!([Encoding::V8, Encoding::Le64, Encoding::Bytes].map(Encoding::as_byte), [1, 2, 3]);
    }

    #[test]
    fn a_value_survives_the_engine_and_an_unknown_encoding_is_refused() {
        for encoding in [Encoding::V8, Encoding::Le64, Encoding::Bytes] {
            let value = StoredValue { encoding, bytes: b"abc".to_vec() };
            let split = split_value(&Bytes::from(value.to_engine()));
            assert_eq!(split, Some((encoding, Bytes::from_static(b"abc"))));
        }
        for bytes in [&b""[..], b"\0x", b"\x04x"] {
            assert_eq!(split_value(&Bytes::from_static(bytes)), None);
        }
    }
}
