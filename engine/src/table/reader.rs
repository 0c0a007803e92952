//! Reads a table: what it holds at a stamp, and its entries in either direction.
//!
//! - Header, trailer, footer, top index and, where there is room, the filter are read and checked when the table is
//!   opened, and kept in memory; other blocks are read when needed and checked each time.
//! - The file stays open: it can be read until the reader is dropped, also when its name is gone.

use super::cursor::TableCursor;
use super::footer::{Footer, TRAILER_LEN, decode_trailer};
use super::{HEADER_LEN, Handle, Meta, check_header};
use crate::block::frame::{self, Kind};
use crate::block::walk::Walk;
use crate::block::{Block, Found};
use crate::cache::{Cache, Pinned};
use crate::codec::Malformed;
use crate::entry::Direction;
use crate::filter::{self, Filter};
use crate::fs::{File, Fs};
use crate::horizon::Horizons;
use crate::source::{Cursor, KeyRange};
use crate::{Error, Result, Versionstamp};
use bytes::Bytes;
use std::cell::Cell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that [`Reader::verify`] reads at a time.
const VERIFY_BYTES: usize = 1 << 20;

/// What happens to a block that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// It is looked for in the cache, and kept there.
    Keep,
    /// The cache is left alone: for reading a whole table once.
    Pass,
}

/// A key that is looked for in several tables: it is hashed once.
#[derive(Debug)]
pub(crate) struct Probe<'k> {
    /// The key.
    pub(crate) key: &'k [u8],
    hash: u64,
    /// Tables that a filter left out.
    pub(crate) rejected: Cell<u64>,
    /// Tables that a filter let through and that do not have it.
    pub(crate) in_vain: Cell<u64>,
}

impl<'k> Probe<'k> {
    /// For `key`.
    pub(crate) fn new(key: &'k [u8]) -> Self {
        Self { key, hash: filter::hash(key), rejected: Cell::new(0), in_vain: Cell::new(0) }
    }
}

/// An open table. Clones share everything but whether they have the filter.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    path: PathBuf,
    file: Arc<dyn File>,
    meta: Meta,
    footer: Footer,
    top: Arc<Pinned<Block>>,
    /// Not there when there is none, or no room for it.
    filter: Option<Arc<Pinned<Filter>>>,
    cache: Arc<Cache>,
    number: u64,
    /// Shared with what it was cloned from: the same table with or without its filter.
    blocks_read: Arc<AtomicU64>,
    /// The horizons under which it was written; unknown ones are before all history.
    written_by: Arc<Horizons>,
}

impl Reader {
    /// Opens the table that `meta` names in `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Damaged`] when what is read at once is not as it was
    /// written or not what `meta` says, or what the disk says.
    pub(crate) fn open(fs: &Arc<dyn Fs>, dir: &Path, meta: Meta, cache: Arc<Cache>) -> Result<Self> {
        let path = dir.join(meta.digest.file_name());
        let file = fs.open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::Missing { path: path.clone(), needed_by: "the manifest" },
            _ => Error::io("open", &path)(error),
        })?;
        let table = Self::of_file(path, file, meta, cache)?;
        if table.cache.has_room(table.filter_bytes(), 0) { table.with_filter() } else { Ok(table) }
    }

    /// The table that `meta` names, in a file that is open; its filter is not read.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) fn of_file(path: PathBuf, file: Arc<dyn File>, meta: Meta, cache: Arc<Cache>) -> Result<Self> {
        let bytes = file.len().map_err(Error::io("measure", &path))?;
        if bytes != meta.bytes {
            let expected = format!("a file of {} bytes", meta.bytes);
            return Err(Error::Damaged { path, offset: bytes.min(meta.bytes), expected });
        }
        let parts = Parts { path: &path, file: &*file, bytes };
        check_header(&parts.read(0, HEADER_LEN)?).map_err(Error::damaged(&path, 0))?;
        let footer_handle = parts.footer_handle()?;
        let footer = parts.footer(footer_handle)?;
        if !footer.agrees_with(&meta) {
            let expected = "the entries, keys and stamps that the manifest says".to_owned();
            return Err(Error::Damaged { path, offset: footer_handle.offset, expected });
        }
        let top = parts.block(Kind::Index, footer.top_index)?;
        let top_bytes = top.len() as u64;
        let top = Arc::new(cache.pin(top, top_bytes));
        let number = cache.next_table();
        let written_by = Arc::default();
        Ok(Self {
            path,
            file,
            meta,
            footer,
            top,
            filter: None,
            cache,
            number,
            blocks_read: Arc::default(),
            written_by,
        })
    }

    /// Bytes of its filter, pinned or not; 0 when it was written without one.
    pub(crate) fn filter_bytes(&self) -> u64 {
        self.footer.filter.map_or(0, |handle| u64::from(handle.len))
    }

    /// Bytes of its filter if that is pinned.
    pub(crate) fn pinned_filter_bytes(&self) -> u64 {
        if self.filter.is_some() { self.filter_bytes() } else { 0 }
    }

    /// Bytes of what stays in memory while it is open.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        self.top.len() as u64 + self.pinned_filter_bytes()
    }

    /// The cache that its blocks are in.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The same with its filter pinned, if it was written with one.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], or what the disk says.
    pub(crate) fn with_filter(&self) -> Result<Self> {
        let mut table = self.clone();
        if let Some(handle) = self.footer.filter {
            let filter = self.parts().frame(Kind::Filter, handle)?;
            let filter = Filter::decode(&filter).map_err(self.damaged(handle))?;
            table.filter = Some(Arc::new(self.cache.pin(filter, u64::from(handle.len))));
        }
        Ok(table)
    }

    /// The same without its filter.
    pub(crate) fn without_filter(&self) -> Self {
        Self { filter: None, ..self.clone() }
    }

    /// Notes that what an erasure at or below `horizons` hides is not in it.
    #[must_use]
    pub(crate) fn written_under(mut self, horizons: Arc<Horizons>) -> Self {
        self.written_by = horizons;
        self
    }

    /// What an erasure at or below these hides is not in it.
    pub(crate) fn written_by(&self) -> &Horizons {
        &self.written_by
    }

    /// About how many bytes of the file the keys of `ranges` take, which rise and do not overlap: whole index
    /// blocks are counted, so rather too many.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub(crate) fn bytes_in(&self, ranges: &[KeyRange]) -> Result<u64> {
        let top = self.footer.top_index;
        let mut rows = Walk::new(self.top().clone(), Direction::Forward);
        let (mut ranges, mut bytes, mut start) = (ranges, 0, HEADER_LEN as u64);
        let mut first = self.meta.first_key.to_vec();
        // A row names the last key of its block, and the block ends what it says about.
        while rows.next().map_err(self.damaged(top))? {
            let end = self.named(rows.value(), top)?.end();
            let past = ranges.partition_point(|range| range.ends_before(&first));
            ranges = &ranges[past..];
            if ranges.first().is_some_and(|range| range.meets(&first, rows.key())) {
                bytes += end.saturating_sub(start);
            }
            start = end;
            rows.key().clone_into(&mut first);
        }
        Ok(bytes)
    }

    /// What the manifest says of it.
    pub(crate) const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Blocks that were not in the cache and had to be read, since it was opened.
    pub(crate) fn blocks_read(&self) -> u64 {
        self.blocks_read.load(Ordering::Relaxed)
    }

    /// What it holds.
    pub(crate) const fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Whether the key may be in it; `false` is certain. Reads nothing.
    pub(crate) fn may_contain(&self, probe: &Probe<'_>) -> bool {
        (&self.meta.first_key[..]..=&self.meta.last_key[..]).contains(&probe.key)
            && self.may_pass_filter(probe)
    }

    fn may_pass_filter(&self, probe: &Probe<'_>) -> bool {
        let passes = self.filter.as_ref().is_none_or(|filter| filter.may_contain(probe.hash));
        if !passes {
            probe.rejected.update(|tables| tables + 1);
        }
        passes
    }

    /// The newest version of the key that is not newer than `at`, as `read` takes it from the block it
    /// is found in.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], or what the disk says.
    pub(crate) fn get<T>(
        &self,
        probe: &Probe<'_>,
        at: Versionstamp,
        read: impl FnOnce(&Found<'_>) -> T,
    ) -> Result<Option<T>> {
        if self.meta.first_stamp > at || !self.may_contain(probe) {
            return Ok(None);
        }
        let Some(handle) = self.find_handle(&self.top, self.footer.top_index, probe.key, at)? else {
            return Ok(None);
        };
        let index = self.block(Kind::Index, handle, Caching::Keep)?;
        let Some(handle) = self.find_handle(&index, handle, probe.key, at)? else {
            return Ok(None);
        };
        let data = self.block(Kind::Data, handle, Caching::Keep)?;
        let found = data.seek(probe.key, at).map_err(self.damaged(handle))?;
        let found = found.filter(|found| found.same_key);
        if found.is_none() && self.filter.is_some() {
            probe.in_vain.update(|tables| tables + 1);
        }
        Ok(found.map(|found| read(&found)))
    }

    /// The block that an index block at `handle` names for the version `at` of `key`.
    fn find_handle(
        &self,
        index: &Block,
        handle: Handle,
        key: &[u8],
        at: Versionstamp,
    ) -> Result<Option<Handle>> {
        let found = index.seek(key, at).map_err(self.damaged(handle))?;
        found.map(|found| self.named(found.value(), handle)).transpose()
    }

    /// A cursor over its entries in `range`.
    pub(crate) fn source(
        self: &Arc<Self>,
        range: KeyRange,
        direction: Direction,
        caching: Caching,
    ) -> TableCursor {
        TableCursor::new(Arc::clone(self), range, direction, caching)
    }

    /// Reads the whole file and compares it with the digest.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], with the offset of the block where that can be told, or what the disk says.
    pub(crate) fn verify(self: &Arc<Self>) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; VERIFY_BYTES];
        let mut offset = 0;
        loop {
            match self.hash_some(offset, &mut buffer, &mut hasher)? {
                0 => return self.check_digest(&hasher),
                read => offset += read as u64,
            }
        }
    }

    /// Reads the next bytes of the file from the disk into `hasher`; how many, 0 at the end.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) fn hash_some(
        &self,
        offset: u64,
        buffer: &mut [u8],
        hasher: &mut blake3::Hasher,
    ) -> Result<usize> {
        self.file.forget_cached(offset, buffer.len() as u64);
        let read = self.file.read_at(buffer, offset).map_err(Error::io("read", &self.path))?;
        hasher.update(&buffer[..read]);
        Ok(read)
    }

    /// Compares the hash of all bytes with the digest.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], with the offset of the block where that can be told, or what the disk says.
    pub(crate) fn check_digest(self: &Arc<Self>, hasher: &blake3::Hasher) -> Result<()> {
        if *hasher.finalize().as_bytes() == self.meta.digest.0 {
            return Ok(());
        }
        let mut blocks = self.source(KeyRange::all(), Direction::Forward, Caching::Pass);
        while blocks.next()? {}
        let expected = format!("bytes whose BLAKE3 digest is {}", self.meta.digest);
        Err(Error::Damaged { path: self.path.clone(), offset: 0, expected })
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn top(&self) -> &Block {
        &self.top
    }

    fn parts(&self) -> Parts<'_> {
        Parts { path: &self.path, file: &*self.file, bytes: self.meta.bytes }
    }

    /// The block at `handle`.
    pub(super) fn block(&self, kind: Kind, handle: Handle, caching: Caching) -> Result<Block> {
        if caching == Caching::Pass {
            return self.parts().block(kind, handle);
        }
        if let Some(block) = self.cache.get(self.number, handle.offset) {
            return Ok(block);
        }
        self.blocks_read.fetch_add(1, Ordering::Relaxed);
        let block = self.parts().block(kind, handle)?;
        self.cache.insert(self.number, handle.offset, block.clone());
        Ok(block)
    }

    /// The block that an entry of the index block at `index` names by its value.
    pub(super) fn named(&self, value: Option<&[u8]>, index: Handle) -> Result<Handle> {
        let value = value.ok_or(Malformed { offset: 0, expected: "an index entry that names a block" });
        value.and_then(Handle::decode).map_err(at(&self.path, index))
    }

    /// Says that the block at `handle` holds something malformed.
    pub(super) fn damaged(&self, handle: Handle) -> impl FnOnce(Malformed) -> Error {
        at(&self.path, handle)
    }
}

/// Says that the block at `handle` is malformed. The offset inside a block means nothing to who
/// looks at the file, as blocks are compressed.
fn at(path: &Path, handle: Handle) -> impl FnOnce(Malformed) -> Error {
    let damaged = Error::damaged(path, handle.offset);
    move |inner| damaged(Malformed { offset: 0, ..inner })
}

/// An open file and its length.
pub(super) struct Parts<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a dyn File,
    pub(super) bytes: u64,
}

impl Parts<'_> {
    fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let fits = offset.checked_add(len as u64).is_some_and(|end| end <= self.bytes);
        let outside = |expected: &str| Error::Damaged {
            path: self.path.to_path_buf(),
            offset,
            expected: expected.to_owned(),
        };
        if !fits {
            return Err(outside("a part that ends inside the file"));
        }
        let mut bytes = vec![0; len];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(outside("more bytes")),
            Err(error) => Err(Error::io("read", self.path)(error)),
        }
    }

    /// Where the footer is, as the trailer says.
    pub(super) fn footer_handle(&self) -> Result<Handle> {
        let offset = self.bytes.saturating_sub(TRAILER_LEN as u64);
        let trailer = self.read(offset, TRAILER_LEN)?;
        decode_trailer(&trailer, self.bytes).map_err(Error::damaged(self.path, offset))
    }

    pub(super) fn footer(&self, handle: Handle) -> Result<Footer> {
        Footer::decode(&self.frame(Kind::Footer, handle)?).map_err(at(self.path, handle))
    }

    fn frame(&self, kind: Kind, handle: Handle) -> Result<Bytes> {
        let frame = self.read(handle.offset, handle.len as usize)?;
        frame::open(kind, &frame, handle.offset).map_err(Error::damaged(self.path, handle.offset))
    }

    fn block(&self, kind: Kind, handle: Handle) -> Result<Block> {
        Block::open(self.frame(kind, handle)?).map_err(at(self.path, handle))
    }
}
