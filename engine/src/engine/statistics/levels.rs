//! What each level holds, and what compactions moved into it.

use crate::levels::{LEVELS, Levels};
use std::sync::atomic::{AtomicU64, Ordering};

/// One level. Sizes in bytes; since the engine was opened unless marked "now".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LevelStatistics {
    /// Live tables, now. Level 0 far above `level0_tables_max`: compactions do not keep up, and every read asks them all.
    pub tables: u64,
    /// Bytes in them, now.
    pub bytes: u64,
    /// Flushes and compactions into it.
    pub writes: u64,
    /// What those compactions read, of this level and the one above.
    pub read_bytes: u64,
    /// What they wrote. Far more than was read from above: the level is rewritten again and again for little.
    pub written_bytes: u64,
    /// What came from above without being written: tables that overlap nothing.
    pub moved_bytes: u64,
    /// Blocks of its live tables that readers had to read from the disk, since each table was opened: which level the
    /// cache does not hold.
    pub blocks_read: u64,
}

/// What moved into one level.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    writes: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    moved_bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn written(&self, read: u64, written: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.read_bytes.fetch_add(read, Ordering::Relaxed);
        self.written_bytes.fetch_add(written, Ordering::Relaxed);
    }

    pub(super) fn moved(&self, bytes: u64) {
        self.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The levels down to the deepest of which there is something to say.
pub(super) fn collect(levels: &Levels, traffic: &[Traffic; LEVELS]) -> Vec<LevelStatistics> {
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let all = (0u8..).zip(traffic).map(|(level, traffic)| LevelStatistics {
        tables: levels.level(level).len() as u64,
        bytes: levels.bytes(level),
        writes: of(&traffic.writes),
        read_bytes: of(&traffic.read_bytes),
        written_bytes: of(&traffic.written_bytes),
        moved_bytes: of(&traffic.moved_bytes),
        blocks_read: levels.level(level).iter().map(|table| table.blocks_read()).sum(),
    });
    let mut all: Vec<_> = all.collect();
    while all.pop_if(|level| *level == LevelStatistics::default()).is_some() {}
    all
}
