//! A file system of a few megabytes, which a test can fill.

use super::TestResult;
use super::server::{run, succeed};
use rustix::fs::statvfs;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is written at once when the disk is filled, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A mounted file system in memory; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of this many MiB on a folder; `None`, and a loud word, where that is not allowed.
    pub(crate) fn mount(path: &Path, size_mib: u32) -> TestResult<Option<SmallDisk>> {
        std::fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size_mib}m"), "tmpfs"]).arg(path);
        let mounted = run(&mut mount)?;
        if mounted.code != Some(0) {
            eprintln!("SKIPPED, not passed: no small disk here: {}", mounted.stderr.trim());
            return Ok(None);
        }
        Ok(Some(SmallDisk { path: path.to_owned() }))
    }

    /// Fills it until this many MiB are left.
    pub(crate) fn fill(&self, left_mib: u64) -> TestResult {
        let mut file = File::create(self.path.join("filling"))?;
        let left = || -> TestResult<u64> {
            let found = statvfs(&self.path)?;
            Ok(found.f_bavail * found.f_frsize)
        };
        while left()? > left_mib << 20 {
            file.write_all(&[1; PIECE_BYTES])?;
        }
        Ok(())
    }

    /// Gives the space back.
    pub(crate) fn empty(&self) -> TestResult {
        Ok(std::fs::remove_file(self.path.join("filling"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was killed a moment ago may still hold it.
        succeed(Command::new("umount").arg("--lazy").arg(&self.path))
            .expect("what was mounted can be unmounted");
    }
}
