//! Runs the tasks of a simulation, one step at a time.

use super::queue::{TaskId, Ticket};
use super::world::{Core, Supervisor, TaskFuture, begin, end, with, with_some};
use super::{Machine, world};
use crate::runtime::JoinError;
use crate::runtime::task::panic_message;
use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// How often dropped tasks may start new ones on the machine that is being killed.
const KILL_ROUNDS_MAX: usize = 100;

/// Runs `main` and all that it starts, in the order that `seed` draws, until `main` ends; the other tasks are dropped then.
///
/// # Panics
///
/// If a simulation runs on this thread already, if nothing is left that could happen, if a task never waits, or if
/// a task panics whose machine has no supervisor.
pub fn run<F: Future>(seed: u64, main: F) -> F::Output {
    begin(Core::new(seed));
    let _world = World { seed };
    let mut main = pin!(main);
    let ticket = Ticket::new(TaskId::MAIN, with(|core| core.queue.clone()));
    let waker = ticket.waker();
    waker.wake_by_ref();
    loop {
        let Some(ticket) = next() else {
            assert!(
                advance(),
                "seed {seed}: nothing is left that could happen, and the simulation has not ended"
            );
            continue;
        };
        if ticket.task != TaskId::MAIN {
            step(&ticket);
            continue;
        }
        if let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
    }
}

/// The world of this thread, until it is dropped; also when a panic goes by.
struct World {
    seed: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(seed = self.seed, "the simulation panicked");
        }
        let machines = || with(|core| core.tasks.iter().flatten().map(|task| task.machine).next());
        while let Some(machine) = machines() {
            kill(machine);
        }
        end();
    }
}

/// Draws the next task of those that can run, and notes which.
fn next() -> Option<Arc<Ticket>> {
    with(|core| {
        let count = core.queue.len() as u64;
        if count == 0 {
            return None;
        }
        let index = if count == 1 { 0 } else { core.schedule.below(count) };
        core.polls += 1;
        core.polls_now += 1;
        assert!(core.polls_now <= world::POLLS_PER_INSTANT_MAX, "tasks run on and on without ever waiting");
        let ticket = core.queue.take(usize::try_from(index).unwrap_or_default());
        core.mix(ticket.task.generation);
        core.mix(core.now_ns);
        Some(ticket)
    })
}

/// Moves time to the next timers. False if there are none.
fn advance() -> bool {
    let Some(wakers) = with(Core::advance) else { return false };
    for waker in wakers {
        waker.wake();
    }
    true
}

/// One step of a task, unless it has ended or its machine stands still.
fn step(ticket: &Arc<Ticket>) {
    let id = ticket.task;
    let due = with(|core| {
        let machine = core.task(id)?.machine;
        if core.is_paused(machine) {
            core.park(machine, ticket.clone());
            return None;
        }
        core.current = machine;
        Some((machine, core.task(id)?.future.take()?))
    });
    let Some((machine, mut future)) = due else { return };
    let waker = ticket.waker();
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
    with(|core| core.current = Machine::WORLD);
    match polled {
        Ok(Poll::Pending) => put_back(id, future, machine),
        Ok(Poll::Ready(())) => drop_as(machine, (future, with(|core| core.remove(id)))),
        Err(panic) => {
            drop_as(machine, (future, with(|core| core.remove(id))));
            panicked(machine, panic);
        }
    }
}

/// Keeps a task that waits; one that was killed while it ran is dropped.
fn put_back(id: TaskId, future: TaskFuture, machine: Machine) {
    let dead = with(|core| match core.task(id) {
        Some(task) => {
            task.future = Some(future);
            None
        }
        None => Some(future),
    });
    drop_as(machine, dead);
}

/// Drops what belongs to a machine as a task of it.
pub(super) fn drop_as<T>(machine: Machine, value: T) {
    let before = with(|core| std::mem::replace(&mut core.current, machine));
    drop(value);
    with(|core| core.current = before);
}

fn panicked(machine: Machine, panic: Box<dyn Any + Send>) {
    let supervisor: Option<Supervisor> = with(|core| core.supervisors.remove(&machine));
    match supervisor {
        Some(supervisor) => supervisor(panic_message(panic.as_ref())),
        None => resume_unwind(panic),
    }
}

/// Drops all tasks of a machine, and those that they start while they are dropped.
pub(super) fn kill(machine: Machine) {
    let parked = with(|core| {
        core.note("end of a process", machine.0, 0);
        core.resume(machine)
    });
    drop(parked);
    for _ in 0..KILL_ROUNDS_MAX {
        let tasks = with(|core| core.remove_all(machine));
        if tasks.is_empty() {
            return;
        }
        drop_as(machine, tasks);
    }
    panic!("dropping the tasks of machine {} starts new ones without end", machine.0);
}

/// Waits for the end of a simulated task.
#[derive(Debug)]
pub struct JoinHandle<T> {
    task: TaskId,
    result: oneshot::Receiver<T>,
}

pub(super) fn spawn<F>(machine: Machine, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (sender, result) = oneshot::channel();
    let future = Box::pin(async move {
        let output = future.await;
        // Nobody may wait for it.
        drop(sender.send(output));
    });
    JoinHandle { task: with(|core| core.insert(machine, future)), result }
}

impl<T> JoinHandle<T> {
    /// Drops the task; nothing if the simulation has ended.
    pub fn abort(&self) {
        let task = with_some(|core| core.remove(self.task));
        if let Some(Some(task)) = task {
            drop_as(task.machine, task);
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        with_some(|core| core.task(self.task).is_none()).unwrap_or(true)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(context).map_err(|_dropped| JoinError::Cancelled)
    }
}
