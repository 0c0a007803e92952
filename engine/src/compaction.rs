//! Keeps the levels in shape: what to rewrite ([`plan`]), and how ([`rewrite`]).
//!
//! - What a reader at or above the horizon sees is the same before and after.
//! - What nobody can see any more is dropped when its table is rewritten.
//! - A plan is a pure function of the levels; one compaction is a bounded piece of work.

pub(crate) mod plan;
pub(crate) mod retention;
pub(crate) mod rewrite;

use crate::Versionstamp;

/// The oldest point in history that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// No reader is at a stamp below this.
    pub(crate) stamp: Versionstamp,
    /// The replicated clock at that stamp, Unix milliseconds: no reader is at a time before.
    pub(crate) time_ms: u64,
}

impl Horizon {
    /// The later of the two.
    pub(crate) fn max(self, other: Self) -> Self {
        if other.stamp > self.stamp { other } else { self }
    }
}
