//! Reopening the log after a close or a crash: the one place that cuts it.

use super::header::{KIND_SEAL, Next, Seal};
use super::reader::{Parsed, describe, is_unused};
use super::{SUFFIX_NEW, Segment, file_name, parse_file_name};
use crate::frame::{Framer, PREAMBLE_LEN};
use crate::fs::Fs;
use crate::{ContentHash, Error, Record, Result};
use std::io;
use std::path::{Path, PathBuf};

/// What recovery found. Every segment is sealed now.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) sealed: Vec<Segment>,
    /// Number of the segment to start.
    pub(crate) next_number: u64,
    /// A torn tail that was cut: file, offset, bytes.
    pub(crate) torn: Option<(PathBuf, u64, u64)>,
    /// Where the log ends; `None` when there is no segment.
    pub(crate) end: Option<(u64, ContentHash)>,
}

/// Reads all segments in order and hands each record to `replay`.
///
/// `first_of_boot` is the segment that the last open started: it, or one after it, must be there.
/// Records up to `flushed` are in tables: segments before a gap are left over from a removal that a
/// crash cut short, and are removed, when the rest reaches back that far.
///
/// # Errors
///
/// [`Error::Damaged`] or [`Error::Missing`] when anything below the durable mark is not intact;
/// nothing was changed then. Whatever `replay` answers.
pub(crate) fn recover(
    fs: &dyn Fs,
    dir: &Path,
    first_of_boot: u64,
    flushed: u64,
    replay: &mut dyn FnMut(Record) -> Result<()>,
) -> Result<Recovered> {
    let numbers = list(fs, dir)?;
    if numbers.last().copied().unwrap_or(0) < first_of_boot {
        return Err(missing(dir, first_of_boot, "the manifest"));
    }
    let run_start = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]).map_or(0, |at| at + 1);
    let (left_over, numbers) = numbers.split_at(run_start);
    let (numbers, unused) = split_unused(fs, dir, numbers)?;
    let next_number = unused.unwrap_or_else(|| numbers.last().map_or(1, |last| last + 1));
    let mut segments = Vec::new();
    let mut walk = Walk { fs, end: None, torn: None, next_number };
    for (at, number) in numbers.iter().enumerate() {
        let parsed = Parsed::read(fs, &dir.join(file_name(*number)))?;
        if at == 0 && parsed.header.base > flushed {
            return Err(missing(dir, number - 1, "the segment after it"));
        }
        let later = &numbers[at + 1..];
        let cut_here = parsed.seal.is_none() && !later.is_empty();
        let successor = if cut_here { Some(walk.unsynced_successor(dir, &parsed, later)?) } else { None };
        let is_last = later.is_empty() && unused.is_none();
        segments.push(walk.segment(parsed, *number, is_last, successor, replay)?);
        if cut_here {
            break;
        }
    }
    for number in left_over {
        let path = dir.join(file_name(*number));
        fs.remove(&path).map_err(Error::io("remove", &path))?;
    }
    let Walk { end, torn, next_number, .. } = walk;
    Ok(Recovered { sealed: segments, next_number, torn, end })
}

fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<u64>> {
    let names = fs.read_dir(dir).map_err(Error::io("list", dir))?;
    for name in names.iter().filter(|name| name.ends_with(SUFFIX_NEW)) {
        let path = dir.join(name);
        fs.remove(&path).map_err(Error::io("remove", &path))?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_file_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Takes out the last segment if it was made ahead and has not begun. Its place is kept: the seal of the segment before
/// may name it.
fn split_unused<'a>(fs: &dyn Fs, dir: &Path, numbers: &'a [u64]) -> Result<(&'a [u64], Option<u64>)> {
    match numbers {
        [before @ .., last] if !before.is_empty() && is_unused(fs, &dir.join(file_name(*last)))? => {
            Ok((before, Some(*last)))
        }
        _ => Ok((numbers, None)),
    }
}

fn missing(dir: &Path, number: u64, needed_by: &'static str) -> Error {
    Error::Missing { path: dir.join(file_name(number)), needed_by }
}

struct Walk<'a> {
    fs: &'a dyn Fs,
    end: Option<(u64, ContentHash)>,
    torn: Option<(PathBuf, u64, u64)>,
    next_number: u64,
}

impl Walk<'_> {
    /// Until a segment is sealed nothing in the next one is known to be durable: what a crash left of that goes.
    fn unsynced_successor(&mut self, dir: &Path, unsealed: &Parsed, later: &[u64]) -> Result<PathBuf> {
        let damaged = || unsealed.damaged(unsealed.end, "a record or a seal, as later segments were durable");
        let [successor] = later else {
            return Err(damaged());
        };
        let path = dir.join(file_name(*successor));
        let parsed = Parsed::read(self.fs, &path)?;
        if parsed.durable > PREAMBLE_LEN as u64 || parsed.seal.is_some() {
            return Err(damaged());
        }
        self.next_number = *successor;
        Ok(path)
    }

    fn segment(
        &mut self,
        parsed: Parsed,
        number: u64,
        last: bool,
        successor: Option<PathBuf>,
        replay: &mut dyn FnMut(Record) -> Result<()>,
    ) -> Result<Segment> {
        let header = parsed.header;
        if header.number != number {
            return Err(parsed.damaged(0, "the segment number of the file name"));
        }
        let start = (header.base, header.hash_before);
        if self.end.is_some_and(|end| end != start) {
            return Err(parsed.damaged(0, "a segment that continues the one before"));
        }
        let ((mut version, mut hash), mut commits) = (start, 0);
        for frame in &parsed.records {
            let record = parsed.record(frame, version, hash)?;
            (version, hash) = (record.version, record.hash);
            commits += record.batches.len() as u64;
            replay(record)?;
        }
        self.end = Some((version, hash));
        match parsed.seal {
            Some(seal) if (seal.last, seal.commits) != (version, commits) => {
                Err(parsed.damaged(parsed.end, "a seal that names the last record"))
            }
            Some(Seal { next: Next::Continues, .. }) if last => {
                let dir = parsed.path.parent().unwrap_or(Path::new(""));
                Err(missing(dir, number + 1, "the seal of the segment before it"))
            }
            Some(_) => Ok(describe(&parsed, version, commits, parsed.bytes.len() as u64)),
            None => {
                self.remove(successor)?;
                self.cut(&parsed, version, commits)
            }
        }
    }

    /// Removes a successor that was never durable, durably, before the cut: its base may lie above it.
    fn remove(&self, successor: Option<PathBuf>) -> Result<()> {
        let Some(path) = successor else {
            return Ok(());
        };
        self.fs.remove(&path).map_err(Error::io("remove", &path))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        self.fs.sync_dir(dir).map_err(Error::io("sync", dir))
    }

    /// Ends an unsealed segment after its last intact record, durably.
    fn cut(&mut self, parsed: &Parsed, version: u64, commits: u64) -> Result<Segment> {
        if parsed.torn > 0 {
            self.torn = Some((parsed.path.clone(), parsed.end as u64, parsed.torn as u64));
        }
        let end = parsed.end as u64;
        let mut bytes = Vec::new();
        let seal = Seal { next: Next::Closed, last: version, commits };
        Framer { salt: parsed.salt }.frame(&mut bytes, end, KIND_SEAL, end, |out| seal.encode(out));
        let write = || -> io::Result<()> {
            let file = self.fs.open_rw(&parsed.path)?;
            file.set_len(end)?;
            file.sync()?;
            file.write_at(&bytes, end)?;
            file.sync()
        };
        write().map_err(Error::io("cut", &parsed.path))?;
        Ok(describe(parsed, version, commits, end + bytes.len() as u64))
    }
}
