//! What runs tasks, tells the time and draws lots: tokio, or a simulation that follows from one seed.
//!
//! - Which of the two is asked at run time: on a thread on which [`sim::run`] is at work, everything here is simulated;
//!   on every other thread it is tokio. So the types that are tested are those that serve.
//! - Code of this crate that waits, spawns or draws does it through this module, and talks between tasks with
//!   `tokio::sync`'s `mpsc`, `oneshot`, `Notify`, `Semaphore` and `Mutex`, or with [`watch`]: those wake in the order in which
//!   was waited. What is not allowed, because two runs of one seed would differ: `tokio::sync::watch` (it wakes
//!   in a random order), `tokio::select!` without `biased`, threads, and the order of a `HashMap`.
//! - An [`Instant`] of a simulation means nothing outside of it.

mod instant;
pub mod sim;
mod task;
mod timer;
pub mod watch;

#[cfg(test)]
mod tests;

use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::future::Future;
use std::io;
use std::time::Duration;

pub use instant::Instant;
pub use task::{AbortOnDrop, JoinError, JoinHandle};
pub use timer::{Elapsed, Sleep, Timeout};

/// Starts a task. In a simulation it belongs to the machine of the task that starts it, and ends with that.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    task::spawn(future)
}

/// Waits for `duration`.
#[track_caller]
pub fn sleep(duration: Duration) -> Sleep {
    timer::sleep(duration)
}

/// Waits until `deadline`.
#[track_caller]
pub fn sleep_until(deadline: Instant) -> Sleep {
    timer::sleep_until(deadline)
}

/// Waits for `future`, at most for `duration`; then it is dropped.
#[track_caller]
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    timer::timeout(duration, future)
}

/// Waits for `future`, at most until `deadline`; then it is dropped.
#[track_caller]
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    timer::timeout_at(deadline, future)
}

/// The monotonic clock.
pub fn now() -> Instant {
    <Instant as openraft_rt::Instant>::now()
}

/// A random number: unpredictable, or in a simulation the next one of its seed.
pub fn random_u64() -> u64 {
    if sim::is_running() { sim::random_u64() } else { rand::random() }
}

/// Runs what blocks where it holds up no task. A simulation runs it in place, in a task of its own.
///
/// # Errors
///
/// If it was cancelled or panicked.
pub async fn spawn_blocking<F, T>(work: F) -> Result<T, JoinError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    task::spawn_blocking(work).await
}

/// The runtime that openraft is given. It has no state while it serves; only tests make one, to block on a future.
#[derive(Debug)]
pub struct Rt(Driver);

#[derive(Debug)]
enum Driver {
    Tokio(tokio::runtime::Runtime),
    Simulated { seed: u64 },
}

impl Rt {
    /// One that blocks on a future by simulating it.
    pub fn simulated(seed: u64) -> Self {
        Self(Driver::Simulated { seed })
    }
}

impl AsyncRuntime for Rt {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = TokioMpsc;
    type Watch = watch::Watch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Sleep {
        sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Instant, future: F) -> Timeout<F> {
        timeout_at(deadline, future)
    }

    fn is_panic(error: &JoinError) -> bool {
        error.is_panic()
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(random_u64())
    }

    /// # Panics
    ///
    /// If tokio cannot start its threads.
    fn new(threads: usize) -> Self {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        Self(Driver::Tokio(tokio.expect("tokio starts its threads")))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        match &self.0 {
            Driver::Tokio(tokio) => tokio.block_on(future),
            Driver::Simulated { seed } => sim::run(*seed, future),
        }
    }

    async fn spawn_blocking<F, T>(work: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        spawn_blocking(work).await.map_err(io::Error::other)
    }
}
