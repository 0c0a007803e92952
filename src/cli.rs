//! The command line: what `cairn` can be told, and how it ends.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done, or drained after a signal |
//! | 1 | the machine or the data is in the way: a port in use, a damaged file, an unreachable archive |
//! | 2 | what was typed or configured cannot work; nothing was changed |
//!
//! Every failure is one line on standard error.

pub mod archive;
mod archive_args;
mod archive_status;
pub mod bench;
pub mod cluster;
mod columns;
pub mod db;
pub mod import;
pub mod jobs;
mod operate;
pub mod pitr;
pub mod recover;
pub mod restore;
pub mod serve;
pub mod standby;
pub mod store;
pub mod verify;

use crate::cluster::identity::IdentityError;
use crate::cluster::join::CannotBegin;
use crate::config::ConfigError;
use crate::data_dir::DataDirError;
use crate::telemetry::TelemetryError;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A Deno KV that you run yourself: archived to object storage, restorable to any commit.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a database to Deno and to @deno/kv
    Serve(Box<serve::Args>),
    /// Show and change a cluster: nodes, leaders, regions
    Cluster(cluster::Args),
    /// Make, show and delete databases
    Db(db::Args),
    /// Show, cancel and slow long work: backups, restores, verifications
    Jobs(jobs::Args),
    /// Show what an archive can bring back, or check it
    Pitr(pitr::Args),
    /// Look after an archive: what it holds, what may leave it, small objects joined
    Archive(archive::Args),
    /// Bring a point of an archive back as a data directory
    Restore(restore::Args),
    /// Follow an archive in another place, serve reads of it, and take over
    Standby(standby::Args),
    /// Check an archive: names, every byte, or by restoring it
    Verify(verify::Args),
    /// Try out what a place for archives can do
    Store(store::Args),
    /// Bring in the content of a Deno or denokv database file
    Import(import::Args),
    /// Measure a KV Connect server
    Bench(bench::Args),
    /// Go on with a data directory that is behind its archive, giving up the commits that it lacks
    Recover(recover::Args),
}

/// An error that is about what was typed or configured: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let done = match cli.command {
        Command::Serve(args) => serve::run(*args),
        Command::Cluster(args) => cluster::run(args),
        Command::Db(args) => db::run(args),
        Command::Jobs(args) => jobs::run(args),
        Command::Pitr(args) => pitr::run(args),
        Command::Archive(args) => archive::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Standby(args) => standby::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Store(args) => store::run(args),
        Command::Import(args) => import::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Recover(args) => recover::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn: {}", one_line(&format!("{error:#}")));
            ExitCode::from(exit_code(&error))
        }
    }
}

/// What was typed is not a command; or it asks for help, which is none of an error.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        print!("{error}");
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    eprintln!("cairn: {}", one_line(first.trim_start_matches("error: ")));
    ExitCode::from(2)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let usage = error.chain().any(|cause| {
        cause.is::<UsageError>()
            || cause.is::<ConfigError>()
            || cause.is::<CannotBegin>()
            || cause.is::<TelemetryError>()
            || cause.downcast_ref::<DataDirError>().is_some_and(is_usage)
            || cause.downcast_ref::<engine::Error>().is_some_and(is_engine_usage)
            || cause.downcast_ref::<archiver::Error>().is_some_and(is_archive_usage)
            || cause.downcast_ref::<archiver::store::Error>().is_some_and(is_store_usage)
    });
    if usage { 2 } else { 1 }
}

const fn is_usage(error: &DataDirError) -> bool {
    match error {
        DataDirError::Foreign { .. }
        | DataDirError::Unfinished { .. }
        | DataDirError::Standby { .. }
        | DataDirError::Recovering { .. }
        | DataDirError::NotAlone { .. }
        | DataDirError::Moved { .. }
        | DataDirError::Token { .. } => true,
        DataDirError::Identity(IdentityError::Newer { .. }) => true,
        DataDirError::Engine(error) => is_engine_usage(error),
        DataDirError::InUse { .. }
        | DataDirError::Io { .. }
        | DataDirError::Replica(_)
        | DataDirError::Raft(_)
        | DataDirError::Catalog(_)
        | DataDirError::Identity(_) => false,
    }
}

const fn is_engine_usage(error: &engine::Error) -> bool {
    use engine::Error::{DiskFull, NotADataDirectory, Option};
    matches!(error, NotADataDirectory { .. } | Option { .. } | DiskFull { .. })
}

const fn is_archive_usage(error: &archiver::Error) -> bool {
    match error {
        archiver::Error::Target { .. } | archiver::Error::Plan(_) | archiver::Error::Sealed { .. } => true,
        archiver::Error::NoRoom { .. } => true,
        archiver::Error::Store(error) => is_store_usage(error),
        archiver::Error::Engine(error) => is_engine_usage(error),
        _ => false,
    }
}

const fn is_store_usage(error: &archiver::store::Error) -> bool {
    use archiver::store::Error::{Refused, Url};
    matches!(error, Url { .. } | Refused { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_serve_has_a_variable() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").map(clap::Command::get_arguments);
        let flags: Vec<_> = serve.into_iter().flatten().filter(|flag| flag.get_id() != "help").collect();
        assert!(flags.len() >= 10);
        for flag in flags {
            assert!(flag.get_env().is_some(), "{} has no variable", flag.get_id());
        }
    }

    #[test]
    fn a_failure_is_one_line() {
        assert_eq!(one_line("a\n  b\tc "), "a b c");
    }

    #[test]
    fn what_was_typed_ends_with_2_and_the_rest_with_1() {
        let path = std::path::PathBuf::from("x");
        let foreign = DataDirError::Foreign { path: path.clone(), name: "y".to_owned() };
        assert_eq!(exit_code(&anyhow::Error::new(foreign).context("cannot serve")), 2);
        assert_eq!(exit_code(&anyhow::Error::new(UsageError("no".to_owned()))), 2);
        assert_eq!(exit_code(&anyhow::Error::new(DataDirError::InUse { path })), 1);
        assert_eq!(exit_code(&anyhow::anyhow!("port in use")), 1);
    }
}
