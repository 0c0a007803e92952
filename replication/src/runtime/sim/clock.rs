//! The clocks of a simulated machine, and what the engine is given of them.
//!
//! - The monotonic clock goes at a rate of its own and never falls.
//! - The wall clock is the monotonic one and an offset, which jumps when it is told to.

use super::{Machine, with};

/// What wall clocks show when a simulation begins, in Unix milliseconds.
pub const WALL_START_MS: u64 = 1_700_000_000_000;

/// How the time of one machine follows from that of the world.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LocalTime {
    /// Since when the rate is what it is: in the world, and here.
    world_ns: u64,
    local_ns: u64,
    drift_ppm: i64,
    pub(super) wall_offset_ms: i64,
}

const MILLION: i128 = 1_000_000;

impl LocalTime {
    /// What it is here at `world_ns`, which is not before the last change of rate.
    pub(super) fn local(&self, world_ns: u64) -> u64 {
        let passed = i128::from(world_ns - self.world_ns);
        let local = i128::from(self.local_ns) + passed * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        clamp(local)
    }

    /// The first moment of the world at which it is `local_ns` here, if the rate stays.
    pub(super) fn world(&self, local_ns: u64) -> u64 {
        let missing = i128::from(local_ns.saturating_sub(self.local_ns)) * MILLION;
        let rate = MILLION + i128::from(self.drift_ppm);
        clamp(i128::from(self.world_ns) + (missing + rate - 1) / rate)
    }

    /// Changes the rate from `world_ns` on.
    pub(super) fn set_drift(&mut self, world_ns: u64, drift_ppm: i64) {
        (self.local_ns, self.world_ns, self.drift_ppm) = (self.local(world_ns), world_ns, drift_ppm);
    }

    /// Unix milliseconds of the wall clock at `world_ns`.
    fn wall_ms(&self, world_ns: u64) -> u64 {
        let now = WALL_START_MS.saturating_add(self.local(world_ns) / 1_000_000);
        now.saturating_add_signed(self.wall_offset_ms)
    }
}

fn clamp(ns: i128) -> u64 {
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

/// Has the clocks of `machine` go faster (or slower, below 0) by this many millionths.
///
/// # Panics
///
/// If that is more than [`super::DRIFT_PPM_MAX`] either way.
pub fn set_drift(machine: Machine, drift_ppm: i64) {
    assert!(
        drift_ppm.unsigned_abs() <= super::DRIFT_PPM_MAX,
        "a clock drifts by at most {}",
        super::DRIFT_PPM_MAX
    );
    with(|core| {
        let now_ns = core.now_ns;
        core.time_mut(machine).set_drift(now_ns, drift_ppm);
        if drift_ppm != 0 {
            core.note("drift", machine.0, drift_ppm.unsigned_abs());
        }
    });
}

/// Moves the wall clock of `machine`, backwards below 0. Nothing else notices.
pub fn jump(machine: Machine, by_ms: i64) {
    with(|core| {
        let time = core.time_mut(machine);
        time.wall_offset_ms = time.wall_offset_ms.saturating_add(by_ms);
        core.note("jump", machine.0, by_ms.unsigned_abs());
    });
}

/// What the wall clock of `machine` shows, in Unix milliseconds.
pub fn wall_ms(machine: Machine) -> u64 {
    with(|core| core.time(machine).wall_ms(core.now_ns))
}

/// The wall clock of the machine on which it is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimClock;

impl engine::Clock for SimClock {
    fn now_ms(&self) -> u64 {
        wall_ms(super::current())
    }

    fn elapsed_ns(&self) -> u64 {
        with(|core| core.local_ns(core.current))
    }
}

/// Random bytes of the simulation.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimRandom;

impl engine::Random for SimRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&super::random_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}
