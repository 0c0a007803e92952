//! How long after its acknowledgement a commit is in the bucket, at a steady rate of writes.
//!
//! Cairn: each commit's answer is timed, and the bucket is listed every few milliseconds; a commit is there when a listing
//! shows a segment that holds it. Litestream: the header of each of its files says when the file was begun, so a commit of
//! that moment or before is there when a listing shows the file.

use crate::Args;
use anyhow::Context;
use archiver::layout::{Kind, LINEAGES, Name};
use archiver::store::{self, list_all};
use cairn::bench::client::{Http, Session};
use cairn_benches::s3::{CREDENTIALS, S3};
use cairn_benches::servers::{Server, TOKEN};
use denokv_proto::datapath::{AtomicWrite, KvValue, Mutation, MutationType, ValueEncoding};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Commits a second.
pub(crate) const RATE: u32 = 5_000;
/// Bytes of a key and its value, about: a key has the client's number and the row's.
pub(crate) const ROW_BYTES: f64 = 100.0 + 9.0;
/// Connections that share it.
const CLIENTS: u32 = 32;
/// Requests that cost as a PUT does.
const WRITES: &[&str] = &["PUT", "POST", "DELETE"];
/// How often the bucket is listed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Lags in milliseconds, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Lags {
    pub(crate) sorted_ms: Vec<u64>,
    /// Commits a second that were acknowledged.
    pub(crate) per_s: f64,
    commits: f64,
    /// Objects written meanwhile.
    pub(crate) objects: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Processor time of the server, in microseconds a commit.
    pub(crate) cpu_us: f64,
    /// Requests that write or remove while there are commits, an hour.
    pub(crate) busy_per_h: f64,
    /// The same while there are none.
    pub(crate) idle_per_h: f64,
}

/// What a run cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Processor time in microseconds.
    cpu_us: f64,
    busy_per_h: f64,
    idle_per_h: f64,
}

/// Requests an hour, of those that cost most: those that write.
fn an_hour(requests: u64, seconds: f64) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(requests)?) * 3_600.0 / seconds)
}

impl Lags {
    /// The figures of a run.
    fn of(
        args: &Args,
        mut sorted_ms: Vec<u64>,
        commits: usize,
        objects: impl ExactSizeIterator<Item = u64>,
        cost: Cost,
    ) -> anyhow::Result<Lags> {
        sorted_ms.sort_unstable();
        let commits = f64::from(u32::try_from(commits)?);
        let per_s = commits / Duration::from_secs(args.lag_seconds).as_secs_f64();
        let cpu_us = cost.cpu_us / commits.max(1.0);
        let Cost { busy_per_h, idle_per_h, .. } = cost;
        Ok(Lags {
            sorted_ms,
            per_s,
            commits,
            objects: objects.len(),
            bytes: objects.sum(),
            cpu_us,
            busy_per_h,
            idle_per_h,
        })
    }

    /// Commits that were acknowledged.
    pub(crate) fn commits(&self) -> f64 {
        self.commits
    }

    pub(crate) fn percentile(&self, percent: usize) -> u64 {
        let at = (self.sorted_ms.len() * percent / 100).min(self.sorted_ms.len().saturating_sub(1));
        self.sorted_ms.get(at).copied().unwrap_or(0)
    }
}

/// Measures a server whose archive is a bucket; `archived` false is the same without an archive, for its processor time.
pub(crate) fn cairn(args: &Args, s3: &S3, folder: &Path, archived: bool) -> anyhow::Result<Lags> {
    let url = if archived { s3.archive("lag") } else { "none".to_owned() };
    let server = Server::cairn_with(&args.cairn, folder, &["--archive", &url], &CREDENTIALS)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (begun_cpu, begun_requests) = (cpu_us(server.pid())?, s3.requests(WRITES)?);
    let stop = Arc::new(AtomicBool::new(false));
    let (commits, seen) = runtime.block_on(async {
        let (_stop, stopped) = watch::channel(Some(Instant::now() + Duration::from_secs(args.lag_seconds)));
        let watcher = archived.then(|| tokio::spawn(watch_segments(url, Arc::clone(&stop))));
        let commits = write_steadily(&server.url(), RATE, &stopped).await?;
        // The last commits are waited for.
        tokio::time::sleep(Duration::from_secs(if archived { 5 } else { 0 })).await;
        stop.store(true, Ordering::Relaxed);
        let seen = match watcher {
            Some(watcher) => watcher.await??,
            None => Vec::new(),
        };
        anyhow::Ok((commits, seen))
    })?;
    let cost = cost(args, s3, server.pid(), (begun_cpu, begun_requests))?;
    let mut sorted_ms = Vec::with_capacity(commits.len());
    for Acknowledged { stamp, at: acknowledged, .. } in &commits {
        let arrival = seen.iter().find(|(last, _, _)| last >= stamp);
        match arrival {
            Some((_, at, _)) => sorted_ms.push(ms(at.saturating_duration_since(*acknowledged))),
            None => anyhow::ensure!(!archived, "a commit never came to the bucket"),
        }
    }
    Lags::of(args, sorted_ms, commits.len(), seen.iter().map(|(_, _, bytes)| *bytes), cost)
}

/// What a run has cost since, and what it costs while nothing is written.
fn cost(args: &Args, s3: &S3, pid: u32, (cpu, requests): (f64, u64)) -> anyhow::Result<Cost> {
    let (cpu_us, busy) = (cpu_us(pid)? - cpu, s3.requests(WRITES)?);
    std::thread::sleep(Duration::from_secs(args.idle_seconds));
    let idle = s3.requests(WRITES)? - busy;
    let seconds = |seconds: u64| Duration::from_secs(seconds).as_secs_f64();
    Ok(Cost {
        cpu_us,
        busy_per_h: an_hour(busy - requests, seconds(args.lag_seconds))?,
        idle_per_h: an_hour(idle, seconds(args.idle_seconds))?,
    })
}

type Stamp = [u8; 10];

/// A commit that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    stamp: Stamp,
    /// When it was to be sent.
    pub(crate) due: Instant,
    /// When its answer was there.
    pub(crate) at: Instant,
}

/// Writes `rate` rows a second until the moment that `stop` tells.
pub(crate) async fn write_steadily(
    url: &str,
    rate: u32,
    stop: &watch::Receiver<Option<Instant>>,
) -> anyhow::Result<Vec<Acknowledged>> {
    let session = Session::open(url, TOKEN, Http::One).await?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let (mut client, stop) = (session.connect().await?, stop.clone());
        clients.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) * CLIENTS / rate);
            let mut commits = Vec::new();
            for count in 0_u64.. {
                let due = ticks.tick().await.into_std();
                if stop.borrow().is_some_and(|until| due >= until) {
                    break;
                }
                let answer = client.atomic_write(&write(number, count)).await?;
                let stamp: Stamp =
                    answer.versionstamp.as_slice().try_into().context("a versionstamp has 10 bytes")?;
                commits.push(Acknowledged { stamp, due, at: Instant::now() });
            }
            anyhow::Ok(commits)
        }));
    }
    let mut commits = Vec::new();
    for client in clients {
        commits.extend(client.await??);
    }
    Ok(commits)
}

fn write(client: u32, count: u64) -> AtomicWrite {
    // A key part that is a byte string; 100 bytes that do not compress.
    let key = [&[1][..], format!("{client}-{}", count % 10_000).as_bytes(), &[0]].concat();
    let seed = u64::from(client) << 32 | count;
    let data = (0..13_u64).flat_map(|word| mix(seed ^ word << 50).to_le_bytes()).take(100).collect();
    let value = KvValue { data, encoding: ValueEncoding::VeBytes as i32 };
    let set =
        Mutation { key, value: Some(value), mutation_type: MutationType::MSet as i32, ..Mutation::default() };
    AtomicWrite { mutations: vec![set], ..AtomicWrite::default() }
}

/// Looks until what is looked for has any bytes.
pub(crate) async fn watch_until<F: Future<Output = anyhow::Result<u64>>>(
    look: impl Fn() -> F,
) -> anyhow::Result<()> {
    while look().await? == 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Splitmix's finisher: bits that look random.
pub(crate) const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Each segment of the first group when it was first listed: its last commit, the moment, its bytes.
async fn watch_segments(url: String, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<(Stamp, Instant, u64)>> {
    let store = store::open(&url)?;
    let folder = loop {
        let found = list_all(&*store, LINEAGES).await?;
        let first = found.into_iter().find_map(|object| match Name::parse(&object.name)?.kind {
            Kind::Segment(1, _) => object.name.rsplit_once('/').map(|(folder, _)| format!("{folder}/")),
            _ => None,
        });
        match first {
            Some(folder) => break folder,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    while !stop.load(Ordering::Relaxed) {
        let page = store.list(&folder, after.as_deref()).await?;
        let at = Instant::now();
        for object in &page.objects {
            if let Some(Kind::Segment(_, name)) = Name::parse(&object.name).map(|name| name.kind) {
                seen.push((*name.last.as_bytes(), at, object.bytes));
            }
        }
        after = page.objects.last().map(|object| object.name.clone()).or(after);
        if !page.more {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(seen)
}

/// Measures Litestream beside a SQLite database that is written to at the same rate, in its defaults.
pub(crate) fn litestream(args: &Args, s3: &S3, folder: &Path) -> anyhow::Result<Lags> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("lag.sqlite");
    let database = open_sqlite(&path)?;
    let config = folder.join("litestream.yml");
    std::fs::write(&config, litestream_config(s3, &path, "litestream-lag"))?;
    let mut child = Command::new(&args.litestream)
        .args(["replicate", "-log-level", "error", "-config"])
        .arg(&config)
        .envs(CREDENTIALS)
        // Its S3 client ends on one, and the server here speaks plain HTTP.
        .env_remove("AWS_CA_BUNDLE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start litestream")?;
    let begun = (cpu_us(child.id())?, s3.requests(WRITES)?);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, url) = (Arc::clone(&stop), s3.archive("litestream-lag"));
    let watcher = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(watch_ltx(url, stopped))
    });
    let commits = write_sqlite(&database, args.lag_seconds)?;
    std::thread::sleep(Duration::from_secs(5));
    let cost = cost(args, s3, child.id(), begun)?;
    stop.store(true, Ordering::Relaxed);
    let seen = watcher.join().map_err(|_panic| anyhow::anyhow!("the watcher panicked"))??;
    child.kill()?;
    child.wait()?;
    let mut sorted_ms = Vec::new();
    for at_ms in &commits {
        let arrival = seen.iter().find(|(begun_ms, _, _)| begun_ms >= at_ms);
        let (_, arrived_ms, _) = arrival.context("a commit never came to the bucket")?;
        sorted_ms.push(arrived_ms.saturating_sub(*at_ms));
    }
    Lags::of(args, sorted_ms, commits.len(), seen.iter().map(|(_, _, bytes)| *bytes), cost)
}

pub(crate) fn open_sqlite(path: &Path) -> anyhow::Result<rusqlite::Connection> {
    let database = rusqlite::Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.pragma_update(None, "synchronous", "normal")?;
    database.execute_batch("create table if not exists kv (k blob primary key, v blob) without rowid")?;
    Ok(database)
}

pub(crate) fn litestream_config(s3: &S3, path: &Path, prefix: &str) -> String {
    let [(_, key), (_, secret)] = CREDENTIALS;
    format!(
        "access-key-id: {key}\nsecret-access-key: {secret}\ndbs:\n  - path: {}\n    replica:\n      type: s3\n      \
         bucket: {}\n      path: {prefix}\n      endpoint: {}\n      region: us-east-1\n      force-path-style: true\n",
        path.display(),
        cairn_benches::s3::BUCKET,
        s3.endpoint()
    )
}

/// One row a transaction; the moments of their commits, Unix milliseconds.
fn write_sqlite(database: &rusqlite::Connection, seconds: u64) -> anyhow::Result<Vec<u64>> {
    let mut insert = database.prepare("insert or replace into kv values (?1, ?2)")?;
    let (begun, pause) = (Instant::now(), Duration::from_secs(1) / RATE);
    let mut commits = Vec::new();
    for count in 0_u32.. {
        let due = begun + pause * count;
        if due >= begun + Duration::from_secs(seconds) {
            break;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let value: Vec<u8> =
            (0..13).flat_map(|word| mix(u64::from(count) ^ word << 50).to_le_bytes()).take(100).collect();
        insert.execute((format!("{}", count % 320_000), value))?;
        commits.push(unix_ms()?);
    }
    Ok(commits)
}

/// Each file of Litestream when it was first listed: when it was begun and seen, Unix milliseconds; its bytes.
async fn watch_ltx(url: String, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<(u64, u64, u64)>> {
    const LTX: &str = "0000/";
    const HEADER_BYTES: usize = 40;
    let store = store::open(&url)?;
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    while !stop.load(Ordering::Relaxed) {
        let page = store.list(LTX, after.as_deref()).await?;
        let at_ms = unix_ms()?;
        for object in &page.objects {
            let bytes = store.get(&object.name, 1 << 30).await?;
            let header = bytes.get(..HEADER_BYTES).context("a file of Litestream has a header")?;
            anyhow::ensure!(header.starts_with(b"LTX1"), "{} is no file of Litestream", object.name);
            let begun_ms = u64::from_be_bytes(header[32..].try_into()?);
            seen.push((begun_ms, at_ms, object.bytes));
        }
        after = page.objects.last().map(|object| object.name.clone()).or(after);
        if !page.more {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(seen)
}

fn unix_ms() -> anyhow::Result<u64> {
    Ok(u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis())?)
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Processor time that a process has used, in microseconds.
fn cpu_us(pid: u32) -> anyhow::Result<f64> {
    Ok(cairn::bench::cpu::used_by(pid).context("the process has ended")?.as_secs_f64() * 1e6)
}
