//! What can go wrong in the engine, sorted by what the caller does next.

use crate::codec::Malformed;
use crate::erasure::{ERASURES_MAX, PREFIX_BYTES_MAX};
use crate::{OpError, Versionstamp};
use std::io;
use std::path::{Path, PathBuf};

/// Every error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is not what the format says. Restore from the archive, or bring the file back.
    #[error("damaged file {}: byte {offset}: expected {expected}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What the format wants there.
        expected: String,
    },
    /// A file that should be there is not. Restore from the archive, or bring the file back.
    #[error("missing file {}: {needed_by} names it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What names it.
        needed_by: &'static str,
    },
    /// Another engine has the directory open. Stop that process first.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something that is not an engine. Give another directory.
    #[error("{} is not a data directory: {reason}", path.display())]
    NotADataDirectory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The disk is filled up to its reserve. Free space; reads go on, and writes return by themselves.
    #[error("writes are stopped: {available} bytes are free on the disk, and {reserve} are kept in reserve")]
    DiskFull {
        /// Free bytes.
        available: u64,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// A write or sync failed before; what is durable is unknown. Reopen the engine.
    #[error("the engine stopped after a failed write: {reason}; reopen it")]
    Stopped {
        /// The first failure.
        reason: String,
    },
    /// The stamp is older than the history that is kept. Read a newer one, or restore.
    #[error("versionstamp {stamp} is below the horizon {horizon}: its history is no longer kept")]
    BelowHorizon {
        /// What was asked.
        stamp: Versionstamp,
        /// The oldest stamp that can be read.
        horizon: Versionstamp,
    },
    /// The stamp has not been committed. Read an older one.
    #[error("versionstamp {stamp} is above the newest, {newest}")]
    AboveNewest {
        /// What was asked.
        stamp: Versionstamp,
        /// The newest stamp that can be read.
        newest: Versionstamp,
    },
    /// A write is out of bounds. Change it.
    #[error(transparent)]
    Op(#[from] OpError),
    /// A batch without operations was to be committed. Commit nothing instead; a record of the caller's own may
    /// hold empty batches.
    #[error("a batch without operations has nothing to commit")]
    EmptyBatch,
    /// A record, or a batch that would make one, is too long for the log. Split it.
    #[error("a record of {bytes} bytes is over {bytes_max}")]
    RecordLen {
        /// What it would come to.
        bytes: u64,
        /// The most that a record can have, inclusive.
        bytes_max: u64,
    },
    /// A record says what the log cannot hold. This is a bug of the caller.
    #[error("record {version} cannot be written: {reason}")]
    Record {
        /// The record's version.
        version: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A range starts after its end. Swap them; a range whose start is its end is empty.
    #[error("a range starts after its end")]
    Range,
    /// Too many deletions of prefixes wait for the horizon to pass them. Delete fewer prefixes, or shorten the history.
    #[error(
        "{waiting} deleted prefixes are not forgotten yet: at most {ERASURES_MAX} can be, of {PREFIX_BYTES_MAX} bytes together"
    )]
    ErasuresFull {
        /// How many wait.
        waiting: usize,
    },
    /// A record does not follow the one before it. This is a bug of the caller.
    #[error("record {version} does not follow record {applied}: {reason}")]
    OutOfOrder {
        /// The record's version.
        version: u64,
        /// The newest version in the engine.
        applied: u64,
        /// What does not follow.
        reason: &'static str,
    },
    /// An option is out of range. Change it.
    #[error("option {name} is out of range: {reason}")]
    Option {
        /// Its name.
        name: &'static str,
        /// Its range.
        reason: &'static str,
    },
    /// The disk failed. Look at the disk, then reopen the engine.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl Error {
    /// Says what was tried on which file when the disk failed.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_path_buf(), source }
    }

    /// Whether the disk had no room for it.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::DiskFull { .. } => true,
            Error::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// Whether it refused a write before any byte of it was written, so that the engine goes on.
    pub(crate) fn changed_nothing(&self) -> bool {
        let refused = matches!(
            self,
            Error::Op(_)
                | Error::EmptyBatch
                | Error::RecordLen { .. }
                | Error::Record { .. }
                | Error::OutOfOrder { .. }
                | Error::NotADataDirectory { .. }
                | Error::ErasuresFull { .. }
        );
        refused || self.is_disk_full()
    }

    /// Says in which file, and from which byte of it, something malformed was decoded.
    pub fn damaged(path: &Path, start: u64) -> impl FnOnce(Malformed) -> Error {
        move |malformed| Error::Damaged {
            path: path.to_path_buf(),
            offset: start + malformed.offset as u64,
            expected: malformed.expected.to_owned(),
        }
    }
}

/// The result of an engine operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;
