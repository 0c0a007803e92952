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
pub mod check;
pub mod codec;
pub mod command;
pub mod ids;
pub mod number;
pub mod refusal;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod sim;
pub mod transport;
pub mod value;

#[cfg(test)]
mod testing;

pub use apply::{Application, Outcome, State, apply, clock_ms};
pub use command::{AtomicWrite, Check, Entry, Mutation, MutationKind, RequestId, Sum};
pub use ids::{ClusterId, GroupId, NodeId};
pub use num_bigint::BigInt;
pub use refusal::{Operation, Refusal};
pub use value::{DEFAULT_DATABASE, DatabaseNumber, Encoding, StoredValue, engine_key, split_value};
