//! Collects entries and writes them as a block.
//!
//! Entries are kept until the block is closed, because the prefix of its keys and its smallest
//! version are known only then.

use super::{HEAD_LEN, common_len, head, row};
use crate::Versionstamp;
use crate::entry::Version;

/// Rows of entries from one restart to the next, at most.
const RESTART_ROWS: usize = 8;
/// The same in an index, whose blocks are few and searched all the time: a search decodes one row.
const INDEX_RESTART_ROWS: usize = 1;
/// Bytes of rows after which the next row is a restart. A search reads rows from memory one after the other, as
/// where one starts is known from the one before; where values are not short, the 12 bytes of a restart are
/// nothing beside them.
const RESTART_BYTES: usize = 512;
/// Bytes that a row takes besides its key and value, about.
const ROW_OVERHEAD_BYTES: usize = 10;

/// A block being filled.
#[derive(Debug)]
pub(crate) struct Builder {
    restart_rows: usize,
    keys: Vec<u8>,
    rows: Vec<Pending>,
    bytes: usize,
}

#[derive(Debug)]
struct Pending {
    key_end: usize,
    stamp: Versionstamp,
    version: Version,
}

impl Builder {
    /// For entries.
    pub(crate) fn new() -> Self {
        Self { restart_rows: RESTART_ROWS, keys: Vec::new(), rows: Vec::new(), bytes: 0 }
    }

    /// For an index.
    pub(crate) fn of_index() -> Self {
        Self { restart_rows: INDEX_RESTART_ROWS, ..Self::new() }
    }

    /// Adds an entry; the caller keeps the order.
    pub(crate) fn add(&mut self, key: &[u8], stamp: Versionstamp, version: Version) {
        self.bytes += ROW_OVERHEAD_BYTES + key.len() + version.value_len();
        self.keys.extend_from_slice(key);
        self.rows.push(Pending { key_end: self.keys.len(), stamp, version });
    }

    /// About how long the block is, in bytes, before its keys are truncated.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was added since the last block.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Entries in it.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The key and stamp of the last entry.
    pub(crate) fn last(&self) -> Option<(&[u8], Versionstamp)> {
        let index = self.rows.len().checked_sub(1)?;
        Some((self.key(index), self.rows[index].stamp))
    }

    /// Writes the block over `out` and starts the next one.
    ///
    /// # Panics
    ///
    /// If nothing was added.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let base = self.rows.iter().map(|row| row.stamp.version()).min();
        let base = base.expect("a block holds at least one entry");
        let prefix_len = common_len(self.key(0), self.key(self.rows.len() - 1));
        let count = u32::try_from(self.rows.len()).expect("a block is bounded");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&base.to_le_bytes());
        let prefix_len_u16 = u16::try_from(prefix_len).expect("a key is at most 65,535 bytes long");
        out.extend_from_slice(&prefix_len_u16.to_le_bytes());
        out.extend_from_slice(&self.key(0)[..prefix_len]);
        let restarts = self.put_rows(out, base, prefix_len);
        for (head, offset) in &restarts {
            out.extend_from_slice(&head.to_be_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        let count = u32::try_from(restarts.len()).expect("a block is bounded");
        out.extend_from_slice(&count.to_le_bytes());
        self.keys.clear();
        self.rows.clear();
        self.bytes = 0;
    }

    fn put_rows(&self, out: &mut Vec<u8>, base: u64, prefix_len: usize) -> Vec<(u64, u32)> {
        let mut restarts = Vec::with_capacity(self.rows.len().div_ceil(self.restart_rows));
        let mut before: &[u8] = &[];
        // Rows left until the next restart, and where it is due at the latest.
        let (mut rows, mut due) = (0, 0);
        for (index, pending) in self.rows.iter().enumerate() {
            let suffix = &self.key(index)[prefix_len..];
            let mut shared = common_len(before, suffix);
            if rows == 0 || out.len() >= due {
                shared = 0;
                restarts.push((head(suffix), u32::try_from(out.len()).expect("a block is bounded")));
                (rows, due) = (self.restart_rows, out.len() + RESTART_BYTES);
            }
            rows -= 1;
            let stamp = (pending.stamp.version() - base, pending.stamp.order());
            row::encode(out, shared, &suffix[shared..], stamp, &pending.version);
            before = suffix;
        }
        restarts
    }

    fn key(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.rows[before].key_end);
        &self.keys[start..self.rows[index].key_end]
    }
}

const _: () = assert!(HEAD_LEN == size_of::<u64>(), "a restart's head is a u64");
