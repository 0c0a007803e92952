//! What an SFTP server sends: no bytes make it panic, and nothing that is read is larger than what was sent.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archiver::fuzzing::sftp_reply(bytes));
