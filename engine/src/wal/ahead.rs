//! The next segment, made before it is needed: a file with a preamble and reserved space, and no header yet.
//!
//! - A segment that was made ahead is durable, with its name. What its header has to say is known only when it begins.
//! - It is made only while the segment before the active one is sealed, so no more than two segments are ever unsealed
//!   or without a header.
//! - As much space is reserved as the last segments took, so that a busy log does not grow its file, and an idle
//!   one does not hold space for nothing.

use super::header::{Header, KIND_HEADER};
use super::{MAGIC, SUFFIX_NEW, file_name};
use crate::frame::{Framer, PREAMBLE_LEN};
use crate::fs::{File, Fs};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The least space reserved for a segment, in bytes, unless segments are shorter.
const RESERVE_BYTES_MIN: u64 = 1 << 20;
/// Space reserved beyond what the last segment took: one part in this many of it.
const SPARE_PARTS: u64 = 8;

/// A file that a segment can begin in.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    pub(super) framer: Framer,
    pub(super) reserved: u64,
}

impl Ahead {
    /// Makes the file, durable before it has its name, and its name durable. With a header the segment has begun.
    pub(super) fn make(
        fs: &dyn Fs,
        dir: &Path,
        number: u64,
        framer: Framer,
        reserved: u64,
        header: Option<&Header>,
    ) -> Result<Self> {
        let path = dir.join(file_name(number));
        let new = dir.join(format!("{number:016x}{SUFFIX_NEW}"));
        let mut bytes = framer.preamble(MAGIC).to_vec();
        if let Some(header) = header {
            framer.frame(&mut bytes, PREAMBLE_LEN as u64, KIND_HEADER, 0, |out| header.encode(out));
        }
        let write = || -> io::Result<Arc<dyn File>> {
            let file = fs.create(&new)?;
            file.allocate(reserved)?;
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
        Ok(Self { path, file, framer, reserved })
    }
}

/// Bytes to reserve for a segment of this many, so that the record that goes over fits too.
pub(super) const fn with_spare(segment_bytes: u64) -> u64 {
    segment_bytes + segment_bytes / SPARE_PARTS
}

/// Where the next segment waits. Whoever makes it does not hold up appends.
#[derive(Debug)]
pub(crate) struct Slot {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ahead: Option<Ahead>,
    /// Number of the segment that comes next.
    next: u64,
    /// Whether the segment before the active one is sealed.
    may_make: bool,
    /// Bytes of the last segment that was sealed.
    last_bytes: u64,
}

impl Slot {
    pub(super) fn new(fs: Arc<dyn Fs>, dir: &Path, next: u64, segment_bytes_max: u64) -> Self {
        let state = State { ahead: None, next, may_make: true, last_bytes: 0 };
        Self { fs, dir: dir.to_path_buf(), segment_bytes_max, state: Mutex::new(state) }
    }

    fn make(&self, state: &State, framer: Framer) -> Result<Ahead> {
        let (usual, most) = (with_spare(state.last_bytes), with_spare(self.segment_bytes_max));
        let reserved = usual.clamp(RESERVE_BYTES_MIN.min(most), most);
        Ahead::make(&*self.fs, &self.dir, state.next, framer, reserved, None)
    }

    /// Makes the next segment if it is not there and may be; whether it made one. `salt` is random.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) fn fill(&self, salt: impl FnOnce() -> u64) -> Result<bool> {
        let mut state = self.state.lock();
        if state.ahead.is_some() || !state.may_make {
            return Ok(false);
        }
        state.ahead = Some(self.make(&state, Framer { salt: salt() })?);
        Ok(true)
    }

    /// The next segment, made now if it was not made ahead.
    pub(super) fn take(&self, framer: Framer) -> Result<Ahead> {
        let mut state = self.state.lock();
        let ahead = match state.ahead.take() {
            Some(ahead) => ahead,
            None => self.make(&state, framer)?,
        };
        state.next += 1;
        state.may_make = false;
        Ok(ahead)
    }

    /// The segment before the active one is sealed, and had this many bytes.
    pub(super) fn sealed(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.may_make = true;
        state.last_bytes = bytes;
    }

    /// Gives back most of the reserved space.
    pub(super) fn trim(&self) -> Result<()> {
        let mut state = self.state.lock();
        state.last_bytes = 0;
        let least = RESERVE_BYTES_MIN.min(with_spare(self.segment_bytes_max));
        if let Some(ahead) = state.ahead.as_mut().filter(|ahead| ahead.reserved > least) {
            ahead.file.set_len(least).map_err(Error::io("trim", &ahead.path))?;
            ahead.reserved = least;
        }
        Ok(())
    }

    /// Removes a segment that was made and will not be used.
    pub(super) fn discard(&self) {
        let mut state = self.state.lock();
        state.may_make = false;
        if let Some(ahead) = state.ahead.take()
            && let Err(error) = self.fs.remove(&ahead.path)
        {
            tracing::debug!(path = %ahead.path.display(), %error, "left an unused segment to the next start");
        }
    }
}
