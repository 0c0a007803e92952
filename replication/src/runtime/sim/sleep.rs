//! Waiting for a time on the clock of a simulated machine.

use super::world::{TimerKey, with, with_some};
use super::{Machine, current};
use crate::runtime::Instant;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Waits for a time on the clock of the machine on which it began. When the clock has become slower meanwhile it waits
/// longer; when it has become faster it ends late.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    machine: Machine,
    timer: Option<TimerKey>,
}

impl Sleep {
    /// Waits until `deadline`, on the clock of the machine of this task.
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, machine: current(), timer: None }
    }

    /// Whether the time has come; else the timer is set for this waker. Returns one to be dropped outside.
    fn step(&mut self, waker: &Waker) -> (Poll<()>, Option<Waker>) {
        let (deadline_ns, machine) = (self.deadline.simulated_ns(), self.machine);
        with(|core| {
            let before = self.timer.take().and_then(|timer| core.timers.remove(&timer));
            if core.local_ns(machine) >= deadline_ns {
                return (Poll::Ready(()), before);
            }
            let at_ns = core.time(machine).world(deadline_ns);
            self.timer = Some(core.add_timer(at_ns, waker.clone()));
            (Poll::Pending, before)
        })
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let (polled, before) = self.step(context.waker());
        drop(before);
        polled
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let before = with_some(|core| core.timers.remove(&timer));
            drop(before);
        }
    }
}
