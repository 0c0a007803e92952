//! What can go wrong, by what the caller does next.

use crate::GroupId;
use std::io;
use std::path::{Path, PathBuf};

/// Why a node cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed. Look at the disk.
    #[error("cannot read or write {}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The Raft log cannot be read. Look at the disk; the node can be wiped and rejoin under a new id.
    #[error("cannot open the Raft log in {}: {reason}", path.display())]
    RaftLog {
        /// Its directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a Raft log and no record of what it must hold. Wipe the node and let it rejoin.
    #[error("{} is missing or damaged, and the Raft log beside it is not new", path.display())]
    Watermark {
        /// The file.
        path: PathBuf,
    },
    /// One group's part of the Raft log cannot be read. Wipe the node and let it rejoin.
    #[error("cannot read the Raft log of group {group}")]
    ReadLog {
        /// Which group.
        group: GroupId,
        /// What is wrong.
        source: io::Error,
    },
    /// Entries that were durable are gone: this node must neither vote nor lead. Wipe it and let it rejoin.
    #[error(
        "the Raft log of group {group} ends at term {} index {}, and was durable up to term {} index {}: \
         this node lost entries that others count on. Empty its data directory and let it join as a new node",
        found.0, found.1, durable.0, durable.1
    )]
    LogBehind {
        /// Which group.
        group: GroupId,
        /// Term and index of the last entry.
        found: (u64, u64),
        /// Term and index up to which it was durable.
        durable: (u64, u64),
    },
    /// The Raft log of a group that has members is gone. Wipe the node and let it rejoin.
    #[error(
        "the Raft log of group {group} is gone, and its data is not new: empty the data directory and let the node join as a new one"
    )]
    LogMissing {
        /// Which group.
        group: GroupId,
    },
    /// The Raft log and the engine of a group are of different histories. Put back the directory as it was.
    #[error("the Raft log of group {group} is of lineage {log}, and its engine of lineage {engine}")]
    ForeignLog {
        /// Which group.
        group: GroupId,
        /// The log's lineage.
        log: engine::LineageId,
        /// The engine's.
        engine: engine::LineageId,
    },
    /// The engine of a group cannot be opened.
    #[error("cannot open the engine of group {group}")]
    Engine {
        /// Which group.
        group: GroupId,
        /// Why.
        source: engine::Error,
    },
    /// It is not certain which directory holds a replica.
    #[error("cannot find the replica of group {group}")]
    Replica {
        /// Which group.
        group: GroupId,
        /// Why.
        source: crate::replica_dir::Error,
    },
    /// The engine of a group was set aside because it is damaged, and nobody gave a copy. Start the node again when others
    /// can be reached.
    #[error("cannot rebuild the damaged replica of group {group}: {reason}")]
    Rebuild {
        /// Which group.
        group: GroupId,
        /// What the others said.
        reason: String,
    },
    /// openraft refuses what it found or was told.
    #[error("cannot start Raft group {group}: {reason}")]
    Raft {
        /// Which group.
        group: GroupId,
        /// Its words.
        reason: String,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        let path = path.to_path_buf();
        move |source| OpenError::Io { path, source }
    }
}

/// Why a write has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The disk is full up to its reserve; nothing was written. Free space.
    #[error("{reason}")]
    DiskFull {
        /// The engine's words.
        reason: String,
        /// Bytes that stay free.
        reserve: u64,
    },
    /// What the write depends on cannot be read; nothing was written. Look at the log.
    #[error("stored data cannot be read: {0}")]
    Storage(String),
    /// The write may or may not have happened. Read, and decide.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The write did not happen and never will: no leader took it in time. Send it again.
    #[error("no leader took the write in time: {0}")]
    Unavailable(String),
    /// The write was not taken: this node is stopping. Send it again, elsewhere or later.
    #[error("writes are stopping")]
    Stopping,
}

/// Why a strong read cannot be answered. Reads change nothing: send it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader confirmed what was newest in time.
    #[error("no leader confirmed the newest state in time: {0}")]
    Unavailable(String),
    /// This node is stopping.
    #[error("reads are stopping")]
    Stopping,
}
