//! The command line (here: the load generator alone).
pub mod bench;
