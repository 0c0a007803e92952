//! `cairn pitr`: what an archive can bring back, and whether it is sound.

mod show;

use super::restore::{job, open_store, runtime, watched};
use anyhow::Context;
use archiver::catalog;
use archiver::job::JobKind;
use archiver::verify::{Report, verify};

/// The one data group.
const GROUP: u64 = 1;

/// What `cairn pitr` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the windows in which every commit can be restored
    List(Archive),
    /// Show the windows, the checkpoints, and what the archive takes up
    Info(Archive),
    /// Read every object and check that what a restore needs is there and right
    Verify(Archive),
}

#[derive(Debug, clap::Args)]
struct Archive {
    /// URL of the archive: file:///absolute/path or s3://bucket/prefix?endpoint=...
    #[arg(long, env = "CAIRN_ARCHIVE", value_name = "URL")]
    from: String,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows or checks an archive.
///
/// # Errors
///
/// When the URL is wrong, the archive cannot be read, or a verification finds something wrong.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(archive) => describe(&archive, false),
        Command::Info(archive) => describe(&archive, true),
        Command::Verify(archive) => check(&archive),
    }
}

fn describe(archive: &Archive, with_checkpoints: bool) -> anyhow::Result<()> {
    let store = open_store(&archive.from)?;
    let catalog = runtime()?.block_on(catalog::read(&*store, GROUP)).context("cannot read the archive")?;
    if archive.json {
        println!("{:#}", show::json(&catalog, with_checkpoints));
    } else {
        print!("{}", show::text(&catalog, with_checkpoints));
    }
    if catalog.lineages.is_empty() {
        anyhow::bail!("there is no archive in {}", catalog.location);
    }
    Ok(())
}

fn check(archive: &Archive) -> anyhow::Result<()> {
    let store = open_store(&archive.from)?;
    let job = job(JobKind::Verify, &store.location());
    let work = watched("verifying", &job, verify(&*store, GROUP, &job));
    let report = runtime()?.block_on(work).context("cannot read the archive")?;
    if archive.json {
        println!("{:#}", show::report_json(&report));
    } else {
        print!("{}", show::report_text(&report));
    }
    conclude(&report, &store.location())
}

fn conclude(report: &Report, location: &str) -> anyhow::Result<()> {
    match (report.objects, report.problems.len()) {
        (0, 0) => anyhow::bail!("there is no archive in {location}"),
        (_, 0) => Ok(()),
        (_, 1) => anyhow::bail!("the archive {location} is damaged: 1 problem"),
        (_, count) => anyhow::bail!("the archive {location} is damaged: {count} problems"),
    }
}
