//! What can go wrong in the archiver, sorted by what the caller does next.

use crate::restore::PlanError;
use engine::codec::Malformed;
use engine::{LineageId, Versionstamp};
use std::io;
use std::path::{Path, PathBuf};

/// Every error of the archiver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store could not do it. Transient ones can be tried again.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// The engine could not do it. See there.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The point cannot be restored. See there.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An object is not what it was when it was written. Bring it back, or restore another point.
    #[error("damaged archive: {object}: byte {offset}: expected {expected}")]
    Damaged {
        /// The object.
        object: String,
        /// Where in it.
        offset: u64,
        /// What the format wants there.
        expected: String,
    },
    /// An object is encrypted and was not opened. Give the identity that opens it.
    #[error("cannot open {object}: {reason}")]
    Sealed {
        /// The object.
        object: String,
        /// Why not.
        reason: &'static str,
    },
    /// Bytes could not be encrypted. This is a bug: report it.
    #[error("cannot encrypt for the archive: {reason}")]
    Seal {
        /// What went wrong.
        reason: String,
    },
    /// An object that is needed is gone. Bring it back, or restore another point.
    #[error("damaged archive: {object} is missing")]
    Missing {
        /// The object.
        object: String,
    },
    /// Two histories are in the archive: somebody else wrote under the same lineage. Restore a point
    /// before they part, and find out which one is meant.
    #[error(
        "the archive holds two histories that part after versionstamp {after}: {object} is on the other one"
    )]
    Fork {
        /// The last commit known to be in both.
        after: Versionstamp,
        /// An object on the other history.
        object: String,
    },
    /// The lineage ended: a standby was promoted, and its lineage goes on. Find out which side is meant. To go on with this one,
    /// begin a lineage of its own.
    #[error(
        "lineage {lineage} was ended at versionstamp {stamp} when lineage {child} was promoted: nothing more is shipped of it; stop this \
         side, or go on with it as a lineage of its own by cairn recover --accept-loss"
    )]
    Ended {
        /// The lineage.
        lineage: LineageId,
        /// The last commit that the other one holds.
        stamp: Versionstamp,
        /// The one that goes on.
        child: LineageId,
    },
    /// The directory cannot be restored into. Give another.
    #[error("cannot restore into {}: {reason}", path.display())]
    Target {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The disk has no room for it. Free some, or give another directory.
    #[error("cannot restore into {}: it needs up to {needed} bytes, and {free} are free: free some, or name another directory", path.display())]
    NoRoom {
        /// The directory.
        path: PathBuf,
        /// Bytes of the objects that it reads; of a part, of which less is written, at most.
        needed: u64,
        /// Bytes that can be.
        free: u64,
    },
    /// What was restored is not what the archive says. This is a bug: keep the archive and report it.
    #[error("the restored state is not what the archive says: {what}")]
    Differs {
        /// What differs.
        what: String,
    },
    /// The disk failed. Look at the disk, then try again.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Progress could not be recorded. The server is stopping; it is shipped again after the next start.
    #[error("cannot record the progress of shipping")]
    Progress {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody cancelled it. What was done so far is left in order.
    #[error("cancelled")]
    Cancelled,
    /// The runtime is shutting down.
    #[error("stopped while working")]
    Stopped,
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }

    pub(crate) fn damaged(object: &str) -> impl FnOnce(Malformed) -> Error {
        move |malformed| Error::Damaged {
            object: object.to_owned(),
            offset: malformed.offset as u64,
            expected: malformed.expected.to_owned(),
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_path_buf(), source }
    }
}

/// The result of an operation of the archiver.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs blocking work off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match crate::runtime::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => {
            ended.resume_panic();
            Err(Error::Stopped)
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
