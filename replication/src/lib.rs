//! Log entries of CairnKV and the deterministic apply that turns atomic writes into resolved commits.
//!
//! - An [`Entry`] is what is agreed on; an [`engine::Record`] is what it came to. [`apply()`] goes from
//!   the one to the other and depends on nothing but its arguments, so that every replica gets
//!   the same bytes.
//! - What apply does is part of the format: it uses no clock, no randomness, no limit that can be
//!   configured and no library whose result may change.
//! - Apply never fails on input and never panics. Only a failing disk stops it.

pub mod apply;
#[doc(hidden)]
pub mod bugs;
#[doc(hidden)]
pub mod check;
mod clock;
pub mod codec;
pub mod command;
mod durable_file;
mod error;
mod group;
mod hashes;
mod home;
mod hub;
pub mod ids;
mod inbox;
mod log;
mod membership;
mod message;
mod network;
mod node;
pub mod number;
mod pending;
mod progress;
mod proposal;
mod raft;
pub mod raft_snapshot;
mod rebuild;
pub mod refusal;
mod repair;
mod replica;
pub mod replica_dir;
#[doc(hidden)]
pub mod runtime;
mod salvage;
mod scrub;
#[doc(hidden)]
pub mod sim;
mod state_machine;
pub mod transport;
pub mod value;

#[cfg(test)]
mod testing;

/// The feature levels of log entries and messages that this version knows, oldest and newest.
pub const FEATURES: transport::tcp::Range<u32> = transport::tcp::Range { oldest: 1, newest: 1 };

pub use apply::{Application, Outcome, State, apply, clock_ms};
pub use clock::ServingClock;
pub use command::{AtomicWrite, Check, Entry, Mutation, MutationKind, RequestId, Sum};
pub use error::{OpenError, ReadError, WriteError};
pub use group::{Change, ChangeError, Counters, Group, GroupOptions, GroupStatus, Member, Role};
pub use hub::{Hub, SUBSCRIPTIONS_MAX, Subscription};
pub use ids::{ClusterId, GroupId, NodeId};
pub use inbox::Inbox;
pub use log::LogOptions;
pub use node::{Node, NodeOptions, Timing};
pub use num_bigint::BigInt;
pub use raft::Peer;
pub use refusal::{Operation, Refusal};
pub use salvage::{Salvaged, salvage};
pub use scrub::ScrubStatus;
pub use value::{
    DEFAULT_DATABASE, DatabaseNumber, Encoding, SYSTEM_DATABASE, StoredValue, database_prefix, engine_key,
    split_value,
};
