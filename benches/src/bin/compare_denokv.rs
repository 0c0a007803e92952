//! Is it faster than `denokv`, and for how much processor time?
//!
//! Three servers run at the same time: `denokv` as it comes, `denokv` with batched writes, and
//! `cairn`, each with its defaults otherwise. Each measurement visits them in turn, so that a change
//! of the machine's pace meets all three, and is repeated; the medians are printed. Throughput of one
//! run says little on a shared machine: ratios within the run and processor time say more.

use anyhow::Context;
use cairn::bench::report::Report;
use cairn_benches::servers::{Server, TOKEN};
use cairn_benches::{disk, page, table::Summary};
use clap::Parser;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

const CLIENTS: [u32; 3] = [1, 16, 64];
const MODES: [(&str, &str); 2] = [("write", "sets"), ("read", "gets")];
/// Positions of the servers in every list here.
const DEFAULT: usize = 0;
const BATCHED: usize = 1;
const CAIRN: usize = 2;

/// Compare cairn with denokv, side by side in one run
#[derive(Debug, Parser)]
struct Args {
    /// The release binary of cairn, which also generates the load
    #[arg(long, default_value = "target/release/cairn")]
    cairn: PathBuf,
    /// The binary of denokv 0.14
    #[arg(long, default_value = "target/denokv/bin/denokv")]
    denokv: PathBuf,
    /// Where the servers keep their data: a real disk, not tmpfs
    #[arg(long, default_value = "target/bench-data")]
    folder: PathBuf,
    /// How often each measurement is made
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each measurement takes
    #[arg(long, default_value = "5s")]
    duration: String,
    /// The file that the result is written to; standard output otherwise
    #[arg(long)]
    write: Option<PathBuf>,
}

/// The reports of one measurement: mode, clients, server.
type Reports = BTreeMap<(usize, u32, usize), Vec<Report>>;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(args.rounds > 0, "at least one round");
    std::fs::create_dir_all(&args.folder)?;
    let folder = tempfile::tempdir_in(&args.folder)?;
    let batching = ["--atomic-write-batch-timeout-ms", "1"];
    let servers = [
        Server::denokv(&args.denokv, &folder.path().join("default"), "denokv", &[])?,
        Server::denokv(&args.denokv, &folder.path().join("batched"), "denokv, batched", &batching)?,
        Server::cairn(&args.cairn, &folder.path().join("cairn"))?,
    ];
    let mut reports = Reports::new();
    let mut syncs_us = vec![disk::append_and_sync(folder.path())?.as_micros()];
    for round in 1..=args.rounds {
        for (mode, (name, _)) in MODES.iter().enumerate() {
            for clients in CLIENTS {
                for (which, server) in servers.iter().enumerate() {
                    let report = measure(&args, server, name, clients)?;
                    eprintln!("round {round}: {name}, {clients} clients, {}: {report}\n", server.name);
                    reports.entry((mode, clients, which)).or_default().push(report);
                }
            }
        }
        syncs_us.push(disk::append_and_sync(folder.path())?.as_micros());
    }
    let text = section(&args, &servers, &reports, &syncs_us)?;
    match &args.write {
        Some(path) => page::replace_section(path, "denokv", &text),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

fn load_arguments(args: &Args, mode: &str, clients: &str) -> Vec<String> {
    let fixed = ["bench", mode, "--clients", clients, "--value-size", "100", "--keys", "10000"];
    let rest = ["--http", "1", "--warm-up", "1s", "--duration", &args.duration, "--json"];
    fixed.iter().chain(&rest).map(|argument| (*argument).to_owned()).collect()
}

fn measure(args: &Args, server: &Server, mode: &str, clients: u32) -> anyhow::Result<Report> {
    let mut command = Command::new(&args.cairn);
    command.args(load_arguments(args, mode, &clients.to_string())).arg("--url").arg(server.url());
    command.arg("--pid").arg(server.pid().to_string()).env("DENO_KV_ACCESS_TOKEN", TOKEN);
    let output = command.output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} {mode} with {clients} clients: {error}", server.name);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn section(args: &Args, servers: &[Server], reports: &Reports, syncs_us: &[u128]) -> anyhow::Result<String> {
    let mut text = String::from("## Side by side with denokv 0.14\n\n");
    writeln!(
        text,
        "Made by `./soak bench`: {} rounds, each measurement {} after 1 s of warm-up, medians of the rounds. \
         Values of 100 bytes, 10,000 keys, each client with one HTTP/1.1 connection and one request at a time; \
         the load generator runs on the same machine. All servers sync before they answer a write.\n",
        args.rounds, args.duration
    )?;
    writeln!(text, "Machine: {}.\n", page::machine())?;
    let (least, most) = (syncs_us.iter().min(), syncs_us.iter().max());
    let (least, most) = (least.context("a sync was timed")?, most.context("a sync was timed")?);
    writeln!(
        text,
        "fsync mode: an append of 512 bytes with fdatasync took {least} to {most} µs (medians of 300, before the \
         first round and after each).\n"
    )?;
    text.push_str("Commands:\n\n");
    for server in servers {
        writeln!(text, "    {}", server.command)?;
    }
    let load = load_arguments(args, "<write|read>", "<1|16|64>").join(" ");
    writeln!(text, "    cairn {load} --url <server> --pid <server>\n")?;
    for (mode, (_, name)) in MODES.iter().enumerate() {
        writeln!(text, "### {name}\n")?;
        text.push_str("| clients | server | per second | p50 ms | p99 ms | server CPU µs each |\n");
        text.push_str("|---:|---|---:|---:|---:|---:|\n");
        for clients in CLIENTS {
            for (which, server) in servers.iter().enumerate() {
                let cells = Summary::of(&reports[&(mode, clients, which)]).cells();
                writeln!(text, "| {clients} | {} | {cells} |", server.name)?;
            }
        }
        text.push('\n');
    }
    text.push_str("### Goals\n\n| goal | reached | |\n|---|---:|---|\n");
    for (goal, ratio, wanted) in goals(reports) {
        let verdict = if ratio >= wanted { "yes" } else { "no" };
        writeln!(text, "| {goal}: at least {wanted} times | {ratio:.2} times | {verdict} |")?;
    }
    Ok(text)
}

/// Each goal with the ratio reached and the one wanted.
fn goals(reports: &Reports) -> Vec<(String, f64, f64)> {
    let summary = |mode, clients, which| Summary::of(&reports[&(mode, clients, which)]);
    let rate = |mode, clients, which| summary(mode, clients, which).operations_per_s;
    let times = |mode, clients, other| rate(mode, clients, CAIRN) / rate(mode, clients, other);
    let better = |mode, clients| f64::min(times(mode, clients, DEFAULT), times(mode, clients, BATCHED));
    let mut goals = vec![
        ("sets, 1 client, against its better mode".to_owned(), better(0, 1), 1.0),
        ("sets, 16 clients, against its default".to_owned(), times(0, 16, DEFAULT), 2.5),
        ("sets, 64 clients, against its batched mode".to_owned(), times(0, 64, BATCHED), 1.5),
        ("sets, 64 clients, against its default".to_owned(), times(0, 64, DEFAULT), 3.0),
    ];
    for clients in CLIENTS {
        goals.push((format!("gets, {}, against its better mode", people(clients)), better(1, clients), 1.3));
    }
    for (mode, (_, name)) in MODES.iter().enumerate() {
        for clients in CLIENTS {
            let cpu = |which| summary(mode, clients, which).cpu_us;
            let ratio = f64::min(cpu(DEFAULT), cpu(BATCHED)) / cpu(CAIRN);
            goals.push((format!("{name}, {}, its lesser CPU over ours", people(clients)), ratio, 1.0));
        }
    }
    goals
}

fn people(clients: u32) -> String {
    if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") }
}
