//! The clock that the server serves by: the wall clock, kept from stepping back.
//!
//! - It never falls while the process runs, so that an entry seen to have expired stays expired.
//! - Reads, checks, watches and tokens of one process use the same clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A wall clock that never falls. Clones share what was seen.
#[derive(Debug, Clone)]
pub struct ServingClock {
    wall: Arc<dyn engine::Clock>,
    newest_ms: Arc<AtomicU64>,
}

impl ServingClock {
    /// A clock over `wall` that is never before `least_ms`, Unix milliseconds.
    pub fn new(wall: Arc<dyn engine::Clock>, least_ms: u64) -> Self {
        Self { wall, newest_ms: Arc::new(AtomicU64::new(least_ms)) }
    }

    /// Milliseconds since the Unix epoch; never less than any result before it.
    pub fn now_ms(&self) -> u64 {
        let wall_ms = self.wall.now_ms();
        self.newest_ms.fetch_max(wall_ms, Ordering::Relaxed).max(wall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::env::sim::SimClock;

    #[test]
    fn time_never_falls_and_never_lies_before_its_start() {
        let wall = SimClock::new(5);
        let clock = ServingClock::new(Arc::new(wall.clone()), 10);
        assert_eq!(clock.now_ms(), 10);
        wall.set(30);
        assert_eq!(clock.clone().now_ms(), 30);
        wall.set(20);
        assert_eq!(clock.now_ms(), 30);
    }
}
