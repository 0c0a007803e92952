//! Entrances for fuzz targets: each takes any bytes and must return.

use crate::block::Block;
use crate::block::frame::{self, Kind};
use crate::block::walk::Walk;
use crate::entry::Direction;
use crate::filter::{self, Filter};
use crate::frame::Framer;
use crate::manifest::{self, edit};
use crate::table::footer::{Footer, decode_trailer};
use crate::{ContentHash, LineageId, Record, Versionstamp, codec, table, wal};
use bytes::Bytes;

/// Reads `bytes` as the content of a block: walks it both ways and looks for what it holds.
///
/// # Panics
///
/// If a walk and a search disagree about a sound block, which fuzzing is there to find.
pub fn table_block(bytes: &[u8]) {
    let Ok(block) = Block::open(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let walk = |direction| -> Result<Vec<_>, codec::Malformed> {
        let mut walk = Walk::new(block.clone(), direction);
        let mut rows = Vec::new();
        while walk.next()? {
            rows.push((walk.key().to_vec(), walk.stamp(), walk.version()));
        }
        Ok(rows)
    };
    let forward = walk(Direction::Forward);
    let reverse = walk(Direction::Reverse);
    let probes = forward.iter().flatten().map(|(key, stamp, _)| (key.clone(), *stamp));
    for (key, stamp) in probes.chain([(bytes.to_vec(), Versionstamp::MAX)]) {
        drop(block.seek(&key, stamp).map(|found| found.map(|found| found.version())));
        for direction in [Direction::Forward, Direction::Reverse] {
            let mut walk = Walk::new(block.clone(), direction);
            drop(walk.seek((&key, stamp)).map(|_| walk.version()));
            drop(walk.seek_through((&key, stamp)).map(|_| walk.version()));
            drop(walk.next().map(|_| walk.version()));
        }
    }
    if let (Ok(forward), Ok(mut reverse)) = (forward, reverse) {
        reverse.reverse();
        assert!(forward == reverse, "both directions see the same entries");
    }
}

/// Reads `bytes` as a frame, a footer, a trailer, an index entry's handle and a manifest's table.
pub fn table_footer(bytes: &[u8]) {
    for kind in [Kind::Data, Kind::Index, Kind::Filter, Kind::Footer] {
        drop(frame::open(kind, &Bytes::copy_from_slice(bytes), 0));
    }
    drop(Footer::decode(bytes));
    if let Ok(footer) = decode_trailer(bytes, bytes.len() as u64) {
        assert!(footer.end() <= bytes.len() as u64, "a footer stands inside its file");
    }
    drop(table::Meta::decode(&mut codec::Decoder::new(bytes)));
}

/// Reads `bytes` as a record of the log, and as a segment.
///
/// # Panics
///
/// If a record that was read is written in another way, which fuzzing is there to find.
pub fn wal_record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert!(again == bytes, "a record has one encoding");
    }
    wal::parse(bytes.to_vec());
    // A checksum stops nearly all bytes: so they are framed as well.
    let header = wal::header::Header {
        number: 1,
        lineage: LineageId([0; 16]),
        base: 0,
        hash_before: ContentHash::EMPTY,
    };
    let kind = bytes.first().map_or(1, |byte| 1 + byte % 4);
    let frames = [(wal::header::KIND_HEADER, encoded(|out| header.encode(out))), (kind, bytes.to_vec())];
    wal::parse(framed(wal::MAGIC, &frames));
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    bytes
}

/// A file of these kinds and payloads.
fn framed(magic: &[u8; 8], frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let framer = Framer { salt: 0 };
    let mut file = framer.preamble(magic).to_vec();
    for (kind, payload) in frames {
        let offset = file.len() as u64;
        framer.frame(&mut file, offset, *kind, 0, |out| out.extend_from_slice(payload));
    }
    file
}

/// Reads `bytes` as a group of edits, and as a manifest.
///
/// # Panics
///
/// If a group that was read is written in another way, which fuzzing is there to find.
pub fn manifest(bytes: &[u8]) {
    if let Ok(edits) = edit::decode(bytes) {
        let mut again = Vec::new();
        edit::encode(&edits, &mut again);
        assert!(again == bytes, "a group of edits has one encoding");
    }
    for file in [bytes.to_vec(), framed(manifest::MAGIC, &[(1, bytes.to_vec())])] {
        let Ok(state) = manifest::decode(&file) else {
            continue;
        };
        let mut edits = Vec::new();
        edit::encode(&state.as_edits(), &mut edits);
        assert!(edit::decode(&edits).is_ok(), "the state of a manifest can be written and read");
    }
}

/// Reads `bytes` as a filter and asks it for some keys.
pub fn table_filter(bytes: &[u8]) {
    if let Ok(filter) = Filter::decode(&Bytes::copy_from_slice(bytes)) {
        for key in bytes.chunks(8) {
            filter.may_contain(filter::hash(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SMALL, Tables, TestResult, entry, put};
    use proptest::prelude::*;

    /// A whole table file: it holds one of everything.
    fn table() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let tables = Tables::new()?;
        let all: Vec<_> = (0..40u8).map(|n| entry(vec![b'k', n], u64::from(n), put(vec![n; 9]))).collect();
        let meta = tables.write(&all, SMALL)?;
        Ok(crate::fs::read_file(&tables.sim, &Tables::dir().join(meta.digest.file_name()), meta.bytes)?)
    }

    #[test]
    fn any_part_of_a_table_can_be_taken_for_any_other() -> TestResult {
        let bytes = table()?;
        for start in 0..bytes.len() {
            for len in [16, 24, 60, 200] {
                let part = &bytes[start..bytes.len().min(start + len)];
                table_block(part);
                table_footer(part);
                table_filter(part);
            }
        }
        Ok(())
    }

    /// In reverse it ended early: a restart without rows of its own was taken for the end.
    #[test]
    fn a_block_with_two_restarts_of_one_row_reads_the_same_both_ways() {
        table_block(include_bytes!("../testdata/fuzz/table_block_two_restarts_of_one_row"));
    }

    /// A clock from version 0 on could be said twice, which the times took for a bug of ours.
    #[test]
    fn a_manifest_whose_times_start_at_version_0_is_refused() {
        manifest(include_bytes!("../testdata/fuzz/manifest_times_from_version_0"));
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_any_part(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            table_block(&bytes);
            table_footer(&bytes);
            table_filter(&bytes);
        }
    }
}
