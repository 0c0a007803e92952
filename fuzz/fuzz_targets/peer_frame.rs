//! What one node says to another: no bytes make it panic, and a frame has one encoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replication::transport::tcp::fuzzing::peer_frame(bytes));
