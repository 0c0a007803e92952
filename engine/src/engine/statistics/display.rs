//! Statistics as a page that a person reads.

use super::{LevelStatistics, MemoryUse, Statistics};
use crate::Durations;
use std::fmt::{self, Display, Formatter};

/// Bytes in the largest unit that leaves a number of at least 1.
struct Bytes(u64);

impl Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1 << 10 {
            return write!(f, "{} B", self.0);
        }
        let (mut amount, mut unit) = (self.0 as f64 / 1024.0, 0);
        while amount >= 1024.0 && unit + 1 < UNITS.len() {
            (amount, unit) = (amount / 1024.0, unit + 1);
        }
        write!(f, "{amount:.1} {}", UNITS[unit])
    }
}

/// A time in the largest unit that leaves a number of at least 1.
struct Time(u64);

impl Display for Time {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns if ns < 1_000 => write!(f, "{ns} ns"),
            ns if ns < 1_000_000 => write!(f, "{:.1} µs", ns as f64 / 1e3),
            ns if ns < 1_000_000_000 => write!(f, "{:.1} ms", ns as f64 / 1e6),
            ns => write!(f, "{:.1} s", ns as f64 / 1e9),
        }
    }
}

/// A part of a whole, in percent; "none" of nothing.
struct Share(u64, u64);

impl Display for Share {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => f.write_str("none"),
            whole => write!(f, "{:.1} %", self.0 as f64 * 100.0 / whole as f64),
        }
    }
}

impl Display for Durations {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}, mean {}, longest {}", self.count, Time(self.mean_ns()), Time(self.max_ns))
    }
}

impl Display for Statistics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.writes(f)?;
        self.tables(f)?;
        self.history(f)?;
        self.reads(f)?;
        let full = if self.disk_full { ": full, writes are stopped" } else { "" };
        write!(f, "disk         {} free{full}", Bytes(self.disk_available_bytes))
    }
}

impl Statistics {
    fn writes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "commits      {} in {} records, {} asked for",
            self.commits,
            self.records,
            Bytes(self.commit_bytes)
        )?;
        f.write_str("groups      ")?;
        for (doublings, count) in self.groups.iter().enumerate().filter(|(_, count)| **count > 0) {
            write!(f, " {}+: {count}", 1u64 << doublings)?;
        }
        writeln!(f)?;
        writeln!(f, "log          {} written; syncs: {}", Bytes(self.wal_bytes), self.sync_times)?;
        writeln!(f, "segments     {} sealed, {}", self.segments, Bytes(self.segment_bytes))?;
        writeln!(f, "memtables    {}, {}", self.memtables, Bytes(self.memtable_bytes))?;
        let stalled = Time(self.stalled_ms.saturating_mul(1_000_000));
        writeln!(f, "stalls       {} writers waited, {stalled} in all", self.stalls)?;
        let MemoryUse { cache, pinned, memtables, working } = self.memory;
        writeln!(
            f,
            "memory       {}: cache {}, pinned {}, memtables {}, at work {}",
            Bytes(self.memory.total()),
            Bytes(cache),
            Bytes(pinned),
            Bytes(memtables),
            Bytes(working)
        )
    }

    fn tables(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "flushes      {}, {} written", self.flushes, Bytes(self.flushed_bytes))?;
        writeln!(f, "compactions  {}, {} written", self.compactions, Bytes(self.compacted_bytes))?;
        writeln!(f, "             {:.2} bytes written for each one asked for", self.write_amplification())?;
        writeln!(f, "tables       {}", Bytes(self.table_bytes))?;
        writeln!(
            f,
            "  level  tables        bytes  times         read      written        moved  blocks read"
        )?;
        for (number, level) in self.levels.iter().enumerate() {
            let LevelStatistics { tables, writes, .. } = level;
            write!(f, "  {number:5}  {tables:6}  {:>11}  {writes:5}", Bytes(level.bytes).to_string())?;
            for bytes in [level.read_bytes, level.written_bytes, level.moved_bytes] {
                write!(f, "  {:>11}", Bytes(bytes).to_string())?;
            }
            writeln!(f, "  {:>11}", level.blocks_read)?;
        }
        Ok(())
    }

    fn history(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "history      {} of hidden versions in tables, ", Bytes(self.history_bytes))?;
        match self.history_age_ms {
            Some(ms) => write!(f, "the horizon is {} back", Time(ms.saturating_mul(1_000_000)))?,
            None => f.write_str("nothing was dropped")?,
        }
        writeln!(f, "; {} deleted prefixes", self.erasures)
    }

    fn reads(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "reads        {} gets, {} ranges", self.gets, self.ranges)?;
        let (rejected, in_vain) = (self.filter_rejections, self.filter_false_positives);
        writeln!(f, "filters      {rejected} tables left out, {in_vain} let through in vain")?;
        let blocks = self.cache_hits + self.cache_misses;
        writeln!(f, "blocks       {blocks} asked for, {} in the cache", Share(self.cache_hits, blocks))?;
        let oldest = Time(self.oldest_view_ms.saturating_mul(1_000_000));
        writeln!(f, "old views    {} held by snapshots, the oldest for {oldest}", self.held_views)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_page_with_units() {
        let statistics = Statistics {
            records: 2,
            commits: 5,
            wal_bytes: 3 << 20,
            flushed_bytes: 1 << 20,
            commit_bytes: 2 << 20,
            groups: [1, 0, 1, 0, 0, 0, 0, 0],
            sync_times: Durations { count: 2, total_ns: 130_000, max_ns: 80_000 },
            memtables: 1,
            memtable_bytes: 700,
            stalls: 3,
            stalled_ms: 12,
            memory: MemoryUse { cache: 1 << 20, pinned: 5, memtables: 700, working: 0 },
            levels: vec![
                LevelStatistics {
                    tables: 2,
                    bytes: 512,
                    writes: 3,
                    written_bytes: 1 << 20,
                    ..LevelStatistics::default()
                },
                LevelStatistics {
                    tables: 1,
                    bytes: 1_024,
                    writes: 1,
                    read_bytes: 2 << 20,
                    written_bytes: 1 << 20,
                    moved_bytes: 7,
                    blocks_read: 9,
                },
            ],
            table_bytes: 1_536,
            gets: 7,
            filter_rejections: 5,
            filter_false_positives: 2,
            cache_hits: 3,
            cache_misses: 1,
            history_bytes: 9,
            history_age_ms: Some(60_000),
            erasures: 4,
            held_views: 1,
            oldest_view_ms: 2_500,
            ..Statistics::default()
        };
        let expected = "\
commits      5 in 2 records, 2.0 MiB asked for
groups       1+: 1 4+: 1
log          3.0 MiB written; syncs: 2, mean 65.0 µs, longest 80.0 µs
segments     0 sealed, 0 B
memtables    1, 700 B
stalls       3 writers waited, 12.0 ms in all
memory       1.0 MiB: cache 1.0 MiB, pinned 5 B, memtables 700 B, at work 0 B
flushes      0, 1.0 MiB written
compactions  0, 0 B written
             2.00 bytes written for each one asked for
tables       1.5 KiB
  level  tables        bytes  times         read      written        moved  blocks read
      0       2        512 B      3          0 B      1.0 MiB          0 B            0
      1       1      1.0 KiB      1      2.0 MiB      1.0 MiB          7 B            9
history      9 B of hidden versions in tables, the horizon is 60.0 s back; 4 deleted prefixes
reads        7 gets, 0 ranges
filters      5 tables left out, 2 let through in vain
blocks       4 asked for, 75.0 % in the cache
old views    1 held by snapshots, the oldest for 2.5 s
disk         0 B free";
        assert_eq!(statistics.to_string(), expected);
        assert!(Statistics::default().to_string().contains("none in the cache"));
    }
}
