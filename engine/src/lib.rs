//! A log-structured storage engine with versionstamped MVCC.

pub mod codec;
pub mod content_hash;
pub mod env;
pub mod error;
pub mod fs;
pub mod options;
pub mod record;
pub mod versionstamp;
pub mod write_batch;

pub mod entry;
pub mod lineage;
pub mod snapshot;
pub mod wal;

pub(crate) mod block;
pub(crate) mod cache;
pub(crate) mod compaction;
pub(crate) mod filter;
pub(crate) mod levels;
pub(crate) mod memtable;
pub(crate) mod merge;
pub(crate) mod mvcc;
pub(crate) mod source;
pub(crate) mod table;

#[doc(hidden)]
pub mod fuzzing;

mod engine;

pub use content_hash::ContentHash;
pub use engine::{Applied, Checkpoint, Engine, Progress, Recovery, Statistics};
pub use entry::{Direction, KeyValue, Value};
pub use env::{Clock, Env, Random};
pub use error::{Error, Result};
pub use lineage::{Lineage, LineageId};
pub use options::Options;
pub use record::{Mark, Record};
pub use snapshot::Snapshot;
pub use versionstamp::Versionstamp;
pub use write_batch::{Op, OpError, WriteBatch};
