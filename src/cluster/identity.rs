//! Who this node is, for ever: the file `cluster` of the data directory.
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNCLU` |
//! | 8 | 2 | format | 1 |
//! | 10 | 2 | | zero |
//! | 12 | 4 | epoch | of the cluster's lineage |
//! | 16 | 16 | cluster | id of the cluster |
//! | 32 | 16 | lineage | id of the cluster's lineage: a new one after each forced recovery |
//! | 48 | 8 | node | id of this node |
//! | 56 | 8 | groups | how many data groups the cluster has |
//! | 64 | | address | varint length and text: where other nodes reach this one; empty when they cannot |
//! | | | region | varint length and text; may be empty |
//! | last 32 | 32 | checksum | BLAKE3 of all bytes before |
//!
//! Integers are little-endian.
//!
//! - The file is written whole or not at all, and durable before the node says a word to another one.
//! - Without it, a directory with data is one of an earlier version, and becomes a cluster of one.
//! - A file of a later format is refused, before anything is changed.

use engine::LineageId;
use engine::codec::{Decoder, Malformed, put_varint};
use engine::fs::{Fs, read_file};
use replication::{ClusterId, NodeId};
use std::io;
use std::path::{Path, PathBuf};

/// The most data groups that a cluster can have, inclusive.
pub const GROUPS_MAX: u64 = 256;
/// The longest region, in bytes, inclusive.
pub const REGION_LEN_MAX: usize = 64;
/// The longest address, in bytes, inclusive.
pub const ADDRESS_LEN_MAX: usize = 256;

const MAGIC: &[u8; 8] = b"CAIRNCLU";
const FORMAT: u16 = 1;
const DIGEST_LEN: usize = 32;
/// The longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 4096;

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The cluster's lineage. Nodes of another lineage are refused.
    pub lineage: LineageId,
    /// How many times the cluster was begun anew before.
    pub epoch: u32,
    /// Its own id.
    pub node: NodeId,
    /// How many data groups the cluster has; they count from 1.
    pub groups: u64,
    /// Where other nodes reach this one, as `host:port`; empty when they cannot.
    pub address: String,
    /// Where it stands; may be empty.
    pub region: String,
}

/// Why the identity of a node cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A later version of the program wrote it. Run that version.
    #[error("{} has format {found}, and this version of cairn reads format {FORMAT}: run a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// It is not what was written. Bring the file back, or wipe the node and let it join as a new one.
    #[error("damaged file {}: byte {offset}: expected {expected}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: usize,
        /// What the format wants there.
        expected: &'static str,
    },
    /// The disk failed. Look at the disk.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl Identity {
    /// Reads the identity at `path`; `None` when there is none.
    ///
    /// # Errors
    ///
    /// See [`IdentityError`].
    pub fn read(fs: &dyn Fs, path: &Path) -> Result<Option<Identity>, IdentityError> {
        let bytes = match read_file(fs, path, FILE_LEN_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(IdentityError::Io { action: "read", path: path.to_path_buf(), source });
            }
        };
        match format_of(&bytes) {
            Some(found) if found > FORMAT => Err(IdentityError::Newer { path: path.to_path_buf(), found }),
            _ => decode(&bytes).map(Some).map_err(|Malformed { offset, expected }| IdentityError::Damaged {
                path: path.to_path_buf(),
                offset,
                expected,
            }),
        }
    }

    /// Writes the identity to `path`, durably, in place of what was there.
    ///
    /// # Errors
    ///
    /// When the disk fails; what was there is there still.
    pub fn write(&self, fs: &dyn Fs, path: &Path) -> Result<(), IdentityError> {
        replace_file(fs, path, &self.encode()).map_err(|source| IdentityError::Io {
            action: "write",
            path: path.to_path_buf(),
            source,
        })
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.lineage.0);
        out.extend_from_slice(&self.node.0.to_le_bytes());
        out.extend_from_slice(&self.groups.to_le_bytes());
        for text in [&self.address, &self.region] {
            put_varint(&mut out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
        let digest = blake3::hash(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }
}

/// The format of a file of ours.
fn format_of(bytes: &[u8]) -> Option<u16> {
    let format = bytes.strip_prefix(MAGIC)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*format))
}

fn decode(bytes: &[u8]) -> Result<Identity, Malformed> {
    let whole = Decoder::new(bytes);
    let (body, digest) = bytes
        .split_last_chunk::<DIGEST_LEN>()
        .ok_or_else(|| whole.malformed("the identity of a node and its checksum"))?;
    let mut rest = Decoder::new(body);
    rest.ensure(rest.clone().array::<8>("magic")? == *MAGIC, "the magic CAIRNCLU")?;
    rest.ensure(blake3::hash(body) == blake3::Hash::from_bytes(*digest), "bytes that match their checksum")?;
    rest.take(MAGIC.len(), "magic")?;
    let start = rest.clone();
    start.ensure(rest.u16("format")? == FORMAT, "format 1")?;
    let start = rest.clone();
    start.ensure(rest.u16("reserved bytes")? == 0, "zero")?;
    let epoch = rest.u32("epoch")?;
    let cluster = ClusterId(rest.array("cluster id")?);
    let lineage = LineageId(rest.array("lineage id")?);
    let start = rest.clone();
    let node = NodeId(rest.u64("node id")?);
    start.ensure(node.0 > 0, "a node id above 0")?;
    let start = rest.clone();
    let groups = rest.u64("number of groups")?;
    start.ensure((1..=GROUPS_MAX).contains(&groups), "1 to 256 groups")?;
    let address = text(&mut rest, ADDRESS_LEN_MAX, "an address")?;
    let region = text(&mut rest, REGION_LEN_MAX, "a region")?;
    rest.finish()?;
    Ok(Identity { cluster, lineage, epoch, node, groups, address, region })
}

fn text(rest: &mut Decoder<'_>, len_max: usize, what: &'static str) -> Result<String, Malformed> {
    let start = rest.clone();
    let len = usize::try_from(rest.varint(what)?).unwrap_or(usize::MAX);
    start.ensure(len <= len_max, what)?;
    let bytes = rest.take(len, what)?;
    String::from_utf8(bytes.to_vec()).map_err(|_not_text| start.malformed(what))
}

/// Puts a file with these bytes in the place of `path`, durably; after a crash there is the old one or the new one.
///
/// # Errors
///
/// What the disk says; the old file is there still.
pub(crate) fn replace_file(fs: &dyn Fs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs.remove(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.create(&unfinished)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    fs.rename(&unfinished, path)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::fs::sim::{Faults, Sim, Unsynced};

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn sample() -> Identity {
        Identity {
            cluster: ClusterId([1; 16]),
            lineage: LineageId([2; 16]),
            epoch: 3,
            node: NodeId(4),
            groups: 5,
            address: "10.0.0.1:4513".to_owned(),
            region: "eu".to_owned(),
        }
    }

    fn disk() -> io::Result<(Sim, PathBuf)> {
        let disk = Sim::new();
        disk.create_dir_all(Path::new("/data"))?;
        Ok((disk, PathBuf::from("/data/cluster")))
    }

    fn put(disk: &Sim, path: &Path, bytes: &[u8]) -> io::Result<()> {
        replace_file(disk, path, bytes)
    }

    #[test]
    fn the_format_is_frozen() {
        let mut expected = b"CAIRNCLU\x01\0\0\0\x03\0\0\0".to_vec();
        expected.extend_from_slice(&[1; 16]);
        expected.extend_from_slice(&[2; 16]);
        expected.extend_from_slice(b"\x04\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x0d10.0.0.1:4513\x02eu");
        let digest = blake3::hash(&expected);
        expected.extend_from_slice(digest.as_bytes());
        assert_eq!(sample().encode(), expected);
    }

    #[test]
    fn an_identity_survives_its_file_and_no_bit_of_it_can_change() -> TestResult {
        let (disk, path) = disk()?;
        assert_eq!(Identity::read(&disk, &path)?, None);
        sample().write(&disk, &path)?;
        assert_eq!(Identity::read(&disk, &path)?, Some(sample()));
        let bytes = sample().encode();
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            put(&disk, &path, &altered)?;
            assert!(Identity::read(&disk, &path).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            put(&disk, &path, &bytes[..len])?;
            let read = Identity::read(&disk, &path);
            assert!(matches!(read, Err(IdentityError::Damaged { .. })), "cut at {len}");
        }
        Ok(())
    }

    #[test]
    fn a_later_format_is_named() -> TestResult {
        let (disk, path) = disk()?;
        put(&disk, &path, b"CAIRNCLU\x02\0 whatever a later version wrote")?;
        let error = Identity::read(&disk, &path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("has format 2") && error.contains("run a newer one"), "{error}");
        Ok(())
    }

    #[test]
    fn a_crash_leaves_the_old_identity_or_the_new_one() -> TestResult {
        let newer = Identity { address: "10.0.0.9:1".to_owned(), ..sample() };
        let (disk, path) = disk()?;
        sample().write(&disk, &path)?;
        let whole = disk.fork();
        newer.write(&whole, &path)?;
        let operations = whole.counts().ops;
        assert!(operations >= 5, "create, write, sync, rename and sync: {operations}");
        let kinds = [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(1), Unsynced::Reordered(1)];
        for (unsynced, stop) in
            kinds.into_iter().flat_map(|kind| (1..=operations + 1).map(move |n| (kind, n)))
        {
            let torn = disk.fork();
            torn.set_faults(Faults { stop_at_op: Some(stop), ..Faults::default() });
            let written = newer.write(&torn, &path);
            torn.crash(unsynced);
            let read = Identity::read(&torn, &path)?;
            let acknowledged = written.is_ok();
            assert_eq!(acknowledged, stop > operations, "stopped at {stop}");
            let is_new = read.as_ref() == Some(&newer);
            assert!(is_new || (read == Some(sample()) && !acknowledged), "{unsynced:?} at {stop}: {read:?}");
        }
        Ok(())
    }
}
