//! A KV Connect request; the first byte selects which. No bytes make it panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cairn::connect::fuzzing::request(bytes));
