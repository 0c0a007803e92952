//! The names of objects: a listing alone says which points an archive can bring back.
//!
//! Below `lineages/<epoch, 5 hex>-<lineage id, 32 hex>/`:
//!
//! | name | object |
//! |---|---|
//! | `lineage.<digest>.lin` | who the lineage is, and its parent |
//! | `groups/<group>/segments/<first>-<last>.<base>.<h before>-<h after>.<first ms>-<last ms>.<term>-<node>.<digest>.seg` | commits |
//! | `groups/<group>/checkpoints/<stamp>.<ms>.<h>.<digest>.ckpt` | all data at a stamp |
//! | `groups/<group>/tables/<64 hex>.tbl` | a table of checkpoints, named by its BLAKE3 |
//! | `groups/<group>/tables/<64 hex>.<digest>.tbl.age` | the same, encrypted |
//! | `groups/<group>/pruned/<stamp>.<ms>.log` | retention removed what lies below the stamp |
//! | `groups/<group>/ends/<stamp>.<ms>.<child lineage id>.<digest>.end` | the lineage ends there, another goes on |
//!
//! Stamps are 20 hex digits, times 12 (Unix milliseconds), hashes of history the first 16 digits of
//! theirs, digests the first 32 digits of the BLAKE3 of the object's bytes, terms and nodes hex
//! without padding. All digits are lower case; there is exactly one way to write a name.
//!
//! An encrypted segment or checkpoint has `.age` behind its name, and the digest in a name is always of the
//! bytes that are stored. A table keeps the digest of its plain bytes in front: it is what a manifest names.
//!
//! What a name says is a claim: whoever reads the object compares it with what is inside.

mod digest;

pub use digest::{Digest, ShortHash, TableDigest};

use digest::hex;
use engine::{LineageId, Versionstamp};
use std::fmt;
use std::str::FromStr;

/// The folder of all lineages.
pub const LINEAGES: &str = "lineages/";
/// The greatest time a name can say, Unix milliseconds, inclusive.
pub const TIME_MS_MAX: u64 = (1 << 48) - 1;

fn stamp(text: &str) -> Option<Versionstamp> {
    hex(text).map(Versionstamp::from_bytes)
}

fn time_ms(text: &str) -> Option<u64> {
    let [a, b, c, d, e, f] = hex::<6>(text)?;
    Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// A hex number without padding.
fn number(text: &str) -> Option<u64> {
    let value = u64::from_str_radix(text, 16).ok()?;
    (format!("{value:x}") == text).then_some(value)
}

/// The folder of one lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineageFolder {
    /// The epoch of its stamps.
    pub epoch: u32,
    /// Its id.
    pub id: LineageId,
}

impl From<engine::Lineage> for LineageFolder {
    fn from(lineage: engine::Lineage) -> Self {
        Self { epoch: lineage.epoch, id: lineage.id }
    }
}

impl fmt::Display for LineageFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05x}-{}", self.epoch, self.id)
    }
}

impl FromStr for LineageFolder {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let read = || {
            let (epoch, id) = text.split_once('-')?;
            let epoch =
                u32::from_str_radix(epoch, 16).ok().filter(|value| format!("{value:05x}") == epoch)?;
            Some(Self { epoch, id: LineageId(hex(id)?) })
        };
        read().filter(|folder| folder.epoch <= engine::versionstamp::EPOCH_MAX).ok_or(())
    }
}

/// What the name of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Its first commit.
    pub first: Versionstamp,
    /// Its last commit.
    pub last: Versionstamp,
    /// The commit before its first one; [`Versionstamp::ZERO`] when there is none.
    pub base: Versionstamp,
    /// The hash of history before its first commit.
    pub hash_before: ShortHash,
    /// The hash of history after its last commit.
    pub hash_after: ShortHash,
    /// The clock at its first commit, Unix milliseconds.
    pub first_ms: u64,
    /// The clock at its last commit, Unix milliseconds.
    pub last_ms: u64,
    /// The term in which it was shipped; 0 on a single node.
    pub term: u64,
    /// The node that shipped it.
    pub node: u64,
    /// The digest of its bytes as they are stored.
    pub digest: Digest,
    /// Whether it is encrypted.
    pub sealed: bool,
}

/// What stands behind the name of an encrypted object.
const SEALED: &str = ".age";

/// What stands behind a name.
const fn suffix(sealed: bool) -> &'static str {
    if sealed { SEALED } else { "" }
}

/// A name without what says that the object is encrypted, and whether it does.
fn split_sealed(text: &str) -> (&str, bool) {
    text.strip_suffix(SEALED).map_or((text, false), |plain| (plain, true))
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, base, hash_before, hash_after, digest, .. } = self;
        write!(f, "{first}-{last}.{base}.{hash_before}-{hash_after}.")?;
        write!(f, "{:012x}-{:012x}.{:x}-{:x}.", self.first_ms, self.last_ms, self.term, self.node)?;
        write!(f, "{digest}.seg{}", suffix(self.sealed))
    }
}

impl SegmentName {
    /// Reads a name; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, sealed) = split_sealed(text);
        let parts: Vec<&str> = text.strip_suffix(".seg")?.split('.').collect();
        let &[stamps, base, hashes, times, shipper, digest] = parts.as_slice() else { return None };
        let (first, last) = stamps.split_once('-')?;
        let (hash_before, hash_after) = hashes.split_once('-')?;
        let (first_ms, last_ms) = times.split_once('-')?;
        let (term, node) = shipper.split_once('-')?;
        let name = Self {
            first: stamp(first)?,
            last: stamp(last)?,
            base: stamp(base)?,
            hash_before: ShortHash(hex(hash_before)?),
            hash_after: ShortHash(hex(hash_after)?),
            first_ms: time_ms(first_ms)?,
            last_ms: time_ms(last_ms)?,
            term: number(term)?,
            node: number(node)?,
            digest: Digest(hex(digest)?),
            sealed,
        };
        (name.base < name.first && name.first <= name.last && name.first_ms <= name.last_ms).then_some(name)
    }
}

/// What the name of a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointName {
    /// The last commit it holds.
    pub stamp: Versionstamp,
    /// The clock when it was made, Unix milliseconds.
    pub time_ms: u64,
    /// The hash of the history it holds.
    pub hash: ShortHash,
    /// The digest of its bytes as they are stored.
    pub digest: Digest,
    /// Whether it is encrypted.
    pub sealed: bool,
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stamp, time_ms, hash, digest, sealed } = self;
        write!(f, "{stamp}.{time_ms:012x}.{hash}.{digest}.ckpt{}", suffix(*sealed))
    }
}

impl CheckpointName {
    /// Reads a name; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (text, sealed) = split_sealed(text);
        let parts: Vec<&str> = text.strip_suffix(".ckpt")?.split('.').collect();
        let &[at, time, hash, digest] = parts.as_slice() else { return None };
        Some(Self {
            stamp: stamp(at)?,
            time_ms: time_ms(time)?,
            hash: ShortHash(hex(hash)?),
            digest: Digest(hex(digest)?),
            sealed,
        })
    }
}

/// What the name of a table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The digest of its plain bytes.
    pub digest: TableDigest,
    /// The digest of what is stored, when that is encrypted.
    pub sealed: Option<Digest>,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sealed {
            None => f.write_str(&self.digest.file_name()),
            Some(stored) => write!(f, "{}.{stored}.tbl{SEALED}", self.digest),
        }
    }
}

impl TableName {
    /// Reads a name; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (plain, sealed) = split_sealed(text);
        if !sealed {
            return Some(Self { digest: TableDigest::from_file_name(plain)?, sealed: None });
        }
        let (digest, stored) = plain.strip_suffix(".tbl")?.split_once('.')?;
        Some(Self { digest: TableDigest(hex(digest)?), sealed: Some(Digest(hex(stored)?)) })
    }
}

/// What retention removed, as its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrunedName {
    /// Points below this stamp are gone on purpose.
    pub below: Versionstamp,
    /// When, Unix milliseconds.
    pub time_ms: u64,
}

impl fmt::Display for PrunedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:012x}.log", self.below, self.time_ms)
    }
}

impl PrunedName {
    /// Reads a name; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let (below, time) = text.strip_suffix(".log")?.split_once('.')?;
        Some(Self { below: stamp(below)?, time_ms: time_ms(time)? })
    }
}

/// Where a lineage ends, as the name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndName {
    /// The last commit that the child holds.
    pub stamp: Versionstamp,
    /// When the child began, Unix milliseconds.
    pub made_ms: u64,
    /// The lineage that goes on.
    pub child: LineageId,
    /// The digest of its bytes.
    pub digest: Digest,
}

impl fmt::Display for EndName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:012x}.{}.{}.end", self.stamp, self.made_ms, self.child, self.digest)
    }
}

impl EndName {
    /// Reads a name; `None` when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.strip_suffix(".end")?.split('.').collect();
        let &[at, time, child, digest] = parts.as_slice() else { return None };
        Some(Self {
            stamp: stamp(at)?,
            made_ms: time_ms(time)?,
            child: LineageId(hex(child)?),
            digest: Digest(hex(digest)?),
        })
    }
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who the lineage is; with the digest of the object's bytes.
    Lineage(Digest),
    /// Commits of a group.
    Segment(u64, SegmentName),
    /// All data of a group at a stamp.
    Checkpoint(u64, CheckpointName),
    /// A table of a group's checkpoints.
    Table(u64, TableName),
    /// What retention removed from a group.
    Pruned(u64, PrunedName),
    /// Where the lineage of a group ends.
    End(u64, EndName),
}

/// The whole name of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Whose it is.
    pub lineage: LineageFolder,
    /// What it is.
    pub kind: Kind,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LINEAGES}{}/", self.lineage)?;
        match &self.kind {
            Kind::Lineage(digest) => write!(f, "lineage.{digest}.lin"),
            Kind::Segment(group, name) => write!(f, "groups/{group}/segments/{name}"),
            Kind::Checkpoint(group, name) => write!(f, "groups/{group}/checkpoints/{name}"),
            Kind::Table(group, name) => write!(f, "groups/{group}/tables/{name}"),
            Kind::Pruned(group, name) => write!(f, "groups/{group}/pruned/{name}"),
            Kind::End(group, name) => write!(f, "groups/{group}/ends/{name}"),
        }
    }
}

impl Name {
    /// Reads a name; `None` when it is not one of ours, exactly as we write it.
    pub fn parse(text: &str) -> Option<Self> {
        let (folder, rest) = text.strip_prefix(LINEAGES)?.split_once('/')?;
        let lineage = folder.parse().ok()?;
        if let Some(digest) = rest.strip_prefix("lineage.").and_then(|rest| rest.strip_suffix(".lin")) {
            return Some(Self { lineage, kind: Kind::Lineage(Digest(hex(digest)?)) });
        }
        let mut parts = rest.strip_prefix("groups/")?.splitn(3, '/');
        let (group, folder, name) = (parts.next()?, parts.next()?, parts.next()?);
        let group = group.parse::<u64>().ok().filter(|value| value.to_string() == group)?;
        let kind = match folder {
            "segments" => Kind::Segment(group, SegmentName::parse(name)?),
            "checkpoints" => Kind::Checkpoint(group, CheckpointName::parse(name)?),
            "tables" => Kind::Table(group, TableName::parse(name)?),
            "pruned" => Kind::Pruned(group, PrunedName::parse(name)?),
            "ends" => Kind::End(group, EndName::parse(name)?),
            _ => return None,
        };
        Some(Self { lineage, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{COMPONENT_LEN_MAX, check_name};

    const FOLDER: &str = "lineages/00001-0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f/";

    fn names() -> Vec<String> {
        let digest = "d".repeat(32);
        let stamps = "00001000000000020000-00001000000000050001.00001000000000010000";
        let shipper = "ffffffffffffffff-ffffffffffffffff";
        [
            format!("lineage.{digest}.lin"),
            format!(
                "groups/1/segments/{stamps}.aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.0190000000ff-019000000100.{shipper}.{digest}.seg"
            ),
            format!("groups/12/checkpoints/00001000000000020000.0190000000ff.aaaaaaaaaaaaaaaa.{digest}.ckpt"),
            format!("groups/0/tables/{}.tbl", "e".repeat(64)),
            "groups/1/pruned/00001000000000020000.0190000000ff.log".to_owned(),
            format!("groups/1/ends/00001000000000020000.0190000000ff.{}.{digest}.end", "c".repeat(32)),
            format!(
                "groups/1/segments/{stamps}.aaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb.0190000000ff-019000000100.{shipper}.{digest}.seg.age"
            ),
            format!("groups/12/checkpoints/00001000000000020000.0190000000ff.aaaaaaaaaaaaaaaa.{digest}.ckpt.age"),
            format!("groups/0/tables/{}.{digest}.tbl.age", "e".repeat(64)),
        ]
        .into_iter()
        .map(|name| format!("{FOLDER}{name}"))
        .collect()
    }

    #[test]
    fn the_format_is_frozen_and_every_store_can_keep_the_names() {
        for text in names() {
            let name = Name::parse(&text);
            assert_eq!(name.map(|name| name.to_string()).as_deref(), Some(text.as_str()));
            assert!(check_name(&text).is_ok(), "{text}");
            assert!(text.split('/').all(|part| part.len() < COMPONENT_LEN_MAX));
        }
    }

    #[test]
    fn a_name_with_any_byte_changed_is_another_name_or_none() {
        for text in names() {
            for at in 0..text.len() {
                for replacement in ["", "0", "A", "/", "g", "-"] {
                    let mut changed = text.clone();
                    changed.replace_range(at..=at, replacement);
                    if let Some(name) = Name::parse(&changed) {
                        assert_eq!(name.to_string(), changed);
                    }
                }
            }
        }
    }
}
