//! `cairn restore`: brings a point of an archive back as a data directory.

use super::UsageError;
use super::archive_args::ArchiveArgs;
use anyhow::Context;
use archiver::catalog::rfc3339;
use archiver::job::{Job, JobKind, Jobs};
use archiver::restore::{Destination, Point, Wanted, restore};
use engine::{Env, LineageId, Options, Versionstamp};
use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;

/// The one data group.
const GROUP: u64 = 1;

/// What `cairn restore` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// What to restore: a versionstamp (20 hexadecimal digits), an RFC 3339 time, or latest
    #[arg(long, value_name = "POINT", value_parser = parse_point)]
    at: Point,

    /// An empty or absent directory, which becomes the data directory
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// The lineage that is meant, when several hold the point (see: cairn pitr list)
    #[arg(long, value_name = "ID", value_parser = parse_lineage)]
    lineage: Option<LineageId>,

    /// Leave out the checkpoint at this versionstamp, because it is damaged; may be repeated
    #[arg(long, value_name = "VERSIONSTAMP")]
    without: Vec<Versionstamp>,
}

fn parse_point(text: &str) -> Result<Point, String> {
    if text == "latest" {
        return Ok(Point::Latest);
    }
    if let Ok(stamp) = text.parse::<Versionstamp>() {
        return Ok(Point::Stamp(stamp));
    }
    let time = text.parse::<jiff::Timestamp>().ok();
    let time_ms = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    time_ms.map(Point::TimeMs).ok_or_else(|| {
        "give a versionstamp of 20 hexadecimal digits, a time such as 2026-11-21T20:15:00Z, or latest"
            .to_owned()
    })
}

fn parse_lineage(text: &str) -> Result<LineageId, String> {
    let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    id.map(|id| LineageId(id.to_be_bytes())).ok_or_else(|| "a lineage id is 32 hexadecimal digits".to_owned())
}

/// Restores, and says how to serve the result.
///
/// # Errors
///
/// A [`UsageError`] when the URL, the point or the directory cannot work; otherwise why the archive
/// cannot be restored. The directory is empty then.
pub fn run(args: Args) -> anyhow::Result<()> {
    let archive = args.archive.open()?;
    let wanted = Wanted { point: args.at, lineage: args.lineage, without: args.without };
    let destination = Destination { env: Env::real(), dir: args.to.clone(), options: Options::default() };
    let job = job(JobKind::Restore, &archive.location());
    let work = restore(&archive, GROUP, &wanted, &destination, &job);
    let restored = runtime()?.block_on(watched("restoring", &job, work)).map_err(as_usage)?;
    let (stamp, time) = (restored.stamp, rfc3339(restored.time_ms));
    println!("restored to versionstamp {stamp}, committed at {time}, as lineage {}", restored.lineage.id);
    println!("serve it with: cairn serve --data {}", args.to.display());
    Ok(())
}

/// What was asked for cannot work, as opposed to: what is there is not right.
fn as_usage(error: archiver::Error) -> anyhow::Error {
    use archiver::restore::PlanError;
    match error {
        archiver::Error::Plan(PlanError::Damaged { .. }) => error.into(),
        archiver::Error::Plan(_) | archiver::Error::Target { .. } => UsageError(error.to_string()).into(),
        other => other.into(),
    }
}

/// Runs one command.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// How often a progress bar is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// A job of this command.
pub(super) fn job(kind: JobKind, subject: &str) -> Job {
    let env = Env::real();
    Jobs::new(env.clock, env.random).begin(kind, subject.to_owned())
}

/// Does the work of a job with a progress bar on standard error, when that is a terminal. Ctrl-C cancels it.
pub(super) async fn watched<T>(
    what: &'static str,
    job: &Job,
    work: impl Future<Output = archiver::Result<T>>,
) -> archiver::Result<T> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {prefix}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    let mut draws = tokio::time::interval(DRAW_EVERY);
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _drawn = draws.tick() => draw(&bar, job),
            Ok(()) = tokio::signal::ctrl_c() => job.cancel(),
        }
    };
    bar.finish_and_clear();
    done
}

fn draw(bar: &ProgressBar, job: &Job) {
    let status = job.status();
    if let Some(total) = status.bytes_total {
        bar.set_length(total);
    }
    bar.set_position(status.bytes);
    let eta = status.eta_s.map(|s| format!(", {} left", HumanDuration(Duration::from_secs(s))));
    bar.set_prefix(format!("{}/s{}", BinaryBytes(status.bytes_per_s), eta.unwrap_or_default()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_stamps_times_or_latest() {
        assert_eq!(parse_point("latest"), Ok(Point::Latest));
        assert_eq!(parse_point("00000000000000010002"), Ok(Point::Stamp(Versionstamp::new(1, 2))));
        assert_eq!(parse_point("1970-01-01T00:00:01.5Z"), Ok(Point::TimeMs(1_500)));
        assert_eq!(parse_point("1970-01-01T02:00:00+01:00"), Ok(Point::TimeMs(3_600_000)));
        for text in ["", "yesterday", "2026-11-21", "1969-01-01T00:00:00Z", "0000000000000001000"] {
            assert!(parse_point(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lineages_are_32_digits() {
        assert_eq!(parse_lineage(&"0f".repeat(16)), Ok(LineageId([15; 16])));
        for text in ["", "0f", &"+f".repeat(16), &"0g".repeat(16)] {
            assert!(parse_lineage(text).is_err(), "{text}");
        }
    }
}
