//! The threads that keep an engine in shape: the one file that starts any.
//!
//! - One thread seals, flushes and removes; one compacts, so that a long compaction holds up
//!   neither.
//! - Dropping [`Background`] stops both after the step they are in.
//! - After an error the engine has stopped, and so do they.

use crate::engine::{Engine, Progress};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a thread with nothing to do waits before it looks again.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// The threads of one engine, for as long as it lives.
#[derive(Debug)]
pub struct Background {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    stopping: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    /// Waits until there may be work again; whether to stop.
    fn wait(&self) -> bool {
        let mut stopping = self.stopping.lock();
        if !*stopping {
            self.told.wait_for(&mut stopping, IDLE_WAIT);
        }
        *stopping
    }
}

/// Starts the threads of `engine`.
///
/// # Panics
///
/// If the operating system gives no thread.
pub fn start(engine: &Engine) -> Background {
    let stop = Arc::new(Stop::default());
    let threads = vec![
        spawn("cairn-maintain", engine, &stop, Engine::maintain),
        spawn("cairn-compact", engine, &stop, Engine::compact),
    ];
    Background { stop, threads }
}

#[expect(clippy::disallowed_methods, reason = "this is the one file that starts threads")]
fn spawn(
    name: &str,
    engine: &Engine,
    stop: &Arc<Stop>,
    step: fn(&Engine) -> Result<Progress>,
) -> JoinHandle<()> {
    let (engine, stop) = (engine.clone(), Arc::clone(stop));
    let run = move || {
        loop {
            match step(&engine) {
                Ok(Progress::Worked) if !*stop.stopping.lock() => {}
                Ok(_) => {
                    if stop.wait() {
                        return;
                    }
                }
                Err(Error::Stopped { .. }) => return,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "maintenance ends");
                    return;
                }
            }
        }
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.expect("the operating system gives a thread")
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.stopping.lock() = true;
        self.stop.told.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a maintenance thread panicked");
            }
        }
    }
}
