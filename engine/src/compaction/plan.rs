//! Chooses what to compact next: a pure function of the levels.
//!
//! - A level is too full when it has more than its share: level 0 in tables, others in bytes,
//!   each [`LEVEL_RATIO`] times as many as the one above; the deepest never is. The fullest goes first.
//! - Tables of which nothing can be seen any more, because their prefix was deleted, go first: nothing is
//!   written for that.
//! - Of level 0 the oldest tables go, so that no older version of a key stays above a newer one: about as many
//!   bytes as level 1 may have, at most. Of other levels the table goes that overlaps least of the next, in
//!   proportion.
//! - Level 0 goes late while writes are new keys, each of which is then rewritten once; early where writes replace
//!   what is there; and in quiet times down to what a reader does not notice ([`Pace`]).
//! - Where no level is too full, a table of which a good part cannot be seen any more is rewritten
//!   in its place; in level 0 the oldest tables go for that.

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

/// In quiet times this many tables may stay in level 0: the newest, which the next compaction would rewrite soon.
const QUIET_TABLES: usize = 2;
/// Where writes replace what is there, level 0 is full with one part in this many of its usual tables.
const REPLACING_PARTS: usize = 3;

/// In quiet times level 0 goes where writes replace what is there if it has one byte in this many of what it overlaps.
const REPLACING_SHARE: u64 = 8;

/// What writes are like at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// None has come for a while.
    pub(crate) quiet: bool,
    /// Most replace keys that are there: compactions make the data smaller.
    pub(crate) replacing: bool,
}

impl Pace {
    /// With how many tables level 0 is full.
    fn level0_tables(self, options: &Options) -> usize {
        let parts = if self.replacing { REPLACING_PARTS } else { 1 };
        options.level0_tables_max.div_ceil(parts)
    }
}

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
pub(crate) fn choose(
    levels: &Levels,
    options: &Options,
    bounds: &Bounds,
    pace: Pace,
) -> Result<Option<Choice>> {
    if let Some(choice) = invisible(levels, bounds) {
        return Ok(Some(choice));
    }
    match fullest(levels, options, pace) {
        Some(0) => Ok(Some(level0(levels, options, 0))),
        Some(level) => Ok(deeper(levels, level)),
        None => Ok(garbage(levels, options, bounds)?.or_else(|| quiet(levels, options, pace))),
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
fn fullest(levels: &Levels, options: &Options, pace: Pace) -> Option<u8> {
    let fullness = |level: u8| match level {
        0 => (levels.level(0).len() as u64, pace.level0_tables(options) as u64),
        _ => (levels.bytes(level), bytes_max(level, options) + 1),
    };
    let over = (0..LEVEL_MAX).map(|level| (level, fullness(level))).filter(|(_, (has, share))| has >= share);
    over.rev().max_by(|(_, left), (_, right)| compare_ratios(*left, *right)).map(|(level, _)| level)
}

/// About how many bytes compactions have to read for each byte that comes to level 0, in sixteenths: what a writer
/// pays who finds level 0 too full. It rises with the tables there, so that they become fewer.
pub(crate) fn price(levels: &Levels, options: &Options, tables_max: usize) -> u64 {
    const ONE: u64 = 16;
    let parts = |level: u8, below: u64| {
        let share = levels.bytes(level).max(options.level1_bytes / ONE).max(1);
        ONE + (ONE * below / share).min(ONE * LEVEL_RATIO)
    };
    let is_full = |level: &u8| levels.bytes(*level) > bytes_max(*level, options);
    let deeper: u64 = (1..LEVEL_MAX).filter(is_full).map(|level| parts(level, levels.bytes(level + 1))).sum();
    let price = parts(0, levels.bytes(1)) + deeper;
    price * (levels.level(0).len() as u64).max(1) / (tables_max as u64).max(1)
}

/// Compares the two fractions.
fn compare_ratios(left: (u64, u64), right: (u64, u64)) -> Ordering {
    let product = |a: u64, b: u64| u128::from(a) * u128::from(b);
    product(left.0, right.1).cmp(&product(right.0, left.1))
}

/// The oldest tables of level 0, all but the `left` newest, as far as they are not more than level 1 may have;
/// and what they overlap in level 1.
fn level0(levels: &Levels, options: &Options, left: usize) -> Choice {
    let tables = levels.level(0);
    let mut bytes = 0;
    let fits = |table: &&Arc<Reader>| {
        bytes += table.meta().bytes;
        bytes <= options.level1_bytes
    };
    let mut count = tables.iter().take(tables.len() - left.min(tables.len())).take_while(fits).count().max(1);
    // Flushes are in the order of stamps; where tables overlap in stamps all the same, they go together.
    while count < tables.len() && !all_older(&tables[..count], &tables[count..]) {
        count += 1;
    }
    let mut inputs = tables[..count].to_vec();
    let first = inputs.iter().map(|table| &table.meta().first_key).min();
    let last = inputs.iter().map(|table| &table.meta().last_key).max();
    if let (Some(first), Some(last)) = (first, last) {
        let below = levels.overlapping(1, first, last).to_vec();
        inputs.extend(below);
    }
    Choice { inputs, from: 0, to: 1 }
}

/// Whether all entries of the first tables are older than all of the second.
fn all_older(first: &[Arc<Reader>], second: &[Arc<Reader>]) -> bool {
    let newest = first.iter().map(|table| table.meta().last_stamp).max();
    let oldest = second.iter().map(|table| table.meta().first_stamp).min();
    newest.zip(oldest).is_none_or(|(newest, oldest)| newest < oldest)
}

/// What makes reads cheaper or the data smaller while nobody writes. Level 0 goes when it has at least as many bytes
/// as what it overlaps, so that a pause does not cost more writing than it saves; where writes replace what is there, an eighth will do.
fn quiet(levels: &Levels, options: &Options, pace: Pace) -> Option<Choice> {
    let (left, share) = if pace.replacing { (0, REPLACING_SHARE) } else { (QUIET_TABLES, 1) };
    let tables = levels.level(0).len();
    if !pace.quiet || tables == 0 || tables <= 2 * left {
        return None;
    }
    let choice = level0(levels, options, left);
    let upper: u64 = levels.level(0)[..tables - left].iter().map(|table| table.meta().bytes).sum();
    let all: u64 = choice.inputs.iter().map(|table| table.meta().bytes).sum();
    (upper * share >= all.saturating_sub(upper)).then_some(choice)
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
fn garbage(levels: &Levels, options: &Options, bounds: &Bounds) -> Result<Option<Choice>> {
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
        0 => level0(levels, options, 0),
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
