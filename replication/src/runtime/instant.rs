//! A moment of the monotonic clock, real or simulated.
//!
//! - Both kinds are the time since some origin, so that one type serves both, and each kind compares with its own.
//! - The origin is a year before the first moment that anybody can see: subtracting a while never goes below it.

use super::sim;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::OnceLock;
use std::time::Duration;

/// The earliest moment that the clock shows.
const FIRST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A moment of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// How long ago it was; zero for a moment to come.
    pub fn elapsed(self) -> Duration {
        super::now() - self
    }

    /// This many nanoseconds on the clock of a simulated machine.
    pub(super) fn from_simulated_ns(ns: u64) -> Self {
        Self(FIRST + Duration::from_nanos(ns))
    }

    /// The nanoseconds on the clock of a simulated machine.
    pub(super) fn simulated_ns(self) -> u64 {
        u64::try_from(self.0.saturating_sub(FIRST).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The same moment for tokio; one too far away for it is thirty years away.
    pub(super) fn to_tokio(self) -> tokio::time::Instant {
        let since = self.0.saturating_sub(FIRST);
        origin().checked_add(since).unwrap_or_else(|| origin() + Duration::from_secs(30 * 365 * 24 * 3600))
    }
}

/// What the real clock counts from: the first time that anybody asked.
#[expect(clippy::disallowed_methods, reason = "this is the clock of the runtime's real side")]
fn origin() -> tokio::time::Instant {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    tokio::time::Instant::from_std(*ORIGIN.get_or_init(std::time::Instant::now))
}

impl openraft_rt::Instant for Instant {
    fn now() -> Self {
        match sim::local_now_ns() {
            Some(ns) => Self::from_simulated_ns(ns),
            // The origin first: it is the first moment there is.
            None => {
                let origin = origin();
                Self(FIRST + tokio::time::Instant::now().saturating_duration_since(origin))
            }
        }
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, by: Duration) {
        *self = *self + by;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, by: Duration) {
        *self = *self - by;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
