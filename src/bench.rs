//! A load generator for any server that speaks KV Connect.
//!
//! - It measures from outside: what it cannot see over the socket or in `/proc` it does not print.
//! - Every answer is checked; one that is wrong ends the run, so that no server is fast by failing.
//! - Latency is what one client waits for one answer, one request at a time on its own connection.

pub mod client;
pub mod cpu;
pub mod load;
pub mod random;
pub mod report;
pub mod target;
