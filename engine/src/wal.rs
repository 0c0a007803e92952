//! The write-ahead log: numbered segments of framed records.
//!
//! Directory: `wal/<number, 16 hex digits>.wal`. A segment is a framed file (`frame.rs`) whose frames are
//! one header, records, and, once it is sealed, one seal.
//!
//! Invariants:
//!
//! - A segment has its name only once its preamble is durable, so a file without a good preamble
//!   is damage. The last one may have been made ahead, and have no header yet.
//! - The next segment exists before a segment is sealed with `continues`, so a missing last
//!   segment shows.
//! - A segment is sealed before anything in the next one counts as durable.
//! - Each segment starts where the one before ended: same version, same content hash.
//! - Only recovery cuts, only the last segment that holds records, only above its durable mark.

mod ahead;
mod ending;
pub(crate) mod header;
mod reader;
mod recover;
mod writer;

use crate::{ContentHash, LineageId};
use std::path::PathBuf;

pub use reader::Reader;
pub(crate) use recover::{Recovered, recover};
pub(crate) use writer::{Log, Sealing};

pub(crate) const MAGIC: &[u8; 8] = b"CAIRNWAL";
const SUFFIX: &str = ".wal";
const SUFFIX_NEW: &str = ".wal.new";

/// A sealed segment of the log, still on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Rises by one with each segment.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// The lineage its records belong to.
    pub lineage: LineageId,
    /// Version of the last record before this segment; 0 at the start of history.
    pub base: u64,
    /// Content hash before its first record.
    pub hash_before: ContentHash,
    /// Version of the last record in it; `base` when it holds none.
    pub last: u64,
    /// How many commits (write batches) it holds; 0 when it holds only ticks and marks.
    pub commits: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
}

/// Reads any bytes as a segment, for fuzzing.
pub(crate) fn parse(bytes: Vec<u8>) {
    let path = std::path::Path::new("fuzzed");
    if let Ok(parsed) = reader::Parsed::parse(path, bytes) {
        parsed.records.iter().for_each(|frame| drop(parsed.record(frame, 0, ContentHash::EMPTY)));
    }
}

fn file_name(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

fn parse_file_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}
