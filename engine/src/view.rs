//! What a reader sees: the memtables and levels of one moment, as one immutable value.
//!
//! - Writers of the view replace it whole; readers load it without waiting.
//! - A view never loses an entry that an older one had, except versions below its horizon.

use crate::Applied;
use crate::compaction::Horizon;
use crate::counters::Reads;
use crate::entry::{Direction, Version};
use crate::levels::Levels;
use crate::memtable::Memtable;
use crate::merge::merge;
use crate::source::{KeyRange, Source};
use crate::{Result, Versionstamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Named pieces of replicated state, see [`crate::Mark`].
pub(crate) type Marks = BTreeMap<Vec<u8>, Vec<u8>>;

/// A memtable that takes no more writes, and where the log stood when it was sealed.
#[derive(Debug)]
pub(crate) struct SealedMemtable {
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) end: Applied,
    pub(crate) marks: Marks,
}

#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) active: Arc<Memtable>,
    /// Oldest first.
    pub(crate) sealed: Vec<Arc<SealedMemtable>>,
    pub(crate) levels: Arc<Levels>,
    pub(crate) horizon: Horizon,
    /// What readers of all views of the engine count.
    pub(crate) reads: Arc<Reads>,
}

impl View {
    /// The newest version of `key` that is not newer than `at`.
    pub(crate) fn get(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Version)>> {
        if let Some(found) = self.active.get(key, at) {
            return Ok(Some(found));
        }
        let newest_first = self.sealed.iter().rev();
        match newest_first.filter_map(|sealed| sealed.memtable.get(key, at)).next() {
            Some(found) => Ok(Some(found)),
            None => self.levels.get(key, at),
        }
    }

    /// Every version of every key in `range`.
    pub(crate) fn source(&self, range: &KeyRange, direction: Direction) -> Box<dyn Source> {
        let mut sources = vec![self.active.source(range.clone(), direction)];
        sources.extend(self.sealed.iter().map(|sealed| sealed.memtable.source(range.clone(), direction)));
        sources.extend(self.levels.sources(range, direction));
        merge(sources, direction)
    }
}
