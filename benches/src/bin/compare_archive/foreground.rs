//! What clients see of the upload of a checkpoint: how long writes at a steady rate take while it goes up, and after it.
//!
//! - A write is timed from when it was due, so a pause of the server counts for everyone who had to wait.
//! - It is one server on one machine, which the bucket's server and the clients share.

use crate::Args;
use crate::lag::{Acknowledged, mix, watch_until, write_steadily};
use anyhow::Context;
use archiver::layout::{Kind, LINEAGES, Name};
use archiver::store::{self, list_all};
use cairn::bench::client::{Http, Session};
use cairn_benches::s3::{CREDENTIALS, S3};
use cairn_benches::servers::{Server, TOKEN};
use denokv_proto::datapath::{AtomicWrite, KvValue, Mutation, MutationType, ValueEncoding};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a value while the database is filled.
const VALUE_BYTES: u64 = 60 << 10;
/// Values in an atomic write.
const VALUES: u64 = 10;
/// How long writes go on before the upload may begin, and after it has ended.
const QUIET: Duration = Duration::from_secs(10);

/// What writes took, in microseconds, sorted.
#[derive(Debug)]
pub(crate) struct Took(Vec<u64>);

impl Took {
    fn of<'a>(commits: impl Iterator<Item = &'a Acknowledged>) -> Took {
        let took = |commit: &Acknowledged| commit.at.saturating_duration_since(commit.due).as_micros();
        let mut sorted: Vec<u64> =
            commits.map(|commit| u64::try_from(took(commit)).unwrap_or(u64::MAX)).collect();
        sorted.sort_unstable();
        Took(sorted)
    }

    /// Milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        Duration::from_micros(self.0.get(at).copied().unwrap_or(0)).as_secs_f64() * 1e3
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Foreground {
    /// Writes after the upload.
    pub(crate) without: Took,
    /// Writes while the checkpoint went up.
    pub(crate) with: Took,
    /// Bytes of its tables.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) upload: Duration,
}

/// Fills a server without an archive, gives it one, and writes while its first checkpoint goes up, at a rate or the default one.
pub(crate) fn measure(args: &Args, s3: &S3, rate: Option<&str>, folder: &Path) -> anyhow::Result<Foreground> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let filled = Server::cairn_with(&args.cairn, folder, &["--archive", "none"], &[])?;
    runtime.block_on(fill(&filled.url(), args.foreground_gib << 30))?;
    filled.stop()?;
    let url = s3.archive(if rate.is_some() { "foreground-rate" } else { "foreground" });
    let how: Vec<&str> = rate.iter().flat_map(|rate| ["--archive-rate", rate]).collect();
    let how = [&["--archive", &url], how.as_slice()].concat();
    let server = Server::cairn_with(&args.cairn, folder, &how, &CREDENTIALS)?;
    runtime.block_on(async {
        let store = store::open(&url)?;
        let (stop, stopped) = tokio::sync::watch::channel(None);
        let (rate, at) = (args.foreground_rate, server.url());
        let writing = tokio::spawn(async move { write_steadily(&at, rate, &stopped).await });
        let count = |wanted: fn(&Kind) -> bool| {
            let store = &store;
            async move {
                let found = list_all(&**store, LINEAGES).await?;
                let kinds = found.iter().filter(|object| {
                    Name::parse(&object.name).is_some_and(|name| is_first(&name.kind) && wanted(&name.kind))
                });
                anyhow::Ok(kinds.map(|object| object.bytes).sum::<u64>())
            }
        };
        watch_until(|| count(|kind| matches!(kind, Kind::Table(..)))).await?;
        let begun = Instant::now();
        watch_until(|| count(|kind| matches!(kind, Kind::Checkpoint(..)))).await?;
        let ended = Instant::now();
        let bytes = count(|kind| matches!(kind, Kind::Table(..))).await?;
        tokio::time::sleep(QUIET * 2).await;
        stop.send_replace(Some(Instant::now()));
        let commits = writing.await??;
        let during = commits.iter().filter(|commit| commit.due >= begun && commit.at <= ended);
        // Right after the upload the engine may still work on what came in meanwhile.
        let after = commits.iter().filter(|commit| commit.due >= ended + QUIET);
        Ok(Foreground { with: Took::of(during), without: Took::of(after), bytes, upload: ended - begun })
    })
}

/// Whether it is of the group of the default database.
const fn is_first(kind: &Kind) -> bool {
    matches!(kind, Kind::Table(1, _) | Kind::Checkpoint(1, _))
}

async fn fill(url: &str, bytes: u64) -> anyhow::Result<()> {
    let mut client = Session::open(url, TOKEN, Http::One).await?.connect().await?;
    for number in 0..bytes / (VALUES * VALUE_BYTES) {
        let set = |value: u64| {
            let seed = number * VALUES + value;
            let data = (0..VALUE_BYTES / 8).flat_map(|word| mix(seed << 16 | word).to_le_bytes()).collect();
            Mutation {
                key: [&[1][..], format!("fill-{:016x}", mix(seed)).as_bytes(), &[0]].concat(),
                value: Some(KvValue { data, encoding: ValueEncoding::VeBytes as i32 }),
                mutation_type: MutationType::MSet as i32,
                ..Mutation::default()
            }
        };
        let write = AtomicWrite { mutations: (0..VALUES).map(set).collect(), ..AtomicWrite::default() };
        client.atomic_write(&write).await.context("cannot fill the database")?;
    }
    Ok(())
}
