//! cairn-engine side by side with fjall, RocksDB, redb and LMDB.
//!
//! `peers all` runs every workload on every engine, each run in a fresh process and directory, the engines in turn,
//! and writes medians, ratios and a plot. `peers run` is one such run, for profiling.

mod keys;
mod meter;
mod plot;
mod report;
mod store;
mod workload;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use report::{Measured, Run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use workload::{Bench, Figures, WORKLOADS, Workload};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "cairn-engine side by side with fjall, RocksDB, redb and LMDB")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// One workload on one engine, as JSON.
    Run {
        engine: String,
        workload: String,
        /// The longest a phase may take.
        #[arg(long, default_value_t = 8)]
        seconds: u64,
        /// Where the data goes: below this directory, and removed afterwards.
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        dir: PathBuf,
        /// Also print what the engine says about itself.
        #[arg(long)]
        describe: bool,
    },
    /// Every workload on every engine, in turn.
    All {
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        #[arg(long, default_value_t = 8)]
        seconds: u64,
        #[arg(long, default_value_os_t = std::env::temp_dir())]
        dir: PathBuf,
        /// Only these workloads.
        #[arg(long, value_delimiter = ',')]
        workloads: Vec<String>,
        /// Only these engines.
        #[arg(long, value_delimiter = ',')]
        engines: Vec<String>,
        /// The page whose section of engines is replaced; the plot goes beside it.
        #[arg(long)]
        write: Option<PathBuf>,
        /// Every single figure, as JSON.
        #[arg(long)]
        raw: Option<PathBuf>,
    },
    /// The tables and the plot again, from files that `all --raw` wrote on this machine.
    Report {
        #[arg(required = true)]
        raw: Vec<PathBuf>,
        #[arg(long)]
        write: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().action {
        Action::Run { engine, workload, seconds, dir, describe } => {
            let figures = run(&engine, find(&workload)?, seconds, &dir, describe)?;
            println!("{}", serde_json::to_string(&figures)?);
            Ok(())
        }
        Action::All { rounds, seconds, dir, workloads, engines, write, raw } => {
            let measured = all(rounds, seconds, &dir, &workloads, &engines, raw.as_deref())?;
            publish(&measured, write.as_deref())
        }
        Action::Report { raw, write } => {
            let parts = raw.iter().map(|path| Measured::load(path)).collect::<Result<Vec<_>>>()?;
            publish(&Measured::join(parts)?, Some(&write))
        }
    }
}

fn all(
    rounds: usize,
    seconds: u64,
    dir: &Path,
    workloads: &[String],
    engines: &[String],
    raw: Option<&Path>,
) -> Result<Measured> {
    workloads.iter().try_for_each(|name| find(name).map(drop))?;
    let chosen = |name: &str, list: &[String]| list.is_empty() || list.iter().any(|other| other == name);
    let mut measured = Measured {
        rounds: 0,
        seconds,
        fsync_us: vec![meter::fsync_us(dir)?],
        machine: meter::machine()?,
        runs: Vec::new(),
    };
    for round in 1..=rounds {
        for workload in WORKLOADS.iter().filter(|workload| chosen(workload.name, workloads)) {
            for engine in store::NAMES.iter().filter(|name| chosen(name, engines)) {
                if let Some((_, reason)) = workload.without.iter().find(|(name, _)| name == engine) {
                    eprintln!("{} is not run on {engine}: {reason}", workload.name);
                    continue;
                }
                eprintln!("round {round} of {rounds}: {} on {engine}", workload.name);
                let figures = spawn(engine, workload.name, seconds, dir)?;
                let (engine, workload) = ((*engine).to_owned(), workload.name.to_owned());
                measured.runs.push(Run { engine, workload, figures });
            }
        }
        measured.rounds = round;
        measured.fsync_us.push(meter::fsync_us(dir)?);
        if let Some(raw) = raw {
            measured.save(raw)?;
        }
    }
    Ok(measured)
}

fn find(name: &str) -> Result<&'static Workload> {
    let names: Vec<_> = WORKLOADS.iter().map(|workload| workload.name).collect();
    let found = WORKLOADS.iter().find(|workload| workload.name == name);
    found.with_context(|| format!("no workload is called {name}; there are {}", names.join(", ")))
}

fn run(engine: &str, workload: &Workload, seconds: u64, dir: &Path, describe: bool) -> Result<Vec<Figures>> {
    // A thread that touches a corner of a huge page would take 2 MiB each time, of whatever engine.
    rustix::thread::disable_transparent_huge_pages(true)?;
    let fresh = tempfile::Builder::new().prefix("cairn-peers-").tempdir_in(dir)?;
    let bench = Bench { engine, dir: fresh.path(), time_max: Duration::from_secs(seconds), describe };
    workload.run(&bench).with_context(|| format!("{} on {engine}", workload.name))
}

/// Runs one workload in a process of its own, so that memory and processor time are the engine's alone.
fn spawn(engine: &str, workload: &str, seconds: u64, dir: &Path) -> Result<Vec<Figures>> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(["run", engine, workload, "--seconds", &seconds.to_string(), "--dir"]).arg(dir);
    let output = command.stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{workload} on {engine} failed: {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn publish(measured: &Measured, write: Option<&Path>) -> Result<()> {
    let text = report::markdown(measured);
    let Some(page) = write else {
        println!("{text}");
        return Ok(());
    };
    report::replace_section(page, &text)?;
    Ok(std::fs::write(page.with_file_name("benchmarks-engine.svg"), plot::svg(&measured.medians()))?)
}
