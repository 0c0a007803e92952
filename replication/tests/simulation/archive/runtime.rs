//! The archiver's tasks and pauses in the simulation.

use archiver::runtime::{Installed, Runtime, install};
use futures::future::BoxFuture;
use replication::runtime;
use std::rc::Rc;
use std::time::Duration;

#[derive(Debug)]
struct Simulated;

impl Runtime for Simulated {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // Dropping the handle leaves the task alone; the task ends with its machine.
        drop(runtime::spawn(task));
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(runtime::sleep(duration))
    }
}

/// Has the archiver run in the simulations of this thread.
pub(super) fn simulated() -> Installed {
    install(Rc::new(Simulated))
}
