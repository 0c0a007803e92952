//! Entrances for fuzz targets: each takes any bytes and must return.

use crate::block::Block;
use crate::block::frame::{self, Kind};
use crate::block::iter::Iter;
use crate::entry::Direction;
use crate::filter::{self, Filter};
use crate::table::footer::{Footer, decode_trailer};
use crate::{Versionstamp, codec, table};
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
        let mut iter: Iter = block.iter(direction, None)?;
        std::iter::from_fn(|| iter.next().transpose()).collect()
    };
    let forward = walk(Direction::Forward);
    let reverse = walk(Direction::Reverse);
    let probes = forward.iter().flatten().map(|entry| (entry.key.clone(), entry.stamp));
    for (key, stamp) in probes.chain([(Bytes::copy_from_slice(bytes), Versionstamp::MAX)]) {
        let found = block.seek(&key, stamp);
        let through = Iter::through(&block, (&key, stamp)).and_then(|mut iter| iter.next());
        let before = block.iter(Direction::Reverse, Some((&key, stamp))).and_then(|mut iter| iter.next());
        drop((found, through, before));
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

    proptest! {
        #[test]
        fn any_bytes_can_be_taken_for_any_part(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            table_block(&bytes);
            table_footer(&bytes);
            table_filter(&bytes);
        }
    }
}
