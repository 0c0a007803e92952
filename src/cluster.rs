//! A node among others: who it is, and what operators do with the nodes and databases of a cluster.

pub mod identity;
