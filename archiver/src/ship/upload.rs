//! One checkpoint on its way to the archive: tables first, what names them last.

use crate::checkpoint::{Checkpoint, MANIFEST_BYTES_MAX, Table};
use crate::layout::TableDigest;
use crate::{Error, Result};
use bytes::Bytes;
use engine::Engine;
use engine::fs::{Fs, read_file};
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;

const DIRECTORY: &str = "checkpoint";

/// A checkpoint whose tables are being uploaded.
#[derive(Debug)]
pub(crate) struct Upload {
    checkpoint: Checkpoint,
    left: VecDeque<Table>,
    done_bytes: u64,
    total_bytes: u64,
}

impl Upload {
    /// Tables in `known` are in the archive already.
    pub(crate) fn new(checkpoint: Checkpoint, known: &BTreeSet<TableDigest>) -> Self {
        let new = |table: &&Table| !known.contains(&table.digest);
        let left: VecDeque<Table> = checkpoint.tables.iter().filter(new).copied().collect();
        let total_bytes = left.iter().map(|table| table.bytes).sum();
        Self { checkpoint, left, done_bytes: 0, total_bytes }
    }

    pub(crate) const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The table to upload next.
    pub(crate) fn next(&self) -> Option<Table> {
        self.left.front().copied()
    }

    /// The table was uploaded.
    pub(crate) fn done(&mut self, table: &Table) {
        self.left.retain(|left| left.digest != table.digest);
        self.done_bytes += table.bytes;
    }

    /// Bytes done, and in all.
    pub(crate) const fn progress(&self) -> (u64, u64) {
        (self.done_bytes, self.total_bytes)
    }
}

/// Makes a checkpoint of the engine in the scratch directory; also returns its manifest.
pub(crate) fn make(engine: &Engine, fs: &dyn Fs, scratch: &Path) -> Result<(Vec<u8>, engine::Checkpoint)> {
    clean(fs, scratch)?;
    let directory = scratch.join(DIRECTORY);
    fs.create_dir_all(&directory).map_err(Error::io("create", &directory))?;
    let made = engine.checkpoint(&directory)?;
    let path = directory.join("manifest");
    let manifest = read_file(fs, &path, MANIFEST_BYTES_MAX as u64).map_err(Error::io("read", &path))?;
    Ok((manifest, made))
}

/// The tables of a checkpoint, sorted by digest.
pub(crate) fn tables(made: &engine::Checkpoint) -> Result<Vec<Table>> {
    let table = |(name, bytes): &(String, u64)| {
        let digest = TableDigest::from_file_name(name);
        let what = || Error::Differs { what: format!("the engine names a table {name}") };
        Ok(Table { digest: digest.ok_or_else(what)?, bytes: *bytes, sealed: None })
    };
    let mut tables = made.tables.iter().map(table).collect::<Result<Vec<_>>>()?;
    tables.sort_unstable();
    Ok(tables)
}

/// Reads a table of the checkpoint in the scratch directory. A table that changed on disk is not shipped.
pub(crate) fn read_table(fs: &dyn Fs, scratch: &Path, table: &Table) -> Result<Bytes> {
    let path = scratch.join(DIRECTORY).join("tables").join(table.digest.file_name());
    let bytes = read_file(fs, &path, table.bytes).map_err(Error::io("read", &path))?;
    if TableDigest::of(&bytes) != table.digest {
        let expected = "the bytes whose digest is the name of the file".to_owned();
        return Err(engine::Error::Damaged { path, offset: 0, expected }.into());
    }
    Ok(bytes.into())
}

/// Removes what an earlier checkpoint left.
pub(crate) fn clean(fs: &dyn Fs, scratch: &Path) -> Result<()> {
    let directory = scratch.join(DIRECTORY);
    fs.remove_dir_all(&directory).map_err(Error::io("remove", &directory))
}
