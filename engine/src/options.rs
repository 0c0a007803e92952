//! What an engine can be told, with the reason why each is not a constant.

use crate::{Error, Result};

/// How much of the past is kept: whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Versions younger than this can be read at their stamp, in milliseconds.
    pub ms: u64,
    /// Bytes (keys and values, uncompressed) that versions kept only to be read in the past may take in tables.
    /// Past it the horizon rises early, oldest versions first.
    pub bytes_max: u64,
}

/// Settings of one engine. Sizes are in bytes, times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// A memtable this large is sealed and flushed, if the budget of the engine does not ask for it earlier. Alone, an
    /// engine has room for 16/7 of it: one memtable is filled while another is flushed.
    pub memtable_bytes_max: usize,
    /// Memory for blocks of tables of an engine with a budget of its own. Memory differs by machine.
    pub block_cache_bytes: u64,
    /// An uncompressed block is closed at this size. Tests make it small.
    pub block_bytes: usize,
    /// A compaction closes a table at about this size. Tests make it small.
    pub table_bytes: u64,
    /// Tables in level 0 that start a compaction.
    pub level0_tables_max: usize,
    /// Size of level 1; each level below is ten times as large. Tests make it small.
    pub level1_bytes: u64,
    /// A WAL segment is sealed at this size. Archives want it bounded.
    pub segment_bytes_max: u64,
    /// A WAL segment is sealed this long after the first record in it. Bounds the archive's lag.
    pub segment_age_ms_max: u64,
    /// Versions younger than this can be read at their stamp. Costs space.
    pub history_ms: u64,
    /// Bytes that versions kept only for that may take, see [`History::bytes_max`]; memtables and level 0 come on top.
    /// The default is as small as the disk's reserve: one hot counter must not fill a small disk.
    pub history_bytes_max: u64,
    /// Writes stop when fewer bytes than this are free; `None` is the larger of 1 GiB and 5 % of
    /// the disk.
    pub disk_reserve_bytes: Option<u64>,
}

/// Bytes that stay free on a disk of `total` bytes, as configured or by default.
pub(crate) fn reserve_bytes(configured: Option<u64>, total: u64) -> u64 {
    configured.unwrap_or_else(|| RESERVE_BYTES_MIN.max(total / RESERVE_PART))
}

/// The least that stays free on a disk by default, in bytes.
const RESERVE_BYTES_MIN: u64 = 1 << 30;
/// The part of a disk that stays free by default: one in this many bytes.
const RESERVE_PART: u64 = 20;
/// The longest history, in milliseconds, inclusive: 100 years.
const HISTORY_MS_MAX: u64 = 100 * 366 * 86_400_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            memtable_bytes_max: 28 << 20,
            block_cache_bytes: 64 << 20,
            block_bytes: 4 << 10,
            table_bytes: 32 << 20,
            level0_tables_max: 12,
            level1_bytes: 256 << 20,
            segment_bytes_max: 32 << 20,
            segment_age_ms_max: 1_000,
            history_ms: 3_600_000,
            history_bytes_max: 1 << 30,
            disk_reserve_bytes: None,
        }
    }
}

impl Options {
    /// How much of the past is kept of keys that no rule names, see
    /// [`Engine::set_histories`](crate::Engine::set_histories).
    pub const fn history(&self) -> History {
        History { ms: self.history_ms, bytes_max: self.history_bytes_max }
    }

    /// Bytes that stay free on a disk of `total` bytes: writes stop there.
    pub fn reserve_bytes(&self, total: u64) -> u64 {
        reserve_bytes(self.disk_reserve_bytes, total)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] naming the option and its range.
    pub fn check(&self) -> Result<()> {
        let range =
            |holds: bool, name, reason| if holds { Ok(()) } else { Err(Error::Option { name, reason }) };
        range(
            (1 << 10..=1 << 30).contains(&self.memtable_bytes_max),
            "memtable_bytes_max",
            "1 KiB to 1 GiB",
        )?;
        range((64..=1 << 20).contains(&self.block_bytes), "block_bytes", "64 bytes to 1 MiB")?;
        range((1 << 10..=1 << 30).contains(&self.table_bytes), "table_bytes", "1 KiB to 1 GiB")?;
        range((1..=64).contains(&self.level0_tables_max), "level0_tables_max", "1 to 64")?;
        range((1 << 10..=1 << 40).contains(&self.level1_bytes), "level1_bytes", "1 KiB to 1 TiB")?;
        range((1 << 12..=1 << 30).contains(&self.segment_bytes_max), "segment_bytes_max", "4 KiB to 1 GiB")?;
        range(self.block_cache_bytes <= 1 << 40, "block_cache_bytes", "0 to 1 TiB")?;
        range((1..=86_400_000).contains(&self.segment_age_ms_max), "segment_age_ms_max", "1 ms to 24 h")?;
        range(self.history_ms <= HISTORY_MS_MAX, "history_ms", "0 to 100 years")?;
        range(
            self.disk_reserve_bytes.is_none_or(|bytes| bytes <= 1 << 60),
            "disk_reserve_bytes",
            "0 to 1 EiB",
        )
    }
}
