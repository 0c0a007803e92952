use super::*;
use bytes::Bytes;
use engine::{Mark, Record, WriteBatch};
use proptest::prelude::*;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const FOLDER: LineageFolder = LineageFolder { epoch: 0, id: LineageId([7; 16]) };

fn record(
    version: u64,
    time_ms: u64,
    before: ContentHash,
    puts: &[(u16, &[u8])],
) -> Result<Record, engine::OpError> {
    let mut batches = Vec::new();
    for (order, value) in puts {
        let mut batch = WriteBatch::new();
        batch.put(b"key", value, None)?;
        batches.push((*order, batch));
    }
    let mut record = Record { version, term: 0, time_ms, hash: before, batches, marks: Vec::new() };
    record.hash = record.hash_after(before);
    Ok(record)
}

fn history() -> Result<Vec<Record>, engine::OpError> {
    let first = record(10, 1_000, ContentHash::from_bytes([1; 32]), &[(0, b"a"), (3, b"b")])?;
    let second = record(12, 1_000, first.hash, &[(1, b"c")])?;
    let third = record(13, 1_005, second.hash, &[(0, &[9; 3_000_000])])?;
    Ok(vec![first, second, third])
}

fn pack(records: &[Record]) -> std::io::Result<(SegmentName, Bytes)> {
    let base = Versionstamp::new(9, 1);
    let mut writer = Writer::new(FOLDER, 1, (2, 3), base, ContentHash::from_bytes([1; 32]));
    for record in records {
        writer.add(record)?;
    }
    let (header, bytes) = writer.finish()?;
    Ok((header.name(Digest::of(&bytes), false), bytes))
}

fn unpack_all(bytes: Bytes) -> Result<Vec<Record>, Malformed> {
    let mut reader = Reader::new(bytes)?;
    let mut records = Vec::new();
    while let Some(step) = reader.next_record()? {
        records.push(step.record);
    }
    Ok(records)
}

#[test]
fn records_come_back_without_their_marks() -> TestResult {
    let records = history()?;
    let mut marked = records.clone();
    marked[1].marks.push(Mark { name: b"n".to_vec(), value: b"v".to_vec() });
    let (name, bytes) = pack(&marked)?;
    assert_eq!(unpack_all(bytes.clone())?, records);
    let header = *Reader::new(bytes.clone())?.header();
    assert_eq!(header.name(Digest::of(&bytes), false), name);
    assert_eq!((header.first, header.last), (Versionstamp::new(10, 0), Versionstamp::new(13, 0)));
    assert_eq!((header.records, header.commits, header.blocks), (3, 4, 1));
    assert_eq!((header.first_ms, header.last_ms), (1_000, 1_005));
    assert_eq!(header.hash_after, records[2].hash);
    Ok(())
}

#[test]
fn large_segments_have_many_blocks() -> TestResult {
    let mut records = history()?;
    for version in 14..20 {
        let before = records.last().map(|record| record.hash).unwrap_or(ContentHash::EMPTY);
        records.push(record(version, 2_000, before, &[(0, &[1; BLOCK_BYTES / 2])])?);
    }
    let (_, bytes) = pack(&records)?;
    assert_eq!(Reader::new(bytes.clone())?.header().blocks, 4);
    assert_eq!(unpack_all(bytes)?, records);
    Ok(())
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() -> TestResult {
    let (_, bytes) = pack(&history()?[..2])?;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            assert!(unpack_all(flipped.into()).is_err(), "bit {bit} of byte {at}");
        }
        assert!(unpack_all(bytes.slice(..at)).is_err(), "cut at {at}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(unpack_all(longer.into()).is_err(), "a byte too many");
    Ok(())
}

/// Rewrites bytes and mends the checksum of the header, as a hostile writer would.
fn forge(bytes: &Bytes, at: usize, replacement: &[u8]) -> Bytes {
    let mut forged = bytes.to_vec();
    forged[at..at + replacement.len()].copy_from_slice(replacement);
    let checksum = crc32fast::hash(&forged[..HEADER_LEN - 4]);
    forged[HEADER_LEN - 4..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
    forged.into()
}

#[test]
fn a_header_that_lies_about_its_records_is_refused() -> TestResult {
    let (_, bytes) = pack(&history()?[..2])?;
    assert!(unpack_all(forge(&bytes, 60, &[0])).is_ok(), "the checksum is mended");
    for at in [32, 79, 80, 89, 90, 122, 154, 162, 170, 178, 186] {
        let other = bytes[at].wrapping_add(1);
        assert!(unpack_all(forge(&bytes, at, &[other])).is_err(), "byte {at}");
    }
    Ok(())
}

#[test]
fn the_format_is_frozen() -> TestResult {
    let (name, bytes) = pack(&history()?[..2])?;
    let expected_name = concat!(
        "000000000000000a0000-000000000000000c0001.00000000000000090001.",
        "0101010101010101-FROZEN.0000000003e8-0000000003e8.2-3."
    );
    let hash = name.hash_after.to_string();
    assert!(name.to_string().starts_with(&expected_name.replace("FROZEN", &hash)));
    assert_eq!(&bytes[..16], b"CAIRNSEG\x01\0\0\0\0\0\0\0");
    assert_eq!(bytes[16..32], [7; 16]);
    assert_eq!(&bytes[32..60], b"\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0");
    assert_eq!(&bytes[60..90], b"\0\0\0\0\0\0\0\x09\0\x01\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\0\0\x0c\0\x01");
    assert_eq!(bytes[90..122], [1; 32]);
    assert_eq!(&bytes[154..170], b"\xe8\x03\0\0\0\0\0\0\xe8\x03\0\0\0\0\0\0");
    assert_eq!(&bytes[170..190], b"\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0");
    let frozen = Bytes::from_static(include_bytes!("../../testdata/segment-1.seg"));
    assert_eq!(unpack_all(frozen)?, history()?[..2], "a segment of the first release is read");
    Ok(())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzzing::segment(&bytes);
    }
}
