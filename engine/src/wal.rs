//! OUTLINE, being written elsewhere.
use crate::*;
use std::path::{Path, PathBuf};
/// A sealed segment of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Rises by one with each segment.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// Version of the last record before this segment; 0 at the start of history.
    pub base: u64,
    /// Version of the last record in it; `base` when it holds none.
    pub last: u64,
    /// How many commits (write batches) it holds; 0 when only ticks and marks.
    pub commits: u64,
}
/// Reads the records of a sealed segment in order.
#[derive(Debug)]
pub struct Reader {}
impl Reader {
    /// Opens a segment file and checks its header.
    pub fn open(_fs: &dyn crate::fs::Fs, _path: &Path) -> Result<Reader> {
        todo!()
    }
    /// Content hash before the first record of the segment.
    pub fn hash_before(&self) -> ContentHash {
        todo!()
    }
    /// The next record; None at the seal. Damage is an error with file and offset.
    pub fn next_record(&mut self) -> Result<Option<Record>> {
        todo!()
    }
}
