//! The object that names everything one checkpoint needs: all data of a group at a stamp.
//!
//! - It is written after its tables: a checkpoint that is there was complete when it was made.
//! - It holds the engine's manifest as it is, so that a restored directory opens as the original
//!   would have, with every stamp.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNCKP` |
//! | 8 | 4 | format | 1, or 2 when its tables are encrypted |
//! | 12 | 4 | reserved | 0 |
//! | 16 | 16 | lineage | its id |
//! | 32 | 4 | epoch | of the lineage |
//! | 36 | 8 | group | |
//! | 44 | 8 | version | of the last record in it |
//! | 52 | 8 | term | of that record |
//! | 60 | 8 | time | clock at that record, Unix milliseconds |
//! | 68 | 32 | hash | content hash at `stamp` |
//! | 100 | 10 | stamp | last commit in it |
//! | 110 | 8 | made | when, by the shipper's clock, Unix milliseconds |
//! | 118 | 1 | before | 1 what was shipped leads up to it; 2 nothing was shipped before; 3 a gap |
//! | 119 | 10 | gap after | the last commit shipped before the gap; zero without one |
//! | 129 | 4 | manifest length | |
//! | 133 | 4 | tables | how many |
//! | 137 | | tables | each: 32 bytes BLAKE3, rising; u64 size; in format 2 also of what is stored: 16 bytes of its BLAKE3; u64 size |
//! | | | manifest | |
//! | | 4 | checksum | CRC-32 of all bytes before |

use crate::layout::{CheckpointName, Digest, LineageFolder, TIME_MS_MAX, TableDigest, TableName};
use engine::codec::{Decoder, Malformed};
use engine::{Applied, ContentHash, LineageId, Versionstamp};

/// The first bytes of a checkpoint.
pub const MAGIC: [u8; 8] = *b"CAIRNCKP";
/// The format of a checkpoint whose tables are stored as they are.
pub const FORMAT_PLAIN: u32 = 1;
/// The format of a checkpoint whose tables, at least one, are all encrypted.
pub const FORMAT_SEALED: u32 = 2;
/// The most bytes of a manifest, inclusive.
pub const MANIFEST_BYTES_MAX: usize = 256 << 20;
/// The most tables of a checkpoint, inclusive.
pub const TABLES_MAX: usize = 1 << 20;
/// The most bytes a checkpoint object can have, inclusive.
pub const OBJECT_BYTES_MAX: u64 = 137 + 64 * TABLES_MAX as u64 + MANIFEST_BYTES_MAX as u64 + 4;

/// A table that a checkpoint needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Table {
    /// The BLAKE3 of its bytes.
    pub digest: TableDigest,
    /// Its size.
    pub bytes: u64,
    /// What is stored instead, when it is encrypted.
    pub sealed: Option<SealedTable>,
}

/// A table as it is stored when it is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedTable {
    /// The digest of what is stored.
    pub digest: Digest,
    /// The size of that.
    pub bytes: u64,
}

impl Table {
    /// The name of its object.
    pub fn name(&self) -> TableName {
        TableName { digest: self.digest, sealed: self.sealed.map(|sealed| sealed.digest) }
    }

    /// The size of its object.
    pub fn stored_bytes(&self) -> u64 {
        self.sealed.map_or(self.bytes, |sealed| sealed.bytes)
    }

    fn decode(rest: &mut Decoder<'_>, is_sealed: bool) -> Result<Self, Malformed> {
        let digest = TableDigest(rest.array("digest of a table")?);
        let bytes = rest.u64("size of a table")?;
        let sealed = if is_sealed {
            let digest = Digest(rest.array("digest of an encrypted table")?);
            Some(SealedTable { digest, bytes: rest.u64("size of an encrypted table")? })
        } else {
            None
        };
        Ok(Self { digest, bytes, sealed })
    }
}

/// What the archive of a lineage holds before a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Everything that leads up to it.
    Shipped,
    /// Nothing: the archive of the lineage begins with it.
    Nothing,
    /// Everything up to this commit; those after it were not shipped.
    Gap(Versionstamp),
}

impl Before {
    const fn code(self) -> (u8, Versionstamp) {
        match self {
            Self::Shipped => (1, Versionstamp::ZERO),
            Self::Nothing => (2, Versionstamp::ZERO),
            Self::Gap(after) => (3, after),
        }
    }
}

/// All data of a group at a stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose history.
    pub lineage: LineageFolder,
    /// Of which group.
    pub group: u64,
    /// What it holds.
    pub applied: Applied,
    /// When it was made, by the shipper's clock, Unix milliseconds.
    pub made_ms: u64,
    /// What was shipped before it.
    pub before: Before,
    /// Its tables; digests rise.
    pub tables: Vec<Table>,
    /// The engine's manifest, as it is.
    pub manifest: Vec<u8>,
}

impl Checkpoint {
    /// The bytes of the object.
    ///
    /// # Panics
    ///
    /// If there are more tables or manifest bytes than the format can say, or some tables are encrypted and others not.
    pub fn encode(&self) -> Vec<u8> {
        let is_sealed = self.tables.first().is_some_and(|table| table.sealed.is_some());
        let mixed = self.tables.iter().any(|table| table.sealed.is_some() != is_sealed);
        assert!(!mixed, "the tables of a checkpoint are all encrypted, or none is");
        let format = if is_sealed { FORMAT_SEALED } else { FORMAT_PLAIN };
        let mut out = Vec::with_capacity(141 + 64 * self.tables.len() + self.manifest.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&format.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&self.lineage.id.0);
        out.extend_from_slice(&self.lineage.epoch.to_le_bytes());
        for number in [self.group, self.applied.version, self.applied.term, self.applied.time_ms] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(self.applied.hash.as_bytes());
        out.extend_from_slice(self.applied.stamp.as_bytes());
        out.extend_from_slice(&self.made_ms.to_le_bytes());
        let (before, gap_after) = self.before.code();
        out.push(before);
        out.extend_from_slice(gap_after.as_bytes());
        assert!(self.manifest.len() <= MANIFEST_BYTES_MAX, "a manifest is small");
        assert!(self.tables.len() <= TABLES_MAX, "tables are counted");
        for len in [self.manifest.len(), self.tables.len()] {
            let len = u32::try_from(len).expect("both bounds fit 32 bits");
            out.extend_from_slice(&len.to_le_bytes());
        }
        for table in &self.tables {
            out.extend_from_slice(&table.digest.0);
            out.extend_from_slice(&table.bytes.to_le_bytes());
            if let Some(sealed) = &table.sealed {
                out.extend_from_slice(&sealed.digest.0);
                out.extend_from_slice(&sealed.bytes.to_le_bytes());
            }
        }
        out.extend_from_slice(&self.manifest);
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// Where the bytes are not exactly one checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        let format = crate::open_envelope(&mut rest, bytes, MAGIC, FORMAT_PLAIN..=FORMAT_SEALED)?;
        let is_sealed = format == FORMAT_SEALED;
        let id = LineageId(rest.array("lineage")?);
        let lineage = LineageFolder { epoch: rest.u32("epoch")?, id };
        let group = rest.u64("group")?;
        let applied = Applied {
            version: rest.u64("version")?,
            term: rest.u64("term")?,
            time_ms: rest.u64("time")?,
            hash: ContentHash::from_bytes(rest.array("content hash")?),
            stamp: Versionstamp::from_bytes(rest.array("stamp")?),
        };
        let made_ms = rest.u64("when it was made")?;
        rest.ensure(applied.time_ms <= TIME_MS_MAX && made_ms <= TIME_MS_MAX, "times of 48 bits")?;
        let code = rest.u8("what was shipped before")?;
        let after = Versionstamp::from_bytes(rest.array("gap after")?);
        let before = match code {
            1 if after == Versionstamp::ZERO => Before::Shipped,
            2 if after == Versionstamp::ZERO => Before::Nothing,
            3 => Before::Gap(after),
            _ => return Err(rest.malformed("1, 2 or 3, and a stamp with 3 alone")),
        };
        let manifest_len = rest.u32("manifest length")? as usize;
        let count = rest.u32("number of tables")? as usize;
        rest.ensure(count <= TABLES_MAX, "a number of tables within its limit")?;
        rest.ensure(count > 0 || !is_sealed, "tables where they are said to be encrypted")?;
        rest.ensure(manifest_len <= MANIFEST_BYTES_MAX, "a manifest length within its limit")?;
        let mut tables: Vec<Table> = Vec::new();
        for _ in 0..count {
            let before = rest.clone();
            let table = Table::decode(&mut rest, is_sealed)?;
            before.ensure(tables.last().is_none_or(|last| last.digest < table.digest), "rising digests")?;
            tables.push(table);
        }
        let manifest = rest.take(manifest_len, "manifest")?.to_vec();
        rest.u32("checksum")?;
        rest.finish()?;
        Ok(Self { lineage, group, applied, made_ms, before, tables, manifest })
    }

    /// The name of a checkpoint that is stored as bytes with this digest.
    pub fn name(&self, digest: Digest, sealed: bool) -> CheckpointName {
        CheckpointName {
            stamp: self.applied.stamp,
            time_ms: self.applied.time_ms,
            hash: self.applied.hash.into(),
            digest,
            sealed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn sample() -> Checkpoint {
        Checkpoint {
            lineage: LineageFolder { epoch: 1, id: LineageId([2; 16]) },
            group: 3,
            applied: Applied {
                version: 4,
                term: 5,
                time_ms: 6,
                hash: ContentHash::from_bytes([7; 32]),
                stamp: Versionstamp::new(4, 8),
            },
            made_ms: 9,
            before: Before::Gap(Versionstamp::new(2, 0)),
            tables: vec![
                Table { digest: TableDigest([1; 32]), bytes: 10, sealed: None },
                Table { digest: TableDigest([2; 32]), bytes: 11, sealed: None },
            ],
            manifest: b"manifest".to_vec(),
        }
    }

    fn sealed_sample() -> Checkpoint {
        let mut checkpoint = sample();
        for (table, n) in checkpoint.tables.iter_mut().zip(20..) {
            table.sealed = Some(SealedTable { digest: Digest([n; 16]), bytes: u64::from(n) });
        }
        checkpoint
    }

    fn frozen(checkpoint: &Checkpoint, format: u8) -> Vec<u8> {
        let mut expected = b"CAIRNCKP".to_vec();
        expected.extend_from_slice(&[format, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[2; 16]);
        expected.extend_from_slice(b"\x01\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0");
        expected.extend_from_slice(b"\x06\0\0\0\0\0\0\0");
        expected.extend_from_slice(&[7; 32]);
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\x04\0\x08\x09\0\0\0\0\0\0\0");
        expected.extend_from_slice(b"\x03\0\0\0\0\0\0\0\x02\0\0\x08\0\0\0\x02\0\0\0");
        for (digest, bytes) in [(1, 10), (2, 11)] {
            expected.extend_from_slice(&[digest; 32]);
            expected.extend_from_slice(&[bytes, 0, 0, 0, 0, 0, 0, 0]);
            if let Some(sealed) = checkpoint.tables[usize::from(digest) - 1].sealed {
                expected.extend_from_slice(&sealed.digest.0);
                expected.extend_from_slice(&sealed.bytes.to_le_bytes());
            }
        }
        expected.extend_from_slice(b"manifest");
        let checksum = crc32fast::hash(&expected);
        expected.extend_from_slice(&checksum.to_le_bytes());
        expected
    }

    #[test]
    fn the_format_is_frozen() {
        assert_eq!(sample().encode(), frozen(&sample(), 1));
        assert_eq!(sealed_sample().encode(), frozen(&sealed_sample(), 2));
    }

    #[test]
    fn a_checkpoint_survives_its_bytes_and_no_other_bytes_are_read() -> TestResult {
        for checkpoint in [sample(), sealed_sample()] {
            let bytes = checkpoint.encode();
            assert_eq!(Checkpoint::decode(&bytes)?, checkpoint);
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x10;
                assert!(Checkpoint::decode(&flipped).is_err(), "byte {at}");
                assert!(Checkpoint::decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_checkpoint_of_nothing_is_written_in_one_way() {
        let empty = Checkpoint { tables: Vec::new(), ..sample() };
        let mut bytes = empty.encode();
        assert!(Checkpoint::decode(&bytes).is_ok());
        bytes[8] = 2;
        let end = bytes.len() - 4;
        let checksum = crc32fast::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
        assert!(Checkpoint::decode(&bytes).is_err());
    }

    #[test]
    fn tables_that_do_not_rise_are_refused() {
        let mut checkpoint = sample();
        checkpoint.tables.reverse();
        assert!(Checkpoint::decode(&checkpoint.encode()).is_err());
    }
}
