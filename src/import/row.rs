//! One row of the `kv` table: read, and checked against the limits that clients live with.

use super::error::{ImportError, KeyText, RowError};
use replication::{Encoding, Mutation, MutationKind, StoredValue};
use rusqlite::types::ValueRef;

/// The longest key, in bytes, inclusive.
const KEY_LEN_MAX: usize = 2048;
/// The longest value, in bytes, inclusive.
const VALUE_LEN_MAX: usize = 65_536;

/// The columns that [`Row::read`] reads, in its order.
pub(super) const COLUMNS: &str = "k, v, v_encoding, expiration_ms";

/// A row that can be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row<'a> {
    key: &'a [u8],
    value: &'a [u8],
    encoding: Encoding,
    expire_at_ms: Option<u64>,
}

impl<'a> Row<'a> {
    /// Reads and checks a row of [`COLUMNS`].
    pub(super) fn read(row: &'a rusqlite::Row<'_>) -> rusqlite::Result<Result<Self, ImportError>> {
        let columns = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?);
        let key_bytes = match columns.0 {
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => bytes,
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => b"",
        };
        let checked = Self::check(columns);
        Ok(checked.map_err(|reason| ImportError::Row { key: KeyText::new(key_bytes), reason }))
    }

    fn check(
        (key, value, encoding, expiry): (ValueRef<'a>, ValueRef<'a>, ValueRef<'a>, ValueRef<'a>),
    ) -> Result<Self, RowError> {
        let key = blob("k", key)?;
        let value = blob("v", value)?;
        let number = integer("v_encoding", encoding)?;
        let expiry = integer("expiration_ms", expiry)?;
        if !(1..=KEY_LEN_MAX).contains(&key.len()) {
            return Err(RowError::KeyLen(key.len()));
        }
        if value.len() > VALUE_LEN_MAX {
            return Err(RowError::ValueLen(value.len()));
        }
        let encoding = u8::try_from(number).ok().and_then(Encoding::from_byte);
        let encoding = encoding.ok_or(RowError::Encoding(number))?;
        if encoding == Encoding::Le64 && value.len() != 8 {
            return Err(RowError::Le64Len(value.len()));
        }
        // What is below 0 never expires: Deno writes -1.
        Ok(Self { key, value, encoding, expire_at_ms: u64::try_from(expiry).ok() })
    }

    /// Whether a reader at `now_ms` no longer sees it.
    pub(super) fn is_expired(&self, now_ms: u64) -> bool {
        self.expire_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// Bytes of key and value.
    pub(super) const fn len(&self) -> usize {
        self.key.len() + self.value.len()
    }

    /// The mutation that stores it.
    pub(super) fn to_mutation(self) -> Mutation {
        let value = StoredValue { encoding: self.encoding, bytes: self.value.to_vec() };
        let kind = MutationKind::Set { value, expire_at_ms: self.expire_at_ms };
        Mutation { key: self.key.to_vec(), kind }
    }
}

const fn blob<'a>(column: &'static str, value: ValueRef<'a>) -> Result<&'a [u8], RowError> {
    match value {
        ValueRef::Blob(bytes) => Ok(bytes),
        _ => Err(RowError::Type { column, expected: "a blob" }),
    }
}

const fn integer(column: &'static str, value: ValueRef<'_>) -> Result<i64, RowError> {
    match value {
        ValueRef::Integer(value) => Ok(value),
        _ => Err(RowError::Type { column, expected: "an integer" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &[u8], value: &[u8], encoding: i64, expiry: i64) -> Result<Option<u64>, RowError> {
        let columns = (
            ValueRef::Blob(key),
            ValueRef::Blob(value),
            ValueRef::Integer(encoding),
            ValueRef::Integer(expiry),
        );
        Row::check(columns).map(|row| row.expire_at_ms)
    }

    #[test]
    fn rows_within_the_limits_are_taken_and_others_say_why() {
        assert_eq!(check(&[1; 2048], &[0; 65_536], 1, -1), Ok(None));
        assert_eq!(check(b"k", &[0; 8], 2, 0), Ok(Some(0)));
        assert_eq!(check(b"k", b"", 3, 7), Ok(Some(7)));
        assert_eq!(check(b"", b"", 1, -1), Err(RowError::KeyLen(0)));
        assert_eq!(check(&[1; 2049], b"", 1, -1), Err(RowError::KeyLen(2049)));
        assert_eq!(check(b"k", &[0; 65_537], 1, -1), Err(RowError::ValueLen(65_537)));
        for unknown in [0, 4, 257, -1] {
            assert_eq!(check(b"k", b"", unknown, -1), Err(RowError::Encoding(unknown)));
        }
        assert_eq!(check(b"k", &[0; 7], 2, -1), Err(RowError::Le64Len(7)));
        let text = (ValueRef::Text(b"k"), ValueRef::Null, ValueRef::Null, ValueRef::Null);
        assert_eq!(Row::check(text), Err(RowError::Type { column: "k", expected: "a blob" }));
    }
}
