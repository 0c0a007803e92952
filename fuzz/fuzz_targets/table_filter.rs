//! The filter of a table: no bytes make it panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engine::fuzzing::table_filter(bytes));
