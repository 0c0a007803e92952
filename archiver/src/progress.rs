//! How far a long operation is, for whoever watches it.

use std::fmt;

/// Told about the progress of a restore, a verification or an upload, in bytes.
pub trait Progress: Send + Sync + fmt::Debug {
    /// How many bytes there are in all. Told once, at the start.
    fn total_bytes(&self, bytes: u64);
    /// So many more are done.
    fn done_bytes(&self, bytes: u64);
}

/// Watched by nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn total_bytes(&self, _bytes: u64) {}
    fn done_bytes(&self, _bytes: u64) {}
}
