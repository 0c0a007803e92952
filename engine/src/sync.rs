//! The atomics of lock-free code: those of the standard library, or those of `loom`, which tries every
//! order in which threads may see them (`--cfg loom`, see `memtable/interleavings.rs`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64};
