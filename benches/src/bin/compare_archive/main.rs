//! What does continuous archiving give, and what does it cost?
//!
//! All of it runs on one machine, to one SeaweedFS: the recovery point lag at a steady rate of writes, the upload of a
//! checkpoint and its restore beside a plain copy of the same bytes through the same store, and the replay of a log; Litestream
//! does its part of the same in the same run.

mod bulk;
mod foreground;
mod lag;
mod plot;
mod section;

use anyhow::Context;
use cairn_benches::s3::S3;
use cairn_benches::{disk, page};
use clap::Parser;
use std::path::PathBuf;

/// Measure the archive, beside Litestream
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// The release binary of cairn
    #[arg(long, default_value = "target/release/cairn")]
    cairn: PathBuf,
    /// The binary of Litestream 0.5
    #[arg(long, default_value = "target/peers/venv/bin/litestream")]
    litestream: PathBuf,
    /// The binary of SeaweedFS
    #[arg(long, default_value = "target/peers/venv/bin/weed")]
    weed: PathBuf,
    /// Where everything is kept: a real disk, not tmpfs, with room for about five times the checkpoint
    #[arg(long, default_value = "target/bench-data")]
    folder: PathBuf,
    /// Which parts to run
    #[arg(long, default_values = ["lag", "foreground", "replay", "database", "checkpoint"], value_delimiter = ',')]
    parts: Vec<String>,
    /// How long the rate of writes is kept, in seconds
    #[arg(long, default_value_t = 30)]
    lag_seconds: u64,
    /// How long nothing is written then, in seconds
    #[arg(long, default_value_t = 20)]
    idle_seconds: u64,
    /// The size of the checkpoint, in gibibytes
    #[arg(long, default_value_t = 5)]
    gib: u64,
    /// The size of the database whose checkpoint goes up while clients write, in gibibytes
    #[arg(long, default_value_t = 3)]
    foreground_gib: u64,
    /// Commits a second meanwhile
    #[arg(long, default_value_t = 2_000)]
    foreground_rate: u32,
    /// The size of the archive of a hundred databases of which one is brought back, in mebibytes
    #[arg(long, default_value_t = 2_048)]
    databases_mib: u64,
    /// The size of Litestream's database, in mebibytes
    #[arg(long, default_value_t = 1_024)]
    litestream_mib: u64,
    /// Mutations in the log that is replayed
    #[arg(long, default_value_t = 3_000_000)]
    mutations: u64,
    /// The page whose section is replaced; the plot is put beside it. Standard output otherwise
    #[arg(long)]
    write: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    for (name, value) in cairn_benches::s3::CREDENTIALS {
        anyhow::ensure!(
            std::env::var(name).is_ok_and(|had| had == value),
            "set {name}={value}: this program speaks to its own S3 server"
        );
    }
    std::fs::create_dir_all(&args.folder)?;
    let folder = tempfile::tempdir_in(std::path::absolute(&args.folder)?)?;
    let s3 = S3::weed(&args.weed, &folder.path().join("weed"))?;
    let mut figures =
        section::Figures { sync: disk::append_and_sync(folder.path())?, ..section::Figures::default() };
    let has = |part: &str| args.parts.iter().any(|name| name == part);
    let within = |name: &str| folder.path().join(name);
    if has("lag") {
        figures.lag_without = Some(lag::cairn(&args, &s3, &within("without"), false)?);
        figures.lag = Some(lag::cairn(&args, &s3, &within("with"), true)?);
        figures.lag_litestream = Some(lag::litestream(&args, &s3, &within("litestream"))?);
        eprintln!("{}", section::lag(&figures));
    }
    if has("foreground") {
        let aside = S3::weed_aside(&args.weed)?;
        for (bucket, s3, rate) in [
            ("elsewhere", &aside, None),
            ("on the same disk", &s3, None),
            ("elsewhere, at no bound", &aside, Some("0")),
        ] {
            let seen = foreground::measure(&args, s3, rate, &within("foreground"))?;
            figures.foreground.push((bucket, seen));
            std::fs::remove_dir_all(within("foreground"))?;
        }
        eprintln!("{}", section::foreground(&figures));
    }
    if has("database") {
        figures.database = Some(bulk::one_database(&args, &s3, &within("database"))?);
        std::fs::remove_dir_all(within("database"))?;
        eprintln!("{}", section::bulk(&figures));
    }
    if has("replay") {
        figures.replay_per_s = Some(bulk::replay(&args, &s3, &within("replay"))?);
        std::fs::remove_dir_all(within("replay"))?;
        eprintln!("{}", section::bulk(&figures));
    }
    if has("checkpoint") {
        figures.litestream = Some(bulk::litestream(&args, &s3, &within("litestream-bulk"))?);
        std::fs::remove_dir_all(within("litestream-bulk"))?;
        figures.bulk = Some(bulk::checkpoint(&args, &s3, &within("bulk"))?);
        eprintln!("{}", section::bulk(&figures));
    }
    let text = section::text(&args, &figures);
    match &args.write {
        Some(path) => {
            let plot = path.with_file_name("benchmarks-archive.svg");
            std::fs::write(&plot, plot::svg(&figures))
                .with_context(|| format!("cannot write {}", plot.display()))?;
            page::replace_section(path, "archive", &text)
        }
        None => {
            print!("{text}");
            Ok(())
        }
    }
}
