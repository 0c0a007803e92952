//! OUTLINE, being written elsewhere.
use crate::*;
/// A read handle pinned at a stamp: cheap to clone, sees nothing newer, holds its history.
#[derive(Clone, Debug)]
pub struct Snapshot {}
impl Snapshot {
    /// The stamp it reads at.
    pub fn stamp(&self) -> Versionstamp {
        todo!()
    }
    /// The replicated clock it reads at, Unix milliseconds: entries whose `expire_at_ms` is not above it are absent.
    pub fn time_ms(&self) -> u64 {
        todo!()
    }
    /// The same snapshot read at another time (a server reads the newest stamp at max(time of stamp, now)).
    #[must_use]
    pub fn at_time(self, _time_ms: u64) -> Snapshot {
        todo!()
    }
    /// Value of a key; None when absent, deleted or expired.
    pub fn get(&self, _key: &[u8]) -> Result<Option<Value>> {
        todo!()
    }
    /// The stamp of the key's value, without reading the value.
    pub fn newest_stamp(&self, _key: &[u8]) -> Result<Option<Versionstamp>> {
        todo!()
    }
    /// Entries with start <= key < end, in the direction asked. Empty when start >= end.
    pub fn range(&self, _start: &[u8], _end: &[u8], _direction: Direction) -> Result<Range> {
        todo!()
    }
}
/// Entries of a range
#[derive(Debug)]
pub struct Range {}
impl Iterator for Range {
    type Item = Result<KeyValue>;
    fn next(&mut self) -> Option<Result<KeyValue>> {
        todo!()
    }
}
