//! What the engine counts, and how much room the disk has left.

mod display;
mod levels;

use super::{Core, Engine};
use crate::counters::{Durations, Timer};
use crate::fs::{Fs, Space};
use crate::horizon::Horizon;
use crate::levels::LEVELS;
use crate::table::hidden::Hidden;
use crate::{Error, Record, Result};
use levels::Traffic;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Numbers of one engine; since it was opened unless marked "now". Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Records appended.
    pub records: u64,
    /// Commits in them.
    pub commits: u64,
    /// Bytes appended to the log.
    pub wal_bytes: u64,
    /// Syncs of the log that were asked for.
    pub syncs: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Compactions run.
    pub compactions: u64,
    /// Bytes that flushes wrote.
    pub flushed_bytes: u64,
    /// Bytes that compactions wrote.
    pub compacted_bytes: u64,
    /// Memory in memtables, now.
    pub memtable_bytes: u64,
    /// Memory of it all, by what it is for, now.
    pub memory: MemoryUse,
    /// Writers that had to wait for a flush or a compaction.
    pub stalls: u64,
    /// How long they waited in all, in milliseconds.
    pub stalled_ms: u64,
    /// Bytes in live tables, now.
    pub table_bytes: u64,
    /// Bytes (keys and values, uncompressed) of versions in tables that newer ones in the same table hide, now: what history
    /// costs, and what is not yet dropped of it. See [`History::bytes_max`](crate::History::bytes_max).
    pub history_bytes: u64,
    /// How far back keys that no rule names can be read, in milliseconds, now; `None` while nothing was dropped.
    /// Below `history_ms` where `history_bytes_max` cut it short.
    pub history_age_ms: Option<u64>,
    /// Deletions of prefixes that may still hide something, now.
    pub erasures: u64,
    /// Live tables of each level, now.
    pub tables: Vec<u64>,
    /// Each level down to the deepest that has a table or was written to.
    pub levels: Vec<LevelStatistics>,
    /// Keys that were asked for, at any snapshot.
    pub gets: u64,
    /// Ranges that were asked for.
    pub ranges: u64,
    /// Tables that a filter left out of a get. None, with many gets of keys that are not there: filters do not fit memory.
    pub filter_rejections: u64,
    /// Tables that a filter let through to a get, and that had no version of the key. About one in 256 of those that could
    /// be left out; far more: gets at old stamps, or something is wrong with the filters.
    pub filter_false_positives: u64,
    /// Blocks found in the cache. A get asks for two or three; far more of them for each get: many tables may hold its key.
    pub cache_hits: u64,
    /// Blocks read from disk. A large share of all blocks: the cache is too small for what is read often.
    pub cache_misses: u64,
    /// Free space on the disk, when last looked at.
    pub disk_available_bytes: u64,
    /// Whether writes are stopped because the disk is full.
    pub disk_full: bool,
    /// Sealed segments on disk, now.
    pub segments: u64,
    /// Bytes in them.
    pub segment_bytes: u64,
    /// Bytes of the operations that were committed: what was asked for. Compare what was written for it:
    /// [`write_amplification`](Self::write_amplification).
    pub commit_bytes: u64,
    /// Records by the number of commits that share them: 1, 2 to 3, 4 to 7, and so on, and in the last place all larger
    /// ones. Many writers and small groups mean that writers wait for something else than the sync.
    pub groups: [u64; GROUP_SIZES],
    /// How long the syncs of the log took. A commit takes at least one, or waits for two; a longest one far above
    /// the mean is the disk's doing.
    pub sync_times: Durations,
    /// Memtables, now: the active one, and those that wait for their flush. More than two: flushes do not keep up.
    pub memtables: u64,
    /// States of the data that snapshots hold on to though it was flushed or compacted since, now; each keeps its memtables
    /// in memory and its tables on the disk.
    pub held_views: u64,
    /// For how long the oldest of them has been out of date, in milliseconds, now. Minutes: somebody forgot a snapshot.
    pub oldest_view_ms: u64,
}

/// How many sizes of groups are told apart.
pub(crate) const GROUP_SIZES: usize = 8;

impl Statistics {
    /// Bytes written to the log and to tables for each byte that was asked for; 0 before the first commit.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub fn write_amplification(&self) -> f64 {
        if self.commit_bytes == 0 {
            return 0.0;
        }
        (self.wal_bytes + self.flushed_bytes + self.compacted_bytes) as f64 / self.commit_bytes as f64
    }
}

/// Memory that an engine counts, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Blocks in the cache, of all engines that share it.
    pub cache: u64,
    /// Top indexes and filters of open tables, of all engines that share the cache: blocks have what they leave.
    pub pinned: u64,
    /// Memtables, the active one and those that wait for their flush.
    pub memtables: u64,
    /// What a flush and a compaction under way hold.
    pub working: u64,
}

impl MemoryUse {
    /// The sum.
    pub fn total(&self) -> u64 {
        self.cache + self.pinned + self.memtables + self.working
    }
}

pub use levels::LevelStatistics;

#[derive(Debug, Default)]
pub(super) struct Counters {
    records: AtomicU64,
    commits: AtomicU64,
    pub(super) syncs: AtomicU64,
    flushes: AtomicU64,
    compactions: AtomicU64,
    flushed_bytes: AtomicU64,
    compacted_bytes: AtomicU64,
    traffic: [Traffic; LEVELS],
    pub(super) flush_memory: AtomicU64,
    pub(super) compaction_memory: AtomicU64,
    commit_bytes: AtomicU64,
    groups: [AtomicU64; GROUP_SIZES],
    pub(super) sync_times: Timer,
}

impl Counters {
    pub(super) fn appended(&self, record: &Record) {
        let bytes = record.batches.iter().map(|(_, batch)| batch.as_bytes().len() as u64).sum();
        self.commit_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(doublings) = record.batches.len().checked_ilog2() {
            let size = usize::try_from(doublings).unwrap_or(usize::MAX).min(GROUP_SIZES - 1);
            self.groups[size].fetch_add(1, Ordering::Relaxed);
        }
        self.records.fetch_add(1, Ordering::Relaxed);
        self.commits.fetch_add(record.batches.len() as u64, Ordering::Relaxed);
    }

    pub(super) fn flushed(&self, bytes: u64) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.flushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.traffic[0].written(0, bytes);
    }

    /// A compaction into a level read and wrote this many bytes.
    pub(super) fn compacted(&self, to: u8, read: u64, written: u64) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.compacted_bytes.fetch_add(written, Ordering::Relaxed);
        self.traffic[usize::from(to)].written(read, written);
    }

    /// Tables went into a level as they were.
    pub(super) fn moved(&self, to: u8, bytes: u64) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
        self.traffic[usize::from(to)].moved(bytes);
    }
}

/// Whether there is room for writes: they stop at a reserve, so that reads, flushes, compactions and
/// the archive go on.
#[derive(Debug)]
pub(super) struct DiskSpace {
    reserve: Option<u64>,
    available: AtomicU64,
    kept: AtomicU64,
    full: AtomicBool,
}

impl DiskSpace {
    pub(super) fn new(reserve: Option<u64>) -> Self {
        Self { reserve, available: AtomicU64::new(0), kept: AtomicU64::new(0), full: AtomicBool::new(false) }
    }

    /// Looks at the disk.
    pub(super) fn refresh(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        let Space { available, total } = fs.space(dir).map_err(Error::io("look at the space of", dir))?;
        let reserve = crate::options::reserve_bytes(self.reserve, total);
        self.available.store(available, Ordering::Relaxed);
        self.kept.store(reserve, Ordering::Relaxed);
        let full = available < reserve;
        if self.full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::warn!(available, reserve, "writes stop: the disk is filled up to its reserve");
            } else {
                tracing::info!(available, reserve, "writes go on: the disk has room again");
            }
        }
        Ok(())
    }

    /// Whether writes are stopped.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Refuses a write when there is no room.
    pub(super) fn check(&self) -> Result<()> {
        if self.full.load(Ordering::Relaxed) { Err(self.error()) } else { Ok(()) }
    }

    /// Notes that the disk refused space before the reserve was seen to be reached.
    pub(super) fn full(&self) -> Error {
        self.full.store(true, Ordering::Relaxed);
        self.error()
    }

    fn error(&self) -> Error {
        Error::DiskFull {
            available: self.available.load(Ordering::Relaxed),
            reserve: self.kept.load(Ordering::Relaxed),
        }
    }
}

impl Engine {
    /// Bytes that stay free on its disk: writes stop there.
    pub fn disk_reserve_bytes(&self) -> u64 {
        self.core.disk.kept.load(Ordering::Relaxed)
    }
}

impl Core {
    /// What it holds in memory; of a step that runs at this moment, as it was counted last.
    fn memory_use(&self) -> MemoryUse {
        let amounts = self.account.amounts();
        MemoryUse {
            cache: self.cache.bytes(),
            pinned: self.cache.pinned_bytes(),
            memtables: amounts.active + amounts.sealed,
            working: self.counters.flush_memory.load(Ordering::Relaxed)
                + self.counters.compaction_memory.load(Ordering::Relaxed),
        }
    }

    /// How many views are held that were replaced, and how long ago the oldest of them was.
    fn held_views(&self) -> (u64, u64) {
        let mut replaced = self.replaced_views.lock();
        replaced.retain(|(view, _)| view.strong_count() > 0);
        let now_ms = self.env.clock.now_ms();
        let age_ms = replaced.front().map_or(0, |(_, since_ms)| now_ms.saturating_sub(*since_ms));
        (replaced.len() as u64, age_ms)
    }

    pub(super) fn statistics(&self) -> Statistics {
        let view = self.view.load();
        let (wal_bytes, segments, segment_bytes) = {
            let appender = self.appender.lock();
            let sealed = appender.log.sealed();
            let bytes = sealed.iter().map(|segment| segment.bytes).sum();
            (appender.log.bytes_written(), sealed.len() as u64, bytes)
        };
        let memory = self.memory_use();
        let memtables = view.sealed.iter().map(|sealed| sealed.memtable.bytes()).sum::<usize>();
        let (cache_hits, cache_misses) = self.cache.hits_and_misses();
        let mut tables = Vec::new();
        let (mut table_bytes, mut history_bytes) = (0, 0);
        for (level, table) in view.levels.tables() {
            let level = usize::from(level);
            tables.resize(tables.len().max(level + 1), 0);
            tables[level] += 1;
            table_bytes += table.meta().bytes;
            history_bytes += table.footer().hidden.iter().map(Hidden::bytes).sum::<u64>();
        }
        let (gets, ranges) = view.levels.reads().gets_and_ranges();
        let (filter_rejections, filter_false_positives) = view.levels.reads().rejected_and_in_vain();
        let (held_views, oldest_view_ms) = self.held_views();
        let horizon = view.horizons.of_rest();
        let now_ms = self.env.clock.now_ms();
        let history_age_ms = (horizon != Horizon::START).then(|| now_ms.saturating_sub(horizon.time_ms));
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            records: of(&self.counters.records),
            commits: of(&self.counters.commits),
            wal_bytes,
            syncs: of(&self.counters.syncs),
            flushes: of(&self.counters.flushes),
            compactions: of(&self.counters.compactions),
            flushed_bytes: of(&self.counters.flushed_bytes),
            compacted_bytes: of(&self.counters.compacted_bytes),
            memtable_bytes: (memtables + view.active.bytes()) as u64,
            memory,
            stalls: of(&self.pressure.stalls),
            stalled_ms: of(&self.pressure.stalled_ms),
            table_bytes,
            history_bytes,
            history_age_ms,
            erasures: view.erasures.len() as u64,
            tables,
            levels: levels::collect(&view.levels, &self.counters.traffic),
            gets,
            ranges,
            filter_rejections,
            filter_false_positives,
            cache_hits,
            cache_misses,
            disk_available_bytes: of(&self.disk.available),
            disk_full: self.disk.full.load(Ordering::Relaxed),
            segments,
            segment_bytes,
            commit_bytes: of(&self.counters.commit_bytes),
            groups: self.counters.groups.each_ref().map(of),
            sync_times: self.counters.sync_times.read(),
            memtables: 1 + view.sealed.len() as u64,
            held_views,
            oldest_view_ms,
        }
    }
}
