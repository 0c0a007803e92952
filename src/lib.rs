//! CairnKV: a Deno KV that people run themselves.
//!
//! The binary `cairn` is a thin shell around [`cli`]. From socket to disk: [`server`] accepts, [`connect`] answers, [`database`]
//! reads replicas and hands writes to their Raft group ([`replication::Group`]), which applies them to the engine and wakes
//! watches. [`cluster`], [`catalog`] and [`admin`] are what operators do with nodes and databases.

pub mod admin;
pub mod archive;
pub mod bench;
pub mod catalog;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connect;
pub mod data_dir;
pub mod database;
pub mod import;
pub mod jobs;
pub mod metrics;
pub mod sealed;
pub mod server;
pub mod telemetry;
pub mod tls;

#[cfg(test)]
mod testing;
