//! An open file of the simulated disk.

use super::{Inode, Sim, State, Synced, failed};
use crate::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct SimFile {
    sim: Sim,
    inode: u64,
    boot: u64,
    path: PathBuf,
    writable: bool,
}

impl SimFile {
    pub(super) fn open(
        sim: &Sim,
        state: &mut State,
        inode: u64,
        path: &Path,
        writable: bool,
    ) -> io::Result<Arc<dyn File>> {
        state.inode(inode)?.handles += 1;
        let path = path.to_path_buf();
        Ok(Arc::new(SimFile { sim: sim.clone(), inode, boot: state.boot, path, writable }))
    }

    /// Runs `action` on the inode unless the power has gone since the file was opened.
    fn with<T>(&self, action: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.sim.state.lock();
        state.powered()?;
        if state.boot != self.boot {
            return Err(io::Error::other("the file was opened before the simulated crash"));
        }
        action(&mut state, self.inode)
    }

    /// Changes the file, once there is room for it to have `len` bytes.
    fn change(&self, len: u64, action: impl FnOnce(&mut Inode, u64)) -> io::Result<()> {
        self.with(|state, id| {
            if !self.writable {
                return Err(ErrorKind::PermissionDenied.into());
            }
            state.operate(|state| {
                state.room_for(id, len)?;
                let number = state.change_number();
                action(state.inode(id)?, number);
                Ok(())
            })
        })
    }

    fn fails_next(&self) -> io::Result<bool> {
        self.with(|state, _| Ok(self.writable && state.faults.fail_op == Some(state.counts.ops + 1)))
    }

    fn is_ignored(&self, state: &State) -> bool {
        let name = self.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        state.faults.ignore_syncs_of.is_some_and(|part| name.contains(part))
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.with(|state, id| {
            state.counts.reads += 1;
            let nth = Some(state.counts.reads);
            if state.faults.fail_read == nth {
                return Err(failed());
            }
            let len = state.inode(id)?.read_at(buf, offset);
            if state.faults.flip_read == nth && len > 0 {
                // Somewhere in the middle, at another bit for each read.
                buf[len / 2] ^= 1 << (state.counts.reads % 8);
            }
            Ok(len)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.fails_next()? {
            let half = &bytes[..bytes.len() / 2];
            self.with(|state, id| {
                let number = state.change_number();
                state.inode(id)?.write_at(number, half, offset);
                Ok(())
            })?;
        }
        let len = offset + bytes.len() as u64;
        self.change(len, |inode, number| inode.write_at(number, bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, id| {
            let inode = state.inode(id)?;
            let ((changes, cuts), is_first) =
                (inode.unsynced(), !std::mem::replace(&mut inode.was_synced, true));
            let synced = Synced { path: self.path.clone(), is_dir: false, is_first, changes, cuts };
            if state.count_sync(synced)? && !self.is_ignored(state) {
                state.inode(id)?.sync();
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.inode(id)?.len()))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(len, |inode, number| inode.set_len(number, len))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.change(len, |inode, number| {
            if len > inode.len() {
                inode.set_len(number, len);
            }
        })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.sim.state.lock();
        if state.boot != self.boot {
            return;
        }
        if let Some(inode) = state.inodes.get_mut(&self.inode) {
            inode.handles -= 1;
            if inode.handles == 0 {
                state.collect();
            }
        }
    }
}
