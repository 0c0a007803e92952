//! Are three nodes of cairn faster than three members of etcd, and for how much processor time?
//!
//! Both clusters run at the same time, as plain processes on one disk, and sync before they answer a write. Each
//! measurement visits them in turn, so that a change of the machine's pace meets both, and is repeated; the medians
//! are printed. Clients talk to the leader, each with a connection of its own, unless a table says otherwise.
//! The load generator takes one core of the same machine at most: ratios within the run and processor time say
//! more than operations per second.

mod measure;
mod plot;
mod results;
mod section;

use anyhow::Context;
use cairn::bench::client::Http;
use cairn_benches::cluster::{Cairn, Etcd};
use cairn_benches::page;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Compare three nodes of cairn with three of etcd, side by side in one run
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The release binary of cairn
    #[arg(long, default_value = "target/release/cairn")]
    cairn: PathBuf,
    /// The binary of etcd 3.4
    #[arg(long, default_value = "target/peers/etcd/usr/bin/etcd")]
    etcd: PathBuf,
    /// Which to measure
    #[arg(long, default_values = ["etcd", "cairn"], value_delimiter = ',')]
    systems: Vec<String>,
    /// Which parts to run
    #[arg(long, default_values = ["load", "follower", "failover", "regions"], value_delimiter = ',')]
    parts: Vec<String>,
    /// Where the servers keep their data: a real disk, not tmpfs
    #[arg(long, default_value = "target/bench-data")]
    folder: PathBuf,
    /// How often each measurement is made
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each measurement takes, in seconds, after one second of warm-up
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How often each leader is killed
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Connections that etcd's clients share; with 0 each has its own
    #[arg(long, default_value_t = 0)]
    etcd_connections: usize,
    /// The version of HTTP that cairn's clients speak: 1 as Node's does, 2 as Deno's
    #[arg(long, default_value_t = 1)]
    http: u8,
    /// The round trip between regions, in milliseconds
    #[arg(long, default_value_t = 35)]
    round_trip_ms: u64,
    /// The page whose section is replaced; the plot is put beside it. Standard output otherwise
    #[arg(long)]
    write: Option<PathBuf>,
    /// Where all figures go, as JSON
    #[arg(long, default_value = "target/soak/etcd.json")]
    raw: PathBuf,
}

impl Args {
    fn etcd(&self, timing_ms: Option<(u32, u32)>) -> Etcd {
        Etcd { binary: self.etcd.clone(), timing_ms, connections: self.etcd_connections }
    }

    fn cairn(&self, arguments: &[&str]) -> Cairn {
        let http = if self.http == 2 { Http::Two } else { Http::One };
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Cairn { binary: self.cairn.clone(), http, arguments }
    }

    fn has(&self, system: &str) -> bool {
        self.systems.iter().any(|name| name == system)
    }

    fn runs(&self, part: &str) -> bool {
        self.parts.iter().any(|name| name == part)
    }

    const fn window(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(args.rounds > 0 && args.seconds > 0, "at least one round of one second");
    std::fs::create_dir_all(&args.folder)?;
    let folder = tempfile::tempdir_in(&args.folder)?;
    // One thread: the load generator must not take the servers' cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(measure::all(&args, folder.path()))?;
    std::fs::create_dir_all(args.raw.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&args.raw, serde_json::to_string_pretty(&results)?)?;
    let text = section::text(&args, &results)?;
    let Some(page) = &args.write else {
        print!("{text}");
        return Ok(());
    };
    let plot = page.with_file_name("benchmarks-etcd.svg");
    std::fs::write(&plot, plot::svg(&results)).with_context(|| format!("cannot write {}", plot.display()))?;
    page::replace_section(page, "etcd", &text)
}
