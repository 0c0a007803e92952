//! What the engine takes from outside: a disk, a clock and randomness.
//!
//! The engine opens no file, reads no clock and draws no number except through these, so that a
//! whole run can be repeated from a seed.

pub mod sim;

use crate::fs::Fs;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch. May step backwards; callers keep the maximum.
    fn now_ms(&self) -> u64;

    /// Nanoseconds since some moment; never falls. Only for saying how long something took.
    fn elapsed_ns(&self) -> u64 {
        self.now_ms().saturating_mul(1_000_000)
    }
}

/// Unpredictable bytes.
pub trait Random: Send + Sync + fmt::Debug {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The outside world of one engine.
#[derive(Clone, Debug)]
pub struct Env {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of salts and lineage ids.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// The real disk, the system's clock and the system's randomness.
    pub fn real() -> Self {
        Self {
            fs: Arc::new(crate::fs::disk::Disk),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        }
    }
}

/// The system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now_ms(&self) -> u64 {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since_epoch.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn elapsed_ns(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The system's randomness.
#[derive(Debug, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    /// # Panics
    ///
    /// If the operating system gives no randomness: nothing safe can be done then.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that draws random bytes")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}
