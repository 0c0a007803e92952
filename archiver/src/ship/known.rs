//! Which tables this node has put into an archive, remembered beside its data: writing an archive takes no right to read it.
//!
//! - Only this node's own tables are of use to it: those of another replica are cut elsewhere.
//! - A table is reused while it is sure to stay: for as long as pruning grants after it was written, halved, or named by the
//!   newest checkpoint of the lineage, if that is as young.
//! - A file that is missing, torn, or of another lineage, target or set of recipients says nothing: then all tables are put.
//!
//! Layout of the file, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNTBS` |
//! | 8 | 4 | format | 1 |
//! | 12 | 4 | reserved | 0 |
//! | 16 | 16 | lineage | its id |
//! | 32 | 16 | target | digest of the store's location |
//! | 48 | 16 | recipients | digest of those that it is encrypted for |
//! | 64 | 16 | checkpoint | digest of the last one; zero without one |
//! | 80 | 4 | tables | how many |
//! | 84 | | tables | each: 32 bytes BLAKE3, u64 size, 16 bytes of the BLAKE3 of what is stored, u64 its size (both zero when that is the same), u64 when it was put, u8 1 when the checkpoint names it, else 0 |
//! | | 4 | checksum | CRC-32 of all bytes before |

use super::REUSE_WITHIN_MS;
use crate::checkpoint::{SealedTable, TABLES_MAX, Table};
use crate::layout::{Digest, TableDigest};
use crate::{Error, Result};
use engine::LineageId;
use engine::codec::{Decoder, Malformed};
use engine::fs::{Fs, read_file};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"CAIRNTBS";
const FORMAT: u32 = 1;
const NAME: &str = "tables";
const TABLE_LEN: usize = 73;
/// The most bytes of the file.
const FILE_BYTES_MAX: u64 = 88 + (TABLE_LEN * TABLES_MAX) as u64;

/// Whose tables they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) lineage: LineageId,
    pub(super) target: Digest,
    pub(super) recipients: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Put {
    table: Table,
    put_ms: u64,
    is_named: bool,
}

/// Tables that are in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    owner: Owner,
    /// The digest of the checkpoint that names those which are named.
    checkpoint: Option<Digest>,
    tables: BTreeMap<TableDigest, Put>,
}

impl Known {
    /// Nothing is known.
    pub(super) const fn nothing(owner: Owner) -> Self {
        Self { owner, checkpoint: None, tables: BTreeMap::new() }
    }

    /// What the file in a directory says.
    pub(super) fn load(fs: &dyn Fs, scratch: &Path, owner: Owner) -> Self {
        let read = read_file(fs, &scratch.join(NAME), FILE_BYTES_MAX);
        let known = read.ok().and_then(|bytes| Self::decode(&bytes).ok());
        known.filter(|known| known.owner == owner).unwrap_or(Self::nothing(owner))
    }

    /// Writes the file. A crash leaves the old one, the new one, or one that says nothing.
    pub(super) fn save(&self, fs: &dyn Fs, scratch: &Path) -> Result<()> {
        let (path, new) = (scratch.join(NAME), scratch.join("tables.new"));
        let write = || {
            fs.create_dir_all(scratch)?;
            match fs.remove(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs.create(&new)?.write_at(&self.encode(), 0)?;
            fs.rename(&new, &path)
        };
        write().map_err(Error::io("write", &path))
    }

    /// Removes the file: what was put is not there any more.
    pub(super) fn forget(fs: &dyn Fs, scratch: &Path) -> Result<()> {
        let path = scratch.join(NAME);
        match fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// A table was put.
    pub(super) fn put(&mut self, table: Table, now_ms: u64) {
        self.tables.insert(table.digest, Put { table, put_ms: now_ms, is_named: false });
    }

    /// A checkpoint that names these tables was put; what is not named and old is forgotten.
    pub(super) fn named(&mut self, checkpoint: Digest, tables: &[Table], now_ms: u64) {
        for put in self.tables.values_mut() {
            put.is_named = tables.contains(&put.table);
        }
        self.tables.retain(|_, put| put.is_named || is_young(put.put_ms, now_ms));
        self.checkpoint = Some(checkpoint);
    }

    /// Tables that need not be put again. `newest` is the newest checkpoint, and when it was made.
    pub(super) fn reusable(
        &self,
        newest: Option<(Digest, u64)>,
        now_ms: u64,
    ) -> BTreeMap<TableDigest, Table> {
        let is_ours = |(digest, made_ms)| self.checkpoint == Some(digest) && is_young(made_ms, now_ms);
        let names = newest.is_some_and(is_ours);
        let stays = |put: &&Put| is_young(put.put_ms, now_ms) || (names && put.is_named);
        self.tables.values().filter(stays).map(|put| (put.table.digest, put.table)).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(88 + TABLE_LEN * self.tables.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&self.owner.lineage.0);
        for digest in [self.owner.target, self.owner.recipients, self.checkpoint.unwrap_or(Digest([0; 16]))] {
            out.extend_from_slice(&digest.0);
        }
        let count = u32::try_from(self.tables.len()).expect("tables are counted in 32 bits");
        out.extend_from_slice(&count.to_le_bytes());
        for Put { table, put_ms, is_named } in self.tables.values() {
            out.extend_from_slice(&table.digest.0);
            out.extend_from_slice(&table.bytes.to_le_bytes());
            let sealed = table.sealed.unwrap_or(SealedTable { digest: Digest([0; 16]), bytes: 0 });
            out.extend_from_slice(&sealed.digest.0);
            out.extend_from_slice(&sealed.bytes.to_le_bytes());
            out.extend_from_slice(&put_ms.to_le_bytes());
            out.push(u8::from(*is_named));
        }
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        crate::open_envelope(&mut rest, bytes, MAGIC, FORMAT..=FORMAT)?;
        let lineage = LineageId(rest.array("lineage")?);
        let target = Digest(rest.array("target")?);
        let recipients = Digest(rest.array("recipients")?);
        let checkpoint = Digest(rest.array("checkpoint")?);
        let count = rest.u32("number of tables")? as usize;
        let mut tables = BTreeMap::new();
        for _ in 0..count {
            let digest = TableDigest(rest.array("digest of a table")?);
            let size = rest.u64("size of a table")?;
            let stored = SealedTable {
                digest: Digest(rest.array("digest of what is stored")?),
                bytes: rest.u64("size of what is stored")?,
            };
            let table = Table { digest, bytes: size, sealed: (stored.bytes > 0).then_some(stored) };
            let put_ms = rest.u64("when it was put")?;
            let is_named = rest.u8("whether it is named")? == 1;
            tables.insert(digest, Put { table, put_ms, is_named });
        }
        rest.u32("checksum")?;
        rest.finish()?;
        let owner = Owner { lineage, target, recipients };
        Ok(Self { owner, checkpoint: Some(checkpoint).filter(|digest| *digest != Digest([0; 16])), tables })
    }
}

const fn is_young(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) <= REUSE_WITHIN_MS
}

/// The directory of a target below that of all shippers.
pub(super) fn directory(scratch: &Path, group: u64, target: Digest) -> PathBuf {
    scratch.join(group.to_string()).join(target.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner =
        Owner { lineage: LineageId([1; 16]), target: Digest([2; 16]), recipients: Digest([3; 16]) };

    fn table(n: u8) -> Table {
        let sealed = n.is_multiple_of(2).then_some(SealedTable { digest: Digest([n; 16]), bytes: 9 });
        Table { digest: TableDigest([n; 32]), bytes: 7, sealed }
    }

    fn reusable(known: &Known, newest: Option<(Digest, u64)>, now_ms: u64) -> Vec<Table> {
        known.reusable(newest, now_ms).into_values().collect()
    }

    #[test]
    fn a_table_is_reused_only_while_it_is_sure_to_stay() {
        let mut known = Known::nothing(OWNER);
        (1..=3).for_each(|n| known.put(table(n), 0));
        let (last, other) = (Digest([8; 16]), Digest([9; 16]));
        assert_eq!(reusable(&known, None, REUSE_WITHIN_MS).len(), 3, "they were just put");
        assert_eq!(reusable(&known, None, REUSE_WITHIN_MS + 1), [], "nothing names them");
        known.named(last, &[table(1), table(2)], 10);
        let later = REUSE_WITHIN_MS + 1;
        assert_eq!(reusable(&known, Some((last, 10)), later), [table(1), table(2)]);
        assert_eq!(reusable(&known, Some((other, 10)), later), [], "another node made a newer checkpoint");
        assert_eq!(reusable(&known, Some((last, 10)), later + 10), [], "the checkpoint is old");
        known.named(last, &[table(2)], later);
        assert_eq!(known.tables.len(), 1, "the rest is forgotten");
    }

    #[test]
    fn what_is_known_survives_its_bytes_and_no_other_bytes_are_read() -> Result<(), Malformed> {
        let mut known = Known::nothing(OWNER);
        (1..=3).for_each(|n| known.put(table(n), 5));
        known.named(Digest([8; 16]), &[table(1)], 6);
        let bytes = known.encode();
        assert_eq!(Known::decode(&bytes)?, known);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(Known::decode(&flipped).is_err(), "byte {at}");
            assert!(Known::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        Ok(())
    }
}
