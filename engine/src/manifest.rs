//! The durable history of the levels: which tables are live, and what they cover.
//!
//! One file, `manifest`: a [`crate::frame`] file whose frames (kind 1) are [`edit::Edit`] groups, each
//! applied whole. The first group is the full state.
//!
//! Invariants:
//!
//! - A group is synced before anything relies on it, and before the next one is written.
//! - A table and the WAL up to what a group covers are durable before the group.
//! - The file is replaced by rename, when it is opened and when it has grown, so it is bounded.

pub(crate) mod edit;
mod state;

use crate::frame::{self, Framer, PREAMBLE_LEN};
use crate::fs::{File, Fs, read_file};
use crate::{Error, Result};
use edit::Edit;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use state::{State, set_mark};

pub(crate) const MAGIC: &[u8; 8] = b"CAIRNMAN";
const KIND_EDITS: u8 = 1;
pub(crate) const FILE_NAME: &str = "manifest";
const NEW_FILE_NAME: &str = "manifest.new";
/// The longest manifest that is read, in bytes.
const LEN_MAX: u64 = 1 << 30;
/// A manifest that has grown by this many bytes is replaced by its state.
const GROWTH_MAX: u64 = 4 << 20;

/// The manifest of an open engine.
#[derive(Debug)]
pub(crate) struct Manifest {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    file: Arc<dyn File>,
    framer: Framer,
    offset: u64,
    /// Where the last sync ended; a mark after it is not durable before the next one.
    durable: u64,
    rewrite_at: u64,
    state: State,
}

/// Reads the state in the manifest of `dir`; `None` when there is no manifest.
///
/// # Errors
///
/// [`Error::Damaged`] when a synced group is not intact.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<State>> {
    let path = dir.join(FILE_NAME);
    match read_file(fs, &path, LEN_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path)(error)),
        Ok(bytes) => decode(&bytes).map(Some).map_err(Error::damaged(&path, 0)),
    }
}

/// Decodes a manifest file.
///
/// # Errors
///
/// When it is not a manifest, or a synced group is not intact.
pub(crate) fn decode(bytes: &[u8]) -> Result<State, crate::codec::Malformed> {
    let frames = frame::read(bytes, MAGIC)?.frames;
    let nothing = crate::codec::Malformed { offset: PREAMBLE_LEN, expected: "the state of the levels" };
    if frames.is_empty() {
        return Err(nothing);
    }
    let mut state = State::default();
    for frame in frames {
        let start = frame.payload.start;
        let inside = |inner: crate::codec::Malformed| crate::codec::Malformed {
            offset: start + inner.offset,
            expected: inner.expected,
        };
        if frame.kind != KIND_EDITS {
            return Err(inside(crate::codec::Malformed { offset: 0, expected: "a group of edits" }));
        }
        let edits = edit::decode(&bytes[frame.payload]).map_err(inside)?;
        for edit in edits {
            state.apply(edit).map_err(|expected| crate::codec::Malformed { offset: start, expected })?;
        }
    }
    Ok(state)
}

impl Manifest {
    /// Writes `state` as the manifest of `dir`, replacing what is there.
    pub(crate) fn create(fs: Arc<dyn Fs>, dir: &Path, state: State, salt: u64) -> Result<Manifest> {
        let path = dir.join(FILE_NAME);
        let (file, offset) =
            write_new(&*fs, dir, &state, Framer { salt }).map_err(Error::io("write", &path))?;
        Ok(Manifest {
            fs,
            dir: dir.to_path_buf(),
            file,
            framer: Framer { salt },
            offset,
            durable: offset,
            rewrite_at: offset + GROWTH_MAX,
            state,
        })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Changes the in-memory copy of what need not be durable now.
    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Appends a group of edits, durably, and applies it.
    ///
    /// # Errors
    ///
    /// After an error the manifest must not be written again.
    ///
    /// # Panics
    ///
    /// If the edits do not fit the state: they are ours.
    pub(crate) fn commit(&mut self, edits: Vec<Edit>) -> Result<()> {
        if self.offset > self.rewrite_at {
            self.rewrite()?;
        }
        let mut bytes = Vec::new();
        let offset = self.offset;
        self.framer.frame(&mut bytes, offset, KIND_EDITS, self.durable, |out| edit::encode(&edits, out));
        let path = self.dir.join(FILE_NAME);
        let write = || -> io::Result<()> {
            self.file.write_at(&bytes, offset)?;
            self.file.sync()
        };
        write().map_err(Error::io("write", &path))?;
        self.offset += bytes.len() as u64;
        self.durable = self.offset;
        self.mark_durable().map_err(Error::io("write", &path))?;
        for edit in edits {
            self.state.apply(edit).expect("an edit of ours fits the state");
        }
        Ok(())
    }

    /// Says that everything so far is durable, so that damage to it is never taken for a torn write.
    /// The mark itself is not synced: without it nothing is lost.
    fn mark_durable(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.framer.frame(&mut bytes, self.offset, KIND_EDITS, self.durable, |_| {});
        self.file.write_at(&bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self) -> Result<()> {
        let path = self.dir.join(FILE_NAME);
        let salt = self.framer.salt.wrapping_add(1);
        let framer = Framer { salt };
        let written =
            write_new(&*self.fs, &self.dir, &self.state, framer).map_err(Error::io("write", &path))?;
        (self.file, self.offset) = written;
        self.durable = self.offset;
        self.framer = framer;
        self.rewrite_at = self.offset + GROWTH_MAX;
        Ok(())
    }
}

/// The bytes of a manifest file that says this state and nothing before it.
pub(crate) fn encode(state: &State, salt: u64) -> Vec<u8> {
    let framer = Framer { salt };
    let mut bytes = framer.preamble(MAGIC).to_vec();
    let offset = PREAMBLE_LEN as u64;
    framer.frame(&mut bytes, offset, KIND_EDITS, 0, |out| edit::encode(&state.as_edits(), out));
    // The second frame only says that the first one is durable.
    let end = bytes.len() as u64;
    framer.frame(&mut bytes, end, KIND_EDITS, end, |out| edit::encode(&[], out));
    bytes
}

fn write_new(fs: &dyn Fs, dir: &Path, state: &State, framer: Framer) -> io::Result<(Arc<dyn File>, u64)> {
    let (new, path) = (dir.join(NEW_FILE_NAME), dir.join(FILE_NAME));
    if fs.exists(&new)? {
        fs.remove(&new)?;
    }
    let bytes = encode(state, framer.salt);
    let file = fs.create(&new)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    fs.rename(&new, &path)?;
    fs.sync_dir(dir)?;
    Ok((file, bytes.len() as u64))
}
