//! Which segments are joined, and which are covered by one that is. Pure.
//!
//! - Segments are joined in tiers by size, each eight times the one before, so that each byte is written again a bounded number
//!   of times, and what is left of each tier is bounded.
//! - Only segments that follow each other exactly, by stamp and content hash, are joined.

use crate::catalog::{History, Segment};
use crate::layout::SegmentName;
use crate::retention::RESTORE_GRACE_MS;
use std::collections::BTreeSet;

/// When to merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Commits younger than this are left alone, in milliseconds.
    pub age_ms: u64,
    /// A merged object has been there for so long before what it holds is removed, in milliseconds: the longest restore.
    pub grace_ms: u64,
    /// The most stored bytes that are joined to one object.
    pub object_bytes_max: u64,
    /// The fewest segments that are joined.
    pub segments_min: usize,
    /// The most segments that are joined.
    pub segments_max: usize,
    /// Whether segments are joined that are encrypted, or those that are not.
    pub sealed: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            age_ms: 10 * 60_000,
            grace_ms: RESTORE_GRACE_MS,
            object_bytes_max: 64 << 20,
            segments_min: 8,
            segments_max: 10_000,
            sealed: false,
        }
    }
}

/// What is made is so many times as large as the largest of what it is made of.
const GROWTH_MIN: u64 = 4;
/// The size below which a segment is in the first tier, in bytes.
const TIER_BYTES: u64 = 64 << 10;

/// The tier of a segment: each holds segments of up to eight times the size of the one below.
fn tier(bytes: u64) -> u32 {
    (bytes / TIER_BYTES).checked_ilog2().map_or(0, |log2| 1 + log2 / 3)
}

/// Segments that one object covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The object that stays.
    pub by: Segment,
    /// What it holds as well.
    pub segments: Vec<Segment>,
}

/// Runs of segments to join now, each oldest first. No segment is in two.
pub fn runs(history: &History, now_ms: u64, rules: &Rules) -> Vec<Vec<Segment>> {
    let mut seen = BTreeSet::new();
    let mut runs = Vec::new();
    for window in history.windows() {
        let fresh = |position: &&usize| seen.insert(**position);
        let chain: Vec<Segment> =
            window.segments.iter().filter(fresh).map(|position| history.segments[*position]).collect();
        let fits = |segment: &Segment| {
            let old = segment.name.last_ms.saturating_add(rules.age_ms) <= now_ms;
            old && segment.name.sealed == rules.sealed
        };
        let follows = |one: &Segment, next: &Segment| {
            let joins = (one.name.last, one.name.hash_after) == (next.name.base, next.name.hash_before);
            joins && fits(one) && fits(next)
        };
        for stretch in chain.chunk_by(follows).filter(|stretch| stretch.iter().all(fits)) {
            runs_of(stretch, rules, &mut runs);
        }
    }
    runs
}

/// The runs in a stretch without a break: those of the lowest tier first, as what they make may join the next one later.
fn runs_of(stretch: &[Segment], rules: &Rules, runs: &mut Vec<Vec<Segment>>) {
    let mut taken = vec![false; stretch.len()];
    let tiers: BTreeSet<u32> = stretch.iter().map(|segment| tier(segment.bytes)).collect();
    for of in tiers {
        let mut run: Vec<usize> = Vec::new();
        let mut bytes = 0;
        let mut close = |run: &mut Vec<usize>, bytes: &mut u64, taken: &mut Vec<bool>| {
            let largest = run.iter().map(|position| stretch[*position].bytes).max().unwrap_or(0);
            if run.len() >= rules.segments_min && *bytes >= GROWTH_MIN.saturating_mul(largest) {
                run.iter().for_each(|position| taken[*position] = true);
                runs.push(run.iter().map(|position| stretch[*position]).collect());
            }
            run.clear();
            *bytes = 0;
        };
        for (position, segment) in stretch.iter().enumerate() {
            if taken[position] || tier(segment.bytes) > of {
                close(&mut run, &mut bytes, &mut taken);
                continue;
            }
            if bytes + segment.bytes > rules.object_bytes_max || run.len() >= rules.segments_max {
                close(&mut run, &mut bytes, &mut taken);
            }
            run.push(position);
            bytes += segment.bytes;
        }
        close(&mut run, &mut bytes, &mut taken);
    }
}

/// Segments that have been covered for long enough to leave, each by one that stays.
pub fn covered(history: &History, now_ms: u64, rules: &Rules) -> Vec<Covered> {
    let old = |segment: &&Segment| segment.modified_ms.saturating_add(rules.grace_ms) <= now_ms;
    // Those that nothing else covers, by where they begin; of those that begin together the longest comes first.
    let mut sorted: Vec<&Segment> = history.segments.iter().filter(old).collect();
    sorted
        .sort_unstable_by(|a, b| (a.name.base, b.name.last, a.name).cmp(&(b.name.base, a.name.last, b.name)));
    let mut covers: Vec<Covered> = Vec::new();
    for segment in sorted {
        match covers.last() {
            Some(last) if covers_name(&last.by.name, &segment.name) => {}
            _ => covers.push(Covered { by: *segment, segments: Vec::new() }),
        }
    }
    for segment in &history.segments {
        // The last that begins no later; those before it end earlier, or it would be covered itself.
        let after = covers.partition_point(|cover| cover.by.name.base <= segment.name.base);
        let Some(cover) = after.checked_sub(1).and_then(|last| covers.get_mut(last)) else { continue };
        if cover.by.name != segment.name && covers_name(&cover.by.name, &segment.name) {
            cover.segments.push(*segment);
        }
    }
    covers.retain(|cover| !cover.segments.is_empty());
    covers
}

/// Whether a segment says everything that another one says, as far as names tell.
fn covers_name(one: &SegmentName, other: &SegmentName) -> bool {
    one.base <= other.base && other.last <= one.last
}

#[cfg(test)]
mod tests;
