//! One table of which a part is wanted, from the first byte that arrives to the table that holds the part.

use super::pieces::{Pieces, joined};
use super::prefixes::Prefixes;
use crate::cache::Cache;
use crate::fs::{File, Fs};
use crate::horizon::Horizons;
use crate::table::select::{self, Named};
use crate::table::{Meta, Reader, Settings, Writer};
use crate::{Error, Options, Result};
use bytes::Bytes;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes at the end of a table that are asked for at first: trailer and footer, most often.
const TAIL_BYTES: u64 = 16 << 10;
/// Blocks that are at most so many bytes apart are asked for together: about what a request costs.
const GAP_BYTES_MAX: u64 = 32 << 10;

/// A table of which a part is wanted, while its bytes arrive.
#[derive(Debug)]
pub struct Table {
    pub(super) position: usize,
    pub(super) level: u8,
    pub(super) is_bottom: bool,
    pub(super) meta: Meta,
    pub(super) prefixes: Arc<Prefixes>,
    pub(super) horizons: Arc<Horizons>,
    pub(super) path: PathBuf,
    pub(super) pieces: Arc<Pieces>,
    /// Its index, once that is read: the data blocks that may hold something of the part.
    pub(super) found: Option<(Reader, Vec<Named>)>,
}

/// A table that holds what is wanted of another one, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed {
    pub(super) position: usize,
    pub(super) level: u8,
    pub(super) meta: Meta,
}

impl Narrowed {
    /// The name of its file.
    pub fn name(&self) -> String {
        self.meta.digest.file_name()
    }

    /// The length of its file.
    pub const fn bytes(&self) -> u64 {
        self.meta.bytes
    }
}

impl Table {
    /// The bytes that have to be [added](Self::add) next, in rising ranges; none when [`write`](Self::write) can do its
    /// work. First the ends of the file are asked for, then the index, then the data blocks that may hold
    /// something of the part; so it is asked again after each round, a few times.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when what has arrived is not as it was written, or not what the manifest says.
    pub fn missing(&mut self) -> Result<Vec<Range<u64>>> {
        if self.found.is_none() {
            let lacking = self.open()?;
            if !lacking.is_empty() {
                return Ok(lacking);
            }
        }
        Ok(self.pieces.lacking(&self.data()))
    }

    /// Once it is known which data blocks are needed: how many bytes of them have not arrived.
    pub fn missing_data_bytes(&self) -> Option<u64> {
        self.found.as_ref()?;
        Some(self.pieces.lacking(&self.data()).iter().map(|range| range.end - range.start).sum())
    }

    /// Adds what stands at `range`.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when it is not as many bytes as the range has: the file ends early.
    pub fn add(&mut self, range: &Range<u64>, bytes: Bytes) -> Result<()> {
        let (len, wanted) = (bytes.len() as u64, range.end.saturating_sub(range.start));
        if len != wanted {
            let expected = format!("a file of {} bytes", self.meta.bytes);
            return Err(Error::Damaged {
                path: self.path.clone(),
                offset: range.start + len.min(wanted),
                expected,
            });
        }
        self.pieces.add(range.start, bytes);
        Ok(())
    }

    /// Adds the whole file, whose digest the caller has checked, instead of what has arrived.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when it has another length.
    pub fn add_whole(&mut self, bytes: Bytes) -> Result<()> {
        self.pieces = Arc::new(Pieces::new(self.meta.bytes));
        self.found = None;
        self.add(&(0..self.meta.bytes), bytes)?;
        self.missing().map(drop)
    }

    /// Writes a table with the entries of the part into `dir`, durably, under its own name; `None` when there are none.
    /// Every entry that is read stands where the index says.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when a block is not as it was written, or what the disk says; an unfinished table is removed.
    ///
    /// # Panics
    ///
    /// When something is [missing](Self::missing).
    pub fn write(self, fs: &Arc<dyn Fs>, dir: &Path, options: &Options) -> Result<Option<Narrowed>> {
        let (reader, blocks) = self.found.expect("nothing is missing");
        let settings = if self.is_bottom { Settings::bottom(options) } else { Settings::upper(options) };
        let mut writer = None;
        for block in &blocks {
            reader.entries_in(
                block,
                |key| self.prefixes.hold(key),
                |entry| {
                    let writer = match &mut writer {
                        Some(writer) => writer,
                        None => {
                            let new = Writer::create(fs, dir, self.position as u64, settings)?;
                            writer.insert(new.counting_under(Arc::clone(&self.horizons)))
                        }
                    };
                    writer.add(entry)
                },
            )?;
        }
        let Some(writer) = writer else { return Ok(None) };
        Ok(Some(Narrowed { position: self.position, level: self.level, meta: writer.finish()? }))
    }

    /// Reads what says where the part is, as far as it has arrived; what is lacking for that.
    fn open(&mut self) -> Result<Vec<Range<u64>>> {
        let (bytes, path) = (self.meta.bytes, self.path.clone());
        let file: Arc<dyn File> = Arc::clone(&self.pieces) as Arc<dyn File>;
        let ends = [select::HEADER, bytes.saturating_sub(TAIL_BYTES)..bytes];
        if let Some(lacking) = self.lacking(ends) {
            return Ok(lacking);
        }
        let footer = select::footer(&path, &*file, bytes)?;
        if let Some(lacking) = self.lacking([footer.range()]) {
            return Ok(lacking);
        }
        let top = select::top_index(&path, &*file, bytes, footer)?;
        if let Some(lacking) = self.lacking([top.range()]) {
            return Ok(lacking);
        }
        let reader = Reader::of_file(path, file, self.meta.clone(), Arc::new(Cache::new(0)))?;
        let may_hold = |first: &[u8], last: &[u8]| self.prefixes.may_hold(first, last);
        let index = reader.index_blocks(may_hold)?;
        if let Some(lacking) = self.lacking(index.iter().map(Named::range)) {
            return Ok(lacking);
        }
        let mut blocks = Vec::new();
        for index in &index {
            blocks.extend(reader.data_blocks(index, may_hold)?);
        }
        self.found = Some((reader, blocks));
        Ok(Vec::new())
    }

    fn lacking(&self, ranges: impl IntoIterator<Item = Range<u64>>) -> Option<Vec<Range<u64>>> {
        let ends = |range: Range<u64>| range.start.min(self.meta.bytes)..range.end.min(self.meta.bytes);
        let ranges = joined(ranges.into_iter().map(ends), GAP_BYTES_MAX);
        let lacking = self.pieces.lacking(&ranges);
        (!lacking.is_empty()).then_some(lacking)
    }

    /// Where the data blocks are.
    fn data(&self) -> Vec<Range<u64>> {
        let blocks = self.found.iter().flat_map(|(_, blocks)| blocks);
        joined(blocks.map(Named::range), GAP_BYTES_MAX)
    }
}
