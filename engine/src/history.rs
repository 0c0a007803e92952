//! How much of the past is kept, and from that where the horizons should stand: a pure function.
//!
//! - A rule for a prefix counts for the keys that have no longer one. It begins at the horizon that its keys have
//!   when it is set: a longer window does not bring back what is gone.
//! - Where the hidden versions of a rule take more than it allows, its horizon rises until they fit, oldest
//!   first. Memtables are not counted: they are bounded.
//! - Rules are told anew after each open. Until then a prefix that had its own horizon keeps it where it is.

use crate::horizon::{Horizon, Horizons};
use crate::levels::Levels;
use crate::table::hidden::Point;
use crate::times::Times;
use crate::write_batch::KEY_LEN_MAX;
use crate::{Applied, Error, History, Result, Versionstamp};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Rules for prefixes that an engine can have, inclusive.
pub(crate) const RULES_MAX: usize = 1_024;

/// What rules the history of each key.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    default: History,
    by_prefix: BTreeMap<Bytes, History>,
    /// Whether the rules of prefixes were told since the engine was opened.
    told: bool,
}

/// What the engine is at, for horizons to follow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now<'a> {
    pub(crate) published: Applied,
    pub(crate) time_ms: u64,
    pub(crate) times: &'a Times,
    pub(crate) levels: &'a Levels,
}

impl Rules {
    /// One rule for all keys.
    pub(crate) const fn new(default: History) -> Self {
        Self { default, by_prefix: BTreeMap::new(), told: false }
    }

    /// With these rules for prefixes, and no others.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] when there are too many, or a prefix is empty, too long or there twice.
    pub(crate) fn telling(&self, rules: Vec<(Vec<u8>, History)>) -> Result<Self> {
        let refuse = |reason| Err(Error::Option { name: "histories", reason });
        if rules.len() > RULES_MAX {
            return refuse("at most 1,024 prefixes");
        }
        let mut by_prefix = BTreeMap::new();
        for (prefix, history) in rules {
            if !(1..=KEY_LEN_MAX).contains(&prefix.len()) {
                return refuse("prefixes of 1 to 65,535 bytes");
            }
            if by_prefix.insert(prefix.into(), history).is_some() {
                return refuse("each prefix once");
            }
        }
        Ok(Self { default: self.default, by_prefix, told: true })
    }

    /// The prefixes that have a rule.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &Bytes> {
        self.by_prefix.keys()
    }

    /// The longest prefix of `prefix` that has a rule; empty for the default.
    fn governing(&self, prefix: &[u8]) -> &[u8] {
        let lens = (1..=prefix.len()).rev();
        let mut longer = lens.filter_map(|len| self.by_prefix.get_key_value(&prefix[..len]));
        longer.next().map_or(&[], |(prefix, _)| prefix)
    }

    /// Where the horizons should stand, none of them below `current`.
    ///
    /// A prefix whose rule is gone follows the one that counts now from its own horizon on, not from that one's.
    pub(crate) fn due(&self, current: &Horizons, now: &Now<'_>) -> Horizons {
        let hidden = self.hidden(current, now.levels);
        let wanted = |rule: &[u8]| {
            let history = self.by_prefix.get(rule).unwrap_or(&self.default);
            wanted(*history, hidden.get(rule).map_or(&[], Vec::as_slice), now)
        };
        let mut due = Horizons::all(current.of_rest().max(wanted(&[])));
        for prefix in self.by_prefix.keys() {
            due.set(prefix.clone(), current.of(prefix).max(wanted(prefix)));
        }
        for (prefix, start) in
            current.prefixes().iter().filter(|(prefix, _)| !self.by_prefix.contains_key(prefix))
        {
            let follows = if self.told { wanted(self.governing(prefix)) } else { Horizon::START };
            due.set(prefix.clone(), follows.max(*start));
        }
        self.tidy(&mut due);
        due
    }

    /// Removes horizons of prefixes without a rule that are where the one above them is.
    pub(crate) fn tidy(&self, horizons: &mut Horizons) {
        if !self.told {
            return;
        }
        let own = horizons.prefixes().iter().filter(|(prefix, _)| !self.by_prefix.contains_key(prefix));
        let caught_up = own.filter(|(prefix, horizon)| horizons.above(prefix) == *horizon);
        let caught_up: Vec<Bytes> = caught_up.map(|(prefix, _)| prefix.clone()).collect();
        for prefix in caught_up {
            horizons.remove(&prefix);
        }
    }

    /// The hidden versions above the horizons, by the rule that counts for them.
    fn hidden(&self, current: &Horizons, levels: &Levels) -> BTreeMap<Bytes, Vec<Point>> {
        let mut by_rule: BTreeMap<Bytes, Vec<Point>> = BTreeMap::new();
        for part in levels.tables().flat_map(|(_, table)| &table.footer().hidden) {
            let horizon = current.of(&part.prefix).stamp;
            let above = part.points.iter().filter(|point| point.stamp > horizon);
            let rule = Bytes::copy_from_slice(self.governing(&part.prefix));
            by_rule.entry(rule).or_default().extend(above);
        }
        by_rule
    }
}

/// Where a rule wants the horizon when these points are hidden above it.
fn wanted(history: History, hidden: &[Point], now: &Now<'_>) -> Horizon {
    let oldest_kept_ms = now.time_ms.saturating_sub(history.ms);
    let by_time = now.times.last_at(oldest_kept_ms, now.published.version);
    let by_time = by_time.map(|version| Versionstamp::new(version.min(now.published.version), 0));
    let by_bytes = first_too_many(hidden, history.bytes_max);
    let by_bytes = by_bytes.map(|stamp| stamp.min(Versionstamp::last_of(now.published.version)));
    let stamp = by_time.max(by_bytes).unwrap_or(Versionstamp::ZERO);
    Horizon { stamp, time_ms: now.times.at(stamp.version()).unwrap_or(0) }
}

/// The newest point that, with all newer ones, is more than `bytes_max`.
fn first_too_many(hidden: &[Point], bytes_max: u64) -> Option<Versionstamp> {
    if hidden.iter().map(|point| point.bytes).sum::<u64>() <= bytes_max {
        return None;
    }
    let mut newest_first = hidden.to_vec();
    newest_first.sort_unstable_by_key(|point| std::cmp::Reverse(point.stamp));
    let mut bytes = 0u64;
    let too_many = newest_first.into_iter().find(|point| {
        bytes = bytes.saturating_add(point.bytes);
        bytes > bytes_max
    });
    too_many.map(|point| point.stamp)
}
