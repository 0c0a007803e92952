//! Where a raft snapshot goes, and what it must be to go there.

use super::Error;
use super::message::Offer;
use engine::fs::Fs;
use engine::{Applied, Checkpoint, Engine, LineageId};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether tables that this node has are taken instead of asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// By their names: the engine checks each block when it is read.
    Named,
    /// Those whose content is found to be right; the whole of each is read. For a replica of which some table is damaged.
    Checked,
}

/// Where a raft snapshot goes. Everything below `dir` belongs to it.
#[derive(Debug, Clone)]
pub struct Destination {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    /// Directories of tables that may be linked.
    pub(super) tables: Vec<PathBuf>,
    pub(super) reuse: Reuse,
    pub(super) lineage: Option<LineageId>,
    pub(super) at_least: u64,
    pub(super) at: Option<Applied>,
    pub(super) reserve_bytes: u64,
}

impl Destination {
    /// A snapshot that takes the place of what `engine` holds: of the same lineage and history, unless that is empty, and
    /// not older. What the engine keeps free on the disk stays free.
    pub fn in_place_of(engine: &Engine, dir: &Path) -> Self {
        let applied = engine.applied();
        let begun = applied.version > 0;
        Self {
            fs: Arc::clone(&engine.env().fs),
            dir: dir.to_path_buf(),
            tables: vec![engine.dir().join(Checkpoint::TABLES)],
            reuse: Reuse::Named,
            lineage: begun.then(|| engine.lineage().id),
            at_least: applied.version,
            at: begun.then_some(applied),
            reserve_bytes: engine.disk_reserve_bytes(),
        }
    }

    /// A snapshot for a replica whose engine cannot be opened: of this lineage, where it is known, and at least at the
    /// version up to which its Raft log was forgotten.
    pub fn in_place_of_nothing(
        fs: Arc<dyn Fs>,
        dir: &Path,
        lineage: Option<LineageId>,
        at_least: u64,
        reserve_bytes: u64,
    ) -> Self {
        let dir = dir.to_path_buf();
        Self {
            fs,
            dir,
            tables: Vec::new(),
            reuse: Reuse::Checked,
            lineage,
            at_least,
            at: None,
            reserve_bytes,
        }
    }

    /// Takes tables from the engine directory `dir` too, those whose content is right: all that can be saved of a damaged
    /// one.
    #[must_use]
    pub fn saving_from(mut self, dir: &Path) -> Self {
        self.tables.push(dir.join(Checkpoint::TABLES));
        self.reuse = Reuse::Checked;
        self
    }

    /// Takes no table without having read it.
    #[must_use]
    pub fn checking_all(self) -> Self {
        Self { reuse: Reuse::Checked, ..self }
    }

    /// The same, where also an older snapshot helps: from this version on. For a replica whose log reaches back that far.
    #[must_use]
    pub fn from_version(self, at_least: u64) -> Self {
        Self { at_least, ..self }
    }

    /// The same, keeping so many bytes free on the disk.
    #[must_use]
    pub fn keeping_free(self, reserve_bytes: u64) -> Self {
        Self { reserve_bytes, ..self }
    }

    /// Refuses what must not go there.
    pub(super) fn check(&self, offer: &Offer) -> Result<(), Error> {
        if let Some(held) = self.lineage.filter(|held| *held != offer.lineage.id) {
            return Err(Error::Foreign { offered: offer.lineage.id, held });
        }
        let (offered, needed) = (offer.applied.version, self.at_least);
        if offered < needed {
            return Err(Error::Behind { offered, needed });
        }
        if let Some(at) = self.at.filter(|at| at.version == offered)
            && at.hash != offer.applied.hash
        {
            return Err(Error::Diverged { version: offered });
        }
        Ok(())
    }
}
