//! What is measured. A workload runs in a process and a directory of its own and has one or more phases, each with
//! figures of its own.

use crate::keys::{Content, Key, Random, Values, Zipf, absent, rising, scattered};
use crate::meter::{self, Mark};
use crate::store::{self, Durability, Order, Store};
use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What one phase came to. Times in seconds, sizes in bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    pub phase: String,
    pub operations: u64,
    pub wall_s: f64,
    /// Of all threads; for phases that write, the work that follows in the background is included.
    pub cpu_s: f64,
    /// Latency of single operations in milliseconds, where it was taken: the 99th percentile and the worst.
    pub p99_ms: Option<f64>,
    pub worst_ms: Option<f64>,
    pub memory_peak: u64,
    /// Bytes that user data takes: keys and values of live entries.
    pub live: Option<u64>,
    /// User bytes written.
    pub user: Option<u64>,
    /// Bytes sent to the disk until all was settled.
    pub written: Option<u64>,
    /// Bytes on disk when all was settled.
    pub disk: Option<u64>,
}

/// A workload and what it takes.
pub struct Workload {
    pub name: &'static str,
    /// Engines that are left out, with the reason.
    pub without: &'static [(&'static str, &'static str)],
    run: fn(&Bench) -> Result<Vec<Figures>>,
}

/// Every workload, in the order of the tables.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "fill-rising-1", without: &[], run: |bench| bench.fill(rising, 1_000_000, 1) },
    Workload { name: "fill-rising-100", without: &[], run: |bench| bench.fill(rising, 2_000_000, 100) },
    Workload { name: "fill-random-1", without: &[], run: |bench| bench.fill(scattered, 1_500_000, 1) },
    Workload { name: "fill-random-100", without: &[], run: |bench| bench.fill(scattered, 4_000_000, 100) },
    Workload { name: "durable-1", without: &[], run: |bench| bench.durable(1) },
    Workload { name: "durable-16", without: &[], run: |bench| bench.durable(16) },
    Workload { name: "durable-64", without: &[], run: |bench| bench.durable(64) },
    Workload { name: "cached", without: &[], run: |bench| bench.cached() },
    Workload { name: "larger", without: &[], run: |bench| bench.uncached(2_000_000) },
    Workload {
        name: "much-larger",
        without: &[("redb", "loading 8 million keys takes minutes")],
        run: |bench| bench.uncached(8_000_000),
    },
    Workload { name: "churn", without: &[], run: |bench| bench.churn() },
    Workload { name: "reads-beside-writer", without: &[], run: |bench| bench.reads_beside_writer() },
    Workload { name: "ycsb", without: &[], run: |bench| bench.ycsb() },
    Workload { name: "values-4k", without: &[], run: |bench| bench.large_values() },
    Workload { name: "values-json", without: &[], run: |bench| bench.json_values() },
];

/// One run of one engine.
pub struct Bench<'a> {
    pub engine: &'a str,
    pub dir: &'a Path,
    /// A phase ends after this time at the latest.
    pub time_max: Duration,
    /// Whether the engine says at the end of a fill what it counted.
    pub describe: bool,
}

impl Workload {
    pub fn run(&self, bench: &Bench<'_>) -> Result<Vec<Figures>> {
        (self.run)(bench)
    }
}

/// Entries of one commit that loads data, sorted, where loading is not what is measured.
const LOAD_BATCH: u64 = 10_000;
/// Entries of one commit of the churn.
const CHURN_BATCH: u64 = 100;

impl Bench<'_> {
    fn open(&self, durability: Durability) -> Result<Box<dyn Store>> {
        store::open(self.engine, self.dir, durability)
    }

    fn load(&self, store: &dyn Store, count: u64, values: &Values) -> Result<()> {
        let mut random = Random::new(0);
        for first in (0..count).step_by(LOAD_BATCH as usize) {
            let keys = first..count.min(first + LOAD_BATCH);
            let mut writes: Vec<_> = keys.map(|n| (scattered(n), values.get(&mut random))).collect();
            writes.sort_unstable();
            store.commit(&writes)?;
        }
        store.settle()
    }

    /// Writes `count` new keys without sync.
    fn fill(&self, key: fn(u64) -> Key, count: u64, batch: u64) -> Result<Vec<Figures>> {
        let values = Values::new(Content::Random, 100);
        self.fill_with("fill", key, count, batch, &values).map(|(figures, _)| vec![figures])
    }

    fn fill_with(
        &self,
        phase: &str,
        key: fn(u64) -> Key,
        count: u64,
        batch: u64,
        values: &Values,
    ) -> Result<(Figures, Box<dyn Store>)> {
        let store = self.open(Durability::Unsynced)?;
        let phase = Phase::start(phase)?;
        let done = write_range(&*store, 0..count, batch, key, values, Some(self.time_max))?;
        let wall = phase.mark.elapsed()?.wall;
        store.settle()?;
        if let Some(text) = store.describe().filter(|_| self.describe) {
            eprintln!("{text}");
        }
        let entry = (16 + values.len()) as u64;
        let disk = meter::disk_bytes(self.dir)?;
        let mut figures = phase.end(done)?;
        figures.wall_s = wall.as_secs_f64();
        (figures.live, figures.user, figures.disk) = (Some(done * entry), Some(done * entry), Some(disk));
        Ok((figures, store))
    }

    /// Durable commits of one entry each from this many threads.
    fn durable(&self, threads: u64) -> Result<Vec<Figures>> {
        let store = self.open(Durability::Synced)?;
        let values = Values::new(Content::Random, 100);
        // What opening left to be done is not part of it.
        store.commit(&[(scattered(0), values.get(&mut Random::new(0)))])?;
        let phase = Phase::start("commit")?;
        let end = Instant::now() + self.time_max.min(Duration::from_secs(2));
        let histograms = std::thread::scope(|scope| -> Result<Vec<Histogram<u64>>> {
            let writer = |thread: u64| {
                let (store, values) = (&*store, &values);
                move || -> Result<Histogram<u64>> {
                    let mut random = Random::new(thread);
                    let mut histogram = Histogram::new(3)?;
                    let mut n = thread << 40 | 1;
                    while Instant::now() < end {
                        let start = Instant::now();
                        store.commit(&[(scattered(n), values.get(&mut random))])?;
                        record(&mut histogram, start)?;
                        n += 1;
                    }
                    Ok(histogram)
                }
            };
            let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(writer(thread))).collect();
            handles.into_iter().map(|handle| handle.join().expect("a writer does not panic")).collect()
        })?;
        let mut all: Histogram<u64> = Histogram::new(3)?;
        histograms.iter().try_for_each(|histogram| all.add(histogram))?;
        let mut figures = phase.end(all.len())?;
        figures.latencies(&all);
        Ok(vec![figures])
    }

    /// Reads of data that fits the cache.
    fn cached(&self) -> Result<Vec<Figures>> {
        const KEYS: u64 = 300_000;
        let store = self.open(Durability::Unsynced)?;
        let values = Values::new(Content::Random, 100);
        self.load(&*store, KEYS, &values)?;
        for n in 0..KEYS {
            ensure!(store.get(&scattered(n))? == Some(100), "key {n} is not there");
        }
        let mut random = Random::new(1);
        let get = self.phase("get", 1_000_000, |_| {
            ensure!(store.get(&scattered(random.below(KEYS)))?.is_some(), "a key is not there");
            Ok(())
        })?;
        let absent = self.phase("absent", 1_000_000, |n| {
            ensure!(store.get(&absent(n))?.is_none(), "a key is there");
            Ok(())
        })?;
        let scan = |name, order| {
            let mut random = Random::new(2);
            self.phase(name, 20_000, |_| {
                store.scan(&scattered(random.below(KEYS)), 100, order)?;
                Ok(())
            })
        };
        let rising = scan("scan-rising", Order::Rising)?;
        let falling = scan("scan-falling", Order::Falling)?;
        Ok(vec![get, absent, rising, falling])
    }

    /// Point reads of data larger than the cache, after a warm-up.
    fn uncached(&self, keys: u64) -> Result<Vec<Figures>> {
        let store = self.open(Durability::Unsynced)?;
        let values = Values::new(Content::Random, 100);
        self.load(&*store, keys, &values)?;
        let mut random = Random::new(3);
        let mut get = |_| {
            let n = random.below(keys);
            ensure!(store.get(&scattered(n))? == Some(100), "key {n} is not there");
            Ok(())
        };
        for n in 0..100_000 {
            get(n)?;
        }
        Ok(vec![self.phase("get", 200_000, get)?])
    }

    /// Ten rewrites of the same keys, each in another order.
    fn churn(&self) -> Result<Vec<Figures>> {
        const KEYS: u64 = 300_000;
        const REWRITES: u64 = 10;
        let store = self.open(Durability::Unsynced)?;
        let values = Values::new(Content::Random, 100);
        let phase = Phase::start("churn")?;
        let mut random = Random::new(4);
        let end = Instant::now() + self.time_max;
        let mut done = 0;
        'rewrites: for rewrite in 0..REWRITES {
            // A step that has no factor in common with the number of keys visits each once.
            let step = [7_919, 15_485_863, 104_729, 1_299_709][rewrite as usize % 4];
            for first in (0..KEYS).step_by(CHURN_BATCH as usize) {
                let batch: Vec<_> = (first..first + CHURN_BATCH)
                    .map(|n| (scattered(n * step % KEYS), values.get(&mut random)))
                    .collect();
                store.commit(&batch)?;
                done += CHURN_BATCH;
                if Instant::now() > end {
                    break 'rewrites;
                }
            }
        }
        let wall = phase.mark.elapsed()?.wall;
        store.settle()?;
        let disk = meter::disk_bytes(self.dir)?;
        let mut figures = phase.end(done)?;
        figures.wall_s = wall.as_secs_f64();
        let entry = (16 + values.len()) as u64;
        (figures.live, figures.user, figures.disk) =
            (Some(KEYS.min(done) * entry), Some(done * entry), Some(disk));
        Ok(vec![figures])
    }

    /// One thread writes new keys flat out, one reads keys that are there.
    fn reads_beside_writer(&self) -> Result<Vec<Figures>> {
        const KEYS: u64 = 300_000;
        let store = self.open(Durability::Unsynced)?;
        let values = Values::new(Content::Random, 100);
        self.load(&*store, KEYS, &values)?;
        let stop = AtomicBool::new(false);
        let reads = AtomicU64::new(0);
        let phase = Phase::start("reads")?;
        let end = Instant::now() + self.time_max.min(Duration::from_secs(4));
        let histogram = std::thread::scope(|scope| -> Result<Histogram<u64>> {
            let reader = scope.spawn(|| -> Result<()> {
                let mut random = Random::new(5);
                while !stop.load(Ordering::Relaxed) {
                    let n = random.below(KEYS);
                    ensure!(store.get(&scattered(n))?.is_some(), "key {n} is not there");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
            let mut histogram = Histogram::new(3)?;
            let mut random = Random::new(6);
            let mut n = KEYS;
            while Instant::now() < end {
                let start = Instant::now();
                store.commit(&[(scattered(n), values.get(&mut random))])?;
                record(&mut histogram, start)?;
                n += 1;
            }
            stop.store(true, Ordering::Relaxed);
            reader.join().expect("the reader does not panic")?;
            Ok(histogram)
        })?;
        let read = phase.end(reads.load(Ordering::Relaxed))?;
        // The processor time is of both and cannot be told apart: it is given for all operations together.
        let total = (read.operations + histogram.len()) as f64;
        let mut written = Figures { phase: "writes".to_owned(), operations: histogram.len(), ..read.clone() };
        written.latencies(&histogram);
        let share = |figures: Figures| Figures {
            cpu_s: figures.cpu_s * figures.operations as f64 / total,
            ..figures
        };
        Ok(vec![share(read), share(written)])
    }

    /// The six core workloads of YCSB (Cooper et al. 2010) on a million entries, two threads.
    fn ycsb(&self) -> Result<Vec<Figures>> {
        const KEYS: u64 = 1_000_000;
        let store = self.open(Durability::Unsynced)?;
        let values = Values::new(Content::Random, 100);
        self.load(&*store, KEYS, &values)?;
        let zipf = Zipf::new(KEYS);
        let next = AtomicU64::new(KEYS);
        let run =
            |name: &str, operations: u64| self.ycsb_phase(&*store, &values, &zipf, &next, name, operations);
        // In the order that YCSB asks for: those that insert come last.
        ["A", "B", "C", "F", "D", "E"]
            .iter()
            .map(|name| run(name, if *name == "E" { 20_000 } else { 200_000 }))
            .collect()
    }

    fn ycsb_phase(
        &self,
        store: &dyn Store,
        values: &Values,
        zipf: &Zipf,
        next: &AtomicU64,
        name: &str,
        operations: u64,
    ) -> Result<Figures> {
        const THREADS: u64 = 2;
        let phase = Phase::start(name)?;
        let end = Instant::now() + self.time_max;
        let worker = |thread: u64| {
            move || -> Result<u64> {
                let mut random = Random::new(thread + 10);
                let mut done = 0;
                while done < operations / THREADS && Instant::now() < end {
                    ycsb_operation(store, values, zipf, next, name, &mut random)?;
                    done += 1;
                }
                Ok(done)
            }
        };
        let done = std::thread::scope(|scope| -> Result<u64> {
            let handles: Vec<_> = (0..THREADS).map(|thread| scope.spawn(worker(thread))).collect();
            handles.into_iter().map(|handle| handle.join().expect("a worker does not panic")).sum()
        })?;
        phase.end(done)
    }

    /// Values of 4 KiB: written ten per commit, then read.
    fn large_values(&self) -> Result<Vec<Figures>> {
        const KEYS: u64 = 100_000;
        let values = Values::new(Content::Random, 4096);
        let (fill, store) = self.fill_with("fill", scattered, KEYS, 10, &values)?;
        let mut random = Random::new(8);
        let keys = fill.operations;
        let get = self.phase("get", 200_000, |_| {
            ensure!(store.get(&scattered(random.below(keys)))?.is_some(), "a key is not there");
            Ok(())
        })?;
        Ok(vec![fill, get])
    }

    /// Values of 100 bytes that compress: written, then read beyond the cache.
    fn json_values(&self) -> Result<Vec<Figures>> {
        let values = Values::new(Content::Json, 100);
        let (fill, store) = self.fill_with("fill", scattered, 1_500_000, 100, &values)?;
        let mut random = Random::new(9);
        let keys = fill.operations;
        let get = self.phase("get", 200_000, |_| {
            ensure!(store.get(&scattered(random.below(keys)))?.is_some(), "a key is not there");
            Ok(())
        })?;
        Ok(vec![fill, get])
    }

    /// Repeats an operation this often, or until time is up.
    fn phase(&self, name: &str, count: u64, mut operation: impl FnMut(u64) -> Result<()>) -> Result<Figures> {
        let phase = Phase::start(name)?;
        let end = Instant::now() + self.time_max;
        let mut done = 0;
        while done < count {
            operation(done)?;
            done += 1;
            if done.is_multiple_of(256) && Instant::now() > end {
                break;
            }
        }
        phase.end(done)
    }
}

fn ycsb_operation(
    store: &dyn Store,
    values: &Values,
    zipf: &Zipf,
    next: &AtomicU64,
    name: &str,
    random: &mut Random,
) -> Result<()> {
    let known = |random: &mut Random| scattered(zipf.next(random));
    let read = |key: &Key| -> Result<()> {
        ensure!(store.get(key)?.is_some(), "a key is not there");
        Ok(())
    };
    let percent = random.below(100);
    match name {
        "A" | "B" | "C" | "F" => {
            let key = known(random);
            let reads = match name {
                "A" => 50,
                "B" => 95,
                "C" => 100,
                _ => 50,
            };
            if percent < reads || name == "F" {
                read(&key)?;
            }
            if percent < reads { Ok(()) } else { store.commit(&[(key, values.get(random))]) }
        }
        "D" if percent < 95 => {
            // The latest: not yet written ones are asked for too, while another thread inserts them.
            let newest = next.load(Ordering::Relaxed);
            store.get(&scattered(newest - 1 - zipf.rank(random).min(newest - 1)))?;
            Ok(())
        }
        "E" if percent < 95 => {
            let count = 1 + random.below(100) as usize;
            store.scan(&known(random), count, Order::Rising)?;
            Ok(())
        }
        _ => {
            let n = next.fetch_add(1, Ordering::Relaxed);
            store.commit(&[(scattered(n), values.get(random))])
        }
    }
}

/// Writes the keys of a range, so many per commit, until time is up; how many were written.
fn write_range(
    store: &dyn Store,
    range: std::ops::Range<u64>,
    batch: u64,
    key: fn(u64) -> Key,
    values: &Values,
    time_max: Option<Duration>,
) -> Result<u64> {
    let start = Instant::now();
    let mut random = Random::new(range.start);
    let mut writes = Vec::new();
    let mut n = range.start;
    while n < range.end {
        let end = (n + batch).min(range.end);
        writes.clear();
        writes.extend((n..end).map(|n| (key(n), values.get(&mut random))));
        store.commit(&writes)?;
        n = end;
        if (n / batch).is_multiple_of(64) && time_max.is_some_and(|max| start.elapsed() > max) {
            break;
        }
    }
    Ok(n - range.start)
}

fn record(histogram: &mut Histogram<u64>, start: Instant) -> Result<()> {
    let nanos = u64::try_from(start.elapsed().as_nanos())?;
    Ok(histogram.record(nanos.max(1))?)
}

/// A phase that is running.
struct Phase {
    name: String,
    mark: Mark,
}

impl Phase {
    fn start(name: &str) -> Result<Self> {
        meter::reset_peak_memory()?;
        Ok(Self { name: name.to_owned(), mark: Mark::now()? })
    }

    fn end(self, operations: u64) -> Result<Figures> {
        let spent = self.mark.elapsed()?;
        Ok(Figures {
            phase: self.name,
            operations,
            wall_s: spent.wall.as_secs_f64(),
            cpu_s: spent.cpu.as_secs_f64(),
            p99_ms: None,
            worst_ms: None,
            memory_peak: meter::peak_memory()?,
            live: None,
            user: None,
            written: Some(spent.written),
            disk: None,
        })
    }
}

impl Figures {
    fn latencies(&mut self, histogram: &Histogram<u64>) {
        let ms = |nanos: u64| nanos as f64 / 1e6;
        self.p99_ms = Some(ms(histogram.value_at_quantile(0.99)));
        self.worst_ms = Some(ms(histogram.max()));
    }

    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.wall_s
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu_s * 1e6 / self.operations as f64
    }
}
