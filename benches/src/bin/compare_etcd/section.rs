//! The section of the page.

use crate::Args;
use crate::measure::{KEYS, VALUE_BYTES};
use crate::results::{CLIENTS, Results};
use anyhow::Context;
use cairn_benches::failover::PROBE_MS;
use cairn_benches::page::machine;
use std::fmt::Write;

const SYSTEMS: [&str; 2] = ["etcd", "cairn"];

/// A table for each mode and place, the failovers, and the goals.
pub(crate) fn text(args: &Args, results: &Results) -> anyhow::Result<String> {
    let mut text = String::from("## Three nodes beside three members of etcd 3.4\n\n");
    preface(&mut text, args, results)?;
    text.push_str("![Operations per second and processor time of cairn and etcd](benchmarks-etcd.svg)\n\n");
    for (mode, title) in [("put", "Puts"), ("get", "Strong reads"), ("mixed", "Half puts, half strong reads")]
    {
        table(&mut text, results, "leader", mode, title)?;
    }
    table(&mut text, results, "follower", "put", "Puts through a follower, which forwards them")?;
    table(&mut text, results, "follower", "get", "Strong reads from a follower")?;
    let title = format!("Puts with {} ms there and back between any two nodes", args.round_trip_ms);
    table(&mut text, results, "regions", "put", &title)?;
    failovers(&mut text, results)?;
    goals(&mut text, results)?;
    for reason in &results.skipped {
        writeln!(text, "Not measured: {reason}.\n")?;
    }
    Ok(text)
}

fn preface(text: &mut String, args: &Args, results: &Results) -> anyhow::Result<()> {
    let connections = match args.etcd_connections {
        0 => "each client with a connection of its own".to_owned(),
        shared => format!("etcd's clients on {shared} connections, ours with one each"),
    };
    writeln!(
        text,
        "Made by `./soak etcd`: {} rounds, each measurement {} s after 1 s of warm-up, both clusters running, in turn; \
         medians of the rounds. Values of {VALUE_BYTES} bytes, {KEYS} keys, one request at a time per client, {connections}, \
         to the leader unless said otherwise; gRPC over HTTP/2 for etcd, KV Connect over HTTP/{} for cairn. All six servers and \
         the load generator are plain processes on one machine and one disk, and sync before they answer a write. \
         Processor time is that of the three servers together, divided by the requests.\n",
        args.rounds,
        args.seconds,
        if args.http == 2 { "2" } else { "1.1" },
    )?;
    let least = results.syncs_us.iter().min().context("a sync was timed")?;
    let most = results.syncs_us.iter().max().context("a sync was timed")?;
    writeln!(
        text,
        "Machine: {}. fsync mode: an append of 512 bytes with fdatasync took {least} to {most} µs (medians of 300, before \
         the first round and after each).\n",
        machine()
    )?;
    Ok(())
}

fn table(text: &mut String, results: &Results, place: &str, mode: &str, title: &str) -> anyhow::Result<()> {
    let mut rows = String::new();
    for clients in CLIENTS {
        let etcd = results.summary(place, mode, clients, "etcd");
        for system in SYSTEMS {
            let Some(summary) = results.summary(place, mode, clients, system) else { continue };
            let times = etcd.map_or(String::new(), |etcd| {
                format!("{:.2}", summary.operations_per_s / etcd.operations_per_s)
            });
            writeln!(rows, "| {clients} | {system} | {} | {times} |", summary.cells())?;
        }
    }
    if !rows.is_empty() {
        writeln!(text, "### {title}\n")?;
        text.push_str("| clients | servers | per second | p50 ms | p99 ms | CPU µs each | times etcd |\n");
        text.push_str("|---:|---|---:|---:|---:|---:|---:|\n");
        writeln!(text, "{rows}")?;
    }
    Ok(())
}

fn failovers(text: &mut String, results: &Results) -> anyhow::Result<()> {
    if results.failovers.is_empty() {
        return Ok(());
    }
    writeln!(text, "### Failover\n")?;
    writeln!(
        text,
        "From `kill -9` of the leader to the first acknowledged write that began after it, at default settings; on both survivors \
         a write begins every {PROBE_MS} ms.\n"
    )?;
    text.push_str("| servers | kills | median ms | maximum ms |\n|---|---:|---:|---:|\n");
    for system in SYSTEMS {
        if let Some((median, most, count)) = results.failover(system) {
            writeln!(text, "| {system} | {count} | {median:.0} | {most:.0} |")?;
        }
    }
    text.push('\n');
    Ok(())
}

/// Goals of throughput: mode, clients, times etcd at least, and µs of processor time at most.
const GOALS: [(&str, u32, f64, Option<f64>); 6] = [
    ("put", 1, 2.0, Some(300.0)),
    ("put", 64, 3.0, Some(40.0)),
    ("put", 256, 3.0, Some(40.0)),
    ("get", 1, 5.0, None),
    ("get", 64, 5.0, None),
    ("get", 256, 5.0, None),
];
/// The goal of the median failover.
const FAILOVER_MS_MAX: f64 = 1000.0;

fn goals(text: &mut String, results: &Results) -> anyhow::Result<()> {
    let mut rows = String::new();
    let verdict = |met: bool| if met { "yes" } else { "no" };
    for (mode, clients, times, cpu_us) in GOALS {
        let of = |system| results.summary("leader", mode, clients, system);
        let (Some(etcd), Some(cairn)) = (of("etcd"), of("cairn")) else { continue };
        let ratio = cairn.operations_per_s / etcd.operations_per_s;
        let what = format!("{mode}, {clients} clients");
        writeln!(
            rows,
            "| {what}, times etcd | at least {times} | {ratio:.2} | {} |",
            verdict(ratio >= times)
        )?;
        if let Some(most) = cpu_us {
            let met = verdict(cairn.cpu_us <= most);
            writeln!(rows, "| {what}, CPU µs | at most {most} | {:.0} | {met} |", cairn.cpu_us)?;
        }
    }
    if let Some((median, ..)) = results.failover("cairn") {
        let met = verdict(median < FAILOVER_MS_MAX);
        writeln!(rows, "| failover, median ms | under {FAILOVER_MS_MAX} | {median:.0} | {met} |")?;
    }
    if !rows.is_empty() {
        writeln!(text, "### Goals\n\n| goal | bound | cairn | reached |\n|---|---:|---:|---|\n{rows}")?;
    }
    Ok(())
}
