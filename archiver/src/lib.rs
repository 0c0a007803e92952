//! Ships sealed WAL segments and checkpoints to object storage, and restores any commit from there.
//!
//! - Objects are written once; data first, then what names it. What no checkpoint names and no run
//!   of the content hash reaches is not in the archive.
//! - Shipping needs the right to put objects and nothing else, and sends nothing when idle.
//! - Which points can be restored is computed from what is there, never guessed.
//! - The disk, the clock and randomness come from [`engine::Env`], the bucket from
//!   [`store::ObjectStore`]: a whole life of an archive can be repeated from a seed.

pub mod archive;
#[doc(hidden)]
pub mod bugs;
pub mod catalog;
pub mod checkpoint;
pub mod end;
mod envelope;
mod error;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod give_way;
pub mod job;
pub mod layout;
pub mod lineage;
pub mod merge;
pub mod mirror;
pub mod prune;
pub mod restore;
pub mod retention;
pub mod runtime;
pub mod seal;
pub mod segment;
pub mod ship;
pub mod standby;
pub mod store;
pub mod verify;

#[cfg(test)]
mod tests;

pub use archive::Archive;
use envelope::{in_envelope, open_envelope};
pub use error::{Error, Result};
