//! The keys below some prefixes out of a checkpoint, for whoever reads its tables from afar: only the bytes that are
//! needed have to be at hand, and what is written holds nothing else.
//!
//! [`Part::of_manifest`] says which tables may hold something. Of each one, a [`Table`] asks for byte ranges until it has all
//! that it needs, and writes a new table with the entries of the part. [`Part::manifest`] names those. The
//! directory opens as the checkpoint would have, with its stamp, its content hash and every version that it kept of
//! these keys.
//!
//! - Every block that is read is checked: its own checksum, which covers its place in the file; that its entries stand
//!   where the index says; and the footer against the manifest. The digest of the file is not, as that would take
//!   all of its bytes.
//! - What the manifest says beside the tables (deletions of prefixes, horizons) is narrowed as well.
//! - Tables keep their level and their order, so that a level that shares no key goes on sharing none.

mod pieces;
pub(crate) mod prefixes;
mod table;
#[cfg(test)]
mod tests;

pub use table::{Narrowed, Table};

use crate::codec::Malformed;
use crate::horizon::Horizons;
use crate::manifest::{self, State};
use crate::{Checkpoint, erasure};
use pieces::Pieces;
use prefixes::Prefixes;
use std::path::Path;
use std::sync::Arc;

/// A part of a checkpoint.
#[derive(Debug, Clone)]
pub struct Part {
    /// As the checkpoint has it, but with what meets the part alone.
    state: State,
    prefixes: Arc<Prefixes>,
    horizons: Arc<Horizons>,
}

impl Part {
    /// The keys that begin with one of `prefixes`, of the checkpoint with this manifest.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::of_manifest`].
    pub fn of_manifest(manifest: &[u8], prefixes: &[Vec<u8>]) -> Result<Part, Malformed> {
        Checkpoint::of_manifest(manifest)?;
        let mut state = manifest::decode(manifest)?;
        let prefixes = Prefixes::new(prefixes);
        state.tables.retain(|(_, meta)| prefixes.may_hold(&meta.first_key, &meta.last_key));
        let gone: Vec<erasure::Erasure> =
            state.erasures.iter().filter(|erasure| !prefixes.meet(&erasure.prefix)).cloned().collect();
        state.erasures = state.erasures.without(&gone);
        let others: Vec<_> = state.horizons.prefixes().iter().map(|(prefix, _)| prefix.clone()).collect();
        for prefix in others.iter().filter(|prefix| !prefixes.meet(prefix)) {
            state.horizons.remove(prefix);
        }
        let horizons = Arc::new(state.horizons.clone());
        Ok(Part { state, prefixes: Arc::new(prefixes), horizons })
    }

    /// The tables that may hold something of it: name and length in bytes.
    pub fn tables(&self) -> impl Iterator<Item = (String, u64)> {
        self.state.tables.iter().map(|(_, meta)| (meta.digest.file_name(), meta.bytes))
    }

    /// One of its tables, of which nothing has arrived; errors call it `path`. `None` when it has no table of that name.
    pub fn table(&self, name: &str, path: &Path) -> Option<Table> {
        let is_it = |(_, meta): &(u8, crate::table::Meta)| meta.digest.file_name() == name;
        let position = self.state.tables.iter().position(is_it)?;
        let (level, meta) = self.state.tables.get(position)?.clone();
        let lowest = self.state.tables.iter().map(|(level, _)| *level).max();
        Some(Table {
            position,
            level,
            is_bottom: lowest == Some(level),
            pieces: Arc::new(Pieces::new(meta.bytes)),
            meta,
            prefixes: Arc::clone(&self.prefixes),
            horizons: Arc::clone(&self.horizons),
            path: path.to_path_buf(),
            found: None,
        })
    }

    /// The manifest of a directory with these tables, one for each of its own that holds something, in any order.
    /// `salt` is random.
    pub fn manifest(&self, mut tables: Vec<Narrowed>, salt: u64) -> Vec<u8> {
        tables.sort_unstable_by_key(|table| table.position);
        let mut state = State { tables: Vec::new(), ..self.state.clone() };
        for Narrowed { level, meta, .. } in tables {
            // Tables with one digest hold the same entries, so that one of them is enough.
            if state.tables.iter().all(|(_, other)| other.digest != meta.digest) {
                state.tables.push((level, meta));
            }
        }
        manifest::encode(&state, salt)
    }
}
