//! Why a raft snapshot did not arrive, sorted by what the caller does next.

use super::message::{Digest, Reason};
use engine::LineageId;
use engine::codec::Malformed;

/// Why a snapshot was not sent or received. What has arrived stays, for the next try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream ended, or nothing came for a long time. Try again.
    #[error("the stream of a snapshot broke: {0}")]
    Broken(&'static str),
    /// Bytes of an earlier try were not intact; they were removed. Try again.
    #[error("the part of {0} that was there from an earlier try is damaged, and was removed")]
    Part(Digest),
    /// It would fill the disk up to its reserve. Free space, then try again.
    #[error("a snapshot needs {needed} bytes, and {available} are free above the reserve")]
    NoRoom {
        /// Bytes that are lacking of it.
        needed: u64,
        /// Bytes that could be written.
        available: u64,
    },
    /// What is offered is older than what is needed. Try another node, or later.
    #[error("the snapshot offered stands at {offered}, and {needed} is needed")]
    Behind {
        /// The version that it stands at.
        offered: u64,
        /// The least that helps.
        needed: u64,
    },
    /// The table that arrived is not what its name says: it is damaged on the node that sent it. Mend it there, and try
    /// another node.
    #[error("table {0} is damaged on the node that sent it")]
    Damaged(Digest),
    /// The other node does not go on. Look there; try again later.
    #[error("the other node refuses: {0}")]
    Refused(Reason),
    /// What came is not what this version sends. A person must look at the versions of both nodes.
    #[error("the other node sent what is not part of a snapshot")]
    Malformed(#[from] Malformed),
    /// The other node says what it should not say now. This is a bug of it.
    #[error("the other node does not keep to the order of messages: {0}")]
    OutOfTurn(&'static str),
    /// The checkpoint cannot be offered: it is over a bound of the format. A person must look.
    #[error("a checkpoint of this size cannot be sent: {0}")]
    TooLarge(&'static str),
    /// The other node has another history. A person must look: this node belongs to another cluster.
    #[error("the snapshot offered is of lineage {offered}, and this node holds {held}")]
    Foreign {
        /// Its lineage.
        offered: LineageId,
        /// Ours.
        held: LineageId,
    },
    /// Two replicas differ in what they hold. Both must stop; a person must look.
    #[error("the snapshot offered differs in content from this replica at version {version}")]
    Diverged {
        /// Where both stand.
        version: u64,
    },
    /// A file could not be read or written. Look at the disk; what it says of it being full is said by
    /// [`engine::Error::is_disk_full`].
    #[error("a file of a snapshot failed")]
    Disk(#[from] engine::Error),
}

impl Error {
    /// Whether the same may succeed when it is tried again without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Broken(_) | Error::Part(_) | Error::NoRoom { .. } | Error::Behind { .. } => true,
            Error::Refused(reason) => {
                matches!(reason, Reason::NoRoom | Reason::Behind | Reason::Failed)
            }
            Error::Disk(error) => error.is_disk_full(),
            _ => false,
        }
    }

    /// What the other side is told.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Error::NoRoom { .. } => Reason::NoRoom,
            Error::Disk(error) if error.is_disk_full() => Reason::NoRoom,
            Error::Behind { .. } => Reason::Behind,
            Error::Damaged(digest) => Reason::Damaged(*digest),
            Error::Foreign { .. } => Reason::Foreign,
            Error::Diverged { .. } => Reason::Diverged,
            _ => Reason::Failed,
        }
    }
}
