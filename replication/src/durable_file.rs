//! Small files that are replaced whole: after a crash the old content or the new one is there, never a mixture.

use crate::bugs::{self, Bug};
use engine::fs::{Fs, read_file};
use engine::{Error, Result};
use std::io::ErrorKind;
use std::path::Path;

/// What follows the name of a file while it is written.
pub(crate) const NEW_SUFFIX: &str = ".new";

/// Replaces the file `name` in `dir` by one with these bytes, durably.
///
/// # Errors
///
/// What the disk says. When the last step fails, of which the error says that it was a sync of the directory, either
/// content may be there after a crash.
pub(crate) fn replace(fs: &dyn Fs, dir: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (new, path) = (dir.join(format!("{name}{NEW_SUFFIX}")), dir.join(name));
    remove_if_there(fs, &new)?;
    let file = fs.create(&new).map_err(Error::io("create", &new))?;
    file.write_at(bytes, 0).map_err(Error::io("write", &new))?;
    if bugs::seeded(Bug::SwitchUnsynced) {
        return fs.rename(&new, &path).map_err(Error::io("rename", &new));
    }
    file.sync().map_err(Error::io("sync", &new))?;
    fs.rename(&new, &path).map_err(Error::io("rename", &new))?;
    fs.sync_dir(dir).map_err(Error::io("sync", dir))
}

/// The bytes of a file; `None` when it is not there.
///
/// # Errors
///
/// What the disk says, or that it has more bytes.
pub(crate) fn read(fs: &dyn Fs, path: &Path, len_max: u64) -> Result<Option<Vec<u8>>> {
    match read_file(fs, path, len_max) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(Error::io("read", path)),
    }
}

/// Removes a file that may not be there.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn remove_if_there(fs: &dyn Fs, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done.map_err(Error::io("remove", path)),
    }
}
