//! Checks an archive without restoring it, and by restoring it.
//!
//! - Fast: the small objects that name others, and what names say: every run of history, every hole, every table that a
//!   checkpoint names with its size, and the end of each group against what the cluster recorded.
//! - Deep: besides, every segment and every table that a checkpoint names is fetched, and everything that a restore would
//!   check is checked.
//! - Full: besides, the end of each group is restored, twice where there are two ways to it, and what came out is compared.
//! - Wherever two objects speak of the same commit, they must say the same hash of history.
//! - What was shipped after a lineage ended is a fork, which is told of and is no damage.
//! - A hole is told apart: pruned on purpose, a recorded gap, or lost. What was shipped in a recorded gap, beside a checkpoint
//!   that never arrived, belongs to the gap.

mod chain;
mod content;
mod full;

pub use full::verify_by_restoring;

use crate::catalog::{self, Catalog, History};
use crate::job::Job;
use crate::layout::CheckpointName;
use crate::{Archive, Result};
use engine::{LineageId, Versionstamp};

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Names and small objects.
    Fast,
    /// Every byte.
    Deep,
}

/// How far a cluster recorded that the archive of a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The group.
    pub group: u64,
    /// The last commit that was shipped.
    pub stamp: Versionstamp,
    /// The last checkpoint that was.
    pub checkpoint: Option<CheckpointName>,
}

/// Something that is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object, or the lineage.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A hole between two windows that is not a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// In which group.
    pub group: u64,
    /// The last point before it.
    pub after: Versionstamp,
    /// The first point after it.
    pub before: Versionstamp,
    /// Whether retention made it; otherwise shipping recorded it as a gap.
    pub pruned: bool,
}

/// Commits that were shipped to a lineage after another went on from it: a restore takes them only where the lineage is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fork {
    /// In which group.
    pub group: u64,
    /// The lineage.
    pub lineage: LineageId,
    /// The lineage that goes on.
    pub child: LineageId,
    /// The last commit that both hold.
    pub after: Versionstamp,
    /// The last commit of the fork.
    pub last: Versionstamp,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Objects that are there.
    pub listed: u64,
    /// Objects read to their end.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Commits whose hash was recomputed.
    pub commits: u64,
    /// Checkpoints that are encrypted and could not be opened, so that their tables were not looked for.
    pub sealed: u64,
    /// Tables that no checkpoint names: of one that is being uploaded, or that was never finished, or whose object is gone.
    pub unnamed_tables: u64,
    /// What was shipped to a lineage after another went on from it.
    pub forks: Vec<Fork>,
    /// Holes that are accounted for.
    pub holes: Vec<Hole>,
    /// What is wrong. An archive is sound when this is empty.
    pub problems: Vec<Problem>,
}

impl Report {
    fn problem(&mut self, object: String, reason: impl Into<String>) {
        self.problems.push(Problem { object, reason: reason.into() });
    }
}

/// Reads every object of every lineage of a group.
///
/// # Errors
///
/// What the store says when it cannot be read; what is wrong with objects is in the report.
pub async fn verify(archive: &Archive, group: u64, job: &Job) -> Result<Report> {
    let catalog = catalog::read(archive, group).await?;
    verify_catalogs(archive, &[catalog], Depth::Deep, &[], job).await
}

/// Verifies every group, and that each reaches what the cluster recorded.
///
/// # Errors
///
/// As [`verify`]; [`Error::Sealed`](crate::Error::Sealed) when bytes are to be looked at that cannot be opened.
pub async fn verify_all(
    archive: &Archive,
    depth: Depth,
    positions: &[Position],
    job: &Job,
) -> Result<Report> {
    job.phase("listing");
    let catalogs = catalog::read_all(archive).await?;
    verify_catalogs(archive, &catalogs, depth, positions, job).await
}

async fn verify_catalogs(
    archive: &Archive,
    catalogs: &[Catalog],
    depth: Depth,
    positions: &[Position],
    job: &Job,
) -> Result<Report> {
    let mut report = Report::default();
    for catalog in catalogs {
        catalog.lineages.iter().for_each(|history| chain::check(catalog.group, history, &mut report));
    }
    for position in positions {
        chain::check_position(catalogs, position, &mut report);
    }
    if depth == Depth::Deep {
        job.phase("reading");
        let bytes = |history: &History| content::bytes(history);
        job.total_bytes(catalogs.iter().flat_map(|catalog| &catalog.lineages).map(bytes).sum());
        for catalog in catalogs {
            for history in &catalog.lineages {
                content::check(archive, catalog.group, history, job, &mut report).await?;
            }
        }
    }
    report.problems.sort_by(|a, b| (&a.object, &a.reason).cmp(&(&b.object, &b.reason)));
    report.problems.dedup();
    Ok(report)
}
