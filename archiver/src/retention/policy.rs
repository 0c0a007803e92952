//! What is to be kept, as people say it.

use crate::layout::CheckpointName;
use jiff::{Timestamp, tz::TimeZone};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// How long what is not promised any more is still there, in milliseconds: the longest restore.
pub const RESTORE_GRACE_MS: u64 = 6 * 3_600_000;
/// The most that a rule can keep, inclusive.
const COUNT_MAX: u32 = 10_000;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Every point of so many milliseconds.
    pub window_ms: u64,
    /// Points before that.
    pub kept: Kept,
    /// What leaves was not promised for so many milliseconds.
    pub grace_ms: u64,
}

impl Policy {
    /// Keeps every point of a time, and points before that.
    pub const fn new(window_ms: u64, kept: Kept) -> Self {
        Self { window_ms, kept, grace_ms: RESTORE_GRACE_MS }
    }
}

/// How many points are kept: one of each period, the newest of it. Periods are those of UTC, weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// The newest checkpoints.
    pub last: u32,
    /// Hours.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
}

impl Kept {
    /// Those of the checkpoints, sorted by stamp, that a rule keeps.
    pub(super) fn choose(&self, names: &[CheckpointName]) -> BTreeSet<CheckpointName> {
        let mut kept = BTreeSet::new();
        kept.extend(names.iter().rev().take(self.last as usize));
        for (count, period) in self.rules() {
            let mut seen = None;
            let mut left = count;
            for name in names.iter().rev() {
                let this = period(name.time_ms);
                if seen == Some(this) {
                    continue;
                }
                if left == 0 {
                    break;
                }
                (seen, left) = (Some(this), left - 1);
                kept.insert(*name);
            }
        }
        kept
    }

    fn rules(&self) -> [(u32, Period); 4] {
        [
            (self.hourly, |ms| ms / HOUR_MS),
            (self.daily, |ms| ms / DAY_MS),
            // The first day of 1970 was a Thursday.
            (self.weekly, |ms| (ms / DAY_MS + 3) / 7),
            (self.monthly, month),
        ]
    }
}

/// Which period a time is in, Unix milliseconds.
type Period = fn(u64) -> u64;

/// Months since year 0.
fn month(time_ms: u64) -> u64 {
    let time = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let date = time.unwrap_or_default().to_zoned(TimeZone::UTC);
    let number = i64::from(date.year()) * 12 + i64::from(date.month());
    u64::try_from(number).unwrap_or(0)
}

/// What a rule should look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected rules such as hourly=24,daily=7,weekly=4,monthly=12,last=3, each at most once and up to 10000"
)]
pub struct KeptError;

impl FromStr for Kept {
    type Err = KeptError;

    fn from_str(text: &str) -> Result<Self, KeptError> {
        let mut kept = Self::default();
        for rule in text.split(',').map(str::trim).filter(|rule| !rule.is_empty()) {
            let (name, count) = rule.split_once('=').ok_or(KeptError)?;
            let count = count.parse::<u32>().ok().filter(|count| (1..=COUNT_MAX).contains(count));
            let count = count.ok_or(KeptError)?;
            let field = match name {
                "last" => &mut kept.last,
                "hourly" => &mut kept.hourly,
                "daily" => &mut kept.daily,
                "weekly" => &mut kept.weekly,
                "monthly" => &mut kept.monthly,
                _ => return Err(KeptError),
            };
            if std::mem::replace(field, count) != 0 {
                return Err(KeptError);
            }
        }
        Ok(kept)
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { last, hourly, daily, weekly, monthly } = *self;
        let all =
            [("last", last), ("hourly", hourly), ("daily", daily), ("weekly", weekly), ("monthly", monthly)];
        let said: Vec<String> =
            all.iter().filter(|(_, count)| *count > 0).map(|(name, n)| format!("{name}={n}")).collect();
        f.write_str(&said.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Digest, ShortHash};
    use engine::Versionstamp;

    fn at(texts: &[&str]) -> Vec<CheckpointName> {
        let name = |(n, text): (u64, &&str)| {
            let time = text.parse::<Timestamp>().expect("a time");
            let time_ms = u64::try_from(time.as_millisecond()).expect("after 1970");
            let (hash, digest) = (ShortHash([0; 8]), Digest([0; 16]));
            CheckpointName { stamp: Versionstamp::new(n, 0), time_ms, hash, digest, sealed: false }
        };
        (1..).zip(texts).map(name).collect()
    }

    fn kept(rules: &str, texts: &[&str]) -> Vec<u64> {
        let rules: Kept = rules.parse().expect("rules");
        rules.choose(&at(texts)).iter().map(|name| name.stamp.version()).collect()
    }

    #[test]
    fn the_newest_point_of_each_period_is_kept() {
        let times = [
            "2026-01-31T23:00:00Z",
            "2026-02-01T00:30:00Z",
            "2026-02-01T00:50:00Z",
            "2026-02-08T23:59:59Z",
            "2026-02-09T00:00:00Z",
            "2026-02-09T09:00:00Z",
        ];
        assert_eq!(kept("last=2", &times), [5, 6]);
        assert_eq!(kept("hourly=3", &times), [4, 5, 6]);
        assert_eq!(kept("daily=3", &times), [3, 4, 6], "periods without a point do not count");
        assert_eq!(kept("weekly=2", &times), [4, 6], "weeks begin on Monday");
        assert_eq!(kept("monthly=2", &times), [1, 6]);
        assert_eq!(kept("monthly=9,last=1,daily=1", &times), [1, 6]);
        assert_eq!(kept("", &times), [0; 0]);
    }

    #[test]
    fn rules_are_read_as_they_are_shown_and_others_are_refused() {
        let text = "last=3,hourly=24,daily=7,weekly=4,monthly=12";
        assert_eq!(text.parse::<Kept>().map(|kept| kept.to_string()), Ok(text.to_owned()));
        for text in ["daily", "daily=0", "daily=x", "yearly=1", "daily=1,daily=2", "daily=10001"] {
            assert_eq!(text.parse::<Kept>(), Err(KeptError), "{text}");
        }
    }
}
