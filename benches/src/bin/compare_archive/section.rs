//! The figures as a section of docs/benchmarks.md.

use crate::Args;
use crate::bulk::{Bulk, Moved, OneDatabase};
use crate::foreground::Foreground;
use crate::lag::{Lags, RATE};
use cairn_benches::page;
use std::fmt::Write as _;
use std::time::Duration;

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) sync: Duration,
    pub(crate) lag: Option<Lags>,
    pub(crate) lag_without: Option<Lags>,
    pub(crate) lag_litestream: Option<Lags>,
    /// With a bucket in such a place.
    pub(crate) foreground: Vec<(&'static str, Foreground)>,
    pub(crate) database: Option<OneDatabase>,
    pub(crate) bulk: Option<Bulk>,
    pub(crate) litestream: Option<(Moved, Moved)>,
    pub(crate) replay_per_s: Option<f64>,
}

pub(crate) fn text(args: &Args, figures: &Figures) -> String {
    let mut out = String::from("## The archive beside Litestream 0.5\n\n");
    line(
        &mut out,
        &format!(
            "Made by `./soak archive`, in one run to one SeaweedFS on the same machine. {} s of {RATE} commits a second, each of one \
             row of 100 random bytes; a checkpoint of {} GiB of random values of 1 KiB; Litestream's database has {} MiB of them; the \
             log has {} mutations of 100 bytes over a million keys.\n",
            args.lag_seconds, args.gib, args.litestream_mib, args.mutations
        ),
    );
    let sync_us = figures.sync.as_micros();
    line(&mut out, &format!("Machine: {}. An append with fdatasync took {sync_us} µs.\n", page::machine()));
    out.push_str("![From a commit to the bucket, and megabytes a second](benchmarks-archive.svg)\n\n");
    out.push_str(&lag(figures));
    out.push_str(&foreground(figures));
    out.push_str(&bulk(figures));
    out.push_str(&goals(figures));
    out
}

pub(crate) fn lag(figures: &Figures) -> String {
    let rows = [
        ("cairn, no archive", &figures.lag_without),
        ("cairn", &figures.lag),
        ("Litestream, without SQLite", &figures.lag_litestream),
    ];
    let mut out = String::from("### From the acknowledgement of a commit until it is in the bucket\n\n");
    line(
        &mut out,
        "| | commits/s | p50 ms | p95 ms | p99 ms | max ms | objects | MB | CPU µs a commit | requests an hour | when idle |",
    );
    line(&mut out, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (name, lags) in rows.into_iter().filter_map(|(name, lags)| Some((name, lags.as_ref()?))) {
        let lag = |percent| match lags.sorted_ms.is_empty() {
            true => "-".to_owned(),
            false => lags.percentile(percent).to_string(),
        };
        line(
            &mut out,
            &format!(
                "| {name} | {:.0} | {} | {} | {} | {} | {} | {:.1} | {:.0} | {:.0} | {:.0} |",
                lags.per_s,
                lag(50),
                lag(95),
                lag(99),
                lag(100),
                lags.objects,
                mb(lags.bytes),
                lags.cpu_us,
                lags.busy_per_h,
                lags.idle_per_h
            ),
        );
    }
    out.push('\n');
    out.push_str(&costs(figures));
    out
}

/// What archiving costs beyond serving.
fn costs(figures: &Figures) -> String {
    let (Some(with), Some(without)) = (&figures.lag, &figures.lag_without) else { return String::new() };
    let user_bytes = with.commits() * crate::lag::ROW_BYTES;
    let (bytes, cpu_s) = (mb(with.bytes), (with.cpu_us - without.cpu_us) * with.commits() / 1e6);
    let user_mb = user_bytes / 1e6;
    format!(
        "Archiving costs {:.0} ms of processor time for a megabyte of keys and values, and {:.2} bytes in the bucket for each byte of \
         them: at this rate a segment holds a megabyte at most, each commit has a header, and random values do not compress.\n\n",
        cpu_s * 1e3 / user_mb,
        bytes / user_mb
    )
}

pub(crate) fn foreground(figures: &Figures) -> String {
    if figures.foreground.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "### Writes of clients while a checkpoint goes up\n\n\
         A bucket elsewhere is a SeaweedFS that keeps its data in memory and gives way to everybody; the other one writes to the disk of \
         the database, and has a share of its processors. A server uploads tables at 64 MiB a second unless told otherwise.\n\n",
    );
    line(&mut out, "| bucket | | writes | p50 ms | p95 ms | p99 ms | MB up | MB/s up |");
    line(&mut out, "|---|---|---:|---:|---:|---:|---:|---:|");
    for (bucket, Foreground { with, without, bytes, upload }) in &figures.foreground {
        let (mb, s) = (mb(*bytes), upload.as_secs_f64());
        let up = format!("{mb:.0} | {:.0}", mb / s);
        for (name, took, up) in [("while it goes up", with, up.as_str()), ("after it", without, "|")] {
            let [p50, p95, p99] = [50, 95, 99].map(|percent| took.percentile_ms(percent));
            let count = took.count();
            line(
                &mut out,
                &format!("| {bucket} | {name} | {count} | {p50:.2} | {p95:.2} | {p99:.2} | {up} |"),
            );
        }
    }
    out.push('\n');
    out
}

pub(crate) fn bulk(figures: &Figures) -> String {
    let mut out = String::from(
        "### All of it up, and back\n\n| | MB | up, MB/s | back, MB/s |\n|---|---:|---:|---:|\n",
    );
    let mut row = |name: &str, up: Moved, back: Moved| {
        line(
            &mut out,
            &format!("| {name} | {:.0} | {:.0} | {:.0} |", mb(up.bytes), up.mb_per_s(), back.mb_per_s()),
        );
    };
    if let Some(bulk) = &figures.bulk {
        row("cairn, checkpoint and restore", bulk.upload, bulk.restore);
        row("the same tables, copied", bulk.copy_up, bulk.copy_down);
    }
    if let Some((up, back)) = figures.litestream {
        row("Litestream, snapshot and restore", up, back);
    }
    if let Some(OneDatabase { one, all }) = figures.database {
        let (one_s, all_s) = (one.took.as_secs_f64(), all.took.as_secs_f64());
        let (one_mb, all_mb) = (mb(one.bytes), mb(all.bytes));
        line(
            &mut out,
            &format!(
                "\nOne database of a hundred in one archive is back after {one_s:.2} s, for which {one_mb:.0} MB are read; all of \
                 them after {all_s:.2} s and {all_mb:.0} MB."
            ),
        );
    }
    if let Some(per_s) = figures.replay_per_s {
        line(&mut out, &format!("\nA restore replays {per_s:.0} mutations a second of the log."));
    }
    out.push('\n');
    out
}

fn goals(figures: &Figures) -> String {
    let mut out = String::from("### Goals\n\n| goal | bound | cairn | reached |\n|---|---:|---:|---|\n");
    let mut goal = |name: &str, bound: f64, at_least: bool, figure: f64| {
        let (word, reached) =
            if at_least { ("at least", figure >= bound) } else { ("at most", figure <= bound) };
        let reached = if reached { "yes" } else { "no" };
        line(&mut out, &format!("| {name} | {word} {bound} | {figure:.2} | {reached} |"));
    };
    if let Some(lags) = &figures.lag {
        goal("recovery point lag, p50, s", 0.3, false, seconds(lags.percentile(50)));
        goal("recovery point lag, p99, s", 1.0, false, seconds(lags.percentile(99)));
    }
    if let Some((_, Foreground { with, without, .. })) = figures.foreground.first() {
        let ratio = with.percentile_ms(99) / without.percentile_ms(99);
        goal("p99 of writes while a checkpoint goes up, times without", 1.3, false, ratio);
    }
    if let Some(Bulk { upload, restore, copy_up, copy_down }) = &figures.bulk {
        goal("checkpoint upload, MB/s", 300.0, true, upload.mb_per_s());
        goal("restore, MB/s", 250.0, true, restore.mb_per_s());
        goal("upload, times a plain copy", 0.8, true, upload.mb_per_s() / copy_up.mb_per_s());
        goal("restore, times a plain copy", 0.8, true, restore.mb_per_s() / copy_down.mb_per_s());
    }
    if let Some(per_s) = figures.replay_per_s {
        goal("log replay, mutations/s", 400_000.0, true, per_s);
    }
    out.push('\n');
    out
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes everything");
}

#[expect(clippy::cast_precision_loss, reason = "far fewer bytes than 2^53")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
