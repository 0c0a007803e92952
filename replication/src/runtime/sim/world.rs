//! The state of a simulation, and the place where the thread keeps it.

use super::Machine;
use super::clock::LocalTime;
use super::queue::{Queue, TaskId, Ticket};
use super::split_mix::SplitMix;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// The most by which the clock of a machine may go wrong, in millionths.
pub const DRIFT_PPM_MAX: u64 = 500_000;
/// Steps of tasks at one moment of the world, at most; more are a loop that never waits.
pub const POLLS_PER_INSTANT_MAX: u64 = 5_000_000;

pub(super) type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;
pub(super) type Supervisor = Box<dyn FnOnce(String)>;
/// A moment of the world, and a number that no other timer has.
pub(super) type TimerKey = (u64, u64);

/// What has happened in a simulation. Two runs of one seed that differ anywhere differ here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Over all steps and events, in order.
    pub hash: u64,
    /// Steps of tasks.
    pub polls: u64,
    /// Events that were noted.
    pub events: u64,
    /// How long it took, in the simulation's own time.
    pub elapsed: Duration,
}

pub(super) struct Task {
    /// Out while it runs.
    pub(super) future: Option<TaskFuture>,
    pub(super) machine: Machine,
    pub(super) ticket: Arc<Ticket>,
}

pub(super) struct Core {
    pub(super) now_ns: u64,
    pub(super) schedule: SplitMix,
    pub(super) random: SplitMix,
    pub(super) queue: Arc<Queue>,
    pub(super) tasks: Vec<Option<Task>>,
    pub(super) free: Vec<usize>,
    generation: u64,
    pub(super) timers: BTreeMap<TimerKey, Waker>,
    timer_sequence: u64,
    pub(super) current: Machine,
    times: BTreeMap<Machine, LocalTime>,
    paused_until: BTreeMap<Machine, u64>,
    /// Tasks that could run if their machine did not stand still.
    parked: BTreeMap<Machine, Vec<Arc<Ticket>>>,
    pub(super) supervisors: BTreeMap<Machine, Supervisor>,
    pub(super) hash: u64,
    pub(super) polls: u64,
    pub(super) events: u64,
    /// Events by kind.
    pub(super) noted: BTreeMap<&'static str, u64>,
    /// Steps since time last moved.
    pub(super) polls_now: u64,
}

impl Core {
    pub(super) fn new(seed: u64) -> Self {
        let mut seeds = SplitMix(seed);
        Self {
            now_ns: 0,
            schedule: SplitMix(seeds.next_u64()),
            random: SplitMix(seeds.next_u64()),
            queue: Arc::default(),
            tasks: Vec::new(),
            free: Vec::new(),
            generation: 0,
            timers: BTreeMap::new(),
            timer_sequence: 0,
            current: Machine::WORLD,
            times: BTreeMap::new(),
            paused_until: BTreeMap::new(),
            parked: BTreeMap::new(),
            supervisors: BTreeMap::new(),
            hash: 0,
            polls: 0,
            events: 0,
            noted: BTreeMap::new(),
            polls_now: 0,
        }
    }

    /// Takes a task in; its first step is due.
    pub(super) fn insert(&mut self, machine: Machine, future: TaskFuture) -> TaskId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        self.generation += 1;
        let id = TaskId { slot, generation: self.generation };
        let ticket = Ticket::new(id, self.queue.clone());
        ticket.waker().wake();
        self.tasks[slot] = Some(Task { future: Some(future), machine, ticket });
        id
    }

    /// The task, if it has not ended.
    pub(super) fn task(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(id.slot)?.as_mut().filter(|task| task.ticket.task == id)
    }

    /// Takes a task out, to be dropped when the world is not borrowed.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Task> {
        self.task(id)?;
        self.free.push(id.slot);
        self.tasks[id.slot].take()
    }

    /// Takes out all tasks of a machine, likewise.
    pub(super) fn remove_all(&mut self, machine: Machine) -> Vec<Task> {
        let of_machine = |task: &&Task| task.machine == machine;
        let ids: Vec<_> =
            self.tasks.iter().flatten().filter(of_machine).map(|task| task.ticket.task).collect();
        ids.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    pub(super) fn add_timer(&mut self, at_ns: u64, waker: Waker) -> TimerKey {
        self.timer_sequence += 1;
        let key = (at_ns, self.timer_sequence);
        self.timers.insert(key, waker);
        key
    }

    /// Moves time to the next timer and takes out all that are due then. `None` if there is none.
    pub(super) fn advance(&mut self) -> Option<Vec<Waker>> {
        let (&(at_ns, _), _) = self.timers.first_key_value()?;
        if at_ns > self.now_ns {
            (self.now_ns, self.polls_now) = (at_ns, 0);
        }
        let later = self.timers.split_off(&(self.now_ns, u64::MAX));
        Some(std::mem::replace(&mut self.timers, later).into_values().collect())
    }

    pub(super) fn pause(&mut self, machine: Machine, during_ns: u64) {
        let until = self.now_ns.saturating_add(during_ns);
        let paused = self.paused_until.entry(machine).or_default();
        *paused = until.max(*paused);
        self.note("pause", machine.0, during_ns);
    }

    /// Whether a machine stands still.
    pub(super) fn is_paused(&self, machine: Machine) -> bool {
        self.paused_until.get(&machine).is_some_and(|until| *until > self.now_ns)
    }

    /// Keeps a task that could run until its machine goes on.
    pub(super) fn park(&mut self, machine: Machine, ticket: Arc<Ticket>) {
        self.parked.entry(machine).or_default().push(ticket);
    }

    /// Has a machine go on. Returns its tasks that could run.
    pub(super) fn resume(&mut self, machine: Machine) -> Vec<Arc<Ticket>> {
        self.paused_until.remove(&machine);
        self.parked.remove(&machine).unwrap_or_default()
    }

    pub(super) fn time(&self, machine: Machine) -> LocalTime {
        self.times.get(&machine).copied().unwrap_or_default()
    }

    pub(super) fn time_mut(&mut self, machine: Machine) -> &mut LocalTime {
        assert!(machine != Machine::WORLD, "the clock of the world is the time itself");
        self.times.entry(machine).or_default()
    }

    pub(super) fn local_ns(&self, machine: Machine) -> u64 {
        self.time(machine).local(self.now_ns)
    }

    pub(super) fn note(&mut self, kind: &'static str, first: u64, second: u64) {
        self.events += 1;
        *self.noted.entry(kind).or_default() += 1;
        for chunk in kind.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(self.now_ns);
        self.mix(first);
        self.mix(second);
    }

    pub(super) fn mix(&mut self, word: u64) {
        self.hash = SplitMix(self.hash ^ word).next_u64();
    }
}

thread_local! {
    static WORLD: RefCell<Option<Core>> = const { RefCell::new(None) };
}

pub(super) fn is_running() -> bool {
    WORLD.with_borrow(Option::is_some)
}

/// Looks at or changes the world, if there is one. `look` calls nothing that it does not know.
pub(super) fn with_some<R>(look: impl FnOnce(&mut Core) -> R) -> Option<R> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(look))
}

/// Looks at or changes the world.
#[track_caller]
pub(super) fn with<R>(look: impl FnOnce(&mut Core) -> R) -> R {
    match with_some(look) {
        Some(result) => result,
        None => panic!("no simulation runs on this thread"),
    }
}

/// Puts the world of a thread in its place.
pub(super) fn begin(core: Core) {
    WORLD.with_borrow_mut(|world| {
        assert!(world.is_none(), "a simulation runs on this thread already");
        *world = Some(core);
    });
}

/// Takes the world away.
pub(super) fn end() {
    let core = WORLD.with_borrow_mut(Option::take);
    if let Some(core) = core {
        core.queue.clear();
    }
}
