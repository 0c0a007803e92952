//! Copies of an engine that share its tables.
//!
//! - A checkpoint links what the manifest names, under the manifest's lock: nothing of it is removed meanwhile.
//! - Its manifest has its name last: a directory with a manifest is a whole checkpoint.

use super::Core;
use super::open::{TABLES_DIR, WAL_DIR};
use crate::Applied;
use crate::codec::Malformed;
use crate::fs::Fs;
use crate::lineage::Lineage;
use crate::manifest::{self, Manifest, State};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// A durable, self-contained copy in a directory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it holds.
    pub applied: Applied,
    /// Whose history it is.
    pub lineage: Lineage,
    /// Its table files below `tables/`, names rising: name (BLAKE3 of the content and a suffix) and length in bytes.
    pub tables: Vec<(String, u64)>,
    /// The marks that are set in it.
    pub marks: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Checkpoint {
    /// Name of its manifest. A directory without this file holds no engine.
    pub const MANIFEST: &str = manifest::FILE_NAME;
    /// Name of the directory below it that holds the tables.
    pub const TABLES: &str = TABLES_DIR;
    /// Name of the directory below it that holds the log, which a checkpoint has none of.
    pub const LOG: &str = WAL_DIR;

    /// What the tables of the engine in `dir` hold, as its manifest says; `None` when it has no manifest. What is only in
    /// its log is not in it. Opens nothing: neither tables nor log need be intact.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when the manifest is not intact; what the disk says.
    pub fn in_tables_of(fs: &dyn Fs, dir: &Path) -> Result<Option<Checkpoint>> {
        Ok(manifest::read(fs, dir)?.map(|state| describe(&state)))
    }

    /// What the manifest of a checkpoint says.
    ///
    /// # Errors
    ///
    /// When the bytes are no intact manifest, or that of an engine that has a log.
    pub fn of_manifest(bytes: &[u8]) -> Result<Checkpoint, Malformed> {
        let state = manifest::decode(bytes)?;
        if state.first_segment != 0 {
            return Err(Malformed { offset: 0, expected: "the manifest of an engine without a log" });
        }
        Ok(describe(&state))
    }
}

impl Core {
    pub(super) fn checkpoint(&self, to: &Path) -> Result<Checkpoint> {
        let fs = &*self.env.fs;
        fs.create_dir_all(&to.join(TABLES_DIR)).map_err(Error::io("create", to))?;
        fs.create_dir_all(&to.join(WAL_DIR)).map_err(Error::io("create", to))?;
        let names = fs.read_dir(to).map_err(Error::io("list", to))?;
        let tables = fs.read_dir(&to.join(TABLES_DIR)).map_err(Error::io("list", to))?;
        if !tables.is_empty() || names != [TABLES_DIR, WAL_DIR] {
            let reason = "a checkpoint needs an empty directory".to_owned();
            return Err(Error::NotADataDirectory { path: to.to_path_buf(), reason });
        }
        self.flush_all()?;
        let manifest = self.manifest.lock();
        let state = State { first_segment: 0, ..manifest.state().clone() };
        let mut linked = BTreeSet::new();
        for (_, meta) in &state.tables {
            let name = meta.digest.file_name();
            if linked.insert(name.clone()) {
                let (from, to) = (self.dir.join(TABLES_DIR).join(&name), to.join(TABLES_DIR).join(&name));
                fs.hard_link(&from, &to).map_err(Error::io("link", &to))?;
            }
        }
        drop(manifest);
        fs.sync_dir(&to.join(TABLES_DIR)).map_err(Error::io("sync", to))?;
        let salt = super::append::salt(&self.env);
        let checkpoint = describe(&state);
        Manifest::create(Arc::clone(&self.env.fs), to, state, salt)?;
        Ok(checkpoint)
    }
}

fn describe(state: &State) -> Checkpoint {
    let named: BTreeMap<String, u64> =
        state.tables.iter().map(|(_, meta)| (meta.digest.file_name(), meta.bytes)).collect();
    Checkpoint {
        applied: state.flushed,
        lineage: state.lineage,
        tables: named.into_iter().collect(),
        marks: state.marks.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim;
    use crate::fs::read_file;
    use crate::testing::TestResult;
    use crate::{Engine, Mark, Options, Record};

    #[test]
    fn the_manifest_of_a_checkpoint_says_what_it_holds_and_that_of_an_engine_is_refused() -> TestResult {
        let (env, disk, _clock) = sim::env(1);
        let dir = Path::new("/data");
        let (engine, _) = Engine::open(env.clone(), dir, Options::default())?;
        let mut batch = crate::WriteBatch::new();
        batch.put(b"key", b"value", None)?;
        engine.commit(batch)?;
        let marks = vec![Mark { name: b"members".to_vec(), value: b"1".to_vec() }];
        let applied = engine.applied();
        let tick = Record {
            version: applied.version + 1,
            term: 3,
            time_ms: applied.time_ms,
            hash: applied.hash,
            batches: Vec::new(),
            marks,
        };
        engine.append(&tick)?;
        let copy = Path::new("/copy");
        let made = engine.checkpoint(copy)?;
        assert_eq!(made.applied, engine.applied());
        assert_eq!(made.marks.get(&b"members"[..]).map(Vec::as_slice), Some(&b"1"[..]));
        assert_eq!(disk.read_dir(&copy.join(Checkpoint::TABLES))?, [made.tables[0].0.clone()]);
        let manifest = |dir: &Path| read_file(&disk, &dir.join(Checkpoint::MANIFEST), 1 << 20);
        assert_eq!(Checkpoint::of_manifest(&manifest(copy)?)?, made);
        assert!(Checkpoint::of_manifest(&manifest(dir)?).is_err());
        assert_eq!(Checkpoint::in_tables_of(&disk, dir)?, Some(made));
        assert_eq!(Checkpoint::in_tables_of(&disk, Path::new("/"))?, None);
        Ok(())
    }
}
