//! Every byte of a lineage that a restore could need.

use super::Report;
use crate::catalog::History;
use crate::checkpoint;
use crate::error::blocking;
use crate::fetch;
use crate::job::Job;
use crate::layout::{ShortHash, TableName};
use crate::segment::Reader;
use crate::{Archive, Error, Result};
use engine::Versionstamp;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Large objects fetched at a time.
const FETCHES_MAX: usize = 6;

/// The bytes that [`check`] reads.
pub(super) fn bytes(history: &History) -> u64 {
    let segments = history.segments.iter().map(|segment| segment.bytes).sum::<u64>();
    segments + named_tables(history).iter().map(checkpoint::Table::stored_bytes).sum::<u64>()
}

/// Reads all segments, and all tables that some checkpoint names.
pub(super) async fn check(
    archive: &Archive,
    group: u64,
    history: &History,
    job: &Job,
    report: &mut Report,
) -> Result<()> {
    verify_tables(archive, group, history, job, report).await?;
    verify_segments(archive, group, history, job, report).await
}

/// Every table that some readable checkpoint names.
fn named_tables(history: &History) -> Vec<checkpoint::Table> {
    let named = history.checkpoints.iter().filter_map(|entry| entry.whole()).flat_map(|c| &c.tables);
    let by_digest: BTreeMap<TableName, checkpoint::Table> =
        named.map(|table| (table.name(), *table)).collect();
    by_digest.into_values().collect()
}

/// Adds what is wrong with an object; anything else is an error of the store.
fn found_wrong(error: Error, report: &mut Report) -> Result<()> {
    match error {
        Error::Damaged { object, offset, expected } => {
            report.problem(object, format!("byte {offset}: expected {expected}"));
        }
        Error::Missing { object } => {
            report.problem(object, "it is missing");
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
        job.throttle(table.stored_bytes()).await;
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
    let fetches = history.segments.clone().into_iter().map(|segment| async move {
        job.throttle(segment.bytes).await;
        (segment.bytes, fetch::segment(archive, history, group, &segment).await)
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
            report.problem(object, reason);
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
