//! Something that happens again and again, and threads that wait for the next time.
//!
//! - Who looks at [`Signal::seen`] first, then at the world, and then waits for what comes after, misses nothing.

use parking_lot::{Condvar, Mutex};
use std::time::Duration;

/// Counts how often it happened.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// It happened: everybody who waits looks again.
    pub(crate) fn happened(&self) {
        *self.count.lock() += 1;
        self.changed.notify_all();
    }

    /// How often it has happened.
    pub(crate) fn seen(&self) -> u64 {
        *self.count.lock()
    }

    /// Waits until it has happened more often than `seen`, or, with a bound, for that time.
    pub(crate) fn wait(&self, seen: u64, at_most: Option<Duration>) {
        let mut count = self.count.lock();
        while *count == seen {
            match at_most {
                Some(time) => {
                    self.changed.wait_for(&mut count, time);
                    return;
                }
                None => self.changed.wait(&mut count),
            }
        }
    }
}
