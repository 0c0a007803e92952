//! The directory that a restore fills.
//!
//! - It must be absent or empty, or hold an unfinished restore.
//! - A marker file stands in it from before the first byte until everything is durable and checked: a directory with the
//!   marker is not a data directory, and serving it is refused. The marker says what is being restored.
//! - What an unfinished restore left is used again where it is certainly right: tables by their digest, whatever is restored
//!   now; a group that was done, and a log that was replayed in part, only by the same restore.

use crate::layout::TableDigest;
use crate::{Error, Result};
use engine::fs::{Fs, read_file};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that says that a directory is an unfinished restore.
pub const MARKER: &str = ".restoring";
/// The file that says that a directory follows an archive: it is not a data directory before it is promoted.
pub const STANDBY_MARKER: &str = ".standby";
const MARKER_TEXT: &str = "A restore into this directory did not finish. Run the same command again and it goes on, \
    or remove the directory.\n";
/// The marker before it is durable.
const MARKER_NEW: &str = ".restoring.new";
/// The most bytes of a marker that are read.
const MARKER_BYTES_MAX: u64 = 1 << 20;
/// What the file of a group that is done is called, before its number.
const DONE: &str = ".restored-";
const GROUPS: &str = "groups";
const TABLES: &str = engine::Checkpoint::TABLES;
const MANIFEST: &str = engine::Checkpoint::MANIFEST;

/// A directory while it is being filled.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    /// Whether the same restore was begun here before.
    goes_on: bool,
}

/// The engine's directory of one group in it.
#[derive(Debug, Clone)]
pub(crate) struct GroupTarget {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    group: u64,
    dir: PathBuf,
}

impl Target {
    /// Marks the directory as unfinished. `request` says what is restored, in lines.
    pub(crate) fn begin(fs: Arc<dyn Fs>, root: &Path, request: &str) -> Result<Self> {
        let root = root.to_path_buf();
        let marker = root.join(MARKER);
        fs.create_dir_all(&root).map_err(Error::io("create", &root))?;
        let names = fs.read_dir(&root).map_err(Error::io("list", &root))?;
        let unfinished = names.iter().any(|name| name == MARKER);
        if !unfinished && names.iter().any(|name| name != MARKER_NEW) {
            return Err(Error::Target { path: root, reason: "the directory is not empty".to_owned() });
        }
        let text = format!("{MARKER_TEXT}{request}");
        let was = match read_file(&*fs, &marker, MARKER_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            was => was.map_err(Error::io("read", &marker))?,
        };
        let target = Self { fs, root, goes_on: was == text.as_bytes() };
        if !target.goes_on {
            for done in names.iter().filter(|name| name.starts_with(DONE)) {
                target.remove(&target.root.join(done))?;
            }
            let new = target.root.join(MARKER_NEW);
            write_file(&*target.fs, &new, text.as_bytes())?;
            target.fs.rename(&new, &marker).map_err(Error::io("rename", &new))?;
        }
        target.fs.sync_dir(&target.root).map_err(Error::io("sync", &target.root))?;
        Ok(target)
    }

    /// Whether the same restore was begun here before.
    pub(crate) const fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Bytes that can be written here.
    pub(crate) fn free_bytes(&self) -> Result<u64> {
        Ok(self.fs.space(&self.root).map_err(Error::io("look at the space of", &self.root))?.available)
    }

    /// The directory of a group.
    pub(crate) fn group(&self, group: u64) -> GroupTarget {
        let dir = self.root.join(GROUPS).join(group.to_string());
        GroupTarget { fs: Arc::clone(&self.fs), root: self.root.clone(), group, dir }
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.fs.remove(path).map_err(Error::io("remove", path))
    }

    /// Makes it a data directory.
    pub(crate) fn finish(&self) -> Result<()> {
        self.clear_done()?;
        self.remove(&self.root.join(MARKER))?;
        self.fs.sync_dir(&self.root).map_err(Error::io("sync", &self.root))
    }

    /// Makes it the directory of a standby.
    pub(crate) fn finish_as_standby(&self) -> Result<()> {
        self.clear_done()?;
        let (from, to) = (self.root.join(MARKER), self.root.join(STANDBY_MARKER));
        self.fs.rename(&from, &to).map_err(Error::io("rename", &from))?;
        self.fs.sync_dir(&self.root).map_err(Error::io("sync", &self.root))
    }

    fn clear_done(&self) -> Result<()> {
        let names = self.fs.read_dir(&self.root).map_err(Error::io("list", &self.root))?;
        for done in names.iter().filter(|name| name.starts_with(DONE)) {
            self.remove(&self.root.join(done))?;
        }
        self.fs.sync_dir(&self.root).map_err(Error::io("sync", &self.root))
    }
}

impl GroupTarget {
    /// The engine's directory.
    pub(crate) fn engine_dir(&self) -> &Path {
        &self.dir
    }

    /// Where its tables stand.
    pub(crate) fn tables_dir(&self) -> PathBuf {
        self.dir.join(TABLES)
    }

    fn done_path(&self) -> PathBuf {
        self.root.join(format!("{DONE}{}", self.group))
    }

    /// What was written down when the group was done; `None` when it is not.
    pub(crate) fn done(&self) -> Result<Option<String>> {
        let path = self.done_path();
        match read_file(&*self.fs, &path, MARKER_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(String::from_utf8(read.map_err(Error::io("read", &path))?).ok()),
        }
    }

    /// Writes down that the group is done.
    pub(crate) fn set_done(&self, text: &str) -> Result<()> {
        write_file(&*self.fs, &self.done_path(), text.as_bytes())?;
        self.fs.sync_dir(&self.root).map_err(Error::io("sync", &self.root))
    }

    /// The lineage of the engine that was begun here; `None` when there is none, or it cannot be read.
    pub(crate) fn lineage(&self) -> Option<engine::Lineage> {
        engine::Checkpoint::in_tables_of(&*self.fs, &self.dir).ok()?.map(|found| found.lineage)
    }

    /// Removes all but the tables that are wanted; returns those that have their names, right or not.
    pub(crate) fn clear(&self, wanted: &BTreeSet<TableDigest>) -> Result<BTreeSet<TableDigest>> {
        let tables = self.dir.join(TABLES);
        self.fs.create_dir_all(&tables).map_err(Error::io("create", &tables))?;
        // Without its manifest it is no engine: that goes first.
        for name in [MANIFEST, "manifest.new", "LOCK"] {
            let path = self.dir.join(name);
            match self.fs.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        self.fs.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        let log = self.dir.join(engine::Checkpoint::LOG);
        self.fs.remove_dir_all(&log).map_err(Error::io("remove", &log))?;
        let mut kept = BTreeSet::new();
        for name in self.fs.read_dir(&tables).map_err(Error::io("list", &tables))? {
            match TableDigest::from_file_name(&name).filter(|digest| wanted.contains(digest)) {
                Some(digest) => drop(kept.insert(digest)),
                None => {
                    let path = tables.join(&name);
                    self.fs.remove(&path).map_err(Error::io("remove", &path))?;
                }
            }
        }
        Ok(kept)
    }

    /// Whether a table that stands here is the one that its name says.
    pub(crate) fn is_whole(&self, digest: TableDigest, bytes: u64) -> Result<bool> {
        let path = self.dir.join(TABLES).join(digest.file_name());
        match read_file(&*self.fs, &path, bytes) {
            Ok(there) => Ok(TableDigest::of(&there) == digest),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Ok(false)
            }
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Writes a table.
    pub(crate) fn add_table(&self, digest: TableDigest, bytes: &[u8]) -> Result<()> {
        write_file(&*self.fs, &self.dir.join(TABLES).join(digest.file_name()), bytes)
    }

    /// Writes the manifest, once all tables are there.
    pub(crate) fn add_manifest(&self, bytes: &[u8]) -> Result<()> {
        let tables = self.dir.join(TABLES);
        self.fs.sync_dir(&tables).map_err(Error::io("sync", &tables))?;
        write_file(&*self.fs, &self.dir.join(MANIFEST), bytes)?;
        self.fs.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))
    }
}

/// Writes a file, replacing one that an unfinished restore left.
fn write_file(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", path)(error));
        }
        _ => {}
    }
    let file = fs.create(path).map_err(Error::io("create", path))?;
    file.write_at(bytes, 0).map_err(Error::io("write", path))?;
    file.sync().map_err(Error::io("sync", path))
}
