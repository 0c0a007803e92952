//! The disk as the engine sees it: a few operations whose durability is spelled out.
//!
//! - Bytes written are durable after [`File::sync`]; until then a crash may keep any part of them.
//! - A name (created, linked, renamed, removed) is durable after [`Fs::sync_dir`] of its directory.
//! - Nothing is retried: the caller decides, and after a failed sync it stops.
//!
//! [`disk`] is the real one, [`sim`] one in memory that crashes on request; both pass the suite
//! in [`conformance`].

#[doc(hidden)]
pub mod conformance;
pub mod disk;
pub mod sim;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// An open file. Offsets and lengths are in bytes.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `buf.len()` bytes at `offset`; 0 only at or after the end.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file when needed.
    ///
    /// # Errors
    ///
    /// What the disk says; any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all that was written, and the length, durable.
    ///
    /// # Errors
    ///
    /// What the disk says; what is durable is unknown then, and a second try proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// The length.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is 0.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or grows it with zeros.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Reserves space up to `len` and grows the file to it with zeros, so that later writes
    /// inside it neither run out of space nor change metadata.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] when the space is not there.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Has the next read of these bytes ask the disk, where the system keeps a copy in memory and can be told to. A
    /// wish: nothing relies on it.
    fn forget_cached(&self, offset: u64, len: u64) {
        let (_offset, _len) = (offset, len);
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_at(&mut buf[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }
}

/// Space on the disk that holds a path, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What can still be written.
    pub available: u64,
    /// The size of the disk.
    pub total: u64,
}

/// Held for as long as nobody else may open the same directory; dropping it gives it back.
pub trait DirLock: Send + Sync + fmt::Debug {}

/// A file system.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Creates a new file for reading and writing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] when the name is taken, or what the disk says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn open_rw(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Renames a file, replacing what stands at `to`.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] when the name is taken, or what the disk says.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a directory and all below it. Not an error when it is not there.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory and those above it. Not an error when it is there. Each directory
    /// created is durable on return.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or what the disk says.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether a file or directory has this name.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Space on the disk that holds `path`.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Takes the lock file at `path`, creating it when needed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when another engine holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
}

/// Reads a whole file.
///
/// # Errors
///
/// What the disk says, or [`io::ErrorKind::InvalidData`] when the file is over `len_max` bytes.
pub fn read_file(fs: &dyn Fs, path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let file = fs.open(path)?;
    let len = file.len()?;
    if len > len_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{len} bytes, more than {len_max}")));
    }
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
