//! Joins small segments in the archive, so that the number of objects, and with it the time of a restore, stays bounded
//! over months. Another role than shipping, with the right to list, read and delete.
//!
//! - First the merged object is put, whole and checked record by record. What it joins stays beside it: both say the same, and a
//!   reader takes the one that reaches furthest.
//! - What is covered leaves only when the object that covers it has been there for [`Rules::grace_ms`], was just read
//!   to its end, and has the same content hash where the covered one begins and ends. A fork is never removed.
//! - Every step leaves an archive in which each point can be restored that could be before, so that a crash needs no repair.
//!
//! [`plan`] decides, [`merge`] acts.

pub mod plan;

pub use plan::Rules;

use crate::bugs::{self, Bug};
use crate::catalog::{self, History, Segment};
use crate::error::blocking;
use crate::fetch;
use crate::job::Job;
use crate::layout::{Digest, Kind, SegmentName, ShortHash};
use crate::seal::Recipients;
use crate::segment::{Header, Reader, Writer};
use crate::store;
use crate::{Archive, Error, Result};
use bytes::Bytes;
use engine::Versionstamp;
use futures::{StreamExt, TryStreamExt};
use plan::Covered;
use std::collections::BTreeMap;

/// Segments fetched at a time.
const FETCHES_MAX: usize = 4;
/// Objects removed at a time.
const REMOVALS_MAX: usize = 8;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// Objects made.
    pub made: u64,
    /// Segments that they hold.
    pub segments: u64,
    /// Segments removed because a merged one holds them.
    pub removed: u64,
    /// Segments that the store did not let go.
    pub refused: u64,
    /// Segments that a larger one covers but contradicts: a fork, or damage. Verify the archive.
    pub disputed: Vec<String>,
}

/// Merges what is due, in every lineage of a group. What is made is encrypted for `recipients`.
///
/// # Errors
///
/// What the store says, or which object is damaged; what was done by then stays.
pub async fn merge(
    archive: &Archive,
    group: u64,
    now_ms: u64,
    rules: &Rules,
    recipients: &Recipients,
    job: &Job,
) -> Result<Merged> {
    job.phase("listing");
    let mut merged = Merged::default();
    for history in catalog::read(archive, group).await?.lineages {
        job.phase("removing");
        for covered in plan::covered(&history, now_ms, rules) {
            job.checkpoint()?;
            remove_covered(archive, &history, group, &covered, &mut merged).await?;
        }
        job.phase("merging");
        for run in plan::runs(&history, now_ms, rules) {
            job.checkpoint()?;
            let bytes = run.iter().map(|segment| segment.bytes).sum();
            job.throttle(bytes).await;
            join(archive, &history, group, &run, recipients).await?;
            job.done_bytes(bytes);
            merged.made += 1;
            merged.segments += run.len() as u64;
        }
    }
    Ok(merged)
}

/// Puts one object with the commits of a run of segments.
async fn join(
    archive: &Archive,
    history: &History,
    group: u64,
    run: &[Segment],
    recipients: &Recipients,
) -> Result<()> {
    let segments: Vec<Segment> = run.to_vec();
    let fetches = segments
        .into_iter()
        .map(|segment| async move { fetch::segment(archive, history, group, &segment).await });
    let mut fetches = futures::stream::iter(fetches).buffered(FETCHES_MAX);
    let mut writer: Option<Writer> = None;
    while let Some((object, reader)) = fetches.try_next().await? {
        let begun = writer.take();
        writer = Some(blocking(move || append(begun, &object, reader)).await?);
    }
    let Some(writer) = writer else { return Ok(()) };
    let (recipients, last) = (recipients.clone(), run.last().map(|segment| segment.name));
    let (name, bytes) = blocking(move || finish(writer, last, &recipients)).await?;
    if bugs::seeded(Bug::RemovedBeforeMerged) {
        for segment in run {
            archive.store().delete(&history.object(Kind::Segment(group, segment.name))).await?;
        }
    }
    Ok(archive.store().put(&history.object(Kind::Segment(group, name)), bytes).await?)
}

/// Adds all of a segment, which is checked on the way.
fn append(writer: Option<Writer>, object: &str, mut reader: Reader) -> Result<Writer> {
    let Header { lineage, group, term, node, base, hash_before, .. } = *reader.header();
    let mut writer = writer.unwrap_or_else(|| Writer::new(lineage, group, (term, node), base, hash_before));
    if (writer.last(), writer.hash()) != (base, hash_before) {
        return Err(Error::Fork { after: writer.last(), object: object.to_owned() });
    }
    while let Some(step) = reader.next_record().map_err(Error::damaged(object))? {
        writer.add(&step.record).map_err(Error::io("compress", object.as_ref()))?;
    }
    Ok(writer)
}

fn finish(
    writer: Writer,
    last: Option<SegmentName>,
    recipients: &Recipients,
) -> Result<(SegmentName, Bytes)> {
    let (header, bytes) = writer.finish().map_err(Error::io("compress", "a merged segment".as_ref()))?;
    let sealed = !recipients.is_nobody();
    let bytes = recipients.seal(bytes)?;
    let name = header.name(Digest::of(&bytes), sealed);
    let reaches = last.is_some_and(|last| (last.last, last.hash_after) == (name.last, name.hash_after));
    assert!(reaches, "a merged segment ends where its last part does");
    Ok((name, bytes))
}

/// Removes what a segment covers, once that was read and says the same.
async fn remove_covered(
    archive: &Archive,
    history: &History,
    group: u64,
    covered: &Covered,
    merged: &mut Merged,
) -> Result<()> {
    let (object, reader) = fetch::segment(archive, history, group, &covered.by).await?;
    let edges: Vec<Versionstamp> =
        covered.segments.iter().flat_map(|segment| [segment.name.base, segment.name.last]).collect();
    let hashes = blocking(move || hashes_at(&object, reader, edges)).await?;
    let agrees = |name: &SegmentName| {
        hashes.get(&name.base) == Some(&name.hash_before) && hashes.get(&name.last) == Some(&name.hash_after)
    };
    let object = |segment: &Segment| history.object(Kind::Segment(group, segment.name));
    let (same, other): (Vec<&Segment>, Vec<&Segment>) =
        covered.segments.iter().partition(|segment| agrees(&segment.name));
    merged.disputed.extend(other.into_iter().map(object));
    let names: Vec<String> = same.into_iter().map(object).collect();
    let removals = names.into_iter().map(|name| async move { archive.store().delete(&name).await });
    let mut removals = futures::stream::iter(removals).buffer_unordered(REMOVALS_MAX);
    while let Some(removed) = removals.next().await {
        match removed {
            Ok(()) => merged.removed += 1,
            Err(store::Error::Refused { .. }) => merged.refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads a segment to its end; returns the hash of history after those of the commits that it has.
fn hashes_at(
    object: &str,
    mut reader: Reader,
    mut edges: Vec<Versionstamp>,
) -> Result<BTreeMap<Versionstamp, ShortHash>> {
    edges.sort_unstable();
    let header = *reader.header();
    let mut hashes = BTreeMap::from([(header.base, ShortHash::from(header.hash_before))]);
    while let Some(step) = reader.next_record().map_err(Error::damaged(object))? {
        let mut hash = step.hash_before;
        let version = step.record.version;
        for (order, batch) in &step.record.batches {
            let stamp = Versionstamp::new(version, *order);
            hash = hash.then(stamp, batch);
            if edges.binary_search(&stamp).is_ok() {
                hashes.insert(stamp, hash.into());
            }
        }
    }
    Ok(hashes)
}
