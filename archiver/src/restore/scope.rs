//! Which part of a group a restore takes: all of it, or the keys below some prefixes.
//!
//! - A part has every commit that touched it, at its own versionstamp, and nothing else, at no stamp: what shares a table or
//!   a record with it is left out before anything is written.
//! - Its content hash is its own: the archive's hash is checked on the way, against the whole records.

use crate::checkpoint::{Checkpoint, Table};
use crate::layout::TableDigest;
use crate::{Error, Result};
use engine::codec::Malformed;
use engine::part::Part;
use engine::write_batch::KEY_LEN_MAX;
use engine::{Direction, Engine, Op, Record, WriteBatch};
use std::collections::BTreeSet;
use std::fmt;

/// Erased, so that a part always begins with a commit of its own: no database has this number.
const NOBODY: &[u8] = &[0xff; 8];

/// Which keys of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// Those that begin with one of these.
    Prefixes(Vec<Vec<u8>>),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Prefixes(prefixes) = self else { return f.write_str("all keys") };
        f.write_str("the keys below")?;
        prefixes.iter().try_for_each(|prefix| {
            f.write_str(" ")?;
            prefix.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
        })
    }
}

impl Scope {
    /// Whether it takes everything.
    pub const fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    fn holds(&self, key: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| key.starts_with(prefix)),
        }
    }

    fn meets(&self, erased: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Prefixes(prefixes) => {
                prefixes.iter().any(|prefix| erased.starts_with(prefix) || prefix.starts_with(erased))
            }
        }
    }

    /// The part of a checkpoint that it is; `None` when it takes everything.
    pub(super) fn part(&self, checkpoint: &Checkpoint) -> Result<Option<Part>, Malformed> {
        match self {
            Self::All => Ok(None),
            Self::Prefixes(prefixes) => Part::of_manifest(&checkpoint.manifest, prefixes).map(Some),
        }
    }

    /// The tables that may hold some of it.
    pub(super) fn tables(&self, checkpoint: &Checkpoint) -> Result<Vec<Table>, Malformed> {
        let Some(part) = self.part(checkpoint)? else { return Ok(checkpoint.tables.clone()) };
        let named: BTreeSet<(TableDigest, u64)> = part
            .tables()
            .filter_map(|(name, bytes)| Some((TableDigest::from_file_name(&name)?, bytes)))
            .collect();
        let is_named = |table: &&Table| named.contains(&(table.digest, table.bytes));
        let tables: Vec<Table> = checkpoint.tables.iter().filter(is_named).copied().collect();
        // One that is not listed would be missed by nobody.
        if tables.len() == named.len() {
            return Ok(tables);
        }
        Err(Malformed { offset: 0, expected: "a manifest that names the tables which are listed before it" })
    }

    /// What a record does to it. The hash stays that of the whole record.
    pub(super) fn narrow(&self, mut record: Record) -> Record {
        let is_ours = |op: Op<'_>| match op {
            Op::Put { key, .. } | Op::Delete { key } => self.holds(key),
            Op::DeletePrefix { prefix } => self.meets(prefix),
        };
        if self.is_all() {
            return record;
        }
        record.batches.retain_mut(|(_, batch)| {
            if !batch.ops().all(is_ours) {
                *batch = only(batch, is_ours);
            }
            !batch.is_empty()
        });
        record
    }

    /// Lets a part begin with a commit of its own, once it is certain that it holds nothing else.
    pub(super) fn begin(&self, engine: &Engine) -> Result<()> {
        let Self::Prefixes(wanted) = self else { return Ok(()) };
        if let Some(key) = stray(engine, wanted)? {
            let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(Error::Differs { what: format!("{self} were wanted, and key {digits} is there") });
        }
        let mut batch = WriteBatch::new();
        batch.delete_prefix(NOBODY).expect("eight bytes fit a batch");
        engine.commit(batch)?;
        Ok(())
    }
}

fn only(batch: &WriteBatch, keep: impl Fn(Op<'_>) -> bool) -> WriteBatch {
    let mut kept = WriteBatch::new();
    for op in batch.ops().filter(|op| keep(*op)) {
        match op {
            Op::Put { key, value, expire_at_ms } => kept.put(key, value, expire_at_ms),
            Op::Delete { key } => kept.delete(key),
            Op::DeletePrefix { prefix } => kept.delete_prefix(prefix),
        }
        .expect("an operation of a batch fits a batch");
    }
    kept
}

/// The first key that is there and begins with none of `wanted`.
fn stray(engine: &Engine, wanted: &[Vec<u8>]) -> Result<Option<Vec<u8>>> {
    // At the beginning of time nothing has expired: what has must not be there either.
    let snapshot = engine.newest().at_time(0);
    let end = vec![0xff; KEY_LEN_MAX];
    let mut from = Some(vec![0]);
    while let Some(start) = from {
        let Some(entry) = snapshot.range(&start, &end, Direction::Forward)?.next().transpose()? else {
            break;
        };
        match wanted.iter().find(|prefix| entry.key.starts_with(prefix)) {
            Some(prefix) => from = after(prefix.clone()),
            None => return Ok(Some(entry.key.to_vec())),
        }
    }
    Ok(None)
}

/// The first key after all that begin with `prefix`.
fn after(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.last_mut() {
        if *last < 0xff {
            *last += 1;
            return Some(prefix);
        }
        prefix.pop();
    }
    None
}

#[cfg(test)]
mod tests;
