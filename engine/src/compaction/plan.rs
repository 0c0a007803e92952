//! Chooses what to compact next: a pure function of the levels.
//!
//! - A level is too full when it has more than its share: level 0 in tables, others in bytes,
//!   each [`LEVEL_RATIO`] times as many as the one above; the deepest never is. The fullest goes first.
//! - Level 0 goes as a whole, so that no older version of a key stays above a newer one. Of other
//!   levels the table goes that overlaps least of the next, in proportion.
//! - Where no level is too full, a table of which a good part cannot be seen any more is rewritten
//!   in its place.

use super::Horizon;
use crate::Options;
use crate::levels::{LEVEL_MAX, Levels};
use crate::table::{Reader, TableDigest};
use std::cmp::Ordering;
use std::sync::Arc;

/// How many times as large as the level above a level may be.
pub(crate) const LEVEL_RATIO: u64 = 10;
/// A table is rewritten for its garbage alone when that is at least one entry in this many.
const GARBAGE_PARTS: u64 = 4;

/// A table is moved unchanged only when it is at least one part in this many of a full one.
const MOVED_PARTS: u64 = 4;

/// Tables to rewrite together, and where their entries go.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// The tables, of the level `from` and, where that is another, of the level `to`.
    pub(crate) inputs: Vec<Arc<Reader>>,
    /// Where they come from.
    pub(crate) from: u8,
    /// Where the result goes.
    pub(crate) to: u8,
}

impl Choice {
    /// What the result replaces.
    pub(crate) fn removed(&self) -> Vec<TableDigest> {
        self.inputs.iter().map(|table| table.meta().digest).collect()
    }

    /// Whether the tables can go to their level as they are: they share no key, nothing in them
    /// can be dropped, and none is so small that a rewrite should join it to others. So it is with
    /// data that is written in the order of its keys.
    pub(crate) fn is_move(&self, options: &Options) -> bool {
        let keep = |table: &Arc<Reader>| {
            let footer = table.footer();
            let dropped = footer.entries - footer.keys + footer.deletes + footer.expiring;
            dropped == 0 && table.meta().bytes.saturating_mul(MOVED_PARTS) >= options.table_bytes
        };
        let mut ranges: Vec<_> =
            self.inputs.iter().map(|table| (&table.meta().first_key, &table.meta().last_key)).collect();
        ranges.sort_unstable();
        self.from != self.to
            && self.inputs.iter().all(keep)
            && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }
}

/// What to compact next; `None` when nothing needs it.
pub(crate) fn choose(levels: &Levels, options: &Options, horizon: Horizon) -> Option<Choice> {
    match fullest(levels, options) {
        Some(0) => Some(level0(levels)),
        Some(level) => deeper(levels, level),
        None => garbage(levels, horizon),
    }
}

/// The most bytes a level should have; level 0 is counted in tables.
fn bytes_max(level: u8, options: &Options) -> u64 {
    options.level1_bytes.saturating_mul(LEVEL_RATIO.saturating_pow(u32::from(level.saturating_sub(1))))
}

/// The level that is furthest over its share, if any is; of equals the upper one.
fn fullest(levels: &Levels, options: &Options) -> Option<u8> {
    let fullness = |level: u8| match level {
        0 => (levels.level(0).len() as u64, options.level0_tables_max as u64),
        _ => (levels.bytes(level), bytes_max(level, options) + 1),
    };
    let over = (0..LEVEL_MAX).map(|level| (level, fullness(level))).filter(|(_, (has, share))| has >= share);
    over.rev().max_by(|(_, left), (_, right)| compare_ratios(*left, *right)).map(|(level, _)| level)
}

/// Compares the two fractions.
fn compare_ratios(left: (u64, u64), right: (u64, u64)) -> Ordering {
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    product(left.0, right.1).cmp(&product(right.0, left.1))
}

/// All of level 0, and what it overlaps in level 1.
fn level0(levels: &Levels) -> Choice {
    let mut inputs = levels.level(0).to_vec();
    let first = inputs.iter().map(|table| &table.meta().first_key).min();
    let last = inputs.iter().map(|table| &table.meta().last_key).max();
    if let (Some(first), Some(last)) = (first, last) {
        let below = levels.overlapping(1, first, last).to_vec();
        inputs.extend(below);
    }
    Choice { inputs, from: 0, to: 1 }
}

/// The table of `level` that overlaps least of the next level in proportion to its size, and what
/// it overlaps; of equals the first.
fn deeper(levels: &Levels, level: u8) -> Option<Choice> {
    let below =
        |table: &Reader| levels.overlapping(level + 1, &table.meta().first_key, &table.meta().last_key);
    let cost = |table: &Arc<Reader>| {
        let overlap: u64 = below(table).iter().map(|table| table.meta().bytes).sum();
        (overlap, table.meta().bytes)
    };
    let table = levels.level(level).iter().min_by(|left, right| compare_ratios(cost(left), cost(right)))?;
    let mut inputs = vec![Arc::clone(table)];
    inputs.extend(below(table).iter().cloned());
    Some(Choice { inputs, from: level, to: level + 1 })
}

/// A table that lies wholly at or below the horizon and of which a good part is garbage: the one
/// with the greatest part.
fn garbage(levels: &Levels, horizon: Horizon) -> Option<Choice> {
    let candidates =
        levels.tables().filter(|(level, table)| *level > 0 && table.meta().last_stamp <= horizon.stamp);
    let shares =
        candidates.map(|(level, table)| (level, table, garbage_entries(levels, level, table, horizon)));
    let worth = shares
        .filter(|(_, table, garbage)| garbage * GARBAGE_PARTS >= table.footer().entries && *garbage > 0);
    let (level, table, _) = worth.max_by(|(_, left, garbage_left), (_, right, garbage_right)| {
        compare_ratios((*garbage_left, left.footer().entries), (*garbage_right, right.footer().entries))
    })?;
    Some(Choice { inputs: vec![Arc::clone(table)], from: level, to: level })
}

/// At least how many entries of a table at or below the horizon a rewrite in its place drops.
fn garbage_entries(levels: &Levels, level: u8, table: &Reader, horizon: Horizon) -> u64 {
    let footer = table.footer();
    let hidden = footer.entries - footer.keys;
    let (first, last) = (&footer.first_key, &footer.last_key);
    if (level + 1..=LEVEL_MAX).any(|level| !levels.overlapping(level, first, last).is_empty()) {
        return hidden;
    }
    let expired = footer.expiring > 0 && footer.half_expired_ms <= horizon.time_ms;
    // A hidden entry can be a delete too, so the sum would count it twice.
    let absent = footer.deletes + if expired { footer.expiring.div_ceil(2) } else { 0 };
    hidden.max(absent)
}

#[cfg(test)]
mod tests;
