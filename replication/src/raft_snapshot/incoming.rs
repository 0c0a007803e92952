//! The directory that a raft snapshot arrives in.
//!
//! ```text
//! offer              what is arriving, as it was offered
//! tables/<digest>.tbl        whole, checked, durable
//! tables/<digest>.tbl.part   as far as it has come
//! manifest.part      the manifest, as far as it has come
//! manifest           in place of the offer, once everything is there
//! ```
//!
//! - A table has its name only when its content has the digest in it and is durable.
//! - The manifest has its name only when all of its tables have theirs, durably.
//! - It holds files of one offer: what another one left and this one does not name is removed at its beginning.

use super::message::{Content, Digest, Offer};
use super::{Error, MANIFEST_BYTES_MAX, Message, SYNC_BYTES};
use crate::durable_file::{self, remove_if_there};
use bytes::Bytes;
use engine::fs::{File, Fs, read_file};
use engine::{Checkpoint, Error as EngineError};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const OFFER: &str = "offer";
const PART: &str = ".part";
/// The longest offer that is read back, in bytes.
const OFFER_BYTES_MAX: u64 = crate::transport::MESSAGE_LEN_MAX as u64;

/// The version that a half-received snapshot in `dir` stands at; `None` when there is none that could be gone on with.
///
/// # Errors
///
/// What the disk says.
pub fn offered_version(fs: &dyn Fs, dir: &Path) -> engine::Result<Option<u64>> {
    let bytes = durable_file::read(fs, &dir.join(OFFER), OFFER_BYTES_MAX)?;
    match bytes.map(|bytes| Message::decode(&bytes.into())) {
        Some(Ok(Message::Offer(offer))) => Ok(Some(offer.applied.version)),
        // It was cut by a crash before it was durable: nothing relies on it.
        _ => Ok(None),
    }
}

/// What there is of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// All of it, checked.
    Whole,
    /// The first bytes, not checked; at least as many as it says, at most all.
    Part(u64),
}

/// The directory while it is filled.
#[derive(Debug)]
pub(super) struct Incoming {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    tables: PathBuf,
}

impl Incoming {
    /// Makes `dir` ready for what `offer` names, and keeps what helps of what is there.
    pub(super) fn begin(fs: Arc<dyn Fs>, dir: &Path, offer: &Offer) -> engine::Result<Self> {
        let tables = dir.join(Checkpoint::TABLES);
        fs.create_dir_all(&tables).map_err(EngineError::io("create", &tables))?;
        // First what would make it a checkpoint, durably: its tables may go then.
        let offer_new = format!("{OFFER}{}", durable_file::NEW_SUFFIX);
        let manifest_part = format!("{}{PART}", Checkpoint::MANIFEST);
        let names = fs.read_dir(dir).map_err(EngineError::io("list", dir))?;
        for name in names.iter().filter(|name| *name != Checkpoint::TABLES) {
            let path = dir.join(name);
            if name == Checkpoint::LOG {
                fs.remove_dir_all(&path).map_err(EngineError::io("remove", &path))?;
            } else if *name != manifest_part && *name != offer_new {
                remove_if_there(&*fs, &path)?;
            }
        }
        fs.sync_dir(dir).map_err(EngineError::io("sync", dir))?;
        let named: BTreeSet<String> = offer.tables.iter().map(|table| table.digest.table_name()).collect();
        for name in fs.read_dir(&tables).map_err(EngineError::io("list", &tables))? {
            if !named.contains(name.strip_suffix(PART).unwrap_or(&name)) {
                remove_if_there(&*fs, &tables.join(name))?;
            }
        }
        remove_if_there(&*fs, &dir.join(manifest_part))?;
        durable_file::replace(&*fs, dir, OFFER, &Message::Offer(offer.clone()).encode())?;
        Ok(Self { fs, dir: dir.to_path_buf(), tables })
    }

    /// What there is of a table.
    pub(super) fn held(&self, table: &Content) -> engine::Result<Held> {
        let path = self.tables.join(table.digest.table_name());
        match self.len(&path)? {
            Some(len) if len == table.bytes => return Ok(Held::Whole),
            // Named by another offer with another length: one of them is wrong, and the content decides.
            Some(_) => remove_if_there(&*self.fs, &path)?,
            None => {}
        }
        let part = part_of(&path);
        match self.len(&part)? {
            Some(len) if len > table.bytes => {
                remove_if_there(&*self.fs, &part)?;
                Ok(Held::Part(0))
            }
            len => Ok(Held::Part(len.unwrap_or(0))),
        }
    }

    fn len(&self, path: &Path) -> engine::Result<Option<u64>> {
        match self.fs.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => {
                let file = opened.map_err(EngineError::io("open", path))?;
                file.len().map(Some).map_err(EngineError::io("measure", path))
            }
        }
    }

    /// Takes a table from another directory of tables by linking it; whether it was there, with this length.
    pub(super) fn link(&self, table: &Content, from: &Path) -> engine::Result<bool> {
        let name = table.digest.table_name();
        let (from, to) = (from.join(&name), self.tables.join(&name));
        if self.len(&from)? != Some(table.bytes) {
            return Ok(false);
        }
        match self.fs.hard_link(&from, &to) {
            Ok(()) => remove_if_there(&*self.fs, &part_of(&to)).map(|()| true),
            // The engine that it belongs to has just removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(EngineError::io("link", &to)(error)),
        }
    }

    /// Opens a table for what is lacking of it.
    pub(super) fn table(&self, table: &Content) -> engine::Result<Part> {
        Part::open(&self.fs, &self.tables.join(table.digest.table_name()), *table)
    }

    /// Opens the manifest, which is received from its beginning each time.
    pub(super) fn manifest(&self, manifest: &Content) -> engine::Result<Part> {
        let path = self.dir.join(Checkpoint::MANIFEST);
        remove_if_there(&*self.fs, &part_of(&path))?;
        Part::open(&self.fs, &path, *manifest)
    }

    /// Makes it a checkpoint, durably, when all that `offer` names is there.
    pub(super) fn complete(&self, offer: &Offer) -> Result<Checkpoint, Error> {
        let path = self.dir.join(Checkpoint::MANIFEST);
        let part = part_of(&path);
        let bytes =
            read_file(&*self.fs, &part, MANIFEST_BYTES_MAX).map_err(EngineError::io("read", &part))?;
        let checkpoint = Checkpoint::of_manifest(&bytes)?;
        let tables = offer.tables.iter().map(|table| (table.digest.table_name(), table.bytes));
        if (checkpoint.lineage, checkpoint.applied) != (offer.lineage, offer.applied)
            || !checkpoint.tables.iter().cloned().eq(tables)
        {
            return Err(Error::OutOfTurn("a manifest that is not the one of its offer"));
        }
        let log = self.dir.join(Checkpoint::LOG);
        self.fs.create_dir_all(&log).map_err(EngineError::io("create", &log))?;
        self.fs.sync_dir(&self.tables).map_err(EngineError::io("sync", &self.tables))?;
        self.fs.rename(&part, &path).map_err(EngineError::io("rename", &part))?;
        remove_if_there(&*self.fs, &self.dir.join(OFFER))?;
        self.fs.sync_dir(&self.dir).map_err(EngineError::io("sync", &self.dir))?;
        Ok(checkpoint)
    }
}

fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(PART);
    part.into()
}

/// A file as far as it has come.
#[derive(Debug)]
pub(super) struct Part {
    fs: Arc<dyn Fs>,
    /// What it is called once it is whole.
    path: PathBuf,
    part: PathBuf,
    file: Arc<dyn File>,
    content: Content,
    hasher: blake3::Hasher,
    /// Bytes that are hashed, from the first on.
    hashed: u64,
    /// Bytes that were there when it was opened.
    resumed: u64,
    synced: u64,
}

impl Part {
    fn open(fs: &Arc<dyn Fs>, path: &Path, content: Content) -> engine::Result<Self> {
        let part = part_of(path);
        let file = match fs.open_rw(&part) {
            Err(error) if error.kind() == ErrorKind::NotFound => fs.create(&part),
            opened => opened,
        };
        let file = file.map_err(EngineError::io("open", &part))?;
        let resumed = file.len().map_err(EngineError::io("measure", &part))?;
        let (fs, path) = (Arc::clone(fs), path.to_path_buf());
        let hasher = blake3::Hasher::new();
        Ok(Self { fs, path, part, file, content, hasher, hashed: 0, resumed, synced: 0 })
    }

    /// Hashes some of the bytes that were there when it was opened; whether there are more of them.
    pub(super) fn rehash(&mut self, buffer: &mut [u8]) -> engine::Result<bool> {
        let left = usize::try_from(self.resumed - self.hashed).unwrap_or(usize::MAX);
        let buffer = &mut buffer[..left.min(super::CHUNK_BYTES_MAX)];
        self.file.read_exact_at(buffer, self.hashed).map_err(EngineError::io("read", &self.part))?;
        self.hasher.update(buffer);
        self.hashed += buffer.len() as u64;
        Ok(self.hashed < self.resumed)
    }

    /// Where the next bytes belong.
    pub(super) fn offset(&self) -> u64 {
        self.hashed
    }

    /// Whether all bytes are there.
    pub(super) fn is_full(&self) -> bool {
        self.hashed == self.content.bytes
    }

    /// Adds the bytes at [`offset`](Self::offset).
    pub(super) fn write(&mut self, bytes: &Bytes) -> Result<(), Error> {
        if self.hashed + bytes.len() as u64 > self.content.bytes {
            return Err(Error::OutOfTurn("more bytes than the file has"));
        }
        self.file.write_at(bytes, self.hashed).map_err(EngineError::io("write", &self.part))?;
        self.hasher.update(bytes);
        self.hashed += bytes.len() as u64;
        if self.hashed - self.synced >= SYNC_BYTES {
            self.file.sync().map_err(EngineError::io("sync", &self.part))?;
            self.synced = self.hashed;
        }
        Ok(())
    }

    /// Makes the bytes durable, and of a table gives it its name, once its content is what it must be.
    pub(super) fn finish(self, named: bool) -> Result<(), Error> {
        if Digest(*self.hasher.finalize().as_bytes()) != self.content.digest {
            remove_if_there(&*self.fs, &self.part)?;
            let digest = self.content.digest;
            // After a crash, bytes of an earlier try may never have reached the disk.
            return Err(if self.resumed > 0 { Error::Part(digest) } else { Error::Damaged(digest) });
        }
        self.file.sync().map_err(EngineError::io("sync", &self.part))?;
        if named {
            self.fs.rename(&self.part, &self.path).map_err(EngineError::io("rename", &self.part))?;
        }
        Ok(())
    }
}
