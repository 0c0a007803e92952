//! `cairn restore`: brings a point of an archive back as a data directory: a cluster, a group, a database, or some of its keys.

mod live;
mod part;

use super::UsageError;
use super::archive_args::ArchiveArgs;
use anyhow::Context;
use archiver::catalog::rfc3339;
use archiver::job::{Job, JobKind, Jobs};
use archiver::restore::{Ask, Destination, Point, Restored, Scope, restore_cluster};
use engine::{Env, LineageId, Options, Versionstamp};
use indicatif::{BinaryBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `cairn restore` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// What to restore: an RFC 3339 time, latest, or a versionstamp (20 hexadecimal digits), which is a point of one group
    #[arg(long, value_name = "POINT", value_parser = parse_point)]
    at: Point,

    /// An empty or absent directory, which becomes the data directory; or one in which the same command did not finish
    #[arg(long, value_name = "DIR", required_unless_present = "into")]
    to: Option<PathBuf>,

    #[command(flatten)]
    live: live::Live,

    #[command(flatten)]
    part: part::Part,

    /// The lineage that is meant, when several hold the point (see: cairn pitr list); may be repeated, for each group
    #[arg(long, value_name = "ID", value_parser = parse_lineage)]
    lineage: Vec<LineageId>,

    /// Leave out the checkpoint at this versionstamp, because it is damaged; may be repeated
    #[arg(long, value_name = "VERSIONSTAMP")]
    without: Vec<Versionstamp>,
}

pub(super) fn parse_point(text: &str) -> Result<Point, String> {
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

pub(super) fn parse_lineage(text: &str) -> Result<LineageId, String> {
    let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    id.map(|id| LineageId(id.to_be_bytes())).ok_or_else(|| "a lineage id is 32 hexadecimal digits".to_owned())
}

/// Restores, and says how to serve the result.
///
/// # Errors
///
/// A [`UsageError`] when the URL, the point or the directory cannot work; otherwise why the archive
/// cannot be restored. The directory cannot be served then; the same command goes on where it was.
pub fn run(args: Args) -> anyhow::Result<()> {
    let archive = args.archive.open()?;
    let (client, runtime) = (args.live.client()?, runtime()?);
    let temporary = std::env::temp_dir().join(format!("cairn-restore-{}", std::process::id()));
    let dir = args.to.clone().unwrap_or_else(|| temporary.clone());
    let whole =
        Ask { point: args.at, lineages: args.lineage, without: args.without, scopes: BTreeMap::new() };
    let part = if client.is_some() { args.part.of_one_database()? } else { args.part };
    if let Some(client) = &client {
        runtime.block_on(args.live.check(client))?;
    }
    let found = runtime.block_on(part.scopes(&archive, &whole, &destination(&beside(&dir))));
    let ask = Ask { scopes: found?, ..whole };
    let job = job(JobKind::Restore, &archive.location());
    let to = destination(&dir);
    let work = restore_cluster(&archive, &ask, &to, &job);
    let restored = runtime.block_on(watched("restoring", &job, work)).map_err(as_usage);
    let Some(client) = client else {
        print!("{}", told(&restored?, &ask));
        println!("serve it with: cairn serve --data {}", dir.display());
        return Ok(());
    };
    let loaded = match restored {
        Ok(_) => runtime.block_on(args.live.load(&client, &to, &ask, &job)),
        Err(error) => Err(error),
    };
    to.env.fs.remove_dir_all(&temporary)?;
    print!("{}", loaded?);
    Ok(())
}

/// Where the catalog is looked at, for a moment.
fn beside(to: &Path) -> PathBuf {
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    to.with_file_name(format!(".{name}.catalog-{}", std::process::id()))
}

pub(super) fn destination(dir: &Path) -> Destination {
    Destination { env: Env::real(), dir: dir.to_path_buf(), options: Options::default(), threads: true }
}

fn told(restored: &[(u64, Restored)], ask: &Ask) -> String {
    let mut out = String::new();
    for (group, restored) in restored {
        let Restored { stamp, lineage, .. } = restored;
        let time = rfc3339(restored.time_ms);
        let whose = if restored_alone(ask, *group) { String::new() } else { format!("group {group} ") };
        let at = format!(
            "restored {whose}to versionstamp {stamp}, committed at {time}, as lineage {}\n",
            lineage.id
        );
        out.push_str(&at);
    }
    out
}

/// Whether nothing is gained by naming the group.
fn restored_alone(ask: &Ask, group: u64) -> bool {
    group == 1
        && matches!(ask.point, Point::Stamp(_) | Point::Latest)
        && ask.scopes.values().all(Scope::is_all)
}

/// What was asked for cannot work, as opposed to: what is there is not right.
pub(super) fn as_usage(error: archiver::Error) -> anyhow::Error {
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
        .worker_threads(2)
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
