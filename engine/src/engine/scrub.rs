//! Reading all tables again, a step at a time, to find damage before somebody needs what is damaged.
//!
//! - One step reads a bounded number of bytes, and asks the disk, not the memory of the operating system, where that can be
//!   asked for.
//! - A pass goes through the live tables in the order of their digests. One that is compacted away meanwhile is left;
//!   one that comes is read in this pass or the next.
//! - It reports and changes nothing: a damaged table stays where it is, and reads that meet the damage fail.

use super::Engine;
use crate::table::{Reader, TableDigest};
use crate::{Error, Random, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where a scrub stands. Begin with a default one; each engine needs one of its own.
#[derive(Debug, Default)]
pub struct Scrub {
    /// Tables up to this one are done.
    after: Option<TableDigest>,
    checking: Option<Checking>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Checking {
    table: Arc<Reader>,
    hasher: blake3::Hasher,
    offset: u64,
}

impl Scrub {
    /// Begins at a random table.
    pub fn from_random(random: &dyn Random) -> Self {
        let mut digest = [0; 32];
        random.fill(&mut digest);
        Self { after: Some(TableDigest(digest)), ..Self::default() }
    }
}

/// What one step of a scrub came to.
#[derive(Debug)]
pub enum Scrubbed {
    /// So many bytes were read and are right so far.
    Read(usize),
    /// A table is not what it was when it was written, or cannot be read. The next step goes on with the next table.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its length, in bytes.
        bytes: u64,
        /// [`Error::Damaged`] with the offset, or what the disk says.
        error: Error,
    },
    /// The last table was read. The next step begins with the first one.
    Pass,
}

impl Engine {
    /// One step of a scrub: reads up to `bytes_max` bytes of a table. Also an engine that has stopped can be scrubbed.
    ///
    /// # Panics
    ///
    /// If `bytes_max` is 0.
    pub fn scrub(&self, scrub: &mut Scrub, bytes_max: usize) -> Scrubbed {
        assert!(bytes_max > 0, "a step reads something");
        let Some(mut checking) = scrub.checking.take().or_else(|| self.next_to_check(scrub.after)) else {
            scrub.after = None;
            return Scrubbed::Pass;
        };
        scrub.after = Some(checking.table.meta().digest);
        scrub.buffer.resize(bytes_max, 0);
        match checking.step(&mut scrub.buffer) {
            Ok(Some(read)) => {
                scrub.checking = Some(checking);
                Scrubbed::Read(read)
            }
            Ok(None) => Scrubbed::Read(0),
            Err(_) if !self.is_live(checking.table.meta().digest) => Scrubbed::Read(0),
            Err(error) => {
                let (path, bytes) = (checking.table.path().to_path_buf(), checking.table.meta().bytes);
                Scrubbed::Damaged { path, bytes, error }
            }
        }
    }

    /// Whether it has stopped because something on its disk is damaged.
    pub fn is_stopped_by_damage(&self) -> bool {
        self.core().damaged.load(Ordering::Relaxed)
    }

    fn next_to_check(&self, after: Option<TableDigest>) -> Option<Checking> {
        let view = self.core().view.load();
        let left = view.levels.tables().map(|(_, table)| table);
        let left = left.filter(|table| after.is_none_or(|after| table.meta().digest > after));
        let table = Arc::clone(left.min_by_key(|table| table.meta().digest)?);
        Some(Checking { table, hasher: blake3::Hasher::new(), offset: 0 })
    }

    fn is_live(&self, digest: TableDigest) -> bool {
        self.core().view.load().levels.tables().any(|(_, table)| table.meta().digest == digest)
    }
}

impl Checking {
    /// Reads some more; `None` at the end, when all of it is right.
    fn step(&mut self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let read = self.table.hash_some(self.offset, buffer, &mut self.hasher)?;
        self.offset += read as u64;
        if read > 0 {
            return Ok(Some(read));
        }
        self.table.check_digest(&self.hasher).map(|()| None)
    }
}
