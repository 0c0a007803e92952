//! Hours of overwrites on a simulated clock and disk: what nobody can see any more gives its space back, so disk and
//! memory stay within stated bounds.

use crate::TestResult;
use crate::support::{Row, rows};
use engine::env::sim::{self, SimRandom};
use engine::{Direction, Engine, Options, Progress, WriteBatch};
use std::path::Path;

const KEYS: u64 = 1_000;
const PUTS_PER_S: u64 = 4;
const VALUE_LEN: usize = 100;
/// Bytes of an entry: key, value, and what a table says of it.
const ENTRY_BYTES: u64 = 8 + VALUE_LEN as u64 + 16;
/// A manifest is replaced once it has grown by 4 MiB; what it says of so few tables is short.
const MANIFEST_BYTES_MAX: u64 = (4 << 20) + (256 << 10);
const HOUR_S: u64 = 3_600;
/// Commits a second of the hot counter.
const COUNTS_PER_S: u64 = 5;
/// Key and value of the hot counter, in bytes.
const COUNTER_BYTES: u64 = 7 + 16;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
struct Churn {
    name: &'static str,
    hours: u64,
    history_ms: u64,
}

/// What a run came to. Sizes in bytes.
#[derive(Debug, Default)]
struct Peaks {
    disk: u64,
    manifest: u64,
    tables: u64,
    memtables: u64,
    segments: u64,
    live: u64,
}

fn options(churn: Churn) -> Options {
    Options {
        memtable_bytes_max: 64 << 10,
        block_cache_bytes: 256 << 10,
        block_bytes: 1 << 10,
        table_bytes: 64 << 10,
        level1_bytes: 256 << 10,
        segment_bytes_max: 64 << 10,
        history_ms: churn.history_ms,
        disk_reserve_bytes: Some(0),
        ..Options::default()
    }
}

/// A second of writes: random keys, values that do not compress.
fn second(random: &SimRandom) -> Result<WriteBatch, Box<dyn std::error::Error>> {
    let mut batch = WriteBatch::new();
    for _ in 0..PUTS_PER_S {
        let mut value = [0; VALUE_LEN];
        engine::Random::fill(random, &mut value);
        batch.put(&random.below(KEYS).to_be_bytes(), &value, None)?;
    }
    Ok(batch)
}

fn run(churn: Churn) -> Result<Peaks, Box<dyn std::error::Error>> {
    let (env, disk, clock) = sim::env(3);
    let (engine, _) = Engine::open(env, Path::new("/data"), options(churn))?;
    let random = SimRandom::new(9);
    let mut peaks = Peaks::default();
    for second_at in 0..churn.hours * HOUR_S {
        engine.commit(second(&random)?)?;
        clock.advance(1_000);
        while engine.maintain()? == Progress::Worked {}
        while engine.compact()? == Progress::Worked {}
        if second_at % 16 == 0 {
            let statistics = engine.statistics();
            let files = disk.files();
            let manifest =
                files.iter().find(|(path, _)| path.ends_with("manifest")).map_or(0, |(_, len)| *len);
            peaks.manifest = peaks.manifest.max(manifest);
            peaks.disk = peaks.disk.max(files.iter().map(|(_, len)| len).sum());
            peaks.tables = peaks.tables.max(statistics.table_bytes);
            peaks.memtables = peaks.memtables.max(statistics.memtable_bytes);
            peaks.segments = peaks.segments.max(statistics.segments);
        }
    }
    let live: Vec<Row> = rows(&engine.snapshot(), Direction::Forward)?;
    peaks.live = live.iter().map(|row| (row.0.len() + row.1.len()) as u64).sum();
    assert_eq!(live.len() as u64, KEYS, "every key was written");
    check_window(&engine, churn)?;
    Ok(peaks)
}

/// The window is as long as it should be, and all of it can be read.
fn check_window(engine: &Engine, churn: Churn) -> TestResult {
    let (now_ms, horizon) = (engine.env().clock.now_ms(), engine.horizon());
    let oldest_ms = engine.snapshot_at(horizon)?.time_ms();
    assert!(oldest_ms + churn.history_ms <= now_ms, "{churn:?}: the horizon is inside of the window");
    assert_eq!(rows(&engine.snapshot_at(horizon)?, Direction::Reverse)?.len() as u64, KEYS);
    Ok(())
}

fn check(churn: Churn) -> TestResult {
    let peaks = run(churn)?;
    let window = churn.history_ms / 1_000 * PUTS_PER_S * ENTRY_BYTES;
    let kept = KEYS * ENTRY_BYTES + window;
    let written = churn.hours * HOUR_S * PUTS_PER_S * ENTRY_BYTES;
    println!(
        "churn {}: {} h of clock, {} KiB written; peak disk {} KiB, of it tables {} KiB and manifest {} KiB, memtables {} KiB, {} segments; live {} KiB, \
         kept for history {} KiB; tables at most {:.2} times what is kept",
        churn.name,
        churn.hours,
        written >> 10,
        peaks.disk >> 10,
        peaks.tables >> 10,
        peaks.manifest >> 10,
        peaks.memtables >> 10,
        peaks.segments,
        peaks.live >> 10,
        window >> 10,
        peaks.tables as f64 / kept as f64,
    );
    let options = options(churn);
    let memtable = options.memtable_bytes_max as u64;
    // A flush waits for a full memtable, and what level 0 may hold is not looked at before.
    let level0 = options.level0_tables_max as u64 * memtable;
    assert!(peaks.tables <= 2 * kept + level0 + memtable, "{peaks:?}, {kept} bytes are kept");
    // The log of what is in memory, its reserved space, a compaction's output beside its input, and the manifest.
    let log = 4 * memtable + 2 * options.segment_bytes_max;
    assert!(peaks.disk <= 2 * peaks.tables + log + MANIFEST_BYTES_MAX, "{peaks:?}");
    assert!(peaks.manifest <= MANIFEST_BYTES_MAX, "{peaks:?}");
    assert!(peaks.memtables <= 2 * memtable, "{peaks:?}");
    Ok(())
}

/// Hours of clock; `./soak` asks for 24.
fn hours() -> u64 {
    std::env::var("CAIRN_CHURN_HOURS").ok().and_then(|hours| hours.parse().ok()).unwrap_or(2)
}

/// One key that is written all the time, with an hour of history that its bound cuts short.
#[test]
fn a_hot_counter_stays_within_its_bytes_of_history() -> TestResult {
    const BYTES_MAX: u64 = 128 << 10;
    let churn = Churn { name: "of a hot counter", hours: hours(), history_ms: HOUR_S * 1_000 };
    let (env, disk, clock) = sim::env(3);
    let options = Options { history_bytes_max: BYTES_MAX, ..options(churn) };
    let (engine, _) = Engine::open(env, Path::new("/data"), options.clone())?;
    let (mut disk_peak, mut tables_peak, mut last) = (0, 0, Vec::new());
    for n in 0..churn.hours * HOUR_S * COUNTS_PER_S {
        let mut batch = WriteBatch::new();
        batch.put(b"counter", &[n.to_le_bytes(), [7; 8]].concat(), None)?;
        let stamp = engine.commit(batch)?;
        last.push((stamp, n));
        clock.advance(1_000 / COUNTS_PER_S);
        while engine.maintain()? == Progress::Worked {}
        while engine.compact()? == Progress::Worked {}
        if n % 64 == 0 {
            disk_peak = disk_peak.max(disk.files().iter().map(|(_, len)| len).sum());
            tables_peak = tables_peak.max(engine.statistics().table_bytes);
            last.retain(|(stamp, _)| *stamp >= engine.horizon_of(b"counter"));
        }
    }
    last.retain(|(stamp, _)| *stamp >= engine.horizon_of(b"counter"));
    for (stamp, n) in last.iter().step_by(97).chain(last.last()) {
        let value = engine.snapshot_at(*stamp)?.get(b"counter")?.ok_or("a counter that was never deleted")?;
        assert_eq!(value.bytes[..8], n.to_le_bytes(), "at {stamp}");
    }
    let whole_hour = HOUR_S * COUNTS_PER_S * COUNTER_BYTES;
    println!(
        "churn {}: {} h of clock, an hour of it {} KiB, its bound {} KiB; peak disk {} KiB, tables {} KiB; the horizon is {} s back, \
         {} stamps can be read",
        churn.name,
        churn.hours,
        whole_hour >> 10,
        BYTES_MAX >> 10,
        disk_peak >> 10,
        tables_peak >> 10,
        engine.statistics().history_age_ms.unwrap_or(0) / 1_000,
        last.len(),
    );
    let on_top = options.memtable_bytes_max as u64 * (options.level0_tables_max as u64 + 1);
    assert!(tables_peak <= 2 * BYTES_MAX + on_top, "{tables_peak} bytes of tables");
    assert!(disk_peak <= 2 * tables_peak + on_top + 2 * options.segment_bytes_max + MANIFEST_BYTES_MAX);
    assert!(
        last.len() as u64 * COUNTER_BYTES > BYTES_MAX / 4,
        "much of the bound is used: {} stamps",
        last.len()
    );
    assert!((last.len() as u64) < HOUR_S * COUNTS_PER_S, "the bound cut the hour short");
    Ok(())
}

#[test]
fn churn_without_history_stays_within_its_bounds() -> TestResult {
    check(Churn { name: "without history", hours: hours(), history_ms: 0 })
}

#[test]
fn churn_with_an_hour_of_history_stays_within_its_bounds() -> TestResult {
    check(Churn { name: "with 1 h of history", hours: hours(), history_ms: HOUR_S * 1_000 })
}
