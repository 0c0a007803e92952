//! A simulated world of whole nodes: their disks, their clocks, the network between them, and what goes wrong with
//! each. For tests; everything in it follows from the seed of [`runtime::sim::run`](crate::runtime::sim::run).

pub mod cluster;
pub mod disk;
pub mod host;
pub mod nemesis;
pub mod network;
pub mod server;
pub mod trial;
pub mod workload;

#[cfg(test)]
pub(crate) mod toy;
