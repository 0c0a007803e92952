//! How to ship.

use crate::job::Jobs;
use crate::seal::Recipients;
use std::path::PathBuf;

/// How often a segment is shipped while commits come, in milliseconds: on average half of it is what the archive is behind.
pub const DEFAULT_INTERVAL_MS: u64 = 400;

/// How to ship.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The group whose engine it is.
    pub group: u64,
    /// The node that ships.
    pub node: u64,
    /// At most one segment object is shipped in this time, unless it is full, in milliseconds.
    pub interval_ms: u64,
    /// A segment object is closed at this many bytes of records.
    pub object_bytes_max: u64,
    /// What may wait for an unreachable store, in bytes of WAL segments.
    pub backlog_bytes_max: u64,
    /// A checkpoint is made this long after the last one, if there were commits, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// A checkpoint is made after this many bytes of segment objects, even before that.
    pub checkpoint_bytes: u64,
    /// Bytes of tables that are uploaded in a second, at most; `None` without a bound.
    pub table_bytes_per_s_max: Option<u64>,
    /// For whom everything is encrypted.
    pub recipients: Recipients,
    /// A directory of the shipper's own, on the engine's file system: checkpoints are linked there.
    pub scratch: PathBuf,
    /// Where uploads of checkpoints are shown; `None` when nobody watches.
    pub jobs: Option<Jobs>,
}

impl Settings {
    /// What suits a single node.
    pub fn new(scratch: PathBuf) -> Self {
        Self {
            group: 1,
            node: 1,
            interval_ms: DEFAULT_INTERVAL_MS,
            object_bytes_max: 32 << 20,
            backlog_bytes_max: 4 << 30,
            checkpoint_interval_ms: 3_600_000,
            checkpoint_bytes: 1 << 30,
            table_bytes_per_s_max: None,
            recipients: Recipients::nobody(),
            scratch,
            jobs: None,
        }
    }
}
