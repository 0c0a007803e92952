//! Resolved writes that share one versionstamp, in the canonical bytes that are logged and hashed.
//!
//! One operation, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 1 | kind | 1 put, 2 delete, 3 put that expires |
//! | 1 | 2 | key length | 1 to [`KEY_LEN_MAX`] |
//! | 3 | 4 | value length | at most [`VALUE_LEN_MAX`]; 0 for a delete |
//! | 7 | 8 | expire_at_ms | only in kind 3: Unix milliseconds |
//! | | | key, value | |
//!
//! Operations follow each other without padding. A key that occurs twice keeps its last
//! operation.

use crate::codec::{Decoder, Malformed};

/// The longest key, in bytes, inclusive.
pub const KEY_LEN_MAX: usize = u16::MAX as usize;
/// The longest value, in bytes, inclusive.
pub const VALUE_LEN_MAX: usize = 64 << 20;

/// Bytes of an operation before its key and value, without an expiry.
const OP_HEAD_LEN: usize = 7;
const EXPIRY_LEN: usize = 8;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const PUT_EXPIRING: u8 = 3;

/// One resolved write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// The key has this value from now on.
    Put {
        /// 1 to [`KEY_LEN_MAX`] bytes.
        key: &'a [u8],
        /// At most [`VALUE_LEN_MAX`] bytes.
        value: &'a [u8],
        /// Unix milliseconds from which on the entry is absent; `None` is never.
        expire_at_ms: Option<u64>,
    },
    /// The key is absent from now on.
    Delete {
        /// 1 to [`KEY_LEN_MAX`] bytes.
        key: &'a [u8],
    },
}

/// Why an operation was not taken into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// Keys have 1 to [`KEY_LEN_MAX`] bytes. Give another key.
    #[error("a key of {0} bytes is outside 1..={KEY_LEN_MAX}")]
    KeyLen(usize),
    /// Values have at most [`VALUE_LEN_MAX`] bytes. Split the value.
    #[error("a value of {0} bytes is over {VALUE_LEN_MAX}")]
    ValueLen(usize),
}

/// Resolved writes that share one versionstamp.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    bytes: Vec<u8>,
}

impl WriteBatch {
    /// A batch without operations.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Adds a put. `expire_at_ms` is in Unix milliseconds; `None` never expires.
    ///
    /// # Errors
    ///
    /// When the key or the value is out of bounds; the batch is unchanged then.
    pub fn put(&mut self, key: &[u8], value: &[u8], expire_at_ms: Option<u64>) -> Result<(), OpError> {
        let kind = if expire_at_ms.is_some() { PUT_EXPIRING } else { PUT };
        self.push(kind, key, value, expire_at_ms)
    }

    /// Adds a delete.
    ///
    /// # Errors
    ///
    /// When the key is out of bounds; the batch is unchanged then.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), OpError> {
        self.push(DELETE, key, &[], None)
    }

    fn push(&mut self, kind: u8, key: &[u8], value: &[u8], expire_at_ms: Option<u64>) -> Result<(), OpError> {
        let key_len = match u16::try_from(key.len()) {
            Ok(len) if len > 0 => len,
            _ => return Err(OpError::KeyLen(key.len())),
        };
        let value_len = match u32::try_from(value.len()) {
            Ok(len) if value.len() <= VALUE_LEN_MAX => len,
            _ => return Err(OpError::ValueLen(value.len())),
        };
        let expiry_len = if expire_at_ms.is_some() { EXPIRY_LEN } else { 0 };
        self.bytes.reserve(OP_HEAD_LEN + expiry_len + key.len() + value.len());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        if let Some(at) = expire_at_ms {
            self.bytes.extend_from_slice(&at.to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        Ok(())
    }

    /// Reads a batch from its canonical bytes, checking every operation.
    ///
    /// # Errors
    ///
    /// When the bytes are not a whole number of well-formed operations.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        while !rest.is_empty() {
            decode_op(&mut rest)?;
        }
        Ok(Self { bytes: bytes.to_vec() })
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether no operation was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The operations, in the order they were added.
    pub fn ops(&self) -> Ops<'_> {
        Ops { rest: Decoder::new(&self.bytes) }
    }
}

/// The operations of a batch, in the order they were added.
#[derive(Debug)]
pub struct Ops<'a> {
    rest: Decoder<'a>,
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        Some(decode_op(&mut self.rest).expect("a batch holds only operations that push or decode checked"))
    }
}

fn decode_op<'a>(rest: &mut Decoder<'a>) -> Result<Op<'a>, Malformed> {
    let kind = rest.u8("operation kind")?;
    let key_len = usize::from(rest.u16("key length")?);
    let value_len = rest.u32("value length")? as usize;
    rest.ensure(key_len > 0, "a key length of at least 1")?;
    rest.ensure(value_len <= VALUE_LEN_MAX, "a value length within its limit")?;
    let expire_at_ms = match kind {
        PUT_EXPIRING => Some(rest.u64("expire_at_ms")?),
        _ => None,
    };
    let key = rest.take(key_len, "key")?;
    let value = rest.take(value_len, "value")?;
    match kind {
        PUT | PUT_EXPIRING => Ok(Op::Put { key, value, expire_at_ms }),
        DELETE => {
            rest.ensure(value_len == 0, "a delete without a value")?;
            Ok(Op::Delete { key })
        }
        _ => Err(rest.malformed("an operation kind from 1 to 3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn the_format_is_frozen() -> TestResult {
        let mut batch = WriteBatch::new();
        batch.put(b"k", b"vv", None)?;
        batch.put(b"e", b"", Some(0x0102))?;
        batch.delete(b"d")?;
        let expected: &[u8] = b"\x01\x01\x00\x02\x00\x00\x00kvv\
            \x03\x01\x00\x00\x00\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00e\
            \x02\x01\x00\x00\x00\x00\x00d";
        assert_eq!(batch.as_bytes(), expected);
        Ok(())
    }

    #[test]
    fn a_batch_survives_its_bytes_and_every_cut_of_an_operation_is_refused() -> TestResult {
        let mut batch = WriteBatch::new();
        batch.put(b"key", b"value", Some(7))?;
        let bytes = batch.as_bytes();
        assert_eq!(WriteBatch::decode(bytes)?, batch);
        for cut in 1..bytes.len() {
            assert!(WriteBatch::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        Ok(())
    }

    #[test]
    fn keys_and_values_out_of_bounds_change_nothing() {
        let mut batch = WriteBatch::new();
        assert_eq!(batch.put(b"", b"v", None), Err(OpError::KeyLen(0)));
        assert_eq!(batch.delete(&vec![0; KEY_LEN_MAX + 1]), Err(OpError::KeyLen(KEY_LEN_MAX + 1)));
        assert_eq!(
            batch.put(b"k", &vec![0; VALUE_LEN_MAX + 1], None),
            Err(OpError::ValueLen(VALUE_LEN_MAX + 1))
        );
        assert!(batch.is_empty());
    }
}
