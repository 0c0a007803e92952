//! A record and a segment of the write-ahead log: no bytes make them panic, and a record has one encoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engine::fuzzing::wal_record(bytes));
