//! The Raft log of all groups of a node: one raft-engine, one writer, one fdatasync for whatever waits.
//!
//! - Appends, votes and purges of all groups go through one queue, so they are on disk in the order in which they were
//!   asked for.
//! - Each entry carries a checksum chained to the entry before it ([`chain`]): an entry of the same term and index with
//!   other content does not fit, neither from another node nor from the disk.
//! - raft-engine drops a rotted tail in silence. A small file beside it ([`watermark`]) says how far the log of each group
//!   was durable at some recent sync, and what was voted: what is recovered must reach that far.
//! - raft-engine cannot cut a tail: a durable note says where the log ends, and the next append overwrites what follows.

pub(crate) mod chain;
pub(crate) mod entry;
mod file_system;
mod raw;
mod store;
pub(crate) mod watermark;
mod writer;

pub(crate) use store::LogStore;
pub(crate) use writer::Log;
pub use writer::LogOptions;

#[cfg(test)]
mod tests;
