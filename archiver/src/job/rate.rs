//! How fast a job is, and how fast it may be.

use std::collections::VecDeque;

/// The rate is that of so many milliseconds past.
const SPAN_MS: u64 = 10_000;
/// Samples are so far apart, at least, in milliseconds.
const SAMPLE_MS: u64 = 500;
/// A job that rested may catch up on so many milliseconds of its bound.
const BURST_MS: u64 = 100;

/// The bytes of the last seconds.
#[derive(Debug)]
pub(super) struct Rate {
    /// Times, and bytes done by then; rising.
    samples: VecDeque<(u64, u64)>,
}

impl Rate {
    pub(super) fn new(now_ms: u64) -> Rate {
        Rate { samples: VecDeque::from([(now_ms, 0)]) }
    }

    /// Notes what is done by now.
    pub(super) fn note(&mut self, now_ms: u64, bytes: u64) {
        if self.samples.back().is_none_or(|(at, _)| now_ms.saturating_sub(*at) >= SAMPLE_MS) {
            self.samples.push_back((now_ms, bytes));
        }
        // One that is older than the span stays: the rate is measured from it.
        while self.samples.get(1).is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= SPAN_MS) {
            self.samples.pop_front();
        }
    }

    /// Bytes a second until now.
    pub(super) fn per_s(&mut self, now_ms: u64, bytes: u64) -> u64 {
        self.note(now_ms, bytes);
        let Some((since, before)) = self.samples.front() else { return 0 };
        let (ms, moved) = (now_ms.saturating_sub(*since), bytes.saturating_sub(*before));
        moved.saturating_mul(1_000).checked_div(ms).unwrap_or(0)
    }
}

/// A bound of bytes a second.
#[derive(Debug)]
pub(super) struct Pace {
    per_s: u64,
    /// When what was let through so far is paid for, in microseconds.
    paid_us: u64,
}

impl Pace {
    pub(super) const fn new(per_s: u64, now_ms: u64) -> Pace {
        Pace { per_s, paid_us: now_ms * 1_000 }
    }

    pub(super) const fn per_s(&self) -> u64 {
        self.per_s
    }

    /// Lets bytes through; returns how many milliseconds they have to wait.
    pub(super) fn take(&mut self, now_ms: u64, bytes: u64) -> u64 {
        let now_us = now_ms * 1_000;
        let wait_us = self.paid_us.saturating_sub(now_us);
        let earliest_us = now_us.saturating_sub(BURST_MS * 1_000);
        let cost_us = u128::from(bytes) * 1_000_000 / u128::from(self.per_s.max(1));
        let cost_us = u64::try_from(cost_us).unwrap_or(u64::MAX);
        self.paid_us = self.paid_us.max(earliest_us).saturating_add(cost_us);
        wait_us.div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::new(1_000);
        assert_eq!(rate.per_s(1_000, 0), 0);
        assert_eq!(rate.per_s(2_000, 500), 500);
        for second in 3..=60 {
            rate.note(second * 1_000, second * 100);
        }
        assert_eq!(rate.per_s(60_000, 6_000), 100);
        assert_eq!(rate.per_s(120_000, 6_000), 0, "it stands still");
    }

    #[test]
    fn a_pace_lets_through_what_its_bound_says() {
        let mut pace = Pace::new(1_000, 5_000);
        let (mut now_ms, mut bytes) = (5_000, 0);
        while now_ms < 15_000 {
            now_ms += pace.take(now_ms, 250);
            bytes += 250;
        }
        assert!((10_000..=10_600).contains(&bytes), "{bytes} bytes in ten seconds of 1000 each");
        assert_eq!(pace.take(60_000, 1), 0, "after a rest");
        assert!(Pace::new(1, 0).take(0, u64::MAX) == 0, "the first is not held up, whatever its size");
    }
}
