//! Merges the tables of a [`Choice`] into new ones and leaves out what nobody can see.
//!
//! - The versions of one key are never spread over two tables.
//! - The new tables are durable on return. They are nobody's until an edit of the manifest names
//!   them; after a crash before that they are files that nothing refers to.
//! - A new table can be the same as an old one, and has the same name then: whoever removes the files of
//!   the old ones must leave those that are live again.

use super::Bounds;
use super::plan::Choice;
use super::retention::Retention;
use crate::entry::{Direction, Entry};
use crate::fs::Fs;
use crate::levels::{LEVEL_MAX, Levels};
use crate::merge::merge;
use crate::source::KeyRange;
use crate::table::{Caching, Meta, Settings, Writer};
use crate::{Options, Result};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where and how new tables are written.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    /// The disk.
    pub(crate) fs: &'a Arc<dyn Fs>,
    /// The directory of tables.
    pub(crate) dir: &'a Path,
    /// Gives each temporary file in the directory another name.
    pub(crate) numbers: &'a AtomicU64,
    /// Sizes of blocks and tables.
    pub(crate) options: &'a Options,
}

/// Rewrites the tables of `choice`, which was made from `levels`. The result goes to the level
/// `choice.to`, in order; it can be empty, and it is the inputs themselves when these only move.
///
/// # Errors
///
/// When an input is damaged, or what the disk says; the levels are as they were.
pub(crate) fn run(
    target: &Target<'_>,
    choice: &Choice,
    levels: &Levels,
    bounds: &Bounds,
) -> Result<Vec<Meta>> {
    if choice.is_move(target.options) {
        return Ok(choice.inputs.iter().map(|table| table.meta().clone()).collect());
    }
    let source = |table: &Arc<_>| {
        crate::table::Reader::source(table, KeyRange::all(), Direction::Forward, Caching::Pass)
    };
    let visible = choice.inputs.iter().filter(|table| !bounds.hide_all_of(table.meta()));
    let mut source = merge(visible.map(source).collect(), Direction::Forward);
    let is_bottom = (choice.to + 1..=LEVEL_MAX).all(|level| levels.level(level).is_empty());
    let mut retention = Retention::new(bounds.clone());
    let mut output =
        Output { target, bounds, is_bottom, writer: None, last_key: Bytes::new(), finished: Vec::new() };
    while let Some(entry) = source.next()? {
        let below = |key: &[u8]| {
            (choice.to + 1..=LEVEL_MAX).any(|level| !levels.overlapping(level, key, key).is_empty())
        };
        if let Some(entry) = retention.keep(entry, below) {
            output.add(&entry)?;
        }
    }
    output.finish()
}

/// Tables being written, one after the other.
struct Output<'a> {
    target: &'a Target<'a>,
    bounds: &'a Bounds,
    is_bottom: bool,
    writer: Option<Writer>,
    last_key: Bytes,
    finished: Vec<Meta>,
}

impl Output<'_> {
    fn add(&mut self, entry: &Entry) -> Result<()> {
        let is_full = |writer: &mut Writer| writer.bytes() >= self.target.options.table_bytes;
        if entry.key != self.last_key
            && let Some(full) = self.writer.take_if(|writer| is_full(writer))
        {
            self.finished.push(full.finish()?);
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let writer = create(self.target, self.is_bottom)?;
                self.writer.insert(writer.counting_under(Arc::clone(&self.bounds.horizons)))
            }
        };
        writer.add(entry)?;
        self.last_key = entry.key.clone();
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Meta>> {
        if let Some(writer) = self.writer.take() {
            self.finished.push(writer.finish()?);
        }
        Ok(self.finished)
    }
}

fn create(target: &Target<'_>, is_bottom: bool) -> Result<Writer> {
    let number = target.numbers.fetch_add(1, Ordering::Relaxed);
    let settings = if is_bottom { Settings::bottom(target.options) } else { Settings::upper(target.options) };
    Writer::create(target.fs, target.dir, number, settings)
}

#[cfg(test)]
mod tests;
