//! Chooses what to compact next: a pure function of the levels.
//!
//! - A level is too full when it has more than its share: level 0 in tables, others in bytes,
//!   each [`LEVEL_RATIO`] times as many as the one above; the deepest never is. The fullest goes first.
//! - Level 0 goes as a whole, so that no older version of a key stays above a newer one. Of other
//!   levels the table goes that overlaps least of the next, in proportion.
//! - Tables of which nothing can be seen any more, because their prefix was deleted, go first: nothing is
//!   written for that.
//! - Where no level is too full, a table of which a good part cannot be seen any more is rewritten
//!   in its place. Level 0 is compacted as a whole for that.

use super::{Bounds, holding_hidden};
use crate::Options;
use crate::levels::{LEVEL_MAX, Levels};
use crate::source::KeyRange;
use crate::table::{Reader, TableDigest};
use crate::{Error, Result};
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many times as large as the level above a level may be.
pub(crate) const LEVEL_RATIO: u64 = 10;
/// A table is rewritten for its garbage alone when that is at least one entry in this many.
const GARBAGE_PARTS: u64 = 4;
/// With this many erasures that every reader has passed, tables are rewritten for what they hide however little
/// it is, so that they can be forgotten.
const PASSED_MAX: usize = crate::erasure::ERASURES_MAX / 8;

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
///
/// # Errors
///
/// When the index of a table is damaged.
pub(crate) fn choose(levels: &Levels, options: &Options, bounds: &Bounds) -> Result<Option<Choice>> {
    if let Some(choice) = invisible(levels, bounds) {
        return Ok(Some(choice));
    }
    match fullest(levels, options) {
        Some(0) => Ok(Some(level0(levels))),
        Some(level) => Ok(deeper(levels, level)),
        None => garbage(levels, bounds),
    }
}

/// All tables of which nothing can be seen: [`rewrite`](super::rewrite) writes nothing in their place.
fn invisible(levels: &Levels, bounds: &Bounds) -> Option<Choice> {
    if bounds.erasures.is_empty() {
        return None;
    }
    let hidden = levels.tables().filter(|(_, table)| bounds.hide_all_of(table.meta()));
    let inputs: Vec<_> = hidden.map(|(_, table)| Arc::clone(table)).collect();
    (!inputs.is_empty()).then_some(Choice { inputs, from: 0, to: 0 })
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

/// The table with the greatest part of garbage, if it is a good part.
fn garbage(levels: &Levels, bounds: &Bounds) -> Result<Option<Choice>> {
    let erased = erased_bytes(levels, bounds)?;
    let mut worst: Option<(u8, &Arc<Reader>, Share)> = None;
    for (level, table) in levels.tables() {
        let mut share = (erased.get(&table.meta().digest).copied().unwrap_or(0), table.meta().bytes);
        if level > 0 {
            for other in [hidden_bytes(table, bounds), absent_entries(levels, level, table, bounds)] {
                share = if compare_ratios(other, share) == Ordering::Greater { other } else { share };
            }
        }
        let is_good_part = share.0 > 0 && share.0.saturating_mul(GARBAGE_PARTS) >= share.1;
        if is_good_part && worst.as_ref().is_none_or(|(_, _, most)| compare_ratios(share, *most).is_gt()) {
            worst = Some((level, table, share));
        }
    }
    Ok(worst.map(|(level, table, _)| match level {
        0 => level0(levels),
        _ => Choice { inputs: vec![Arc::clone(table)], from: level, to: level },
    }))
}

/// So much of so much.
type Share = (u64, u64);

/// About how many bytes of each table are hidden by erasures that every reader has passed.
fn erased_bytes(levels: &Levels, bounds: &Bounds) -> Result<BTreeMap<TableDigest, u64>, Error> {
    let passed: Vec<_> = bounds.erasures.iter().filter(|erasure| bounds.have_passed(erasure)).collect();
    let mut prefixes: BTreeMap<TableDigest, (&Arc<Reader>, Vec<&Bytes>)> = BTreeMap::new();
    for erasure in &passed {
        for (_, table) in holding_hidden(levels, erasure) {
            let (_, known) = prefixes.entry(table.meta().digest).or_insert_with(|| (table, Vec::new()));
            // By prefix: a longer one comes after the shorter that it begins with.
            if known.last().is_none_or(|last| !erasure.prefix.starts_with(last)) {
                known.push(&erasure.prefix);
            }
        }
    }
    let all_of_it = passed.len() >= PASSED_MAX;
    let bytes = |(digest, (table, prefixes)): (TableDigest, (&Arc<Reader>, Vec<&Bytes>))| {
        if all_of_it {
            return Ok((digest, table.meta().bytes));
        }
        let ranges: Vec<_> = prefixes.iter().map(|prefix| KeyRange::with_prefix(prefix)).collect();
        Ok((digest, table.bytes_in(&ranges)?))
    };
    prefixes.into_iter().map(bytes).collect()
}

/// At least how many bytes of the keys and values of a table newer versions in it hide, below the horizon.
fn hidden_bytes(table: &Reader, bounds: &Bounds) -> Share {
    let footer = table.footer();
    let below = footer.hidden.iter().map(|part| part.bytes_below(bounds.horizons.of(&part.prefix).stamp));
    (below.sum(), footer.content_bytes)
}

/// At least how many entries of a table at or below the horizon only say that there is nothing, and hide
/// nothing below.
fn absent_entries(levels: &Levels, level: u8, table: &Reader, bounds: &Bounds) -> Share {
    let footer = table.footer();
    let (first, last) = (&footer.first_key, &footer.last_key);
    let horizon = bounds.horizons.lowest_in(&KeyRange::closed(first, last));
    let lies_below = footer.last_stamp <= horizon.stamp;
    if !lies_below || (level + 1..=LEVEL_MAX).any(|level| !levels.overlapping(level, first, last).is_empty())
    {
        return (0, footer.entries);
    }
    let expired = footer.expiring > 0 && footer.half_expired_ms <= horizon.time_ms;
    (footer.deletes + if expired { footer.expiring.div_ceil(2) } else { 0 }, footer.entries)
}

#[cfg(test)]
mod tests;
