//! End-to-end tests of the real binary: one test binary, a module per behaviour.

mod rig;

mod bad_input;
mod deno;
mod import;
mod kill;
mod lifecycle;
mod recovery;
mod s3_store;
