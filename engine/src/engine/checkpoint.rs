//! Copies of an engine that share its tables.
//!
//! - A checkpoint links what the manifest names, under the manifest's lock: nothing of it is removed meanwhile.

use super::Core;
use super::open::{TABLES_DIR, WAL_DIR};
use crate::Applied;
use crate::lineage::Lineage;
use crate::manifest::{Manifest, State};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// A durable, self-contained copy in a directory of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it holds.
    pub applied: Applied,
    /// Whose history it is.
    pub lineage: Lineage,
    /// Its table files below `tables/`: name (BLAKE3 of the content and a suffix) and length in bytes.
    pub tables: Vec<(String, u64)>,
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
    let named: std::collections::BTreeMap<String, u64> =
        state.tables.iter().map(|(_, meta)| (meta.digest.file_name(), meta.bytes)).collect();
    Checkpoint { applied: state.flushed, lineage: state.lineage, tables: named.into_iter().collect() }
}
