//! Brings the tables of a part: of each one only the bytes that are needed, and to the disk only the entries that are wanted.
//!
//! - A plain table is read in ranges: its ends, its index, and the data blocks that may hold something of the part. Every
//!   block has a checksum of its own, which covers its place; the digest of the object is not checked then.
//! - A table that is encrypted, small, or needed for the most part is fetched whole, and so is any table of a store that
//!   has no ranges. The digest is checked then.
//! - Whichever way it came, what is written is a new table that holds the part and nothing else.
//! - What is held in memory of all tables together is bounded; a larger one comes alone.

use super::plan::Plan;
use super::run::Destination;
use super::target::GroupTarget;
use crate::archive::Archive;
use crate::checkpoint::Table;
use crate::error::blocking;
use crate::fetch;
use crate::job::Job;
use crate::layout::Kind;
use crate::{Error, Result};
use bytes::Bytes;
use engine::part::{self, Narrowed, Part};
use futures::{StreamExt, TryStreamExt};
use std::ops::Range;
use std::path::Path;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A table of at most so many bytes is fetched whole: reading its index first would cost more time than it saves bytes.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
/// A table of which so many parts in [`WHOLE_PARTS`] are needed, or more, is fetched whole and compared with its digest.
const NEEDED_PARTS: u64 = 3;
/// See [`NEEDED_PARTS`].
const WHOLE_PARTS: u64 = 4;
/// The most bytes that are asked for at once.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Requests for one table that are under way at once.
const REQUESTS_AHEAD: usize = 4;
/// Data of tables in memory, in KiB; a larger one comes alone.
const MEMORY_KIB: u32 = 192 << 10;

/// The tables of a part, while they are brought.
pub(super) struct PartTables<'a> {
    archive: &'a Archive,
    plan: &'a Plan,
    group: u64,
    part: &'a Part,
    to: &'a GroupTarget,
    destination: &'a Destination,
    job: &'a Job,
    room: Semaphore,
}

/// One table, and how many bytes of it were read so far.
struct Reading {
    object: String,
    table: part::Table,
    read: u64,
}

impl<'a> PartTables<'a> {
    pub(super) fn new(
        archive: &'a Archive,
        plan: &'a Plan,
        group: u64,
        part: &'a Part,
        to: &'a GroupTarget,
        destination: &'a Destination,
        job: &'a Job,
    ) -> Self {
        Self { archive, plan, group, part, to, destination, job, room: Semaphore::new(MEMORY_KIB as usize) }
    }

    /// Brings one table; `None` when it holds nothing of the part.
    pub(super) async fn bring(&self, table: Table) -> Result<Option<Narrowed>> {
        self.job.checkpoint()?;
        let object = self.plan.history.object(Kind::Table(self.group, table.name()));
        let Some(named) = self.part.table(&table.digest.file_name(), Path::new(&object)) else {
            return Ok(None);
        };
        let mut reading = Reading { object, table: named, read: 0 };
        let has_index = table.sealed.is_none() && table.bytes > WHOLE_BYTES_MAX;
        let has_index = has_index && self.read_index(&mut reading).await?;
        let needed = reading.table.missing_data_bytes().unwrap_or(table.bytes);
        let in_ranges = has_index && needed * WHOLE_PARTS < table.bytes * NEEDED_PARTS;
        let _held = self.take_room(if in_ranges { needed } else { table.bytes }).await?;
        let all = table.stored_bytes();
        let takes = reading.read + if in_ranges { needed } else { all };
        self.job.total_changes(all, takes);
        if !(in_ranges && self.read_missing(&mut reading).await?) {
            self.job.total_changes(takes, reading.read + all);
            self.read_whole(&mut reading, &table).await?;
        }
        let (fs, dir) = (self.destination.env.fs.clone(), self.to.tables_dir());
        let options = self.destination.options.clone();
        let Reading { object, table, .. } = reading;
        blocking(move || table.write(&fs, &dir, &options).map_err(in_object(&object))).await
    }

    async fn take_room(&self, bytes: u64) -> Result<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(MEMORY_KIB).clamp(1, MEMORY_KIB);
        self.room.acquire_many(kib).await.map_err(|_closed| Error::Stopped)
    }

    /// Reads until it is known which data blocks are needed; `false` when the store has no ranges.
    async fn read_index(&self, reading: &mut Reading) -> Result<bool> {
        loop {
            let missing = reading.table.missing().map_err(in_object(&reading.object))?;
            if reading.table.missing_data_bytes().is_some() {
                return Ok(true);
            }
            if !self.read_ranges(reading, missing).await? {
                return Ok(false);
            }
        }
    }

    /// Reads the data blocks that are needed; `false` when the store has no ranges.
    async fn read_missing(&self, reading: &mut Reading) -> Result<bool> {
        let missing = reading.table.missing().map_err(in_object(&reading.object))?;
        self.read_ranges(reading, missing).await
    }

    async fn read_ranges(&self, reading: &mut Reading, ranges: Vec<Range<u64>>) -> Result<bool> {
        let object = reading.object.clone();
        let requests = ranges.into_iter().flat_map(pieces).map(|range| self.read_range(&object, range));
        let mut answers = futures::stream::iter(requests).buffer_unordered(REQUESTS_AHEAD);
        while let Some((range, answer)) = answers.try_next().await? {
            let Some(bytes) = answer else { return Ok(false) };
            reading.read += bytes.len() as u64;
            reading.table.add(&range, bytes).map_err(in_object(&object))?;
        }
        Ok(true)
    }

    async fn read_range(&self, object: &str, range: Range<u64>) -> Result<(Range<u64>, Option<Bytes>)> {
        self.job.checkpoint()?;
        self.job.throttle(range.end - range.start).await;
        let answer = self.archive.range(object, range.clone()).await?;
        self.job.done_bytes(answer.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok((range, answer))
    }

    async fn read_whole(&self, reading: &mut Reading, table: &Table) -> Result<()> {
        self.job.throttle(table.stored_bytes()).await;
        let bytes = fetch::table(self.archive, &self.plan.history, self.group, table).await?;
        self.job.done_bytes(table.stored_bytes());
        reading.table.add_whole(bytes).map_err(in_object(&reading.object))
    }
}

/// A range in pieces that are asked for one by one.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let step = usize::try_from(REQUEST_BYTES_MAX).unwrap_or(usize::MAX);
    range.step_by(step).map(move |start| start..end.min(start.saturating_add(REQUEST_BYTES_MAX)))
}

/// Damage to what was read is damage to the object; anything else is of the disk.
fn in_object(object: &str) -> impl FnOnce(engine::Error) -> Error {
    let object = object.to_owned();
    move |error| match error {
        engine::Error::Damaged { path, offset, expected } if path == Path::new(&object) => {
            Error::Damaged { object, offset, expected }
        }
        error => Error::Engine(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_range_is_asked_for_in_bounded_pieces() {
        let asked: Vec<_> = pieces(5..2 * REQUEST_BYTES_MAX + 6).collect();
        let (one, two) = (5 + REQUEST_BYTES_MAX, 5 + 2 * REQUEST_BYTES_MAX);
        assert_eq!(asked, [5..one, one..two, two..two + 1]);
        assert!(pieces(7..9).eq(std::iter::once(7..9)));
    }
}
