//! Appending to the active segment, and sealing it.
//!
//! - An append is in the file, not durable, when it returns; [`Sealing`] and the handle of
//!   [`Log::sync_handle`] make it so.
//! - Space is reserved before a record is written into it, so a full disk refuses a record
//!   before any byte of it is written.

use super::header::{Header, KIND_HEADER, KIND_RECORD, KIND_SEAL, Next, Seal};
use super::{MAGIC, SUFFIX_NEW, Segment, file_name};
use crate::frame::{Framer, PREAMBLE_LEN, frame_len};
use crate::fs::{File, Fs};
use crate::{ContentHash, Error, LineageId, Record, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Space reserved at once, in bytes, unless segments are shorter.
const RESERVE_BYTES_MAX: u64 = 8 << 20;

/// The log that is written: one active segment, and those sealed before it.
#[derive(Debug)]
pub(crate) struct Log {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    active: Active,
    sealed: Vec<Segment>,
    buffer: Vec<u8>,
    bytes_written: u64,
    reserve_bytes: u64,
}

#[derive(Debug)]
struct Active {
    header: Header,
    path: PathBuf,
    file: Arc<dyn File>,
    framer: Framer,
    offset: u64,
    reserved: u64,
    durable: Arc<AtomicU64>,
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
    file: Arc<dyn File>,
    durable: Arc<AtomicU64>,
    offset: u64,
}

impl SyncHandle {
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()?;
        self.durable.fetch_max(self.offset, Ordering::AcqRel);
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
        let reserve_bytes = RESERVE_BYTES_MAX.min(segment_bytes_max);
        let header = Header { number, lineage: sealing.lineage, base: base.0, hash_before: base.1 };
        let active = create(&*fs, dir, header, sealing.salt, reserve_bytes)?;
        let dir = dir.to_path_buf();
        Ok(Log { fs, dir, active, sealed, buffer: Vec::new(), bytes_written: 0, reserve_bytes })
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
        let active = &self.active;
        SyncHandle { file: active.file.clone(), durable: active.durable.clone(), offset: active.offset }
    }

    /// Seals the active segment, durably, and starts the next one.
    ///
    /// # Errors
    ///
    /// [`Error::DiskFull`] when there is no room for the next segment: the active one goes on.
    /// After any other error the log must not be written again.
    pub(crate) fn seal(&mut self, sealing: Sealing) -> Result<()> {
        let header = Header {
            number: self.active.header.number + 1,
            lineage: sealing.lineage,
            base: self.active.last,
            hash_before: self.active.hash,
        };
        let next = create(&*self.fs, &self.dir, header, sealing.salt, self.reserve_bytes)?;
        let sealed = std::mem::replace(&mut self.active, next);
        self.sealed.push(sealed.seal(Next::Continues)?);
        Ok(())
    }

    /// Seals the active segment, durably, as the last one. The log must not be written again.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.active.seal(Next::Closed).map(drop)
    }

    /// Takes the sealed segments out whose records all have a version of at most `version`.
    pub(crate) fn take_through(&mut self, version: u64) -> Vec<Segment> {
        let kept = self.sealed.iter().position(|segment| segment.last > version).unwrap_or(self.sealed.len());
        self.sealed.drain(..kept).collect()
    }
}

impl Active {
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

    fn seal(&self, next: Next) -> Result<Segment> {
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

/// Creates a segment that is durable, with its header, before it has its name.
fn create(fs: &dyn Fs, dir: &Path, header: Header, salt: u64, reserve_bytes: u64) -> Result<Active> {
    let path = dir.join(file_name(header.number));
    let new = dir.join(format!("{:016x}{SUFFIX_NEW}", header.number));
    let framer = Framer { salt };
    let mut bytes = framer.preamble(MAGIC).to_vec();
    framer.frame(&mut bytes, PREAMBLE_LEN as u64, KIND_HEADER, 0, |out| header.encode(out));
    let offset = bytes.len() as u64;
    let write = || -> io::Result<Arc<dyn File>> {
        let file = fs.create(&new)?;
        file.allocate(reserve_bytes)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        fs.rename(&new, &path)?;
        fs.sync_dir(dir)?;
        Ok(file)
    };
    let file = write().map_err(|error| {
        // Whatever was left is removed on the next attempt or at the next open; the first error counts.
        let left = fs.remove(&new);
        tracing::debug!(error = left.err().map(tracing::field::display), "removed a half made segment");
        Error::io("create segment", &path)(error)
    })?;
    Ok(Active {
        header,
        path,
        file,
        framer,
        offset,
        reserved: reserve_bytes,
        durable: Arc::new(AtomicU64::new(offset)),
        last: header.base,
        hash: header.hash_before,
        commits: 0,
        first_commit_ms: None,
    })
}
