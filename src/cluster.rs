//! A node among others: who it is, and what operators do with the nodes and databases of a cluster.
//!
//! - What operators want is written into the [`catalog`](crate::catalog), and the [`steward`] of each node brings the groups that
//!   it leads there, step by step: a command that was cut off half way is finished by whoever leads next.
//! - A command is refused, in words, where it would leave a group without a majority that answers.

mod hex;
pub mod identity;
pub mod join;
pub mod node;
pub mod operator;
pub mod policy;
pub mod seam;
pub mod status;
pub mod steward;
#[cfg(test)]
pub(crate) mod testing;
