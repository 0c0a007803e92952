//! A segment that takes no more records, on its way to being sealed, while the next one is written already.
//!
//! - First its records are durable, then its seal, then the header of the next segment: before all of that nothing in the
//!   next segment counts as durable.
//! - It is sealed once, whoever asks first; after a failure nobody tries again.

use super::Segment;
use super::header::Next;
use super::writer::Active;
use crate::fs::File;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The segment, and what is known of the one after it.
#[derive(Debug)]
pub(crate) struct Ending {
    ended: Active,
    next_path: PathBuf,
    next_file: Arc<dyn File>,
    next_durable: Arc<AtomicU64>,
    next_header_end: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Begun,
    Sealed(Segment),
    Failed,
}

impl Ending {
    pub(super) fn new(ended: Active, next: &Active, next_header_end: u64) -> Self {
        Self {
            ended,
            next_path: next.path().to_path_buf(),
            next_file: Arc::clone(&next.file),
            next_durable: Arc::clone(&next.durable),
            next_header_end,
            state: Mutex::new(State::Begun),
        }
    }

    /// Seals it, durably, unless that is done.
    ///
    /// # Errors
    ///
    /// What the disk says, and [`Error::Stopped`] from then on. The log must not be written again.
    pub(crate) fn finish(&self) -> Result<Segment> {
        let mut state = self.state.lock();
        match &*state {
            State::Sealed(segment) => return Ok(segment.clone()),
            State::Failed => {
                return Err(Error::Stopped { reason: "a log segment could not be sealed".into() });
            }
            State::Begun => {}
        }
        let done = self.seal();
        *state = match &done {
            Ok(segment) => State::Sealed(segment.clone()),
            Err(_) => State::Failed,
        };
        done
    }

    /// The segment, if it is sealed; `None` also while somebody is at it.
    pub(super) fn sealed(&self) -> Option<Segment> {
        match &*self.state.try_lock()? {
            State::Sealed(segment) => Some(segment.clone()),
            State::Begun | State::Failed => None,
        }
    }

    fn seal(&self) -> Result<Segment> {
        let segment = self.ended.seal(Next::Continues)?;
        self.next_file.sync().map_err(Error::io("sync", &self.next_path))?;
        self.next_durable.fetch_max(self.next_header_end, Ordering::AcqRel);
        Ok(segment)
    }
}
