//! The tasks that can run, and the wakers that put them there.
//!
//! A task stands in the queue at most once. Wakers may be called from anywhere, so the queue has a lock; that it is
//! only the thread of the simulation that calls them is what makes runs repeat.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

/// One task for the life of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskId {
    pub(super) slot: usize,
    /// No two tasks have the same, also if they have had the same slot.
    pub(super) generation: u64,
}

impl TaskId {
    /// The future given to `run`.
    pub(super) const MAIN: TaskId = TaskId { slot: usize::MAX, generation: 0 };
}

/// The tasks that can run.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Vec<Arc<Ticket>>>);

/// The place of a task in the queue, kept as its waker.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) task: TaskId,
    queue: Arc<Queue>,
    queued: AtomicBool,
}

impl Ticket {
    pub(super) fn new(task: TaskId, queue: Arc<Queue>) -> Arc<Self> {
        Arc::new(Self { task, queue, queued: AtomicBool::new(false) })
    }

    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.queue.0.lock().push(self.clone());
        }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Takes out the task at `index`; from now on it can be queued again.
    pub(super) fn take(&self, index: usize) -> Arc<Ticket> {
        let ticket = self.0.lock().swap_remove(index);
        ticket.queued.store(false, Ordering::Release);
        ticket
    }

    /// Forgets all; the tasks in it hold the queue.
    pub(super) fn clear(&self) {
        let tickets = std::mem::take(&mut *self.0.lock());
        drop(tickets);
    }
}
