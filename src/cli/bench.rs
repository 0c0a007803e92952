//! `cairn bench`: measures a server that speaks KV Connect.

use crate::bench::client::{Error, Http, Session};
use crate::bench::load::{self, Load, Mode};
use crate::bench::report::Report;
use crate::cli::UsageError;
use crate::config::units::{Millis, UnitError};
use anyhow::Context;
use std::time::Duration;

/// The arguments of `cairn bench`.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(about = "Measure a KV Connect server: throughput, latency, processor time")]
pub struct Args {
    /// What the clients do: read one key, write one key, or half of each
    #[arg(value_enum)]
    mode: ModeArg,

    /// The server
    #[arg(long, env = "CAIRN_BENCH_URL", default_value = "http://127.0.0.1:4512")]
    url: String,

    /// Its access token
    #[arg(long, env = "DENO_KV_ACCESS_TOKEN", hide_env_values = true)]
    token: String,

    /// Clients at the same time, each with a connection of its own
    #[arg(long, env = "CAIRN_BENCH_CLIENTS", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,

    /// Bytes in each value
    #[arg(long, env = "CAIRN_BENCH_VALUE_SIZE", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=65536))]
    value_size: u32,

    /// Keys to choose from; a read meets only keys that are there
    #[arg(long, env = "CAIRN_BENCH_KEYS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=9_999_999_999))]
    keys: u64,

    /// How long to measure, such as 10s or 2m
    #[arg(long, env = "CAIRN_BENCH_DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,

    /// How long to run before measuring
    #[arg(long, env = "CAIRN_BENCH_WARM_UP", default_value = "1s", value_parser = duration)]
    warm_up: Duration,

    /// The version of HTTP: 1 as Node's client speaks, 2 as Deno does
    #[arg(long, env = "CAIRN_BENCH_HTTP", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    http: u8,

    /// The servers' processes on this machine, to read their processor time: one, or several separated by commas
    #[arg(long, env = "CAIRN_BENCH_PID", value_delimiter = ',')]
    pid: Vec<u32>,

    /// Print one line of JSON instead of a table
    #[arg(long, env = "CAIRN_BENCH_JSON")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ModeArg {
    Read,
    Write,
    Mixed,
}

fn duration(text: &str) -> Result<Duration, UnitError> {
    text.parse().map(|Millis(ms)| Duration::from_millis(ms))
}

/// Runs the measurement and prints its figures.
///
/// # Errors
///
/// When the server cannot be reached, refuses, or answers wrongly.
pub fn run(args: Args) -> anyhow::Result<()> {
    if args.duration.is_zero() {
        return Err(UsageError("invalid value for --duration: it must be above zero".to_owned()).into());
    }
    // One thread: the load generator must not take the server's cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let report = runtime.context("cannot start the load generator")?.block_on(measure(&args))?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

async fn measure(args: &Args) -> anyhow::Result<Report> {
    let http = if args.http == 2 { Http::Two } else { Http::One };
    let session = Session::open(&args.url, &args.token, http).await.map_err(usage)?;
    let load = Load {
        mode: match args.mode {
            ModeArg::Read => Mode::Read,
            ModeArg::Write => Mode::Write,
            ModeArg::Mixed => Mode::Mixed,
        },
        clients: args.clients,
        value_bytes: usize::try_from(args.value_size)?,
        keys: args.keys,
        warm_up: args.warm_up,
        duration: args.duration,
        server_pids: args.pid.clone(),
    };
    if !args.json {
        eprintln!("{} clients, {:?} ...", load.clients, load.duration);
    }
    let targets = [session];
    if load.mode != Mode::Write {
        load::fill(&targets, &load).await?;
    }
    Ok(Report::of(&load::run(&targets, &load).await?))
}

/// A URL that cannot be used is about what was typed.
fn usage(error: Error) -> anyhow::Error {
    match error {
        Error::Url { .. } => UsageError(error.to_string()).into(),
        error => error.into(),
    }
}
