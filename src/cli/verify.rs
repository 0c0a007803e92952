//! `cairn verify`: whether an archive can bring back what it should.

use super::UsageError;
use super::archive_args::ArchiveArgs;
use super::archive_status;
use super::operate::Asked;
use super::pitr::show;
use super::restore::{as_usage, destination, job, runtime, watched};
use anyhow::bail;
use archiver::job::JobKind;
use archiver::verify::{Depth, Position, Report, verify_all, verify_by_restoring};
use std::path::PathBuf;

/// What `cairn verify` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    archive: ArchiveArgs,

    #[command(flatten)]
    how: How,

    /// What the cluster recorded as shipped, such as 1:00000000000000010002 for group 1; may be repeated
    #[arg(long, value_name = "GROUP:VERSIONSTAMP", value_parser = parse_position)]
    position: Vec<Position>,

    /// Take the positions from this cluster, so that an archive that lost its newest objects is found out
    #[command(flatten)]
    cluster: Asked,

    /// An empty or absent directory with room for the largest group, for --full [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How much is looked at.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct How {
    /// Only names and the small objects that name others: takes a second, reads no data
    #[arg(long)]
    fast: bool,

    /// Every byte; this is the default
    #[arg(long)]
    deep: bool,

    /// Every byte, and the end of every group is restored and compared
    #[arg(long)]
    full: bool,
}

fn parse_position(text: &str) -> Result<Position, String> {
    let read = || {
        let (group, stamp) = text.split_once(':')?;
        Some(Position { group: group.parse().ok()?, stamp: stamp.parse().ok()?, checkpoint: None })
    };
    read().ok_or_else(|| "give a group and a versionstamp, such as 1:00000000000000010002".to_owned())
}

/// Verifies, and says what is wrong.
///
/// # Errors
///
/// When the archive cannot be read, or something is wrong with it.
pub fn run(args: Args) -> anyhow::Result<()> {
    let archive = args.archive.open()?;
    let job = job(JobKind::Verify, &archive.location());
    let runtime = runtime()?;
    let mut positions = args.position.clone();
    if let Some(client) = args.cluster.client()? {
        // Before the listing: what is shipped after this is not missed.
        positions.extend(runtime.block_on(archive_status::positions(&client, &archive.location()))?);
    }
    let done = if args.how.full {
        let temporary = || std::env::temp_dir().join(format!("cairn-verify-{}", std::process::id()));
        let dir = args.scratch.clone().unwrap_or_else(temporary);
        if dir.exists() && std::fs::read_dir(&dir)?.next().is_some() {
            return Err(UsageError(format!("{} is not empty", dir.display())).into());
        }
        let destination = destination(&dir);
        let work = verify_by_restoring(&archive, &destination, &positions, &job);
        let done = runtime.block_on(watched("verifying", &job, work));
        // Only when it is empty: what is not ours stays.
        if args.scratch.is_none() && dir.exists() {
            std::fs::remove_dir(&dir)?;
        }
        done
    } else {
        let depth = if args.how.fast { Depth::Fast } else { Depth::Deep };
        let work = verify_all(&archive, depth, &positions, &job);
        runtime.block_on(watched("verifying", &job, work))
    };
    let report = done.map_err(as_usage)?;
    if args.json {
        println!("{:#}", show::report_json(&report));
    } else {
        print!("{}", show::report_text(&report));
    }
    conclude(&report, &archive.location())
}

/// Ends with an error when something is wrong.
pub(super) fn conclude(report: &Report, location: &str) -> anyhow::Result<()> {
    match (report.listed, report.problems.len()) {
        (0, 0) => bail!("there is no archive in {location}"),
        (_, 0) => Ok(()),
        (_, 1) => bail!("the archive {location} is damaged: 1 problem"),
        (_, count) => bail!("the archive {location} is damaged: {count} problems"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Versionstamp;

    #[test]
    fn a_position_is_a_group_and_a_stamp() {
        let position = Position { group: 3, stamp: Versionstamp::new(1, 2), checkpoint: None };
        assert_eq!(parse_position("3:00000000000000010002"), Ok(position));
        for text in ["", "1", "1:", ":00000000000000010002", "00000000000000010002", "x:1"] {
            assert!(parse_position(text).is_err(), "{text}");
        }
    }
}
