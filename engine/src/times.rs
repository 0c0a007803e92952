//! Which time each version has: the replicated clock of every record since the horizon.
//!
//! One point per change of the clock, so at most a thousand a second. Reads at an old stamp ask
//! for its time (what has expired then), the horizon asks for the version of a time.

/// The clock from one version on, until the next point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) version: u64,
    pub(crate) time_ms: u64,
}

/// The clock of a stretch of history, oldest point first; versions and times both rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Times {
    points: Vec<Point>,
}

impl Times {
    /// Notes the clock of a newer record.
    ///
    /// # Panics
    ///
    /// If the version does not rise or the clock falls.
    pub(crate) fn push(&mut self, point: Point) {
        assert!(self.is_followed_by(point), "versions rise, and the replicated clock never falls");
        if self.points.last().is_none_or(|last| last.time_ms < point.time_ms) {
            self.points.push(point);
        }
    }

    /// Whether a point can come next.
    pub(crate) fn is_followed_by(&self, point: Point) -> bool {
        let after = |last: &Point| last.version < point.version && last.time_ms <= point.time_ms;
        self.points.last().is_none_or(after)
    }

    /// The clock at `version`; `None` before the first point.
    pub(crate) fn at(&self, version: u64) -> Option<u64> {
        let after = self.points.partition_point(|point| point.version <= version);
        self.points[..after].last().map(|point| point.time_ms)
    }

    /// The last version whose clock is known not to be after `time_ms`; `None` when all are after it.
    pub(crate) fn last_at(&self, time_ms: u64, newest: u64) -> Option<u64> {
        let after = self.points.partition_point(|point| point.time_ms <= time_ms);
        match (after, self.points.get(after)) {
            (0, _) => None,
            (_, Some(next)) => Some(next.version - 1),
            (_, None) => Some(newest),
        }
    }

    /// Points above `version`, oldest first.
    pub(crate) fn after(&self, version: u64) -> &[Point] {
        &self.points[self.points.partition_point(|point| point.version <= version)..]
    }

    /// Forgets what no stamp at or above `version` needs.
    pub(crate) fn forget_before(&mut self, version: u64) {
        let after = self.points.partition_point(|point| point.version <= version);
        self.points.drain(..after.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times() -> Times {
        let mut times = Times::default();
        for (version, time_ms) in [(10, 100), (11, 100), (12, 105), (20, 200)] {
            times.push(Point { version, time_ms });
        }
        times
    }

    #[test]
    fn every_version_has_the_clock_of_its_record() {
        let clock = [9, 10, 11, 12, 19, 20, 99].map(|version| times().at(version));
        assert_eq!(clock, [None, Some(100), Some(100), Some(105), Some(105), Some(200), Some(200)]);
    }

    #[test]
    fn a_time_names_the_last_version_not_after_it() {
        let last = [99, 100, 104, 105, 199, 200, 999].map(|time| times().last_at(time, 25));
        assert_eq!(last, [None, Some(11), Some(11), Some(19), Some(19), Some(25), Some(25)]);
    }

    #[test]
    fn forgetting_keeps_the_clock_of_what_is_left() {
        let mut times = times();
        times.forget_before(15);
        assert_eq!([11, 15, 20].map(|version| times.at(version)), [None, Some(105), Some(200)]);
        assert_eq!(times.after(12).len(), 1);
    }
}
