//! Where a log stands: what the next record has to follow.

use crate::{ContentHash, Record, Versionstamp};

/// Where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Version of the last record; 0 at the start of history.
    pub version: u64,
    /// Its term.
    pub term: u64,
    /// The replicated clock there, Unix milliseconds.
    pub time_ms: u64,
    /// Content hash after it.
    pub hash: ContentHash,
    /// Stamp of the last commit; zero at the start of history.
    pub stamp: Versionstamp,
}

impl Applied {
    /// Before the first record.
    pub const START: Applied =
        Applied { version: 0, term: 0, time_ms: 0, hash: ContentHash::EMPTY, stamp: Versionstamp::ZERO };

    /// Where the log stands after `record`.
    #[must_use]
    pub fn after(&self, record: &Record) -> Applied {
        Applied {
            version: record.version,
            term: record.term,
            time_ms: record.time_ms,
            hash: record.hash,
            stamp: record.commits().last().map_or(self.stamp, |(stamp, _)| stamp),
        }
    }
}
