//! Why an import did not happen, sorted by what the caller does next.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Bytes of a key that an error shows.
const KEY_SHOWN_BYTES: usize = 64;

/// Why an import did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read. Give a file that can.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// SQLite cannot read the file. Repair it, or give another.
    #[error("cannot read {} as an SQLite database", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is something else. Give another.
    #[error("{} is not a database of Deno or denokv: {reason}", path.display())]
    NotDenoKv {
        /// The file.
        path: PathBuf,
        /// What is not as Deno makes it.
        reason: String,
    },
    /// A transaction in the file has not ended. Open it once with Deno or `denokv`, then import again.
    #[error("{} has an unfinished transaction beside it: open it once with what wrote it", path.display())]
    HotJournal {
        /// The file.
        path: PathBuf,
    },
    /// Somebody writes to the file. Stop that first.
    #[error("{} changed while it was read: stop what writes to it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A row cannot be stored. Change or remove it, then import again.
    #[error("the row with key {key} {reason}")]
    Row {
        /// Its key.
        key: KeyText,
        /// What is wrong with it.
        reason: RowError,
    },
    /// Messages would be lost. Deliver them first, or say that they may be left out.
    #[error(
        "{messages} queued messages are undelivered, and queues cannot be imported: --skip-queue leaves them out"
    )]
    QueueMessages {
        /// How many.
        messages: u64,
    },
    /// The target has content. Give an empty directory, or say that it may be written over.
    #[error("the database is not empty: --merge writes the rows into it")]
    NotEmpty,
    /// An import into the target stopped half way. Give an empty directory, or merge.
    #[error(
        "an import of {file} into this database did not finish: take an empty directory, or repeat it with --merge"
    )]
    Unfinished {
        /// What was imported.
        file: String,
    },
    /// The engine cannot write. Look at the disk.
    #[error("cannot write the rows: the import is not complete")]
    Engine(#[from] engine::Error),
    /// Rows were refused by apply although they were checked. This is a bug.
    #[error("cannot write the rows: {reason}")]
    Refused {
        /// Why.
        reason: replication::Refusal,
    },
}

impl ImportError {
    /// Whether the file or the flags are at fault and nothing was written.
    pub const fn changed_nothing(&self) -> bool {
        !matches!(self, ImportError::Engine(_) | ImportError::Refused { .. })
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A column holds another type.
    #[error("has a {column} that is not {expected}")]
    Type {
        /// The column.
        column: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// The key is too long or empty.
    #[error("has a key of {0} bytes: keys have 1 to 2048")]
    KeyLen(usize),
    /// The value is too long.
    #[error("has a value of {0} bytes: values have at most 65536")]
    ValueLen(usize),
    /// The encoding has no meaning.
    #[error("has a value of unknown encoding {0}")]
    Encoding(i64),
    /// A u64 has 8 bytes.
    #[error("has a u64 of {0} bytes instead of 8")]
    Le64Len(usize),
}

/// The start of a key, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// The text of a key.
    pub fn new(key: &[u8]) -> Self {
        let shown = &key[..key.len().min(KEY_SHOWN_BYTES)];
        let mut text: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        if shown.len() < key.len() {
            text.push_str("...");
        }
        Self(if text.is_empty() { "(empty)".to_owned() } else { text })
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
