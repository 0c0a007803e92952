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
//! # What it promises
//!
//! - A commit is durable when it returns, whole or not at all, and no later commit is there without it.
//! - A [`Snapshot`] sees exactly the commits up to its stamp, for as long as it lives; readers and writers never wait for
//!   each other.
//! - Any stamp from the [horizon](Engine::horizon) on can be read.
//! - A checkpoint is a directory of its own, consistent at its stamp, that shares what it can with the original.
//! - What is read is checked. Damage is an error that names file and offset; it is never repaired in passing, and
//!   never a wrong answer.
//! - After a failed write or sync the engine takes no more writes, for nobody knows what is durable until it is
//!   opened again.
//!
//! # The manual
//!
//! | chapter | |
//! |---|---|
//! | [Durability](manual::durability) | what is durable, and when; commits without a sync; stamps of your own |
//! | [Reading](manual::reading) | snapshots, stamps, ranges both ways, expiry |
//! | [History](manual::history) | how far back one can read, what it costs, other rules for some keys |
//! | [Deleting](manual::deleting) | a key, and everything below a prefix |
//! | [Copies](manual::copies) | checkpoints, child lineages, the stream of every commit |
//! | [Sharing](manual::sharing) | several engines in one process, within one bound |
//! | [Errors](manual::errors) | what each error means, and what to do |
//! | [Tuning](manual::tuning) | threads, options, statistics |
//!
//! `examples/ledger.rs` is a program that embeds it: a bank whose transfers lose no coin, whose past can be looked at, with a
//! copy and a restart.
//!
//! # From the bottom up
//!
//! Bytes: [`codec`], `frame` (what log and manifest are made of), `block`, `table`. Order: [`entry`], `merge`, `mvcc`.
//! State: `memtable`, `levels`, `view`, `manifest`, [`wal`]. Motion: `commit`, `compaction`, [`background`]. `FORMAT.md`
//! describes every byte on disk.

pub mod codec;
pub mod content_hash;
pub(crate) mod counters;
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
pub(crate) mod sync;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod times;
pub(crate) mod view;

pub mod background;
mod commit;
mod engine;
pub mod manual;
pub mod part;

#[doc(hidden)]
pub mod bugs;
#[doc(hidden)]
pub mod fuzzing;

pub use applied::Applied;
pub use budget::{Budget, BudgetOptions};
pub use content_hash::ContentHash;
pub use counters::Durations;
pub use engine::{
    Checkpoint, Engine, LevelStatistics, MemoryUse, Progress, Recovery, Scrub, Scrubbed, Statistics,
};
pub use entry::{Direction, KeyValue, Value};
pub use env::{Clock, Env, Random};
pub use error::{Error, Result};
pub use lineage::{Lineage, LineageId};
pub use options::{History, Options};
pub use record::{Mark, Record};
pub use snapshot::Snapshot;
pub use versionstamp::Versionstamp;
pub use write_batch::{Op, OpError, WriteBatch};
