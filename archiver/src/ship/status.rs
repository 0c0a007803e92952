//! How shipping goes, for metrics and for people.

use engine::Versionstamp;

/// How shipping goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Everything up to this commit was shipped.
    pub shipped: Versionstamp,
    /// The clock at it, Unix milliseconds.
    pub shipped_ms: u64,
    /// The last commit that this replica has applied.
    pub committed: Versionstamp,
    /// Whether what was shipped can be restored: a checkpoint or the empty beginning stands before it.
    pub rooted: bool,
    /// Bytes of sealed log that wait.
    pub backlog_bytes: u64,
    /// Since when the oldest commit that was not shipped has been waiting, Unix milliseconds, to within a look.
    pub backlog_since_ms: Option<u64>,
    /// Objects put since the start.
    pub objects: u64,
    /// Bytes put since the start.
    pub bytes: u64,
    /// Gaps since the start.
    pub gaps: u64,
    /// When the last checkpoint was made, Unix milliseconds.
    pub checkpoint_ms: Option<u64>,
    /// The checkpoint that is being uploaded: bytes done, bytes in all.
    pub checkpoint_upload: Option<(u64, u64)>,
    /// Whether the lineage has ended, because another goes on from it: nothing more is shipped.
    pub ended: bool,
    /// Why shipping stands still; `None` while it does not.
    pub error: Option<String>,
    /// Why checkpoints stand still; `None` while they do not. Segments go on meanwhile.
    pub checkpoint_error: Option<String>,
}

impl Status {
    /// Whether the last attempt at something failed.
    pub const fn is_failing(&self) -> bool {
        self.error.is_some() || self.checkpoint_error.is_some()
    }

    /// For how long the oldest commit that was not shipped has been waiting, in milliseconds; 0 when none is.
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        self.backlog_since_ms.map_or(0, |since| now_ms.saturating_sub(since))
    }
}
