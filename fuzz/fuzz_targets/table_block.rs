//! A block of a table: no bytes make it panic, and the entries that are read are in order.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engine::fuzzing::table_block(bytes));
