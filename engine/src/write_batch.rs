//! Resolved writes that share one versionstamp, in the canonical bytes that are logged and hashed.
//!
//! One operation, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 1 | kind | 1 put, 2 delete, 3 put that expires, 4 delete of a prefix |
//! | 1 | 2 | key length | 1 to [`KEY_LEN_MAX`]; of a prefix 0 to [`KEY_LEN_MAX`] |
//! | 3 | 4 | value length | at most [`VALUE_LEN_MAX`]; 0 for deletes |
//! | 7 | 8 | expire_at_ms | only in kind 3: Unix milliseconds |
//! | | | key, value | |
//!
//! Operations follow each other without padding. A key that occurs twice keeps its last
//! operation. A delete of a prefix comes before all of them, wherever it stands: what the batch puts stays.

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
const DELETE_PREFIX: u8 = 4;

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
    /// Every key that begins so is absent from now on, but for those that the same batch puts.
    DeletePrefix {
        /// At most [`KEY_LEN_MAX`] bytes; empty is every key.
        prefix: &'a [u8],
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
    /// Prefixes have at most [`KEY_LEN_MAX`] bytes. Give a shorter one.
    #[error("a prefix of {0} bytes is over {KEY_LEN_MAX}")]
    PrefixLen(usize),
}

/// Resolved writes that share one versionstamp.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    /// How many operations delete a prefix: nearly always none.
    prefixes: usize,
}

impl WriteBatch {
    /// A batch without operations.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), prefixes: 0 }
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

    /// Adds a delete of every key that begins with `prefix`, however many there are; an empty prefix is every
    /// key. It deletes what was there before the batch: puts of the same batch stay, before or after it.
    ///
    /// Each one is a small cost to every read until the horizon has passed it and its keys are gone from the
    /// tables, so their number is bounded: see [`Error::ErasuresFull`](crate::Error::ErasuresFull).
    ///
    /// # Errors
    ///
    /// When the prefix is out of bounds; the batch is unchanged then.
    pub fn delete_prefix(&mut self, prefix: &[u8]) -> Result<(), OpError> {
        let len = u16::try_from(prefix.len()).map_err(|_too_long| OpError::PrefixLen(prefix.len()))?;
        self.bytes.push(DELETE_PREFIX);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&0u32.to_le_bytes());
        self.bytes.extend_from_slice(prefix);
        self.prefixes += 1;
        Ok(())
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
        let mut prefixes = 0;
        while !rest.is_empty() {
            prefixes += usize::from(matches!(decode_op(&mut rest)?, Op::DeletePrefix { .. }));
        }
        Ok(Self { bytes: bytes.to_vec(), prefixes })
    }

    /// The canonical bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether no operation was added.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether an operation deletes a prefix.
    pub fn deletes_prefixes(&self) -> bool {
        self.prefixes > 0
    }

    /// The prefixes that operations delete.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        self.ops().filter_map(|op| match op {
            Op::DeletePrefix { prefix } => Some(prefix),
            Op::Put { .. } | Op::Delete { .. } => None,
        })
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
    rest.ensure(key_len > 0 || kind == DELETE_PREFIX, "a key length of at least 1")?;
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
        DELETE_PREFIX => {
            rest.ensure(value_len == 0, "a delete without a value")?;
            Ok(Op::DeletePrefix { prefix: key })
        }
        _ => Err(rest.malformed("an operation kind from 1 to 4")),
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
        batch.delete_prefix(b"pp")?;
        batch.delete_prefix(b"")?;
        let expected: &[u8] = b"\x01\x01\x00\x02\x00\x00\x00kvv\
            \x03\x01\x00\x00\x00\x00\x00\x02\x01\x00\x00\x00\x00\x00\x00e\
            \x02\x01\x00\x00\x00\x00\x00d\
            \x04\x02\x00\x00\x00\x00\x00pp\
            \x04\x00\x00\x00\x00\x00\x00";
        assert_eq!(batch.as_bytes(), expected);
        Ok(())
    }

    #[test]
    fn a_batch_survives_its_bytes_and_every_cut_of_an_operation_is_refused() -> TestResult {
        let (mut put, mut erasing) = (WriteBatch::new(), WriteBatch::new());
        put.put(b"key", b"value", Some(7))?;
        erasing.delete_prefix(b"key")?;
        for batch in [put, erasing] {
            let bytes = batch.as_bytes();
            assert_eq!(WriteBatch::decode(bytes)?, batch);
            for cut in 1..bytes.len() {
                assert!(WriteBatch::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
        }
        assert!(WriteBatch::decode(b"\x04\x00\x00\x01\x00\x00\x00v").is_err(), "a prefix with a value");
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
        let long = vec![0; KEY_LEN_MAX + 1];
        assert_eq!(batch.delete_prefix(&long), Err(OpError::PrefixLen(long.len())));
        assert!(batch.is_empty() && !batch.deletes_prefixes());
    }
}
