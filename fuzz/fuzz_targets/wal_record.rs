//! A record of the write-ahead log, framed and bare: no bytes make it panic, and what is read has one encoding.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    engine::fuzzing::wal_record(bytes);
    if let Ok(record) = engine::Record::decode(bytes) {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(again, bytes, "a record has one encoding");
    }
});
