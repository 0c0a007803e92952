//! A disk in memory that crashes on request and keeps only what was promised.
//!
//! - Each file has its bytes as a reader sees them, and as they were at the last sync, with the
//!   writes since then in order. Each directory has its names now, and at its last sync, with the changes since.
//! - [`Sim::crash`] gives the disk that the next boot finds: what was synced, and of the rest what
//!   [`Unsynced`] says. Bytes and names that were not synced are kept or lost independently: a name can be
//!   there before its bytes, and a later write without an earlier one, of the same file or of another.
//! - The operation at which the power goes has reached the disk in part: it is one more that was not synced.
//! - A plan ([`Faults`]) can stop everything at the nth operation, fail one operation or one read, flip a bit of
//!   what one read brings, leave syncs out, or fill up.

mod file;
mod inode;
mod names;
#[cfg(test)]
mod tests;

use super::{DirLock, File, Fs, Space};
use file::SimFile;
use inode::Inode;
use names::{Dir, NameChange};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a crash leaves of the bytes and names that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// Everything, as after a killed process.
    Kept,
    /// A part, drawn from this seed: whole 512-byte sectors of any write, and any number of the first name
    /// changes of each directory, as a journal keeps them.
    Torn(u64),
    /// Another part, drawn from this seed: late writes and name changes rather than early ones, each whole,
    /// whatever file or directory they are of.
    Reordered(u64),
}

/// What the disk does wrong, and when. Operations are counted from 1.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// This sync and everything after it fails: the power went.
    pub stop_at_sync: Option<u64>,
    /// This write, sync, creation, rename, link or removal fails half way, and everything after it.
    pub stop_at_op: Option<u64>,
    /// This operation alone fails; a write has then written its first half.
    pub fail_op: Option<u64>,
    /// This read of bytes alone fails.
    pub fail_read: Option<u64>,
    /// What this read brings has one bit flipped; what is stored is not touched.
    pub flip_read: Option<u64>,
    /// Syncs of files whose name, when they were created or opened, holds this are answered and not done.
    pub ignore_syncs_of: Option<&'static str>,
    /// This one sync, of a file or a directory, is answered and not done.
    pub ignore_sync: Option<u64>,
    /// The size of the disk, in bytes.
    pub capacity: Option<u64>,
}

/// How often the disk was asked for what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything that changes the disk.
    pub ops: u64,
    /// Syncs of files and directories.
    pub syncs: u64,
    /// Reads of bytes.
    pub reads: u64,
}

/// One sync that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The directory, or the file by the name it had when it was created or opened.
    pub path: PathBuf,
    /// Whether it was a directory.
    pub is_dir: bool,
    /// Whether it was never synced before.
    pub is_first: bool,
    /// Writes, cuts or name changes that it made durable.
    pub changes: usize,
    /// Whether a cut of the file was among them.
    pub cuts: bool,
}

/// A simulated disk. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Sim {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    counts: Counts,
    synced: Vec<Synced>,
    stopped: bool,
    /// Rises with every crash: handles of an earlier boot are dead.
    boot: u64,
    next_inode: u64,
    /// Orders all changes that were not synced yet.
    next_change: u64,
}

const DEFAULT_CAPACITY: u64 = 1 << 40;

impl Sim {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another disk that holds what a reader sees on this one now, all of it durable.
    #[must_use]
    pub fn fork(&self) -> Sim {
        let state = self.state.lock();
        let inodes = state.inodes.iter().map(|(id, inode)| (*id, inode.settled())).collect();
        let dirs = state.dirs.iter().map(|(path, dir)| (path.clone(), dir.settled())).collect();
        let copy = State { inodes, dirs, next_inode: state.next_inode, ..State::default() };
        Sim { state: Arc::new(Mutex::new(copy)) }
    }

    /// Sets what goes wrong from now on; counting starts again at 0.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.lock();
        state.faults = faults;
        state.counts = Counts::default();
        state.synced.clear();
        state.stopped = false;
    }

    /// Operations since the faults were set.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// The syncs since the faults were set, in order: the first is number 1.
    pub fn synced(&self) -> Vec<Synced> {
        self.state.lock().synced.clone()
    }

    /// Cuts the power: every handle and lock is dead, and the disk holds what `unsynced` says.
    pub fn crash(&self, unsynced: Unsynced) {
        let mut state = self.state.lock();
        let mut draw = Draw::new(unsynced, state.oldest_change(), state.next_change);
        for inode in state.inodes.values_mut() {
            inode.crash(&mut draw);
        }
        for dir in state.dirs.values_mut() {
            dir.crash(&mut draw);
        }
        state.end_boot();
    }

    /// Ends the process that uses the disk: every handle and lock is dead. Nothing is lost, and nothing becomes durable:
    /// what was not synced can be read, and a later crash may still take it.
    pub fn kill(&self) {
        self.state.lock().end_boot();
    }

    /// Flips one bit of a file where it is stored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] when the file or the byte is not there.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = state.lookup(path)?;
        let inode = state.inodes.get_mut(&id).ok_or(ErrorKind::NotFound)?;
        inode.flip_bit(offset, bit).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Every file, with its length in bytes, sorted.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let state = self.state.lock();
        let in_dir = |(dir, entry): (&PathBuf, &Dir)| {
            let files = entry.names.iter().map(|(name, id)| (dir.join(name), state.inodes[id].len()));
            files.collect::<Vec<_>>()
        };
        state.dirs.iter().flat_map(in_dir).collect()
    }
}

/// Which of the changes that were not synced a crash keeps.
#[derive(Debug)]
pub(super) struct Draw {
    unsynced: Unsynced,
    random: SplitMix,
    /// In [`Unsynced::Reordered`], changes from this one on are late.
    late_from: u64,
}

/// In [`Unsynced::Reordered`], one in this many early changes is kept, and as many late ones are lost.
const EXCEPTIONS: u64 = 8;

impl Draw {
    fn new(unsynced: Unsynced, oldest: u64, next: u64) -> Self {
        let (Unsynced::Torn(seed) | Unsynced::Reordered(seed)) = unsynced else {
            return Self { unsynced, random: SplitMix(0), late_from: 0 };
        };
        let mut random = SplitMix(seed);
        let late_from = oldest + random.below(next - oldest + 1) as u64;
        Self { unsynced, random, late_from }
    }

    /// Whether a change as a whole is kept.
    fn keeps(&mut self, change: u64) -> bool {
        match self.unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Torn(_) => self.random.below(2) == 0,
            Unsynced::Reordered(_) => (change >= self.late_from) != (self.random.below(EXCEPTIONS) == 0),
        }
    }

    /// How many of `count` name changes a journal kept; `None` where each is drawn alone.
    fn kept_of(&mut self, count: usize) -> Option<usize> {
        match self.unsynced {
            Unsynced::Torn(_) => Some(self.random.below(count as u64 + 1)),
            _ => None,
        }
    }

    /// Whether writes are cut where sectors begin.
    const fn tears(&self) -> bool {
        matches!(self.unsynced, Unsynced::Torn(_))
    }
}

impl State {
    fn end_boot(&mut self) {
        self.locks.clear();
        self.faults = Faults::default();
        self.stopped = false;
        self.boot += 1;
        self.inodes.values_mut().for_each(|inode| inode.handles = 0);
        self.collect();
    }

    fn lookup(&self, path: &Path) -> io::Result<u64> {
        let (dir, name) = split(path)?;
        let dir = self.dirs.get(dir).ok_or(ErrorKind::NotFound)?;
        dir.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn change_number(&mut self) -> u64 {
        self.next_change += 1;
        self.next_change - 1
    }

    fn oldest_change(&self) -> u64 {
        let of_files = self.inodes.values().filter_map(Inode::oldest_change);
        of_files.chain(self.dirs.values().filter_map(Dir::oldest_change)).min().unwrap_or(self.next_change)
    }

    /// Changes a name, when it can be.
    fn rename_in(&mut self, dir: &Path, change: NameChange) -> io::Result<()> {
        let number = self.change_number();
        self.dir(dir)?.change(number, change);
        Ok(())
    }

    /// Fails once the power has gone; reads and writes both pass here.
    fn powered(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the simulated disk lost its power")) } else { Ok(()) }
    }

    /// Counts an operation that changes the disk, and does it. When the power goes in the middle of it, it
    /// counts among what was not synced.
    fn operate<T>(&mut self, action: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.powered()?;
        self.counts.ops += 1;
        let op = self.counts.ops;
        if self.faults.fail_op == Some(op) {
            return Err(failed());
        }
        let done = action(self);
        self.stopped |= self.faults.stop_at_op.is_some_and(|at| op >= at);
        self.powered()?;
        done
    }

    /// Counts a sync; whether it is to be done.
    fn count_sync(&mut self, synced: Synced) -> io::Result<bool> {
        self.powered()?;
        self.counts.ops += 1;
        self.counts.syncs += 1;
        self.synced.push(synced);
        let Counts { ops, syncs, .. } = self.counts;
        let Faults { stop_at_sync, stop_at_op, .. } = self.faults;
        self.stopped = stop_at_sync.is_some_and(|at| syncs >= at) || stop_at_op.is_some_and(|at| ops >= at);
        self.powered()?;
        if self.faults.fail_op == Some(ops) {
            return Err(failed());
        }
        Ok(self.faults.ignore_sync != Some(syncs))
    }

    fn space(&self) -> Space {
        let total = self.faults.capacity.unwrap_or(DEFAULT_CAPACITY);
        let linked: BTreeSet<u64> = self.dirs.values().flat_map(|dir| dir.names.values().copied()).collect();
        let used: u64 = linked.iter().map(|id| self.inodes[id].len()).sum();
        Space { available: total.saturating_sub(used), total }
    }

    fn room_for(&self, id: u64, len: u64) -> io::Result<()> {
        let grows = self.inodes.get(&id).map_or(len, |inode| len.saturating_sub(inode.len()));
        if grows > 0 && grows > self.space().available { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Forgets files that no name can lead to any more and nobody has open.
    fn collect(&mut self) {
        let named: BTreeSet<u64> = self.dirs.values().flat_map(Dir::inodes).collect();
        self.inodes.retain(|id, inode| inode.handles > 0 || named.contains(id));
    }
}

fn failed() -> io::Error {
    io::Error::other("the simulated disk failed this operation")
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| ErrorKind::InvalidInput.into())
}

#[derive(Debug)]
struct SimLock {
    sim: Sim,
    path: PathBuf,
    boot: u64,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.sim.state.lock();
        if state.boot == self.boot {
            state.locks.remove(&self.path);
        }
    }
}

impl Fs for Sim {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        let id = state.operate(|state| {
            let (dir, name) = split(path)?;
            if state.dir(dir)?.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let id = state.next_inode;
            state.next_inode += 1;
            state.inodes.insert(id, Inode::default());
            state.rename_in(dir, NameChange::added(name, id))?;
            Ok(id)
        })?;
        SimFile::open(self, &mut state, id, path, true)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.powered()?;
        let id = state.lookup(path)?;
        SimFile::open(self, &mut state, id, path, false)
    }

    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.powered()?;
        let id = state.lookup(path)?;
        SimFile::open(self, &mut state, id, path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| {
            let id = state.lookup(from)?;
            let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
            assert_eq!(from_dir, to_dir, "the simulated disk renames within one directory");
            state.rename_in(to_dir, NameChange::moved(from_name, to_name, id))
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| {
            let id = state.lookup(from)?;
            let (dir, name) = split(to)?;
            if state.dir(dir)?.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.rename_in(dir, NameChange::added(name, id))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| {
            state.lookup(path)?;
            let (dir, name) = split(path)?;
            state.rename_in(dir, NameChange::removed(name))
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| {
            state.dirs.retain(|dir, _| !dir.starts_with(path));
            state.collect();
            Ok(())
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.state.lock().operate(|state| {
            for dir in path.ancestors() {
                state.dirs.entry(dir.to_path_buf()).or_default();
            }
            Ok(())
        })
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.powered()?;
        let mut names: Vec<String> = state.dir(path)?.names.keys().cloned().collect();
        let below = state.dirs.keys().filter(|dir| dir.parent() == Some(path));
        names.extend(below.filter_map(|dir| dir.file_name()).map(|name| name.to_string_lossy().into_owned()));
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let dir = state.dir(path)?;
        let (changes, is_first) = (dir.unsynced(), !std::mem::replace(&mut dir.was_synced, true));
        let path_buf = path.to_path_buf();
        if state.count_sync(Synced { path: path_buf, is_dir: true, is_first, changes, cuts: false })? {
            state.dir(path)?.sync();
            state.collect();
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state.lock();
        state.powered()?;
        Ok(state.dirs.contains_key(path) || state.lookup(path).is_ok())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        state.powered()?;
        Ok(state.space())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let mut state = self.state.lock();
        state.powered()?;
        if !state.locks.insert(path.to_path_buf()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { sim: self.clone(), path: path.to_path_buf(), boot: state.boot }))
    }
}

/// A small generator (Steele et al., SplitMix64): a crash is repeated from its seed.
#[derive(Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to `end`, exclusive.
    pub(crate) fn below(&mut self, end: u64) -> usize {
        usize::try_from(self.next() % end).expect("a simulated length fits memory")
    }
}
