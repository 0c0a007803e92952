//! Checks every object of an archive without restoring it.
//!
//! - Every segment and every table that a checkpoint names is fetched, and everything that a restore
//!   would check is checked.
//! - Wherever two objects speak of the same commit, they must say the same hash of history.
//! - A hole is told apart: pruned on purpose, a recorded gap, or lost.

use crate::catalog::window::{Root, Window};
use crate::catalog::{self, Catalog, History};
use crate::checkpoint::{self, Before};
use crate::error::blocking;
use crate::fetch::{self, FETCHES_MAX};
use crate::job::Job;
use crate::layout::{Kind, ShortHash, TableName};
use crate::segment::Reader;
use crate::{Archive, Error, Result};
use engine::Versionstamp;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// The last point before it.
    pub after: Versionstamp,
    /// The first point after it.
    pub before: Versionstamp,
    /// Whether retention made it; otherwise shipping recorded it as a gap.
    pub pruned: bool,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Objects read to their end.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Commits whose hash was recomputed.
    pub commits: u64,
    /// Holes that are accounted for.
    pub holes: Vec<Hole>,
    /// What is wrong. An archive is sound when this is empty.
    pub problems: Vec<Problem>,
}

/// Verifies every lineage of a group.
///
/// # Errors
///
/// What the store says when it cannot be read; what is wrong with objects is in the report.
pub async fn verify(archive: &Archive, group: u64, job: &Job) -> Result<Report> {
    let catalog = catalog::read(archive, group).await?;
    let segments = |history: &History| history.segments.iter().map(|s| s.bytes).sum::<u64>();
    let tables =
        |history: &History| named_tables(history).iter().map(|table| table.stored_bytes()).sum::<u64>();
    job.total_bytes(catalog.lineages.iter().map(|history| segments(history) + tables(history)).sum());
    let mut report = Report::default();
    for history in &catalog.lineages {
        verify_lineage(archive, &catalog, history, job, &mut report).await?;
    }
    Ok(report)
}

/// Every table that some readable checkpoint names.
fn named_tables(history: &History) -> Vec<checkpoint::Table> {
    let named = history.checkpoints.iter().filter_map(|entry| entry.whole()).flat_map(|c| &c.tables);
    let by_digest: BTreeMap<TableName, checkpoint::Table> =
        named.map(|table| (table.name(), *table)).collect();
    by_digest.into_values().collect()
}

async fn verify_lineage(
    archive: &Archive,
    catalog: &Catalog,
    history: &History,
    job: &Job,
    report: &mut Report,
) -> Result<()> {
    let group = catalog.group;
    let damaged = history.damaged.iter();
    report
        .problems
        .extend(damaged.map(|(object, reason)| Problem { object: object.clone(), reason: reason.clone() }));
    if history.announcement.is_none() && history.damaged.is_empty() {
        let reason = "the object that says who the lineage is, is missing".to_owned();
        report.problems.push(Problem { object: format!("lineage {}", history.folder), reason });
    }
    report.objects += history.checkpoints.iter().filter(|entry| entry.whole().is_some()).count() as u64;
    verify_tables(archive, group, history, job, report).await?;
    verify_segments(archive, group, history, job, report).await?;
    let windows = history.windows();
    let lefts = std::iter::once(None).chain(windows.iter().map(Some));
    for (left, window) in lefts.zip(&windows) {
        account_for_start(history, left, window, report);
    }
    let reached: BTreeSet<usize> =
        windows.iter().flat_map(|window| window.segments.iter().copied()).collect();
    let covered = |last| windows.iter().any(|window| window.holds_stamp(last));
    for (position, segment) in history.segments.iter().enumerate() {
        let pruned = history.pruned_below().is_some_and(|below| segment.name.last <= below);
        if !reached.contains(&position) && !covered(segment.name.last) && !pruned {
            let object = history.object(Kind::Segment(group, segment.name));
            let reason =
                format!("what it continues is missing: nothing reaches versionstamp {}", segment.name.base);
            report.problems.push(Problem { object, reason });
        }
    }
    Ok(())
}

/// Adds what is wrong with an object; anything else is an error of the store.
fn found_wrong(error: Error, report: &mut Report) -> Result<()> {
    match error {
        Error::Damaged { object, offset, expected } => {
            report.problems.push(Problem { object, reason: format!("byte {offset}: expected {expected}") });
        }
        Error::Missing { object } => {
            report.problems.push(Problem { object, reason: "it is missing".to_owned() });
        }
        other => return Err(other),
    }
    Ok(())
}

async fn verify_tables(
    archive: &Archive,
    group: u64,
    history: &History,
    job: &Job,
    report: &mut Report,
) -> Result<()> {
    let fetches = named_tables(history).into_iter().map(|table| async move {
        job.throttle(table.bytes).await;
        (table.stored_bytes(), fetch::table(archive, history, group, &table).await)
    });
    let mut fetches = futures::stream::iter(fetches).buffer_unordered(FETCHES_MAX);
    while let Some((bytes, fetched)) = fetches.next().await {
        job.checkpoint()?;
        job.done_bytes(bytes);
        match fetched {
            Ok(_) => {
                report.objects += 1;
                report.bytes += bytes;
            }
            Err(error) => found_wrong(error, report)?,
        }
    }
    Ok(())
}

/// Reads every segment; compares what they say about the commits at which objects begin and end.
async fn verify_segments(
    archive: &Archive,
    group: u64,
    history: &History,
    job: &Job,
    report: &mut Report,
) -> Result<()> {
    let mut known: BTreeMap<Versionstamp, ShortHash> = BTreeMap::new();
    let edges: Arc<BTreeSet<Versionstamp>> = Arc::new(edges(history));
    let checkpoints = history.checkpoints.iter().map(|entry| (entry.name.stamp, entry.name.hash));
    known.extend(checkpoints);
    let fetches = history.segments.iter().map(|segment| async move {
        job.throttle(segment.bytes).await;
        (segment.bytes, fetch::segment(archive, history, group, segment).await)
    });
    let mut fetches = futures::stream::iter(fetches).buffered(FETCHES_MAX);
    while let Some((bytes, fetched)) = fetches.next().await {
        job.checkpoint()?;
        job.done_bytes(bytes);
        let edges = Arc::clone(&edges);
        let read = match fetched {
            Ok((object, reader)) => blocking(move || read(object, reader, &edges)).await,
            Err(error) => Err(error),
        };
        let (object, commits, said) = match read {
            Ok(read) => read,
            Err(error) => {
                found_wrong(error, report)?;
                continue;
            }
        };
        report.objects += 1;
        report.bytes += bytes;
        report.commits += commits;
        let differs = said.iter().find(|(stamp, hash)| *known.entry(*stamp).or_insert(*hash) != *hash);
        if let Some((stamp, _)) = differs {
            let reason = format!("another object says another history at versionstamp {stamp}");
            report.problems.push(Problem { object, reason });
        }
    }
    Ok(())
}

/// The commits at which some object begins or ends.
fn edges(history: &History) -> BTreeSet<Versionstamp> {
    let segments = history.segments.iter().flat_map(|segment| [segment.name.base, segment.name.last]);
    segments.chain(history.checkpoints.iter().map(|entry| entry.name.stamp)).collect()
}

type Said = (String, u64, Vec<(Versionstamp, ShortHash)>);

/// Reads a segment to its end; returns what it says about the edges.
fn read(object: String, mut reader: Reader, edges: &BTreeSet<Versionstamp>) -> Result<Said> {
    let header = *reader.header();
    let mut said = vec![(header.base, ShortHash::from(header.hash_before))];
    while let Some(step) = reader.next_record().map_err(Error::damaged(&object))? {
        let last = step.record.commits().last().map(|(stamp, _)| stamp);
        said.extend(last.filter(|stamp| edges.contains(stamp)).map(|stamp| (stamp, step.record.hash.into())));
    }
    Ok((object, header.commits, said))
}

/// Finds out why a window starts where it does and not where the one on its left ended.
fn account_for_start(history: &History, left: Option<&Window>, window: &Window, report: &mut Report) {
    let Root::Checkpoint(position) = window.root else { return };
    let Some(checkpoint) = history.checkpoints.get(position).and_then(|entry| entry.whole()) else { return };
    let (after, before) = (left.map(|left| left.last.stamp), window.first.stamp);
    let pruned = history.pruned_below().is_some_and(|below| before <= below);
    let recorded = match checkpoint.before {
        Before::Nothing => after.is_none(),
        Before::Gap(gap) => after.is_none_or(|after| after >= gap),
        Before::Shipped => false,
    };
    if !pruned && !recorded {
        let from = after.map_or(String::new(), |after| format!("after versionstamp {after} and "));
        let reason = format!("commits {from}before {before} are missing");
        report.problems.push(Problem { object: format!("lineage {}", history.folder), reason });
    } else if let Some(after) = after {
        report.holes.push(Hole { after, before, pruned });
    }
}
