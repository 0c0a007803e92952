//! Appending to the active segment, and going on to the next one.
//!
//! - An append is in the file, not durable, when it returns; the handle of [`Log::sync_handle`] makes it so.
//! - Space is reserved before a record is written into it, so a full disk refuses a record
//!   before any byte of it is written.
//! - Going on to the next segment writes its header and syncs nothing, when it was made ahead. The segment before is
//!   sealed, and the header durable, before anything in the new one is said to be.
//! - At most one segment is ending: taking no more records, and not sealed yet.

use super::Segment;
use super::ahead::{Ahead, Slot, with_spare};
use super::ending::Ending;
use super::header::{Header, KIND_HEADER, KIND_RECORD, KIND_SEAL, Next, Seal};
use crate::frame::{Framer, PREAMBLE_LEN, frame_len};
use crate::fs::{File, Fs};
use crate::{ContentHash, Error, LineageId, Record, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Space reserved at once, in bytes, unless segments are shorter.
const RESERVE_BYTES_MAX: u64 = 8 << 20;
/// What is left of reserved space after a quiet time is a multiple of this, in bytes.
const TRIMMED_BYTES: u64 = 64 << 10;

/// The log that is written: one active segment, and those sealed before it.
#[derive(Debug)]
pub(crate) struct Log {
    active: Active,
    ending: Option<Arc<Ending>>,
    slot: Arc<Slot>,
    sealed: Vec<Segment>,
    buffer: Vec<u8>,
    bytes_written: u64,
    reserve_bytes: u64,
}

#[derive(Debug)]
pub(super) struct Active {
    header: Header,
    path: PathBuf,
    pub(super) file: Arc<dyn File>,
    framer: Framer,
    offset: u64,
    reserved: u64,
    pub(super) durable: Arc<AtomicU64>,
    last: u64,
    hash: ContentHash,
    commits: u64,
    first_commit_ms: Option<u64>,
}

/// Where a new segment starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealing {
    /// The lineage of the segment that follows.
    pub(crate) lineage: LineageId,
    /// Random.
    pub(crate) salt: u64,
}

/// Makes what was appended so far durable, without holding up further appends.
#[derive(Debug)]
pub(crate) struct SyncHandle {
    /// The segment before, if it is not sealed yet.
    ending: Option<Arc<Ending>>,
    path: PathBuf,
    file: Arc<dyn File>,
    durable: Arc<AtomicU64>,
    offset: u64,
}

impl SyncHandle {
    /// Whether a segment is sealed by it.
    pub(crate) fn seals(&self) -> bool {
        self.ending.is_some()
    }

    /// # Errors
    ///
    /// What the disk says. The log must not be written again then.
    pub(crate) fn sync(&self) -> Result<()> {
        if let Some(ending) = &self.ending {
            ending.finish()?;
        }
        if self.durable.load(Ordering::Acquire) < self.offset {
            self.file.sync().map_err(Error::io("sync", &self.path))?;
            self.durable.fetch_max(self.offset, Ordering::AcqRel);
        }
        Ok(())
    }
}

impl Log {
    /// Starts a segment after those that recovery left, all of them sealed.
    pub(crate) fn start(
        fs: Arc<dyn Fs>,
        dir: &Path,
        sealed: Vec<Segment>,
        number: u64,
        base: (u64, ContentHash),
        sealing: Sealing,
        segment_bytes_max: u64,
    ) -> Result<Log> {
        let reserve_bytes = RESERVE_BYTES_MAX.min(with_spare(segment_bytes_max));
        let header = Header { number, lineage: sealing.lineage, base: base.0, hash_before: base.1 };
        let framer = Framer { salt: sealing.salt };
        let ahead = Ahead::make(&*fs, dir, number, framer, reserve_bytes, Some(&header))?;
        let active = Active::new(ahead, header);
        active.durable.fetch_max(active.offset, Ordering::AcqRel);
        let slot = Arc::new(Slot::new(Arc::clone(&fs), dir, number + 1, segment_bytes_max));
        let (sealed_bytes, buffer) = (0, Vec::new());
        Ok(Log { active, ending: None, slot, sealed, buffer, bytes_written: sealed_bytes, reserve_bytes })
    }

    /// Bytes in the active segment.
    pub(crate) fn active_bytes(&self) -> u64 {
        self.active.offset
    }

    /// Bytes appended since start.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// When the first commit of the active segment was appended, Unix milliseconds.
    pub(crate) fn first_commit_ms(&self) -> Option<u64> {
        self.active.first_commit_ms
    }

    /// Whether the active segment holds any record.
    pub(crate) fn active_holds_records(&self) -> bool {
        self.active.last != self.active.header.base
    }

    /// Sealed segments still on disk, oldest first.
    pub(crate) fn sealed(&self) -> &[Segment] {
        &self.sealed
    }

    /// Writes a record to the active segment.
    ///
    /// # Errors
    ///
    /// `StorageFull` when no space could be reserved: nothing was written then. After any other
    /// error the log must not be written again.
    pub(crate) fn append(&mut self, record: &Record, now_ms: u64) -> io::Result<()> {
        self.buffer.clear();
        let active = &mut self.active;
        let durable = active.durable.load(Ordering::Acquire);
        active.framer.frame(&mut self.buffer, active.offset, KIND_RECORD, durable, |out| record.encode(out));
        active.reserve(self.buffer.len(), self.reserve_bytes)?;
        active.file.write_at(&self.buffer, active.offset)?;
        active.offset += self.buffer.len() as u64;
        self.bytes_written += self.buffer.len() as u64;
        active.last = record.version;
        active.hash = record.hash;
        active.commits += record.batches.len() as u64;
        if !record.batches.is_empty() {
            active.first_commit_ms.get_or_insert(now_ms);
        }
        Ok(())
    }

    /// What makes everything appended so far durable.
    pub(crate) fn sync_handle(&self) -> SyncHandle {
        let Active { path, file, durable, offset, .. } = &self.active;
        SyncHandle {
            ending: self.ending.clone(),
            path: path.clone(),
            file: Arc::clone(file),
            durable: Arc::clone(durable),
            offset: *offset,
        }
    }

    /// Goes on to the next segment; the one before is sealed by [`Ending::finish`].
    ///
    /// # Errors
    ///
    /// A full disk when there is no room for the next segment: the active one goes on.
    /// After any other error the log must not be written again.
    pub(crate) fn begin_next(&mut self, sealing: Sealing) -> Result<()> {
        self.finish_ending()?;
        let header = Header {
            number: self.active.header.number + 1,
            lineage: sealing.lineage,
            base: self.active.last,
            hash_before: self.active.hash,
        };
        let ahead = self.slot.take(Framer { salt: sealing.salt })?;
        let next = Active::new(ahead, header);
        let mut bytes = Vec::new();
        next.framer.frame(&mut bytes, PREAMBLE_LEN as u64, KIND_HEADER, 0, |out| header.encode(out));
        next.file.write_at(&bytes, PREAMBLE_LEN as u64).map_err(Error::io("begin segment", &next.path))?;
        let header_end = next.offset;
        let ended = std::mem::replace(&mut self.active, next);
        self.ending = Some(Arc::new(Ending::new(ended, &self.active, header_end)));
        Ok(())
    }

    /// Whether a segment has to be sealed.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// The segment that has to be sealed, if one has.
    pub(crate) fn ending(&self) -> Option<Arc<Ending>> {
        self.ending.clone()
    }

    /// Seals the segment that is ending, if one is, while everybody waits.
    ///
    /// # Errors
    ///
    /// What the disk says. The log must not be written again then.
    pub(crate) fn finish_ending(&mut self) -> Result<()> {
        if let Some(ending) = self.ending.take() {
            let segment = ending.finish()?;
            self.add_sealed(segment);
        }
        Ok(())
    }

    /// Takes a segment that was sealed among those that are.
    pub(crate) fn note_sealed(&mut self) {
        if let Some(segment) = self.ending.as_ref().and_then(|ending| ending.sealed()) {
            self.ending = None;
            self.add_sealed(segment);
        }
    }

    /// Takes a segment that [`Ending::finish`] gave among those that are sealed, if nobody did before.
    pub(crate) fn note_finished(&mut self, finished: &Arc<Ending>, segment: Segment) {
        if self.ending.as_ref().is_some_and(|ending| Arc::ptr_eq(ending, finished)) {
            self.ending = None;
            self.add_sealed(segment);
        }
    }

    fn add_sealed(&mut self, segment: Segment) {
        self.slot.sealed(segment.bytes);
        self.sealed.push(segment);
    }

    /// Where the next segment is made ahead.
    pub(crate) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }

    /// Gives back most of the space that is reserved and not used: nobody has written for a while.
    ///
    /// # Errors
    ///
    /// What the disk says. The log must not be written again then.
    pub(crate) fn trim(&mut self) -> Result<()> {
        let active = &mut self.active;
        let least = (active.offset + frame_len(SEAL_LEN) as u64).next_multiple_of(TRIMMED_BYTES);
        if active.reserved > least {
            active.file.set_len(least).map_err(Error::io("trim", &active.path))?;
            active.reserved = least;
        }
        self.slot.trim()
    }

    /// Seals the active segment, durably, as the last one. The log must not be written again.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.finish_ending()?;
        self.active.seal(Next::Closed)?;
        self.slot.discard();
        Ok(())
    }

    /// Takes the sealed segments out whose records all have a version of at most `version`.
    pub(crate) fn take_through(&mut self, version: u64) -> Vec<Segment> {
        let kept = self.sealed.iter().position(|segment| segment.last > version).unwrap_or(self.sealed.len());
        self.sealed.drain(..kept).collect()
    }
}

impl Active {
    /// Begins a segment whose file has no header yet, or has this one.
    fn new(ahead: Ahead, header: Header) -> Self {
        let Ahead { path, file, framer, reserved, .. } = ahead;
        Self {
            header,
            path,
            file,
            framer,
            offset: (PREAMBLE_LEN + frame_len(Header::LEN)) as u64,
            reserved,
            durable: Arc::new(AtomicU64::new(PREAMBLE_LEN as u64)),
            last: header.base,
            hash: header.hash_before,
            commits: 0,
            first_commit_ms: None,
        }
    }

    fn reserve(&mut self, len: usize, at_once: u64) -> io::Result<()> {
        // Room for the seal is part of every reservation: sealing must not fail on a full disk.
        let end = self.offset + (len + frame_len(SEAL_LEN)) as u64;
        if end > self.reserved {
            let reserved = end.next_multiple_of(at_once);
            self.file.allocate(reserved)?;
            self.reserved = reserved;
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes all of it durable, and then that it ends here.
    pub(super) fn seal(&self, next: Next) -> Result<Segment> {
        let seal = Seal { next, last: self.last, commits: self.commits };
        let mut bytes = Vec::new();
        let mut write = || -> io::Result<u64> {
            self.file.sync()?;
            self.framer.frame(&mut bytes, self.offset, KIND_SEAL, self.offset, |out| seal.encode(out));
            self.file.write_at(&bytes, self.offset)?;
            let len = self.offset + bytes.len() as u64;
            self.file.set_len(len)?;
            self.file.sync()?;
            Ok(len)
        };
        let bytes = write().map_err(Error::io("seal", &self.path))?;
        Ok(Segment {
            number: self.header.number,
            path: self.path.clone(),
            lineage: self.header.lineage,
            base: self.header.base,
            hash_before: self.header.hash_before,
            last: self.last,
            commits: self.commits,
            bytes,
        })
    }
}

/// Bytes in an encoded seal.
const SEAL_LEN: usize = 17;
