//! A clock and a source of randomness that a test controls, for use with [`crate::fs::sim`].

use super::{Clock, Env, Random};
use crate::fs::sim::{Sim, SplitMix};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A clock that moves when it is told to. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimClock {
    now_ms: Arc<AtomicU64>,
}

impl SimClock {
    /// A clock at `now_ms`, Unix milliseconds.
    pub fn new(now_ms: u64) -> Self {
        Self { now_ms: Arc::new(AtomicU64::new(now_ms)) }
    }

    /// Moves it forward.
    pub fn advance(&self, by_ms: u64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Sets it, backwards too.
    pub fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}

/// Bytes that follow from a seed.
#[derive(Debug)]
pub struct SimRandom {
    state: Mutex<SplitMix>,
}

impl SimRandom {
    /// The bytes of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(SplitMix(seed)) }
    }

    /// The next number.
    pub fn next_u64(&self) -> u64 {
        self.state.lock().next()
    }

    /// A number from 0 up to `end`, exclusive.
    ///
    /// # Panics
    ///
    /// If `end` is 0.
    pub fn below(&self, end: u64) -> u64 {
        self.next_u64() % end
    }
}

impl Random for SimRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.state.lock();
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&state.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A simulated world from a seed: an empty disk, and a clock at 1,000,000 ms.
pub fn env(seed: u64) -> (Env, Sim, SimClock) {
    let (disk, clock) = (Sim::new(), SimClock::new(1_000_000));
    let env = Env {
        fs: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        random: Arc::new(SimRandom::new(seed)),
    };
    (env, disk, clock)
}
