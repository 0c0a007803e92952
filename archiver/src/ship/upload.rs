//! One checkpoint on its way to the archive: tables first, what names them last.
//!
//! - Several tables are on their way at once, bounded by number and by bytes in memory; reading, hashing and encrypting them
//!   runs off the runtime's threads.
//! - They go on while segments are shipped. Dropping an upload ends them.

use crate::bugs::{self, Bug};
use crate::checkpoint::{Checkpoint, MANIFEST_BYTES_MAX, SealedTable, Table};
use crate::error::blocking;
use crate::job::{Job, Outcome};
use crate::layout::{Digest, Kind, LineageFolder, Name, TableDigest};
use crate::runtime::{self, Task};
use crate::seal::Recipients;
use crate::store::ObjectStore;
use crate::store::s3::smooth;
use crate::{Error, Result};
use bytes::Bytes;
use engine::Engine;
use engine::fs::{Fs, read_file};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIRECTORY: &str = "checkpoint";
/// Tables on their way at a time.
const TABLES_AT_ONCE: usize = 4;
/// Bytes of tables on their way at a time, if there is more than one.
const BYTES_AT_ONCE: u64 = 128 << 20;

/// A checkpoint whose tables are being uploaded.
#[derive(Debug)]
pub(super) struct Upload {
    checkpoint: Checkpoint,
    left: VecDeque<Table>,
    running: FuturesUnordered<Task<(Table, Result<Table>)>>,
    running_bytes: u64,
    /// Tables that are in the archive, as they are stored.
    stored: BTreeMap<TableDigest, Table>,
    done_bytes: u64,
    total_bytes: u64,
    job: Job,
}

/// A table that is in the archive now.
#[derive(Debug)]
pub(super) struct Uploaded {
    pub(super) table: Table,
}

impl Upload {
    /// Tables in `known` are in the archive already.
    pub(super) fn new(checkpoint: Checkpoint, known: &BTreeMap<TableDigest, Table>, job: Job) -> Self {
        let is_known = |table: &&Table| known.contains_key(&table.digest);
        let (there, left): (Vec<&Table>, Vec<&Table>) = checkpoint.tables.iter().partition(is_known);
        let stored = there.iter().filter_map(|table| known.get_key_value(&table.digest));
        let stored = stored.map(|(digest, table)| (*digest, *table)).collect();
        let left: VecDeque<Table> = left.into_iter().copied().collect();
        let total_bytes = left.iter().map(|table| table.bytes).sum();
        job.phase("tables");
        job.total_bytes(total_bytes);
        let (running, running_bytes, done_bytes) = (FuturesUnordered::new(), 0, 0);
        Self { checkpoint, left, running, running_bytes, stored, done_bytes, total_bytes, job }
    }

    pub(super) const fn job(&self) -> &Job {
        &self.job
    }

    /// The checkpoint, with its tables as they are stored.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let tables = self.stored.values().copied().collect();
        Checkpoint { tables, ..self.checkpoint.clone() }
    }

    /// Sends as many tables on their way as may be.
    pub(super) fn fill(&mut self, put: &Put) {
        while let Some(table) = self.left.front().copied() {
            let fits =
                self.running.len() < TABLES_AT_ONCE && self.running_bytes + table.bytes <= BYTES_AT_ONCE;
            if !fits && !self.running.is_empty() {
                return;
            }
            self.left.pop_front();
            self.running_bytes += table.bytes;
            let (put, job) = (put.clone(), self.job.clone());
            self.running.push(runtime::spawn(async move { (table, put.table(&table, &job).await) }));
        }
    }

    /// Waits for the next table; `None` when none is on its way. Nothing is lost when the caller stops waiting.
    pub(super) async fn next(&mut self) -> Option<Result<Uploaded>> {
        let (asked, done) = match self.running.next().await? {
            Ok(done) => done,
            Err(ended) => {
                ended.resume_panic();
                return Some(Err(Error::Stopped));
            }
        };
        self.running_bytes -= asked.bytes;
        Some(match done {
            Ok(table) => {
                self.stored.insert(table.digest, table);
                self.done_bytes += table.bytes;
                self.job.done_bytes(table.bytes);
                Ok(Uploaded { table })
            }
            Err(error) => {
                self.begin_again();
                Err(error)
            }
        })
    }

    /// Stops what is on its way: after a failure the rest is not waited for.
    fn begin_again(&mut self) {
        self.running = FuturesUnordered::new();
        self.running_bytes = 0;
        let missing = |table: &&Table| !self.stored.contains_key(&table.digest);
        self.left = self.checkpoint.tables.iter().filter(missing).copied().collect();
    }

    /// Bytes done, and in all.
    pub(super) const fn progress(&self) -> (u64, u64) {
        (self.done_bytes, self.total_bytes)
    }
}

impl Drop for Upload {
    /// An upload that did not end was given up. Only the first end of a job counts.
    fn drop(&mut self) {
        self.job.end(Outcome::Failed("given up: another checkpoint follows".to_owned()));
    }
}

/// How a table gets to the archive.
#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) scratch: PathBuf,
    pub(super) recipients: Recipients,
    pub(super) lineage: LineageFolder,
    pub(super) group: u64,
}

impl Put {
    /// Puts one table; returns it as it is stored.
    async fn table(&self, table: &Table, job: &Job) -> Result<Table> {
        let (fs, scratch, recipients) = (self.fs.clone(), self.scratch.clone(), self.recipients.clone());
        let mut table = *table;
        job.throttle(table.bytes).await;
        let read = blocking(move || {
            let plain = read_table(&*fs, &scratch, &table)?;
            let bytes = recipients.seal(plain)?;
            // What is not encrypted was hashed when it was read.
            let stored = (!recipients.is_nobody())
                .then(|| SealedTable { digest: Digest::of(&bytes), bytes: bytes.len() as u64 });
            Ok((bytes, stored))
        });
        let (bytes, sealed) = read.await?;
        table.sealed = sealed;
        let name = Name { lineage: self.lineage, kind: Kind::Table(self.group, table.name()) };
        if !bugs::seeded(Bug::TableNotPut) {
            let name = name.to_string();
            let put = self.store.put(&name, bytes);
            match job.bytes_per_s_max() {
                Some(bytes_per_s) => smooth::at(bytes_per_s, put).await?,
                None => put.await?,
            }
        }
        Ok(table)
    }
}

/// Makes a checkpoint of the engine in the scratch directory; also returns its manifest.
pub(super) fn make(engine: &Engine, fs: &dyn Fs, scratch: &Path) -> Result<(Vec<u8>, engine::Checkpoint)> {
    clean(fs, scratch)?;
    let directory = scratch.join(DIRECTORY);
    fs.create_dir_all(&directory).map_err(Error::io("create", &directory))?;
    let made = engine.checkpoint(&directory)?;
    let path = directory.join("manifest");
    let manifest = read_file(fs, &path, MANIFEST_BYTES_MAX as u64).map_err(Error::io("read", &path))?;
    Ok((manifest, made))
}

/// The tables of a checkpoint, sorted by digest.
pub(super) fn tables(made: &engine::Checkpoint) -> Result<Vec<Table>> {
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
fn read_table(fs: &dyn Fs, scratch: &Path, table: &Table) -> Result<Bytes> {
    let path = scratch.join(DIRECTORY).join("tables").join(table.digest.file_name());
    let bytes = read_file(fs, &path, table.bytes).map_err(Error::io("read", &path))?;
    if TableDigest::of_giving_way(&bytes) != table.digest {
        let expected = "the bytes whose digest is the name of the file".to_owned();
        return Err(engine::Error::Damaged { path, offset: 0, expected }.into());
    }
    Ok(bytes.into())
}

/// Removes what an earlier checkpoint left.
pub(super) fn clean(fs: &dyn Fs, scratch: &Path) -> Result<()> {
    let directory = scratch.join(DIRECTORY);
    fs.remove_dir_all(&directory).map_err(Error::io("remove", &directory))
}
