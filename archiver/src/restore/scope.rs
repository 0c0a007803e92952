//! Which part of a group a restore takes: all of it, or the keys below some prefixes.
//!
//! - A part has every commit that touched it, at its own versionstamp, and nothing else: what shares a table with it is
//!   erased by the first commit of the new lineage, and cannot be read at an older stamp either.
//! - Its content hash is its own: the archive's hash is checked on the way, against the whole records.

use crate::Result;
use crate::checkpoint::{Checkpoint, Table};
use crate::layout::TableDigest;
use engine::codec::Malformed;
use engine::write_batch::KEY_LEN_MAX;
use engine::{Direction, Engine, Op, Progress, Record, WriteBatch};
use std::collections::BTreeSet;
use std::fmt;

/// Erased in any case, so that a part always begins with a commit of its own: no database has this number.
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

    /// The manifest from which it is opened.
    pub(super) fn manifest(&self, checkpoint: &Checkpoint, salt: u64) -> Result<Vec<u8>, Malformed> {
        match self {
            Self::All => Ok(checkpoint.manifest.clone()),
            Self::Prefixes(prefixes) => {
                engine::Checkpoint::narrow_manifest(&checkpoint.manifest, prefixes, salt)
            }
        }
    }

    /// The tables that may hold some of it.
    pub(super) fn tables(&self, checkpoint: &Checkpoint) -> Result<Vec<Table>, Malformed> {
        if self.is_all() {
            return Ok(checkpoint.tables.clone());
        }
        let named = engine::Checkpoint::of_manifest(&self.manifest(checkpoint, 0)?)?.tables;
        let named: BTreeSet<TableDigest> =
            named.iter().filter_map(|(name, _)| TableDigest::from_file_name(name)).collect();
        Ok(checkpoint.tables.iter().filter(|table| named.contains(&table.digest)).copied().collect())
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

    /// Erases what is not in it, and forgets every older state, so that nothing else can be read.
    pub(super) fn erase_the_rest(&self, engine: &Engine) -> Result<()> {
        let Self::Prefixes(wanted) = self else { return Ok(()) };
        let mut batch = WriteBatch::new();
        for other in others(engine, wanted)?.into_iter().chain([Other::Below(NOBODY.to_vec())]) {
            let erased = match &other {
                Other::Key(key) => batch.delete(key),
                Other::Below(prefix) => batch.delete_prefix(prefix),
            };
            erased.expect("a key, or the beginning of one, fits a batch");
        }
        engine.commit(batch)?;
        engine.flush()?;
        loop {
            let (maintained, compacted) = (engine.maintain()?, engine.compact()?);
            if maintained == Progress::Idle && compacted == Progress::Idle {
                return Ok(());
            }
        }
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

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Other {
    /// A key with which a wanted prefix begins.
    Key(Vec<u8>),
    /// All that begins so.
    Below(Vec<u8>),
}

/// What holds every key that is there and begins with none of `wanted`, and no key that does.
fn others(engine: &Engine, wanted: &[Vec<u8>]) -> Result<Vec<Other>> {
    // At the beginning of time nothing has expired: what has is erased as well.
    let snapshot = engine.newest().at_time(0);
    let end = vec![0xff; KEY_LEN_MAX];
    let mut found = Vec::new();
    let mut from = Some(vec![0]);
    while let Some(start) = from {
        let Some(entry) = snapshot.range(&start, &end, Direction::Forward)?.next().transpose()? else {
            break;
        };
        if let Some(prefix) = wanted.iter().find(|prefix| entry.key.starts_with(prefix)) {
            from = after(prefix.clone());
        } else if wanted.iter().any(|prefix| prefix.starts_with(&entry.key)) {
            found.push(Other::Key(entry.key.to_vec()));
            from = Some([&entry.key[..], &[0]].concat());
        } else {
            let other = shortest_other(&entry.key, wanted).to_vec();
            found.push(Other::Below(other.clone()));
            from = after(other);
        }
    }
    Ok(found)
}

/// The shortest beginning of `key` with which no wanted key begins.
fn shortest_other<'a>(key: &'a [u8], wanted: &[Vec<u8>]) -> &'a [u8] {
    let shared = |prefix: &Vec<u8>| key.iter().zip(prefix).take_while(|(a, b)| a == b).count();
    let longest = wanted.iter().map(shared).max().unwrap_or(0);
    &key[..key.len().min(longest + 1)]
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
