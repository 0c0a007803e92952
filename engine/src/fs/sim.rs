//! A disk in memory that crashes on request and keeps only what was promised.
//!
//! - Each file has its bytes as a reader sees them, and as they were at the last sync, with the
//!   writes since then in order. Each directory has its names now, and at its last sync.
//! - [`Sim::crash`] gives the disk that the next boot finds: what was synced, and of the rest
//!   nothing, everything, or a part drawn from a seed (whole 512-byte sectors of any unsynced
//!   write, and any number of the first unsynced name changes of each directory).
//! - A plan can stop everything at the nth operation, fail one operation, ignore syncs, or fill up.

mod inode;

use super::{DirLock, File, Fs, Space};
use inode::Inode;
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
    /// A part, drawn from this seed.
    Torn(u64),
}

/// What the disk does wrong, and when. Operations are counted from 1.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// This sync and everything after it fails: the power went.
    pub stop_at_sync: Option<u64>,
    /// This write, sync, creation, rename, link or removal fails, and everything after it.
    pub stop_at_op: Option<u64>,
    /// This operation alone fails.
    pub fail_op: Option<u64>,
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
    stopped: bool,
    /// Rises with every crash: handles of an earlier boot are dead.
    boot: u64,
    next_inode: u64,
}

/// Whether a sync that is answered is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Done,
    Ignored,
}

#[derive(Debug, Default, Clone)]
struct Dir {
    names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// The names after each change since the last sync, in order.
    changes: Vec<BTreeMap<String, u64>>,
}

impl Dir {
    fn changed(&mut self) {
        self.changes.push(self.names.clone());
    }
}

const DEFAULT_CAPACITY: u64 = 1 << 40;

impl Sim {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what goes wrong from now on; counting starts again at 0.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.state.lock();
        state.faults = faults;
        state.counts = Counts::default();
        state.stopped = false;
    }

    /// Operations since the faults were set.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Cuts the power: every handle and lock is dead, and the disk holds what `unsynced` says.
    pub fn crash(&self, unsynced: Unsynced) {
        let mut state = self.state.lock();
        let mut random = SplitMix(match unsynced {
            Unsynced::Torn(seed) => seed,
            _ => 0,
        });
        for inode in state.inodes.values_mut() {
            inode.crash(unsynced, &mut random);
        }
        for dir in state.dirs.values_mut() {
            let kept = match unsynced {
                Unsynced::Lost => 0,
                Unsynced::Kept => dir.changes.len(),
                Unsynced::Torn(_) => random.below(dir.changes.len() as u64 + 1),
            };
            if kept > 0 {
                dir.durable = dir.changes[kept - 1].clone();
            }
            dir.names = dir.durable.clone();
            dir.changes.clear();
        }
        state.locks.clear();
        state.faults = Faults::default();
        state.stopped = false;
        state.boot += 1;
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

impl State {
    fn lookup(&self, path: &Path) -> io::Result<u64> {
        let (dir, name) = split(path)?;
        let dir = self.dirs.get(dir).ok_or(ErrorKind::NotFound)?;
        dir.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Dir> {
        self.dirs.get_mut(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Fails once the power has gone; reads and writes both pass here.
    fn powered(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the simulated disk lost its power")) } else { Ok(()) }
    }

    fn count_op(&mut self) -> io::Result<()> {
        self.powered()?;
        self.counts.ops += 1;
        let op = self.counts.ops;
        self.stopped = self.faults.stop_at_op.is_some_and(|at| op >= at);
        self.powered()?;
        if self.faults.fail_op == Some(op) {
            return Err(io::Error::other("the simulated disk failed this operation"));
        }
        Ok(())
    }

    fn count_sync(&mut self) -> io::Result<Sync> {
        self.count_op()?;
        self.counts.syncs += 1;
        let sync = self.counts.syncs;
        self.stopped = self.faults.stop_at_sync.is_some_and(|at| sync >= at);
        self.powered()?;
        Ok(if self.faults.ignore_sync == Some(sync) { Sync::Ignored } else { Sync::Done })
    }

    fn space(&self) -> Space {
        let total = self.faults.capacity.unwrap_or(DEFAULT_CAPACITY);
        let linked: BTreeSet<u64> = self.dirs.values().flat_map(|dir| dir.names.values().copied()).collect();
        let used: u64 = linked.iter().map(|id| self.inodes[id].len()).sum();
        Space { available: total.saturating_sub(used), total }
    }

    fn room_for(&self, id: u64, len: u64) -> io::Result<()> {
        let grows = len.saturating_sub(self.inodes[&id].len());
        if grows > self.space().available { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| ErrorKind::InvalidInput.into())
}

#[derive(Debug)]
struct SimFile {
    sim: Sim,
    inode: u64,
    boot: u64,
    name: String,
    writable: bool,
}

impl SimFile {
    /// Runs `action` on the inode unless the power has gone since the file was opened.
    fn with<T>(&self, action: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.sim.state.lock();
        state.powered()?;
        if state.boot != self.boot {
            return Err(io::Error::other("the file was opened before the simulated crash"));
        }
        action(&mut state, self.inode)
    }

    fn change<T>(&self, action: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        self.with(|state, id| {
            if !self.writable {
                return Err(ErrorKind::PermissionDenied.into());
            }
            state.count_op()?;
            action(state, id)
        })
    }
}

fn inode(state: &mut State, id: u64) -> io::Result<&mut Inode> {
    state.inodes.get_mut(&id).ok_or_else(|| ErrorKind::NotFound.into())
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state, id| Ok(inode(state, id)?.read_at(buf, offset)))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|state, id| {
            state.room_for(id, offset + bytes.len() as u64)?;
            inode(state, id)?.write_at(bytes, offset);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            let ignored = state.count_sync()? == Sync::Ignored;
            if !ignored && !state.faults.ignore_syncs_of.is_some_and(|part| self.name.contains(part)) {
                inode(state, id)?.sync();
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(inode(state, id)?.len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|state, id| {
            state.room_for(id, len)?;
            inode(state, id)?.set_len(len);
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(|state, id| {
            state.room_for(id, len)?;
            let inode = inode(state, id)?;
            if len > inode.len() {
                inode.set_len(len);
            }
            Ok(())
        })
    }
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

impl Sim {
    fn handle(&self, state: &State, inode: u64, path: &Path, writable: bool) -> io::Result<Arc<dyn File>> {
        let name = split(path)?.1.to_owned();
        Ok(Arc::new(SimFile { sim: self.clone(), inode, boot: state.boot, name, writable }))
    }

    fn open_as(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn File>> {
        let state = self.state.lock();
        state.powered()?;
        let inode = state.lookup(path)?;
        self.handle(&state, inode, path, writable)
    }
}

impl Fs for Sim {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut state = self.state.lock();
        state.count_op()?;
        let id = state.next_inode;
        let (dir, name) = split(path)?;
        let dir = state.dir(dir)?;
        if dir.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        dir.names.insert(name.to_owned(), id);
        dir.changed();
        state.next_inode += 1;
        state.inodes.insert(id, Inode::default());
        self.handle(&state, id, path, true)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_as(path, false)
    }

    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open_as(path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.count_op()?;
        let id = state.lookup(from)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        assert_eq!(from_dir, to_dir, "the simulated disk renames within one directory");
        let dir = state.dir(to_dir)?;
        dir.names.remove(from_name);
        dir.names.insert(to_name.to_owned(), id);
        dir.changed();
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.count_op()?;
        let id = state.lookup(from)?;
        let (dir, name) = split(to)?;
        let dir = state.dir(dir)?;
        if dir.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        dir.names.insert(name.to_owned(), id);
        dir.changed();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.count_op()?;
        state.lookup(path)?;
        let (dir, name) = split(path)?;
        let dir = state.dir(dir)?;
        dir.names.remove(name);
        dir.changed();
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.count_op()?;
        state.dirs.retain(|dir, _| !dir.starts_with(path));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.count_op()?;
        for dir in path.ancestors() {
            state.dirs.entry(dir.to_path_buf()).or_default();
        }
        Ok(())
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
        if state.count_sync()? == Sync::Ignored {
            return Ok(());
        }
        let dir = state.dir(path)?;
        dir.durable = dir.names.clone();
        dir.changes.clear();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::read_file;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn disk_with(path: &Path) -> Result<(Sim, Arc<dyn File>), io::Error> {
        let sim = Sim::new();
        sim.create_dir_all(Path::new("/d"))?;
        let file = sim.create(path)?;
        Ok((sim, file))
    }

    #[test]
    fn the_simulation_passes_the_conformance_suite() -> TestResult {
        crate::fs::conformance::all(&Sim::new(), Path::new("/conformance"))
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_loses_the_rest() -> TestResult {
        let path = Path::new("/d/file");
        let (sim, file) = disk_with(path)?;
        file.write_at(b"kept", 0)?;
        file.sync()?;
        sim.sync_dir(Path::new("/d"))?;
        file.write_at(b"lost", 0)?;
        sim.create(Path::new("/d/unsynced"))?;
        sim.crash(Unsynced::Lost);
        assert_eq!(read_file(&sim, path, 9)?, b"kept");
        assert_eq!(sim.read_dir(Path::new("/d"))?, ["file"]);
        assert!(file.write_at(b"x", 0).is_err(), "a handle of the boot before is dead");
        Ok(())
    }

    #[test]
    fn a_torn_crash_keeps_whole_sectors_of_some_writes() -> TestResult {
        let path = Path::new("/d/file");
        let mut seen = BTreeSet::new();
        for seed in 0..64 {
            let (sim, file) = disk_with(path)?;
            file.allocate(2048)?;
            file.sync()?;
            sim.sync_dir(Path::new("/d"))?;
            file.write_at(&[1; 1024], 512)?;
            sim.crash(Unsynced::Torn(seed));
            let bytes = read_file(&sim, path, 4096)?;
            let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
            assert!(bytes.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])));
            seen.insert(sectors);
        }
        assert_eq!(seen.len(), 4, "neither, either or both of the two sectors");
        Ok(())
    }

    #[test]
    fn an_ignored_sync_is_answered_and_not_done() -> TestResult {
        let path = Path::new("/d/file");
        let (sim, file) = disk_with(path)?;
        sim.sync_dir(Path::new("/d"))?;
        sim.set_faults(Faults { ignore_syncs_of: Some("file"), ..Faults::default() });
        file.write_at(b"gone", 0)?;
        file.sync()?;
        sim.crash(Unsynced::Lost);
        assert_eq!(read_file(&sim, path, 9)?, b"");
        Ok(())
    }

    #[test]
    fn a_full_disk_refuses_growth_and_takes_rewrites() -> TestResult {
        let (sim, file) = disk_with(Path::new("/d/file"))?;
        sim.set_faults(Faults { capacity: Some(4), ..Faults::default() });
        file.write_at(b"four", 0)?;
        assert_eq!(file.write_at(b"x", 4).map_err(|e| e.kind()), Err(ErrorKind::StorageFull));
        assert_eq!(file.allocate(5).map_err(|e| e.kind()), Err(ErrorKind::StorageFull));
        file.write_at(b"FOUR", 0)?;
        assert_eq!(sim.space(Path::new("/"))?.available, 0);
        Ok(())
    }

    #[test]
    fn after_the_stop_nothing_works_until_the_crash() -> TestResult {
        let (sim, file) = disk_with(Path::new("/d/file"))?;
        sim.set_faults(Faults { stop_at_sync: Some(2), ..Faults::default() });
        file.sync()?;
        assert!(file.sync().is_err());
        assert!(file.write_at(b"x", 0).is_err() && sim.exists(Path::new("/d")).is_err());
        sim.crash(Unsynced::Kept);
        assert!(sim.exists(Path::new("/d/file"))?);
        Ok(())
    }
}
