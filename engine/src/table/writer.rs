//! Writes a table, entry by entry, in one pass.
//!
//! - Entries come in strictly rising internal order.
//! - The file and its name are durable before anybody learns the name.
//! - A writer that is dropped early removes its file; what a crash leaves behind ends in `.tmp`,
//!   and nothing ever reads it.
//! - Memory in use is one block, 256 KiB of output, the top index, and 8 bytes for each key
//!   and each expiry.

use super::footer::put_trailer;
use super::output::Output;
use super::tally::Tally;
use super::{Handle, Meta, header};
use crate::block::builder::Builder;
use crate::block::frame::{Codec, Framer, Kind};
use crate::entry::{Entry, Version};
use crate::fs::Fs;
use crate::horizon::Horizons;
use crate::{Options, Result, Versionstamp, filter};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

/// An index block names at least this many blocks, however long their keys: it bounds the top
/// index, which is kept in memory.
const INDEX_ROWS_MIN: usize = 64;

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// A block is closed at this size, in bytes, before compression.
    pub(crate) block_bytes: usize,
    /// How blocks are compressed.
    pub(crate) codec: Codec,
}

impl Settings {
    /// For a table that is likely to be rewritten soon.
    pub(crate) const fn upper(options: &Options) -> Self {
        Self { block_bytes: options.block_bytes, codec: Codec::Lz4 }
    }

    /// For a table below which there is none.
    ///
    /// Most data stands in such tables, so their size counts. Of values like JSON of 130 bytes, in blocks of 4 KiB,
    /// Zstandard level 1 leaves 27 % and LZ4 35 %; a block takes 13 against 4 µs to compress, once, and 5.1 against
    /// 0.9 µs to read from a file. Blocks of 16 KiB would leave 24 % and 32 %, but take 13 and 3.5 µs to read, and the
    /// cache would keep four times as much for one key. So: Zstandard, at 4 KiB. A block that does not shrink by an eighth is
    /// stored as it is and costs nothing to decode.
    pub(crate) const fn bottom(options: &Options) -> Self {
        Self { block_bytes: options.block_bytes, codec: Codec::Zstd }
    }
}

/// A table being written.
#[derive(Debug)]
pub(crate) struct Writer {
    output: Output,
    settings: Settings,
    framer: Framer,
    data: Builder,
    index: Builder,
    top: Builder,
    block: Vec<u8>,
    filter: filter::Builder,
    tally: Tally,
}

impl Writer {
    /// Starts a table in `dir`, under a temporary name made from `number`, which no other writer
    /// in `dir` has at the same time.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) fn create(fs: &Arc<dyn Fs>, dir: &Path, number: u64, settings: Settings) -> Result<Self> {
        let mut output = Output::create(fs, dir, number)?;
        output.append(|out| out.extend_from_slice(&header()))?;
        Ok(Self {
            output,
            settings,
            framer: Framer::new(settings.codec),
            data: Builder::new(),
            index: Builder::of_index(),
            top: Builder::of_index(),
            block: Vec::new(),
            filter: filter::Builder::default(),
            tally: Tally::new(),
        })
    }

    /// Counts hidden versions by the prefixes that have a horizon of their own; before the first entry.
    #[must_use]
    pub(crate) fn counting_under(mut self, horizons: Arc<Horizons>) -> Self {
        self.tally.count_hidden_under(horizons);
        self
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// What the disk says; the writer is of no use then.
    ///
    /// # Panics
    ///
    /// If the entry does not come after the one before, or its key is empty or too long.
    pub(crate) fn add(&mut self, entry: &Entry) -> Result<()> {
        if self.data.bytes() >= self.settings.block_bytes {
            self.close_data(Some(&entry.key))?;
        }
        if self.tally.add(entry) {
            self.filter.add(&entry.key);
        }
        self.data.add(&entry.key, entry.stamp, entry.version.clone());
        Ok(())
    }

    /// About how long the file is so far, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.output.len() + self.data.bytes() as u64
    }

    /// Bytes of memory in use, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.output.memory_bytes() + self.filter.memory_bytes() + self.top.bytes() as u64
    }

    /// Completes the table: durable on return, under its own name.
    ///
    /// # Errors
    ///
    /// What the disk says; the table may or may not be there then.
    ///
    /// # Panics
    ///
    /// If no entry was added.
    pub(crate) fn finish(mut self) -> Result<Meta> {
        self.close_data(None)?;
        if !self.index.is_empty() {
            self.close_index()?;
        }
        self.top.finish(&mut self.block);
        let top_index = self.put_block(Kind::Index)?;
        let filter = match self.filter.finish() {
            Some(bytes) => Some(put(&mut self.output, &mut self.framer, Kind::Filter, &bytes)?),
            None => None,
        };
        let footer = self.tally.finish(top_index, filter);
        self.block.clear();
        footer.encode(&mut self.block);
        let handle = put(&mut self.output, &mut self.framer, Kind::Footer, &self.block)?;
        self.output.append(|out| put_trailer(out, handle))?;
        let (digest, bytes) = self.output.finish()?;
        Ok(Meta {
            digest,
            bytes,
            entries: footer.entries,
            first_key: footer.first_key,
            last_key: footer.last_key,
            first_stamp: footer.first_stamp,
            last_stamp: footer.last_stamp,
        })
    }

    /// Writes the data block; `next` is the key that follows it.
    fn close_data(&mut self, next: Option<&[u8]>) -> Result<()> {
        let (last, stamp) = self.tally.last().expect("a table holds at least one entry");
        let (key, stamp) = match next {
            Some(next) if next == &last[..] => (last.clone(), stamp),
            Some(next) => (separator(last, next), Versionstamp::ZERO),
            None => (last.clone(), Versionstamp::ZERO),
        };
        self.data.finish(&mut self.block);
        let handle = self.put_block(Kind::Data)?;
        self.index.add(&key, stamp, value_of(handle));
        if self.index.rows() >= INDEX_ROWS_MIN && self.index.bytes() >= self.settings.block_bytes {
            self.close_index()?;
        }
        Ok(())
    }

    /// Writes the index block; the top index names it by its own last key and stamp.
    fn close_index(&mut self) -> Result<()> {
        let (key, stamp) = self.index.last().expect("an index block names at least one block");
        let key = Bytes::copy_from_slice(key);
        self.index.finish(&mut self.block);
        let handle = self.put_block(Kind::Index)?;
        self.top.add(&key, stamp, value_of(handle));
        Ok(())
    }

    fn put_block(&mut self, kind: Kind) -> Result<Handle> {
        put(&mut self.output, &mut self.framer, kind, &self.block)
    }
}

/// Appends a block to the file.
fn put(output: &mut Output, framer: &mut Framer, kind: Kind, block: &[u8]) -> Result<Handle> {
    let offset = output.len();
    let mut len = 0;
    output.append(|out| {
        let start = out.len();
        framer.frame(kind, block, offset, out);
        len = out.len() - start;
    })?;
    Ok(Handle { offset, len: u32::try_from(len).expect("a block is bounded") })
}

fn value_of(handle: Handle) -> Version {
    let mut value = Vec::new();
    handle.encode(&mut value);
    Version::Put { value: value.into(), expire_at_ms: None }
}

/// A short key at or after `last` and before `next`.
fn separator(last: &[u8], next: &[u8]) -> Bytes {
    let common = last.iter().zip(next).take_while(|(a, b)| a == b).count();
    let (Some(low), Some(high)) = (last.get(common), next.get(common)) else {
        return Bytes::copy_from_slice(last);
    };
    let mut short = last[..=common].to_vec();
    if low + 1 < *high {
        short[common] += 1;
    } else if next.len() > common + 1 {
        short[common] = *high;
    } else {
        return Bytes::copy_from_slice(last);
    }
    if short.len() < last.len() { short.into() } else { Bytes::copy_from_slice(last) }
}

#[cfg(test)]
mod tests {
    use super::separator;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_separator_separates_and_is_no_longer_than_the_key(
            mut keys in prop::collection::btree_set(prop::collection::vec(0..4u8, 1..6), 2),
        ) {
            let (Some(last), Some(next)) = (keys.pop_first(), keys.pop_first()) else { return Ok(()) };
            let between = separator(&last, &next);
            prop_assert!(between >= last && between < next && between.len() <= last.len());
        }
    }

    #[test]
    fn a_separator_is_as_short_as_can_be() {
        assert_eq!(&separator(b"apple", b"pear")[..], b"b");
        assert_eq!(&separator(b"apple", b"banana")[..], b"b");
        assert_eq!(&separator(b"apple", b"b")[..], b"apple");
        assert_eq!(&separator(b"a", b"ab")[..], b"a");
    }
}
