//! CairnKV: a Deno KV that people run themselves.
//!
//! The binary `cairn` is a thin shell around [`cli`]. From socket to disk: [`server`] accepts, [`connect`]
//! answers, [`database`] reads snapshots and passes writes to the [`sequencer`], which applies them to the
//! engine and tells the [`hub`] of watches.

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
pub mod metrics;
pub mod server;
pub mod telemetry;
pub mod tls;

#[cfg(test)]
mod testing;
