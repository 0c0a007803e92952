//! Raft snapshots: a checkpoint of the engine in transit from one node to another.
//!
//! The sender makes a checkpoint and offers it: lineage, position, manifest, and its tables by digest. The receiver links
//! the tables that it has, asks for what it lacks, and checks everything before it says that the snapshot is there.
//!
//! - **Only what is lacking travels.** Tables are named by the digest of their content, so a table that the receiver has
//!   under that name is the same table. It is linked, not copied.
//! - **A transfer can be broken at any message and goes on from there.** A part of a file stays as `<name>.part`, and the
//!   next offer that names the file asks for the rest. What no offer names any more is removed.
//! - **A file has its name only when its content has the digest in it and is durable.** The manifest has its name last: a
//!   directory with a manifest is a whole checkpoint, at every moment and after every crash.
//! - **What is refused changes nothing**: another lineage, a position before what is needed, another history at the same
//!   position, more than the disk has room for. A full disk stops a transfer while the reserve of the engine is still there.
//! - **Bounded**: one file is open at a time, chunks have at most [`CHUNK_BYTES_MAX`] bytes, a stream holds as many of them as
//!   the transport lets wait, and one manifest is held in memory.
//! - **Steps are short**, for they run where other tasks wait: one chunk is read, hashed or written at a time, and a file is
//!   synced every [`SYNC_BYTES`] bytes.
//!
//! What it does not do: choose when a snapshot is sent, and switch to it (see [`crate::replica_dir`]).

mod destination;
mod error;
mod incoming;
mod message;
mod outgoing;
mod rate;
mod receive;
mod send;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

pub use destination::{Destination, Reuse};
pub use error::Error;
pub use incoming::offered_version;
pub use message::{Content, Digest, Message, Offer, Reason, Want};
pub use outgoing::Outgoing;
pub use rate::Rate;
pub use receive::{Received, receive};
pub use send::send;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bytes of a file in one message, inclusive.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// The most tables of a snapshot, inclusive: an offer of so many still fits one message of the transport.
pub const TABLES_MAX: usize = 1 << 18;
/// The most bytes of a manifest, inclusive.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// A file that arrives is synced after so many bytes, so that no sync takes long.
pub const SYNC_BYTES: u64 = 4 << 20;
/// A side that says nothing for this long is taken for gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How far a transfer is. Both sides count for themselves.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    held: AtomicU64,
    moved: AtomicU64,
}

/// Bytes of a transfer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Of all files of the snapshot.
    pub total: u64,
    /// That the receiver had, and that do not travel.
    pub held: u64,
    /// That have travelled.
    pub moved: u64,
}

impl Progress {
    /// Where it is now.
    pub fn get(&self) -> Moved {
        Moved {
            total: self.total.load(Ordering::Relaxed),
            held: self.held.load(Ordering::Relaxed),
            moved: self.moved.load(Ordering::Relaxed),
        }
    }

    fn begin(&self, total: u64, held: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.held.store(held, Ordering::Relaxed);
        self.moved.store(0, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
