//! The threads that keep engines in shape: the one file that starts any.
//!
//! - One thread seals, flushes and removes; others compact, so that a compaction holds up none of that.
//! - Each goes round the engines and makes one step of each at a time, so no engine waits for another's work.
//! - Dropping [`Background`] stops them after the step they are in. Writers that waited for them then make the steps
//!   themselves.
//! - An engine that has stopped is left alone.

use crate::budget::{Budget, Purpose};
use crate::engine::{Engine, Progress};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a thread with nothing to do waits before it looks again.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// Threads at work, for as long as it lives.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    budget: Arc<Budget>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the threads of one engine: one that flushes, one that compacts.
///
/// # Panics
///
/// If the operating system gives no thread.
pub fn start(engine: &Engine) -> Background {
    launch(engine.budget(), &Whose::One(engine.clone()), 1)
}

/// Starts the threads of all engines of a budget, those opened later too: one that flushes, and as many that compact as
/// the budget says. An engine whose last handle is dropped is closed after the step that runs in it.
///
/// # Panics
///
/// If the operating system gives no thread.
pub fn start_pool(budget: &Arc<Budget>) -> Background {
    launch(budget, &Whose::All(Arc::clone(budget)), budget.compaction_threads())
}

fn launch(budget: &Arc<Budget>, whose: &Whose, compaction_threads: usize) -> Background {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = vec![spawn("cairn-maintain", whose, &stop, Purpose::Flush)];
    for _ in 0..compaction_threads {
        threads.push(spawn("cairn-compact", whose, &stop, Purpose::Compaction));
    }
    Background { stop, budget: Arc::clone(budget), threads }
}

/// The engines that a thread works for.
#[derive(Clone)]
enum Whose {
    One(Engine),
    All(Arc<Budget>),
}

impl Whose {
    fn engines(&self) -> Vec<Engine> {
        match self {
            Whose::One(engine) => vec![engine.clone()],
            Whose::All(budget) => budget.engines(),
        }
    }

    fn budget(&self) -> &Arc<Budget> {
        match self {
            Whose::One(engine) => engine.budget(),
            Whose::All(budget) => budget,
        }
    }

    fn add(&self, purpose: Purpose, change: usize) {
        let help = match self {
            Whose::One(engine) => &engine.core().pressure.help,
            Whose::All(budget) => &budget.help,
        };
        // Modulo 2^64: usize::MAX takes one away.
        help.of(purpose).fetch_add(change, Ordering::SeqCst);
        self.budget().moved.happened();
    }
}

/// Says that there is a thread to wait for, until it is dropped, also by a panic.
struct Helping {
    whose: Whose,
    purpose: Purpose,
}

impl Helping {
    fn new(whose: &Whose, purpose: Purpose) -> Self {
        whose.add(purpose, 1);
        Self { whose: whose.clone(), purpose }
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        self.whose.add(self.purpose, usize::MAX);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one file that starts threads")]
fn spawn(name: &str, whose: &Whose, stop: &Arc<AtomicBool>, purpose: Purpose) -> JoinHandle<()> {
    let (helping, stop) = (Helping::new(whose, purpose), Arc::clone(stop));
    let run = move || work(&helping, &stop);
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.expect("the operating system gives a thread")
}

fn work(helping: &Helping, stop: &AtomicBool) {
    let budget = Arc::clone(helping.whose.budget());
    while !stop.load(Ordering::SeqCst) {
        let seen = budget.work.seen();
        let mut worked = false;
        for engine in helping.whose.engines() {
            worked |= step(&engine, helping.purpose);
            if stop.load(Ordering::SeqCst) {
                return;
            }
        }
        // Also after a round without work: whoever waits for it has to look again.
        budget.moved.happened();
        if !worked && !stop.load(Ordering::SeqCst) {
            budget.work.wait(seen, Some(IDLE_WAIT));
        }
    }
}

/// One step of an engine; whether it did anything.
fn step(engine: &Engine, purpose: Purpose) -> bool {
    if engine.stopped().is_some() {
        return false;
    }
    let done: Result<Progress> = match purpose {
        Purpose::Flush => engine.maintain(),
        Purpose::Compaction => engine.compact(),
    };
    match done {
        Ok(progress) => progress == Progress::Worked,
        Err(Error::Stopped { .. }) => false,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a step of maintenance failed");
            false
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.budget.work.happened();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a maintenance thread panicked");
            }
        }
    }
}
