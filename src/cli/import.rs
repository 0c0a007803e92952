//! `cairn import --sqlite`: brings the content of a Deno or `denokv` file into a data directory.
//!
//! The file is checked before the directory is touched, or even made.

use super::UsageError;
use crate::config::DEFAULT_DATA;
use crate::import::{ImportError, Imported, Options, Source, import_checked};
use anyhow::Context;
use engine::Clock;
use engine::env::SystemClock;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// Flags of `cairn import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The SQLite file of Deno or denokv
    #[arg(long, env = "CAIRN_IMPORT_SQLITE", value_name = "FILE")]
    sqlite: PathBuf,

    /// Directory of the data
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,

    /// Write into a database that has content, over what has the same keys
    #[arg(long, env = "CAIRN_IMPORT_MERGE")]
    merge: bool,

    /// Leave undelivered queue messages out
    #[arg(long, env = "CAIRN_IMPORT_SKIP_QUEUE")]
    skip_queue: bool,
}

/// Imports the file and says what came in.
///
/// # Errors
///
/// When the file cannot come in whole (nothing was written then), or the directory cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let clock = SystemClock;
    let source = Source::open(&args.sqlite).map_err(usage)?;
    let checked = source.check(clock.now_ms(), args.skip_queue).map_err(usage)?;
    let (dir, engine) = crate::data_dir::open(&args.data)
        .with_context(|| format!("cannot import into {}", args.data.display()))?;
    let bar = progress_bar(checked.rows);
    let tell = |done, _total| bar.set_position(done);
    let options = Options { merge: args.merge, skip_queue: args.skip_queue, progress: Some(&tell) };
    let imported = import_checked(&engine, &clock, &source, checked, options);
    bar.finish_and_clear();
    let closed = engine.close();
    let imported = imported.map_err(usage)?;
    closed.context("cannot close the data directory")?;
    println!("{}", summary(&imported, source.path(), dir.path()));
    Ok(())
}

fn summary(imported: &Imported, file: &std::path::Path, data: &std::path::Path) -> String {
    let Imported { rows, skipped_expired, queue_messages } = imported;
    let mut text = format!("imported {rows} rows from {} into {}", file.display(), data.display());
    if *skipped_expired > 0 {
        text.push_str(&format!("; {skipped_expired} expired rows left out"));
    }
    if *queue_messages > 0 {
        text.push_str(&format!("; {queue_messages} queue messages left out"));
    }
    text
}

/// A bar on standard error when that is a terminal, and nothing otherwise.
fn progress_bar(rows: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} rows, {eta} left");
    ProgressBar::new(rows).with_style(style.unwrap_or_else(|_invalid| ProgressStyle::default_bar()))
}

/// What is wrong with the file or the flags ends with exit code 2, in one line with all causes.
fn usage(error: ImportError) -> anyhow::Error {
    let changed_nothing = error.changed_nothing();
    let error = anyhow::Error::new(error);
    if changed_nothing { UsageError(format!("{error:#}")).into() } else { error }
}
