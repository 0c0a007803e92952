//! A file that is written once, in order, and named by the digest of its bytes.

use super::TableDigest;
use crate::fs::{File, Fs};
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 1 << 18;
/// Bytes that are written before they are synced: a file that is synced at its end alone would hold up every other
/// sync of the disk for that time.
const SYNC_BYTES: u64 = 4 << 20;

/// The file under its temporary name. Dropped early, it removes the file.
#[derive(Debug)]
pub(super) struct Output {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    path: PathBuf,
    file: Arc<dyn File>,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    named: bool,
}

impl Output {
    /// Creates `dir/<16 hexadecimal digits of number>.tmp`.
    pub(super) fn create(fs: &Arc<dyn Fs>, dir: &Path, number: u64) -> Result<Self> {
        let path = dir.join(format!("{number:016x}.tmp"));
        let file = fs.create(&path).map_err(Error::io("create", &path))?;
        Ok(Self {
            fs: Arc::clone(fs),
            dir: dir.to_path_buf(),
            path,
            file,
            hasher: blake3::Hasher::new(),
            buffer: Vec::with_capacity(WRITE_BYTES),
            written: 0,
            synced: 0,
            named: false,
        })
    }

    /// Bytes so far: the offset of what comes next.
    pub(super) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Bytes of memory in use.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.buffer.capacity() as u64
    }

    /// Lets `append` add bytes, and writes when enough have come together.
    pub(super) fn append(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        append(&mut self.buffer);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.written).map_err(Error::io("write", &self.path))?;
        self.hasher.update(&self.buffer);
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written - self.synced >= SYNC_BYTES {
            self.file.sync().map_err(Error::io("sync", &self.path))?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Makes the bytes durable, then gives the file its name and makes that durable.
    pub(super) fn finish(mut self) -> Result<(TableDigest, u64)> {
        self.write()?;
        self.file.sync().map_err(Error::io("sync", &self.path))?;
        let digest = TableDigest(*self.hasher.finalize().as_bytes());
        let named = self.dir.join(digest.file_name());
        self.fs.rename(&self.path, &named).map_err(Error::io("rename", &self.path))?;
        self.named = true;
        self.fs.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        Ok((digest, self.written))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.named {
            return;
        }
        if let Err(error) = self.fs.remove(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "left an unfinished table to the next start");
        }
    }
}
