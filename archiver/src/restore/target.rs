//! The directory that a restore fills.
//!
//! - It must be absent or empty, or hold an unfinished restore, which is removed first.
//! - A marker file stands in it from before the first byte until everything is durable and checked:
//!   a directory with the marker is not a data directory, and serving it is refused.

use crate::{Error, Result};
use engine::fs::Fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file that says that a directory is an unfinished restore.
pub const MARKER: &str = ".restoring";
const MARKER_TEXT: &str = "A restore into this directory did not finish. \
    Run cairn restore again, or remove the directory.\n";
const GROUPS: &str = "groups";

/// A directory while it is being filled.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    fs: Arc<dyn Fs>,
    root: PathBuf,
    group: PathBuf,
}

impl Target {
    /// Marks the directory as unfinished and empties what an unfinished restore left there.
    pub(crate) fn begin(fs: Arc<dyn Fs>, root: &Path, group: u64) -> Result<Self> {
        let root = root.to_path_buf();
        let marker = root.join(MARKER);
        fs.create_dir_all(&root).map_err(Error::io("create", &root))?;
        let names = fs.read_dir(&root).map_err(Error::io("list", &root))?;
        let unfinished = names.iter().any(|name| name == MARKER);
        if !unfinished && !names.is_empty() {
            return Err(Error::Target { path: root, reason: "the directory is not empty".to_owned() });
        }
        if unfinished {
            let groups = root.join(GROUPS);
            fs.remove_dir_all(&groups).map_err(Error::io("remove", &groups))?;
        } else {
            write_file(&*fs, &marker, MARKER_TEXT.as_bytes())?;
        }
        fs.sync_dir(&root).map_err(Error::io("sync", &root))?;
        let group = root.join(GROUPS).join(group.to_string());
        fs.create_dir_all(&group.join("tables")).map_err(Error::io("create", &group))?;
        Ok(Self { fs, root, group })
    }

    /// The engine's directory in it.
    pub(crate) fn engine_dir(&self) -> &Path {
        &self.group
    }

    /// Writes a table.
    pub(crate) fn add_table(&self, file_name: &str, bytes: &[u8]) -> Result<()> {
        write_file(&*self.fs, &self.group.join("tables").join(file_name), bytes)
    }

    /// Writes the manifest, once all tables are there.
    pub(crate) fn add_manifest(&self, bytes: &[u8]) -> Result<()> {
        let tables = self.group.join("tables");
        self.fs.sync_dir(&tables).map_err(Error::io("sync", &tables))?;
        write_file(&*self.fs, &self.group.join("manifest"), bytes)?;
        self.fs.sync_dir(&self.group).map_err(Error::io("sync", &self.group))
    }

    /// Makes it a data directory.
    pub(crate) fn finish(&self) -> Result<()> {
        let marker = self.root.join(MARKER);
        self.fs.remove(&marker).map_err(Error::io("remove", &marker))?;
        self.fs.sync_dir(&self.root).map_err(Error::io("sync", &self.root))
    }

    /// Empties it after a failure, so that nobody takes it for data. The marker goes last.
    pub(crate) fn abandon(&self) -> Result<()> {
        let groups = self.root.join(GROUPS);
        self.fs.remove_dir_all(&groups).map_err(Error::io("remove", &groups))?;
        self.finish()
    }
}

fn write_file(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> Result<()> {
    let file = fs.create(path).map_err(Error::io("create", path))?;
    file.write_at(bytes, 0).map_err(Error::io("write", path))?;
    file.sync().map_err(Error::io("sync", path))
}
