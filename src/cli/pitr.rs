//! `cairn pitr`: what an archive can bring back, whether it is sound, copies of it, and points of it.

pub(super) mod show;

use super::UsageError;
use super::archive_args::ArchiveArgs;
use super::restore::{as_usage, job, runtime, watched};
use super::{restore, verify};
use anyhow::Context;
use archiver::catalog;
use archiver::job::JobKind;
use archiver::mirror::mirror;
use archiver::store::local::Local;
use archiver::verify::{Depth, verify_all};
use indicatif::BinaryBytes;
use std::path::PathBuf;

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
    /// Copy the archive to a directory, or bring a copy up to date
    Sync(Sync),
    /// Bring a point back as a data directory: the same as cairn restore
    Checkout(Box<restore::Args>),
}

#[derive(Debug, clap::Args)]
struct Sync {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// The directory of the copy; --from file:///... reads it
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Archive {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows, checks or copies an archive, or brings a point of it back.
///
/// # Errors
///
/// When the URL is wrong, the archive cannot be read, or a verification finds something wrong.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::List(archive) => describe(&archive, false),
        Command::Info(archive) => describe(&archive, true),
        Command::Verify(archive) => check(&archive),
        Command::Sync(sync) => copy(&sync),
        Command::Checkout(args) => restore::run(*args),
    }
}

fn describe(archive: &Archive, with_checkpoints: bool) -> anyhow::Result<()> {
    let opened = archive.archive.open()?;
    let mut catalogs = runtime()?.block_on(catalog::read_all(&opened)).context("cannot read the archive")?;
    // Databases first: the catalog of databases is group 0.
    catalogs.sort_by_key(|catalog| (catalog.group == 0, catalog.group));
    if archive.json {
        println!("{:#}", show::json(&opened.location(), &catalogs, with_checkpoints));
    } else {
        print!("{}", show::all_text(&catalogs, with_checkpoints));
    }
    if catalogs.is_empty() {
        anyhow::bail!("there is no archive in {}", opened.location());
    }
    Ok(())
}

fn check(archive: &Archive) -> anyhow::Result<()> {
    let opened = archive.archive.open()?;
    let job = job(JobKind::Verify, &opened.location());
    let work = watched("verifying", &job, verify_all(&opened, Depth::Deep, &[], &job));
    let report = runtime()?.block_on(work).map_err(as_usage).context("cannot read the archive")?;
    if archive.json {
        println!("{:#}", show::report_json(&report));
    } else {
        print!("{}", show::report_text(&report));
    }
    verify::conclude(&report, &opened.location())
}

fn copy(sync: &Sync) -> anyhow::Result<()> {
    let from = sync.archive.open()?;
    let to = std::path::absolute(&sync.to)
        .map_err(|error| UsageError(format!("cannot find {}: {error}", sync.to.display())))?;
    let local = Local::new(to.clone());
    let job = job(JobKind::Sync, &from.location());
    let work = watched("copying", &job, mirror(&**from.store(), &local, &job));
    let copied = runtime()?.block_on(work).map_err(as_usage)?;
    let bytes = BinaryBytes(copied.bytes);
    println!("copied {} objects, {bytes}; {} were there", copied.objects, copied.kept);
    println!("read it with: --from file://{}", to.display());
    if copied.objects + copied.kept == 0 {
        anyhow::bail!("there is no archive in {}", from.location());
    }
    Ok(())
}
