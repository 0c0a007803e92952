//! The end of a lineage in the archive: no bytes make it panic, and what is read has one encoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archiver::fuzzing::end(bytes));
