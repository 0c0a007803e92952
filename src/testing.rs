//! What unit tests share: a clock that tests move, an engine on a simulated disk, writes in one line.

use engine::fs::sim::Sim;
use engine::{Engine, Env, Options};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct FakeClock(AtomicU64);

impl FakeClock {
    pub(crate) fn at(ms: u64) -> Arc<FakeClock> {
        Arc::new(FakeClock(AtomicU64::new(ms)))
    }

    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

impl engine::Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An engine on a simulated disk.
pub(crate) fn engine(disk: &Sim, clock: &Arc<FakeClock>, options: Options) -> engine::Result<Engine> {
    let env = Env { fs: Arc::new(disk.clone()), clock: clock.clone(), random: Env::real().random };
    Ok(Engine::open(env, Path::new("/data"), options)?.0)
}
