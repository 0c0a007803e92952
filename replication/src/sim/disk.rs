//! The disk of a simulated machine: what outlives its processes, and what goes wrong with it.
//!
//! - A process has the disk through a [`BootFs`] of its own, which is dead once the process is: what its destructors try
//!   does not reach the disk any more.
//! - A killed process loses nothing, and what it had not synced can still be lost by a power cut after its successor has read it.
//! - A sync that failed has made nothing durable; every later sync of the same file in the same process is answered and
//!   not done, as some kernels do. A process that goes on after a failed sync loses what it acknowledges.

#[cfg(test)]
mod tests;

use crate::runtime::sim::SplitMix;
use engine::fs::sim::{Faults, Sim, Unsynced};
use engine::fs::{DirLock, File, Fs, Space};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The disk of one machine. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    sim: Sim,
    state: Arc<Mutex<State>>,
}

/// What is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A sync of a file.
    Sync,
    /// A write, or what reserves space for one.
    Write,
    /// A read of bytes.
    Read,
}

/// A failure to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Of what.
    pub operation: Operation,
    /// Of which files: those whose path has this in it.
    pub of: &'static str,
    /// How many of them succeed before.
    pub after: u64,
}

/// What has gone wrong with a disk so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Writes that failed.
    pub failed_writes: u64,
    /// Reads that failed.
    pub failed_reads: u64,
    /// Writes refused because the disk was full.
    pub full: u64,
    /// Bits that were flipped.
    pub flipped_bits: u64,
}

#[derive(Debug, Default)]
struct State {
    boot: u64,
    is_on: bool,
    failure: Option<Failure>,
    /// Files of which a sync has failed in this boot.
    unsyncable: BTreeSet<PathBuf>,
    counters: DiskCounters,
}

impl Disk {
    /// What the next process gets of the disk.
    pub fn boot(&self) -> BootFs {
        let mut state = self.state.lock();
        assert!(!state.is_on, "one process has the disk");
        state.is_on = true;
        state.boot += 1;
        BootFs { disk: self.clone(), boot: state.boot }
    }

    /// Takes the disk from its process. Nothing that it still does has any effect.
    pub fn take_away(&self) {
        let mut state = self.state.lock();
        state.is_on = false;
        state.failure = None;
        state.unsyncable.clear();
    }

    /// Ends what the process had open; what was not synced stays as it is. The disk was [taken away](Self::take_away).
    pub fn kill(&self) {
        assert!(!self.state.lock().is_on, "the process is alive");
        self.keeping_capacity(Sim::kill);
    }

    /// Cuts the power, likewise.
    pub fn crash(&self, unsynced: Unsynced) {
        assert!(!self.state.lock().is_on, "the process is alive");
        self.keeping_capacity(|sim| sim.crash(unsynced));
    }

    fn keeping_capacity(&self, end: impl FnOnce(&Sim)) {
        let space = self.sim.space(Path::new("/"));
        end(&self.sim);
        if let Ok(space) = space {
            self.sim.set_faults(Faults { capacity: Some(space.total), ..Faults::default() });
        }
    }

    /// Has an operation of this boot fail. Replaces a failure that has not happened yet.
    pub fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
    }

    /// Nothing that has not happened yet goes wrong.
    pub fn heal(&self) {
        self.state.lock().failure = None;
        self.set_free(None);
    }

    /// Leaves this many bytes free; `None` frees the disk.
    pub fn set_free(&self, bytes: Option<u64>) {
        self.sim.set_faults(Faults::default());
        let (Some(bytes), Ok(space)) = (bytes, self.sim.space(Path::new("/"))) else { return };
        let capacity = Some(space.total - space.available + bytes);
        self.sim.set_faults(Faults { capacity, ..Faults::default() });
    }

    /// Flips a bit of a file whose path has `of` in it, if there is one; says where.
    pub fn flip_bit(&self, of: &str, random: &mut SplitMix) -> Option<(PathBuf, u64)> {
        let mut files = self.sim.files();
        files.retain(|(path, len)| *len > 0 && path.to_string_lossy().contains(of));
        if files.is_empty() {
            return None;
        }
        let chosen = usize::try_from(random.below(files.len() as u64)).ok()?;
        let (path, len) = files.swap_remove(chosen);
        let offset = random.below(len);
        let bit = u8::try_from(random.below(8)).ok()?;
        self.sim.flip_bit(&path, offset, bit).ok()?;
        self.state.lock().counters.flipped_bits += 1;
        Some((path, offset))
    }

    /// Flips the lowest bit of one byte of a file.
    ///
    /// # Errors
    ///
    /// When the file or the byte is not there.
    pub fn flip(&self, path: &Path, offset: u64) -> io::Result<()> {
        self.sim.flip_bit(path, offset, 0)
    }

    /// Removes everything.
    pub fn wipe(&self) {
        assert!(!self.state.lock().is_on, "the process is alive");
        self.sim.set_faults(Faults::default());
        for (path, _) in self.sim.files() {
            if let Some(root) = path.ancestors().filter(|dir| dir.parent().is_some()).last() {
                self.sim.remove_dir_all(root).unwrap_or_default();
            }
        }
        self.sim.crash(Unsynced::Kept);
    }

    /// The disk underneath, to be looked at.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.sim.files()
    }

    /// What has gone wrong so far.
    pub fn counters(&self) -> DiskCounters {
        self.state.lock().counters
    }
}

impl State {
    /// Whether the failure that is to come is this operation.
    fn fails(&mut self, operation: Operation, path: &Path) -> bool {
        let Some(failure) = &mut self.failure else { return false };
        if failure.operation != operation || !path.to_string_lossy().contains(failure.of) {
            return false;
        }
        if failure.after > 0 {
            failure.after -= 1;
            return false;
        }
        self.failure = None;
        match operation {
            Operation::Sync => self.counters.failed_syncs += 1,
            Operation::Write => self.counters.failed_writes += 1,
            Operation::Read => self.counters.failed_reads += 1,
        }
        true
    }
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk failed this operation")
}

/// The disk of a machine, as one process has it.
#[derive(Debug, Clone)]
pub struct BootFs {
    disk: Disk,
    boot: u64,
}

impl BootFs {
    /// Refuses when the process is dead.
    fn alive(&self) -> io::Result<&Sim> {
        let state = self.disk.state.lock();
        if state.is_on && state.boot == self.boot {
            Ok(&self.disk.sim)
        } else {
            Err(io::Error::other("the process is dead"))
        }
    }

    /// Likewise, and fails when it is this operation's turn.
    fn admit(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.alive()?;
        if self.disk.state.lock().fails(operation, path) {
            return Err(failed());
        }
        Ok(())
    }

    fn note_full<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull) {
            self.disk.state.lock().counters.full += 1;
        }
        done
    }

    fn file(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(BootFile { fs: self.clone(), path: path.to_path_buf(), file })
    }
}

impl Fs for BootFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.note_full(self.alive()?.create(path))?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.alive()?.open(path)?))
    }

    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.file(path, self.alive()?.open_rw(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.alive()?.remove_dir_all(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.alive()?.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        self.alive()?.read_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.alive()?.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.alive()?.exists(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.alive()?.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.alive()?.lock(path)
    }
}

#[derive(Debug)]
struct BootFile {
    fs: BootFs,
    path: PathBuf,
    file: Arc<dyn File>,
}

impl File for BootFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.admit(Operation::Read, &self.path)?;
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.fs.admit(Operation::Write, &self.path)?;
        self.fs.note_full(self.file.write_at(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.alive()?;
        {
            let mut state = self.fs.disk.state.lock();
            if state.unsyncable.contains(&self.path) {
                return Ok(());
            }
            if state.fails(Operation::Sync, &self.path) {
                state.unsyncable.insert(self.path.clone());
                return Err(failed());
            }
        }
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.alive()?;
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.alive()?;
        self.fs.note_full(self.file.set_len(len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fs.admit(Operation::Write, &self.path)?;
        self.fs.note_full(self.file.allocate(len))
    }
}
