//! What a reader sees: the memtables and levels of one moment, as one immutable value.
//!
//! - Writers of the view replace it whole; readers load it without waiting.
//! - A view never loses an entry that an older one had, except versions below its horizons.

use crate::Applied;
use crate::counters::Reads;
use crate::entry::{Direction, Presence, Version};
use crate::erasure::Erasures;
use crate::horizon::{Horizon, Horizons};
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
    /// What readers of all views of the engine count.
    pub(crate) reads: Arc<Reads>,
    /// What tables may lack lies below them.
    pub(crate) horizons: Arc<Horizons>,
    /// The highest of them: most readers are above it and need no other.
    pub(crate) highest: Horizon,
    /// Every deletion of a prefix that may hide something here.
    pub(crate) erasures: Arc<Erasures>,
}

impl View {
    pub(crate) fn set_horizons(&mut self, horizons: Arc<Horizons>) {
        self.highest = horizons.highest();
        self.horizons = horizons;
    }

    /// The newest version of `key` that is not newer than `at`, unless an erasure hides it.
    pub(crate) fn get(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Version)>> {
        let found = self.stored(key, at)?;
        Ok(found.filter(|(stamp, _)| !self.erasures.hide(key, *stamp, at)))
    }

    fn stored(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Version)>> {
        match self.memtables().find_map(|memtable| memtable.get(key, at)) {
            Some(found) => Ok(Some(found)),
            None => self.levels.get(key, at),
        }
    }

    /// As [`get`](Self::get), without the value.
    pub(crate) fn newest(&self, key: &[u8], at: Versionstamp) -> Result<Option<(Versionstamp, Presence)>> {
        let found = match self.memtables().find_map(|memtable| memtable.newest(key, at)) {
            Some(found) => Some(found),
            None => self.levels.get(key, at)?.map(|(stamp, version)| (stamp, version.presence())),
        };
        Ok(found.filter(|(stamp, _)| !self.erasures.hide(key, *stamp, at)))
    }

    /// Newest first.
    fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        [&self.active].into_iter().chain(self.sealed.iter().rev().map(|sealed| &sealed.memtable))
    }

    /// Every version of every key in `range`, hidden by an erasure or not.
    pub(crate) fn source(&self, range: &KeyRange, direction: Direction) -> Box<dyn Source> {
        let mut sources = vec![self.active.source(range.clone(), direction)];
        sources.extend(self.sealed.iter().map(|sealed| sealed.memtable.source(range.clone(), direction)));
        sources.extend(self.levels.sources(range, direction));
        merge(sources, direction)
    }
}
