//! `cairn pitr`: what an archive can bring back, and whether it is sound.

mod show;

use super::archive_args::ArchiveArgs;
use super::restore::{job, runtime, watched};
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
    #[command(flatten)]
    archive: ArchiveArgs,

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
    let opened = archive.archive.open()?;
    let catalog = runtime()?.block_on(catalog::read(&opened, GROUP)).context("cannot read the archive")?;
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
    let opened = archive.archive.open()?;
    let job = job(JobKind::Verify, &opened.location());
    let work = watched("verifying", &job, verify(&opened, GROUP, &job));
    let report = runtime()?.block_on(work).context("cannot read the archive")?;
    if archive.json {
        println!("{:#}", show::report_json(&report));
    } else {
        print!("{}", show::report_text(&report));
    }
    conclude(&report, &opened.location())
}

fn conclude(report: &Report, location: &str) -> anyhow::Result<()> {
    match (report.objects, report.problems.len()) {
        (0, 0) => anyhow::bail!("there is no archive in {location}"),
        (_, 0) => Ok(()),
        (_, 1) => anyhow::bail!("the archive {location} is damaged: 1 problem"),
        (_, count) => anyhow::bail!("the archive {location} is damaged: {count} problems"),
    }
}
