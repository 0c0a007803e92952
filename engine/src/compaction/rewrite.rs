//! Merges the tables of a [`Choice`] into new ones, a step at a time, and leaves out what nobody can see.
//!
//! - The versions of one key are never spread over two tables.
//! - A step reads a bounded number of bytes; a rewrite that is dropped between two steps removes what it wrote.
//! - The new tables are durable once [`Rewrite::finish`] has returned them. They are nobody's until an edit of the
//!   manifest names them; after a crash before that they are files that nothing refers to.
//! - A new table can be the same as an old one, and has the same name then: whoever removes the files of
//!   the old ones must leave those that are live again.
//! - A new table overlaps a bounded number of bytes of the level below its own, so that its own compaction
//!   will be bounded too.

use super::Bounds;
use super::plan::Choice;
use super::retention::Retention;
use super::run::Run;
use crate::entry::{Direction, Entry};
use crate::fs::Fs;
use crate::horizon::Horizons;
use crate::levels::{LEVEL_MAX, Levels};
use crate::merge::{Merge, merge};
use crate::source::Entries;
use crate::table::{Meta, Reader, Settings, Writer};
use crate::{Options, Result};
use bytes::Bytes;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A new table is closed when it overlaps this many full tables of the level below its own.
const TABLES_BELOW_MAX: u64 = 10;

/// Where and how new tables are written.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The disk.
    pub(crate) fs: Arc<dyn Fs>,
    /// The directory of tables.
    pub(crate) dir: PathBuf,
    /// Gives each temporary file in the directory another name.
    pub(crate) numbers: Arc<AtomicU64>,
    /// Sizes of blocks and tables.
    pub(crate) options: Options,
}

impl Target {
    /// Starts a table.
    pub(crate) fn create(&self, settings: Settings) -> Result<Writer> {
        Writer::create(&self.fs, &self.dir, self.numbers.fetch_add(1, Ordering::Relaxed), settings)
    }
}

/// A rewrite under way.
pub(crate) struct Rewrite {
    choice: Choice,
    levels: Arc<Levels>,
    source: Entries<Merge<Run>>,
    retention: Retention,
    output: Output,
    counts: Counts,
}

/// How far a rewrite has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Entries read.
    pub(crate) read: u64,
    /// Of them, how many were left out.
    pub(crate) dropped: u64,
    /// Bytes of keys and values read.
    pub(crate) read_bytes: u64,
    /// Bytes of tables written, finished or not.
    pub(crate) written_bytes: u64,
}

impl Rewrite {
    /// Begins to rewrite the tables of `choice`, which was made from `levels`. Nothing is read yet.
    pub(crate) fn new(target: Target, choice: Choice, levels: Arc<Levels>, bounds: &Bounds) -> Self {
        let source = merge(runs(&choice, &levels, bounds), Direction::Forward);
        let is_bottom = (choice.to + 1..=LEVEL_MAX).all(|level| levels.level(level).is_empty());
        let below = Below::new(Arc::clone(&levels), choice.to + 1);
        let output = Output::new(target, Arc::clone(&bounds.horizons), is_bottom, below);
        let retention = Retention::new(bounds.clone());
        Self { choice, levels, source, retention, output, counts: Counts::default() }
    }

    /// What is rewritten.
    pub(crate) const fn choice(&self) -> &Choice {
        &self.choice
    }

    /// How far it has come.
    pub(crate) fn counts(&self) -> Counts {
        Counts { written_bytes: self.output.bytes(), ..self.counts }
    }

    /// Bytes of memory in use, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.output.writer.as_ref().map_or(0, Writer::memory_bytes)
    }

    /// Reads about `bytes` more of keys and values; whether there is more to read.
    ///
    /// # Errors
    ///
    /// When an input is damaged, or what the disk says; the rewrite is of no use then.
    pub(crate) fn step(&mut self, bytes: u64) -> Result<bool> {
        let end = self.counts.read_bytes + bytes;
        while self.counts.read_bytes < end {
            let Some(entry) = self.source.next()? else {
                return Ok(false);
            };
            self.counts.read += 1;
            self.counts.read_bytes += (entry.key.len() + entry.version.value_len()) as u64;
            let (levels, to) = (&self.levels, self.choice.to);
            match self.retention.keep(entry, |key| levels.may_hold(to + 1, key)) {
                Some(entry) => self.output.add(&entry)?,
                None => self.counts.dropped += 1,
            }
        }
        Ok(true)
    }

    /// Completes the last table. The result goes to the level `choice.to`, in order; it can be empty.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) fn finish(self) -> Result<Vec<Meta>> {
        self.output.finish()
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite").field("choice", &self.choice).field("counts", &self.counts).finish()
    }
}

/// The entries of the tables of a choice of which anything can be seen: those of level 0 each alone, those of
/// another level one after the other.
fn runs(choice: &Choice, levels: &Levels, bounds: &Bounds) -> Vec<Run> {
    let is_of = |level: u8, table: &Arc<Reader>| levels.level(level).iter().any(|it| Arc::ptr_eq(it, table));
    let visible = choice.inputs.iter().filter(|table| !bounds.hide_all_of(table.meta())).cloned();
    let (upper, lower): (Vec<_>, Vec<_>) = visible.partition(|table| is_of(choice.from, table));
    let mut runs = if choice.from == 0 {
        upper.into_iter().map(|table| Run::new(vec![table])).collect()
    } else {
        vec![Run::new(upper)]
    };
    runs.push(Run::new(lower));
    runs
}

/// Tables being written, one after the other. Dropped early, it removes them.
struct Output {
    target: Target,
    horizons: Arc<Horizons>,
    is_bottom: bool,
    below: Below,
    writer: Option<Writer>,
    last_key: Bytes,
    finished: Vec<Meta>,
    finished_bytes: u64,
}

impl Output {
    fn new(target: Target, horizons: Arc<Horizons>, is_bottom: bool, below: Below) -> Self {
        let (last_key, finished) = (Bytes::new(), Vec::new());
        Self { target, horizons, is_bottom, below, writer: None, last_key, finished, finished_bytes: 0 }
    }

    fn bytes(&self) -> u64 {
        self.finished_bytes + self.writer.as_ref().map_or(0, Writer::bytes)
    }

    fn add(&mut self, entry: &Entry) -> Result<()> {
        if entry.key != self.last_key {
            let overlap = self.below.pass(&entry.key);
            let table_bytes = self.target.options.table_bytes;
            let is_full = |writer: &Writer| writer.bytes() >= table_bytes;
            if overlap > table_bytes.saturating_mul(TABLES_BELOW_MAX)
                || self.writer.as_ref().is_some_and(is_full)
            {
                self.close()?;
            }
            self.last_key = entry.key.clone();
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let options = &self.target.options;
                let settings =
                    if self.is_bottom { Settings::bottom(options) } else { Settings::upper(options) };
                let writer = self.target.create(settings)?;
                self.writer.insert(writer.counting_under(Arc::clone(&self.horizons)))
            }
        };
        writer.add(entry)
    }

    fn close(&mut self) -> Result<()> {
        if let Some(full) = self.writer.take() {
            let meta = full.finish()?;
            self.finished_bytes += meta.bytes;
            self.finished.push(meta);
        }
        self.below.overlap = 0;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Meta>> {
        self.close()?;
        Ok(std::mem::take(&mut self.finished))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let live =
            |meta: &Meta| self.below.levels.tables().any(|(_, table)| table.meta().digest == meta.digest);
        for meta in self.finished.iter().filter(|meta| !live(meta)) {
            let path = self.target.dir.join(meta.digest.file_name());
            if let Err(error) = self.target.fs.remove(&path) {
                tracing::debug!(path = %path.display(), %error, "left an unused table to the next start");
            }
        }
    }
}

/// The level below the one that is written: how much of it the table at hand overlaps.
struct Below {
    levels: Arc<Levels>,
    level: u8,
    next: usize,
    overlap: u64,
}

impl Below {
    fn new(levels: Arc<Levels>, level: u8) -> Self {
        Self { levels, level, next: 0, overlap: 0 }
    }

    /// Goes on to `key`; bytes of the tables that were passed since the last table was closed.
    fn pass(&mut self, key: &[u8]) -> u64 {
        let tables = self.levels.level(self.level);
        while let Some(table) = tables.get(self.next).filter(|table| &table.meta().last_key[..] < key) {
            self.overlap += table.meta().bytes;
            self.next += 1;
        }
        self.overlap
    }
}

#[cfg(test)]
mod tests;
