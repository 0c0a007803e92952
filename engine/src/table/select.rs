//! Finds the blocks of a table that may hold some keys, before any of them is read, and reads them one by one.
//!
//! - What an index says is checked against what it names: the rows of an index block and the entries of a data block stand
//!   between the places that the index above gives them, and they rise from block to block. A sound block that belongs
//!   somewhere else does not pass.
//! - Nothing is named that does not end inside the file.

use super::reader::Parts;
use super::{Caching, HEADER_LEN, Handle, Reader};
use crate::block::Block;
use crate::block::frame::Kind;
use crate::block::walk::Walk;
use crate::codec::Malformed;
use crate::entry::{Direction, Entry, compare};
use crate::fs::File;
use crate::source::Place;
use crate::{Error, Result, Versionstamp};
use bytes::Bytes;
use std::cmp::Ordering;
use std::ops::Range;
use std::path::Path;

/// A block that an index names, and where its rows or entries stand.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    handle: Handle,
    /// They come after this one; `None` for the first block.
    above: Option<Place>,
    /// None comes after this one.
    up_to: Place,
}

impl Named {
    /// Where it is in the file.
    pub(crate) const fn range(&self) -> Range<u64> {
        self.handle.range()
    }

    /// The place of this one, and the block of another.
    #[cfg(test)]
    pub(crate) fn naming(&self, other: &Named) -> Named {
        Named { handle: other.handle, ..self.clone() }
    }

    fn holds(&self, place: (&[u8], Versionstamp)) -> bool {
        let is_after = |above: &Place| compare(above.as_pair(), place) == Ordering::Less;
        self.above.as_ref().is_none_or(is_after) && compare(place, self.up_to.as_pair()) != Ordering::Greater
    }
}

/// Where the header of a table is.
pub(crate) const HEADER: Range<u64> = 0..HEADER_LEN as u64;

/// Where the footer of a table of `bytes` bytes is; only its trailer is read.
///
/// # Errors
///
/// As [`Reader::open`].
pub(crate) fn footer(path: &Path, file: &dyn File, bytes: u64) -> Result<Handle> {
    Parts { path, file, bytes }.footer_handle()
}

/// Where the top index of a table of `bytes` bytes is; only its footer is read.
///
/// # Errors
///
/// As [`Reader::open`].
pub(crate) fn top_index(path: &Path, file: &dyn File, bytes: u64, footer: Handle) -> Result<Handle> {
    let top = Parts { path, file, bytes }.footer(footer)?.top_index;
    ensure_inside(path, top, bytes)?;
    Ok(top)
}

fn ensure_inside(path: &Path, handle: Handle, bytes: u64) -> Result<()> {
    if handle.end() <= bytes {
        return Ok(());
    }
    let expected = "a block that ends inside the file".to_owned();
    Err(Error::Damaged { path: path.to_path_buf(), offset: handle.offset.min(bytes), expected })
}

impl Reader {
    /// The index blocks that say where keys are for which `may_hold` is true; it is asked about the first and the last
    /// key that a block may hold, both inclusive.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub(crate) fn index_blocks(&self, may_hold: impl Fn(&[u8], &[u8]) -> bool) -> Result<Vec<Named>> {
        let top = self.footer().top_index;
        let up_to = Place { key: self.meta().last_key.clone(), stamp: Versionstamp::ZERO };
        self.rows(self.top().clone(), &Named { handle: top, above: None, up_to }, may_hold)
    }

    /// The data blocks of an index block that may hold keys for which `may_hold` is true.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], or what the disk says.
    pub(crate) fn data_blocks(
        &self,
        index: &Named,
        may_hold: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Vec<Named>> {
        let block = self.block(Kind::Index, index.handle, Caching::Pass)?;
        self.rows(block, index, may_hold)
    }

    /// What the rows of an index block name.
    fn rows(
        &self,
        block: Block,
        index: &Named,
        may_hold: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<Vec<Named>> {
        let mut walk = Walk::of_all(block, Direction::Forward);
        let (mut above, mut found) = (index.above.clone(), Vec::new());
        while walk.next().map_err(self.damaged(index.handle))? {
            self.ensure_held(index, (walk.key(), walk.stamp()))?;
            let up_to = Place { key: Bytes::copy_from_slice(walk.key()), stamp: walk.stamp() };
            let first = above.as_ref().map_or(&self.meta().first_key, |above| &above.key);
            if may_hold(first, &up_to.key) {
                let handle = self.named(walk.value(), index.handle)?;
                ensure_inside(self.path(), handle, self.meta().bytes)?;
                found.push(Named { handle, above: above.clone(), up_to: up_to.clone() });
            }
            above = Some(up_to);
        }
        Ok(found)
    }

    /// Gives `take` the entries of a data block whose keys are `wanted`, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], what the disk says, or what `take` says.
    pub(crate) fn entries_in(
        &self,
        data: &Named,
        wanted: impl Fn(&[u8]) -> bool,
        mut take: impl FnMut(&Entry) -> Result<()>,
    ) -> Result<()> {
        let block = self.block(Kind::Data, data.handle, Caching::Pass)?;
        let mut walk = Walk::of_all(block, Direction::Forward);
        while walk.next().map_err(self.damaged(data.handle))? {
            self.ensure_held(data, (walk.key(), walk.stamp()))?;
            if wanted(walk.key()) {
                let key = Bytes::copy_from_slice(walk.key());
                take(&Entry { key, stamp: walk.stamp(), version: walk.version() })?;
            }
        }
        Ok(())
    }

    fn ensure_held(&self, block: &Named, place: (&[u8], Versionstamp)) -> Result<()> {
        if block.holds(place) {
            return Ok(());
        }
        let malformed = Malformed { offset: 0, expected: "entries where the index says that they are" };
        Err(self.damaged(block.handle)(malformed))
    }
}
