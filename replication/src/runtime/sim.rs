//! A world that follows from one seed: tasks on one thread, in an order that is drawn, in a time that is computed.
//!
//! - Two runs of one seed do the same, step by step; [`trace`] tells whether they did.
//! - Time stands still while a task runs, and moves to the next timer when no task can.
//! - Every task belongs to a [`Machine`], and so do the tasks that it starts. A machine has clocks of its own, and can
//!   be killed (its tasks are dropped where they stand) or paused (they stand still, and its clocks go on).
//! - A panic of a task goes on to the caller of [`run`], with the seed, unless the machine is [`supervise`]d.
//! - No code of others runs while the state of the world is borrowed.

pub mod clock;
mod executor;
mod queue;
mod sleep;
mod split_mix;
mod world;

#[cfg(test)]
mod tests;

pub use clock::{SimClock, SimRandom, WALL_START_MS};
pub use executor::{JoinHandle, run};
pub use sleep::Sleep;
pub use split_mix::SplitMix;
pub use world::{DRIFT_PPM_MAX, POLLS_PER_INSTANT_MAX, Trace};

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use world::{Core, with, with_some};

/// A simulated computer: it has a name, a clock, and tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine(pub u64);

impl Machine {
    /// The one that looks on: the future given to [`run`], and what it starts. Its clock is the time itself.
    pub const WORLD: Machine = Machine(0);
}

/// Whether a simulation is at work on this thread.
pub fn is_running() -> bool {
    world::is_running()
}

/// Starts a task on the machine of this task.
///
/// # Panics
///
/// Outside of a simulation, as everything in this module whose docs say nothing else.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    executor::spawn(current(), future)
}

/// Starts a task on `machine`.
pub fn spawn_on<F>(machine: Machine, future: F) -> super::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    super::JoinHandle::simulated(executor::spawn(machine, future))
}

/// The machine of the task that runs.
pub fn current() -> Machine {
    with(|core| core.current)
}

/// Drops all tasks of `machine`, as a kill of its process does. The task that runs goes on until it waits.
pub fn kill(machine: Machine) {
    executor::kill(machine);
}

/// Drops a value as a task of `machine` would: what it starts in doing so belongs to the machine.
pub fn drop_on<T>(machine: Machine, value: T) {
    executor::drop_as(machine, value);
}

/// Stops the tasks of `machine` for a while; what reaches it meanwhile waits.
pub fn pause(machine: Machine, during: Duration) {
    with(|core| core.pause(machine, nanoseconds(during)));
    spawn_on(Machine::WORLD, async move {
        super::sleep(during).await;
        if !with(|core| core.is_paused(machine)) {
            resume(machine);
        }
    });
}

/// Ends a pause.
pub fn resume(machine: Machine) {
    for ticket in with(|core| core.resume(machine)) {
        ticket.waker().wake();
    }
}

/// Has `supervisor` called, once, when a task of `machine` panics, with the panic's words, before anything is dropped. It
/// is up to the supervisor to [`kill`] the machine. What a machine may die of is a matter of the test.
pub fn supervise(machine: Machine, supervisor: impl FnOnce(String) + 'static) {
    let before = with(|core| core.supervisors.insert(machine, Box::new(supervisor)));
    drop(before);
}

/// The next random number.
pub fn random_u64() -> u64 {
    with(|core| core.random.next_u64())
}

/// A random number from 0 up to `end`, exclusive.
///
/// # Panics
///
/// If `end` is 0.
pub fn below(end: u64) -> u64 {
    with(|core| core.random.below(end))
}

/// Whether an event of probability `per_million` in a million happens.
pub fn chance(per_million: u64) -> bool {
    with(|core| core.random.chance(per_million))
}

/// A generator of its own, for one that draws without disturbing others.
pub fn fork_random() -> SplitMix {
    SplitMix(random_u64())
}

/// How long the simulation has run, in its own time.
pub fn elapsed() -> Duration {
    Duration::from_nanos(with(|core| core.now_ns))
}

/// Mixes an event into the trace, and counts it. Every step of every task is in the trace already. Nothing outside of a
/// simulation.
pub fn note(kind: &'static str, first: u64, second: u64) {
    with_some(|core| core.note(kind, first, second)).unwrap_or_default();
}

/// How many events of each kind were noted.
pub fn noted() -> BTreeMap<&'static str, u64> {
    with(|core| core.noted.clone())
}

/// What has happened so far.
pub fn trace() -> Trace {
    with(|core| core.trace())
}

/// The monotonic clock of the machine of this task; `None` outside of a simulation.
pub(super) fn local_now_ns() -> Option<u64> {
    with_some(|core| core.local_ns(core.current))
}

/// Nanoseconds of a duration, at most those of 584 years.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Core {
    fn trace(&self) -> Trace {
        Trace {
            hash: self.hash,
            polls: self.polls,
            events: self.events,
            elapsed: Duration::from_nanos(self.now_ns),
        }
    }
}
