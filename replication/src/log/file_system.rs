//! raft-engine's files on the engine's disk, so that one simulated disk carries both.
//!
//! - raft-engine lists its directory, locks it and makes its names durable past its own file system trait. On a simulated
//!   disk it therefore works in a real directory of empty files with the same names (the mirror), and a name
//!   counts as durable when it is made.
//! - Everything else goes through [`engine::fs::Fs`].
//! - raft-engine cuts and syncs its files when it is dropped, and panics when that fails. After a simulated crash the files
//!   that it has open are dead: once retired, such failures are left out.

use engine::fs::{File, Fs};
use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where raft-engine's files are.
#[derive(Debug)]
pub(super) struct Files {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    mirror: Option<PathBuf>,
    retired: Arc<AtomicBool>,
}

impl Files {
    /// Files in `dir`; with a mirror raft-engine is told that directory instead.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(super) fn new(fs: Arc<dyn Fs>, dir: &Path, mirror: Option<&Path>) -> io::Result<Self> {
        fs.create_dir_all(dir)?;
        if let Some(mirror) = mirror {
            reflect(&*fs, dir, mirror)?;
        }
        let retired = Arc::new(AtomicBool::new(false));
        Ok(Self { fs, dir: dir.to_path_buf(), mirror: mirror.map(Path::to_path_buf), retired })
    }

    /// Nobody relies on these files any more: raft-engine is about to be dropped. Only simulations do without its last
    /// syncs.
    pub(super) fn retire(&self) {
        self.retired.store(self.mirror.is_some(), Ordering::Relaxed);
    }

    fn on_disk(&self, path: &Path) -> io::Result<PathBuf> {
        if self.mirror.is_none() {
            return Ok(path.to_path_buf());
        }
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        Ok(self.dir.join(name))
    }

    /// Does to the mirror what was done to the disk, and makes the names durable.
    fn mirror(&self, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.mirror.is_none() {
            return Ok(());
        }
        change()?;
        self.fs.sync_dir(&self.dir)
    }

    fn handle(&self, file: Arc<dyn File>) -> FileHandle {
        FileHandle { file, retired: Arc::clone(&self.retired) }
    }
}

/// Makes the mirror show the names that are on the disk, and no others.
#[expect(
    clippy::disallowed_methods,
    reason = "raft-engine lists a real directory; this fills it in simulations"
)]
fn reflect(fs: &dyn Fs, dir: &Path, mirror: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(mirror) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir_all(mirror)?,
    }
    for name in fs.read_dir(dir)? {
        std::fs::File::create(mirror.join(name))?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "raft-engine lists a real directory; this fills it in simulations"
)]
impl FileSystem for Files {
    type Handle = FileHandle;
    type Reader = Cursor;
    type Writer = Cursor;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<FileHandle> {
        let on_disk = self.on_disk(path.as_ref())?;
        let file = match self.fs.create(&on_disk) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.fs.open_rw(&on_disk)?,
            created => created?,
        };
        self.mirror(|| std::fs::File::create(path.as_ref()).map(drop))?;
        Ok(self.handle(file))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<FileHandle> {
        let on_disk = self.on_disk(path.as_ref())?;
        let file = match permission {
            Permission::ReadOnly => self.fs.open(&on_disk)?,
            Permission::ReadWrite => self.fs.open_rw(&on_disk)?,
        };
        Ok(self.handle(file))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.fs.remove(&self.on_disk(path.as_ref())?)?;
        self.mirror(|| std::fs::remove_file(path.as_ref()))
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.fs.rename(&self.on_disk(from.as_ref())?, &self.on_disk(to.as_ref())?)?;
        self.mirror(|| std::fs::rename(from.as_ref(), to.as_ref()))
    }

    fn new_reader(&self, handle: Arc<FileHandle>) -> io::Result<Cursor> {
        Ok(Cursor { handle, at: 0 })
    }

    fn new_writer(&self, handle: Arc<FileHandle>) -> io::Result<Cursor> {
        Ok(Cursor { handle, at: 0 })
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct FileHandle {
    file: Arc<dyn File>,
    retired: Arc<AtomicBool>,
}

impl FileHandle {
    fn unless_retired(&self, done: io::Result<()>) -> io::Result<()> {
        if self.retired.load(Ordering::Relaxed) { Ok(()) } else { done }
    }
}

impl Handle for FileHandle {
    fn truncate(&self, len: usize) -> io::Result<()> {
        self.unless_retired(self.file.set_len(len as u64))
    }

    fn file_size(&self) -> io::Result<usize> {
        usize::try_from(self.file.len()?).map_err(io::Error::other)
    }

    fn sync(&self) -> io::Result<()> {
        self.unless_retired(self.file.sync())
    }
}

/// A place in an open file.
#[derive(Debug)]
pub(super) struct Cursor {
    handle: Arc<FileHandle>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.handle.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for Cursor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.handle.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.handle.file.len()?, by),
        };
        self.at = base.checked_add_signed(by).ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl WriteExt for Cursor {
    fn truncate(&mut self, len: usize) -> io::Result<()> {
        self.handle.unless_retired(self.handle.file.set_len(len as u64))
    }

    fn allocate(&mut self, from: usize, len: usize) -> io::Result<()> {
        self.handle.file.allocate((from + len) as u64)
    }
}
