//! A log-structured storage engine with versionstamped MVCC.
//!
//! Every commit gets a [`Versionstamp`], ten bytes that only grow, and every stamp inside the history
//! window can be read again. A directory holds one engine:
//!
//! ```
//! use engine::{Engine, Env, Options, WriteBatch};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let (engine, _recovery) = Engine::open(Env::real(), dir.path(), Options::default())?;
//! let background = engine::background::start(&engine);
//!
//! let mut batch = WriteBatch::new();
//! batch.put(b"colour", b"red", None)?;
//! let red = engine.commit(batch)?; // durable on return
//!
//! let mut batch = WriteBatch::new();
//! batch.put(b"colour", b"blue", None)?;
//! engine.commit(batch)?;
//!
//! let value = |snapshot: &engine::Snapshot| snapshot.get(b"colour").map(|v| v.map(|v| v.bytes));
//! assert_eq!(value(&engine.snapshot())?.as_deref(), Some(&b"blue"[..]));
//! assert_eq!(value(&engine.snapshot_at(red)?)?.as_deref(), Some(&b"red"[..]));
//!
//! drop(background);
//! engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Durability
//!
//! [`Engine::commit`] returns after an fdatasync of the log; threads that commit at the same time share
//! one. [`Engine::append`], [`Engine::sync`] and [`Engine::publish`] are its parts, for a caller that has its
//! own stamps and its own log. After a failed write or sync the engine takes no more writes: what is
//! durable is unknown until it is opened again.
//!
//! # Reading the past
//!
//! [`Engine::snapshot_at`] reads at any stamp that is not below [`Engine::horizon`]. A [`Snapshot`] sees exactly the
//! commits up to its stamp, for as long as it lives. What has expired is judged at the snapshot's
//! time.
//!
//! # Copies
//!
//! [`Engine::checkpoint`] makes a copy that shares its tables with the original by hard links and opens as an
//! engine of its own. [`Engine::sealed_segments`] and [`wal::Reader`] give every commit in order, for an
//! archive that wants them all.
//!
//! # Errors
//!
//! [`Error`] is sorted by what the caller does next; each variant says it. Damage is reported with file
//! and offset, and never repaired in passing.
//!
//! # From the bottom up
//!
//! Bytes: [`codec`], `frame` (what log and manifest are made of), `block`, `table`. Order: [`entry`], `merge`, `mvcc`.
//! State: `memtable`, `levels`, `view`, `manifest`, [`wal`]. Motion: `commit`, `compaction`, [`background`]. `FORMAT.md`
//! describes every byte on disk.

pub mod codec;
pub mod content_hash;
pub mod env;
pub mod error;
pub mod fs;
pub mod options;
pub mod record;
pub mod versionstamp;
pub mod write_batch;

pub mod applied;
pub mod entry;
pub mod lineage;
pub mod snapshot;
pub mod wal;

pub(crate) mod block;
pub mod budget;
pub(crate) mod cache;
pub(crate) mod compaction;
pub(crate) mod erasure;
pub(crate) mod filter;
pub(crate) mod frame;
pub(crate) mod history;
pub(crate) mod horizon;
pub(crate) mod levels;
pub(crate) mod manifest;
pub(crate) mod memtable;
pub(crate) mod merge;
pub(crate) mod mvcc;
pub(crate) mod source;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod times;
pub(crate) mod view;

pub mod background;
mod commit;
mod engine;

#[doc(hidden)]
pub mod fuzzing;

pub use applied::Applied;
pub use budget::{Budget, BudgetOptions};
pub use content_hash::ContentHash;
pub use engine::{Checkpoint, Engine, MemoryUse, Progress, Recovery, Statistics};
pub use entry::{Direction, KeyValue, Value};
pub use env::{Clock, Env, Random};
pub use error::{Error, Result};
pub use lineage::{Lineage, LineageId};
pub use options::{History, Options};
pub use record::{Mark, Record};
pub use snapshot::Snapshot;
pub use versionstamp::Versionstamp;
pub use write_batch::{Op, OpError, WriteBatch};
