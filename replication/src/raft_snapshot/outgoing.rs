//! A checkpoint that is offered to other nodes.
//!
//! - Its directory is its own: it is removed when the last handle is dropped.
//! - It pins what it links: tables that the engine has compacted away take space until then.

use super::message::{Content, Digest, Offer};
use super::{Error, MANIFEST_BYTES_MAX, TABLES_MAX};
use engine::fs::{Fs, read_file};
use engine::{Checkpoint, Engine, Error as EngineError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A checkpoint on disk and what is offered of it.
#[derive(Debug)]
pub struct Outgoing {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    offer: Offer,
}

impl Outgoing {
    /// Makes a checkpoint of everything that was appended to `engine` before the call, in `dir`; what an earlier process
    /// left there is removed.
    ///
    /// Takes as long as a flush: call it where nothing waits.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], or [`Error::Disk`] with what the engine says.
    pub fn prepare(engine: &Engine, dir: &Path) -> Result<Outgoing, Error> {
        let fs = Arc::clone(&engine.env().fs);
        fs.remove_dir_all(dir).map_err(EngineError::io("remove", dir))?;
        let checkpoint = engine.checkpoint(dir)?;
        // From here on it is removed when it is dropped, however this ends.
        let empty = Content { digest: Digest([0; 32]), bytes: 1 };
        let Checkpoint { applied, lineage, tables, .. } = checkpoint;
        let offer = Offer { lineage, applied, manifest: empty, tables: Vec::new() };
        let mut outgoing = Outgoing { fs, dir: dir.to_path_buf(), offer };
        outgoing.describe(tables)?;
        Ok(outgoing)
    }

    fn describe(&mut self, tables: Vec<(String, u64)>) -> Result<(), Error> {
        if tables.len() > TABLES_MAX {
            return Err(Error::TooLarge("it has too many tables"));
        }
        for (name, bytes) in tables {
            let digest = Digest::of_table_name(&name).ok_or(Error::TooLarge("a table has no digest"))?;
            self.offer.tables.push(Content { digest, bytes });
        }
        let path = self.dir.join(Checkpoint::MANIFEST);
        let manifest =
            read_file(&*self.fs, &path, MANIFEST_BYTES_MAX).map_err(EngineError::io("read", &path))?;
        let digest = Digest(*blake3::hash(&manifest).as_bytes());
        self.offer.manifest = Content { digest, bytes: manifest.len() as u64 };
        Ok(())
    }

    /// What is offered of it.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    pub(super) fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    /// Where the file with this number is.
    pub(super) fn path(&self, file: u32) -> Option<PathBuf> {
        let number = usize::try_from(file).ok()?;
        match self.offer.tables.get(number) {
            Some(table) => Some(self.dir.join(Checkpoint::TABLES).join(table.digest.table_name())),
            None => (number == self.offer.tables.len()).then(|| self.dir.join(Checkpoint::MANIFEST)),
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Err(error) = self.fs.remove_dir_all(&self.dir) {
            let dir = self.dir.display();
            tracing::warn!(%dir, error = &error as &dyn std::error::Error, "cannot remove a sent checkpoint");
        }
    }
}
