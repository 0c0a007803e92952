//! Keeps the levels in shape: what to rewrite ([`plan`]), and how ([`rewrite`]).
//!
//! - What a reader at or above the horizon sees is the same before and after.
//! - What nobody can see any more is dropped when its table is rewritten.
//! - A plan is a pure function of the levels; one compaction is a bounded piece of work.

pub(crate) mod plan;
pub(crate) mod retention;
pub(crate) mod rewrite;
mod run;

use crate::erasure::{Erasure, Erasures};
use crate::horizon::Horizons;
use crate::levels::Levels;
use crate::source::KeyRange;
use crate::table::{Meta, Reader};
use std::sync::Arc;

/// What nobody needs any more: versions hidden below the horizon of their key, by newer ones or by an
/// erasure. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    /// No reader is below these.
    pub(crate) horizons: Arc<Horizons>,
    /// Every erasure up to the horizons, at least.
    pub(crate) erasures: Arc<Erasures>,
}

impl Bounds {
    /// Whether every reader is past an erasure, so that what it hides can be dropped.
    pub(crate) fn have_passed(&self, erasure: &Erasure) -> bool {
        self.horizons.lowest_under(&erasure.prefix).stamp >= erasure.stamp
    }

    /// Whether nobody can see anything of a table, because of one erasure.
    pub(crate) fn hide_all_of(&self, table: &Meta) -> bool {
        if self.erasures.is_empty() {
            return false;
        }
        let range = KeyRange::closed(&table.first_key, &table.last_key);
        self.erasures.hide_all_of(table, self.horizons.lowest_in(&range).stamp)
    }

    /// Whether an erasure is of no use: every reader is past it, and a later one hides all that it hides, or no
    /// table holds any of it. Memtables must hold nothing that is older than it.
    pub(crate) fn can_forget(&self, erasure: &Erasure, levels: &Levels) -> bool {
        let readers = self.horizons.lowest_under(&erasure.prefix).stamp;
        readers >= erasure.stamp
            && (self.erasures.newest(&erasure.prefix, readers) > Some(erasure.stamp)
                || holding_hidden(levels, erasure).next().is_none())
    }
}

/// The tables that may hold something that an erasure hides.
pub(crate) fn holding_hidden<'a>(
    levels: &'a Levels,
    erasure: &'a Erasure,
) -> impl Iterator<Item = (u8, &'a Arc<Reader>)> {
    let tables = levels.meeting_range(&KeyRange::with_prefix(&erasure.prefix));
    tables.filter(|(_, table)| may_hold_hidden(table, erasure))
}

/// Whether a table may hold something that an erasure hides: it is older, and was not written when the
/// erasure was below the horizon.
fn may_hold_hidden(table: &Reader, erasure: &Erasure) -> bool {
    let meta = table.meta();
    meta.first_stamp < erasure.stamp
        && erasure.meets(&meta.first_key, &meta.last_key)
        && table.written_by().lowest_under(&erasure.prefix).stamp < erasure.stamp
}
