//! What a group has done on this node since it was opened.

use super::Group;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts kept while a group works.
#[derive(Debug, Default)]
pub(super) struct Counts {
    entries: AtomicU64,
    writes: AtomicU64,
    rounds: AtomicU64,
    reads: AtomicU64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries proposed here as the leader.
    pub entries: u64,
    /// Atomic writes in them.
    pub writes: u64,
    /// Confirmations of the newest state that reads here asked for.
    pub read_rounds: u64,
    /// Strong reads that waited for them.
    pub reads: u64,
}

impl Counts {
    /// An entry of so many writes is proposed.
    pub(super) fn propose(&self, writes: usize) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes as u64, Ordering::Relaxed);
    }

    /// So many reads wait for one confirmation.
    pub(super) fn confirm(&self, reads: usize) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.reads.fetch_add(reads as u64, Ordering::Relaxed);
    }
}

impl Group {
    /// What this node has done in the group since it was opened.
    pub fn counters(&self) -> Counters {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.core.counts;
        Counters {
            entries: read(&counts.entries),
            writes: read(&counts.writes),
            read_rounds: read(&counts.rounds),
            reads: read(&counts.reads),
        }
    }
}
