//! A simulated network, which delays, loses, doubles and cuts.
//!
//! - What arrives at a machine runs as a task of that machine; what is on the way belongs to nobody, and is counted in
//!   the time of the world.
//! - A request and its answer each travel alone: either can be lost, which the caller learns from its own clock, and a
//!   request may be seen twice. Requests overtake each other.
//! - Messages of a stream keep their order and are never lost alone: a stream that loses one breaks. So does one whose way is cut,
//!   within [`PROBE_MAX`], and one whose machine goes down.
//! - Where nobody listens the caller learns it, if the way back is open; where the way is cut it learns nothing.

mod carry;
mod endpoint;
mod stream;
#[cfg(test)]
mod tests;

use crate::runtime::sim::{self, Machine};
use crate::{NodeId, runtime};
use endpoint::Listener;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stream::StreamEnd;

pub use endpoint::Endpoint;

/// Within this time the ends of a stream learn that its way was cut.
pub const PROBE_MAX: Duration = Duration::from_secs(2);

/// How the network is where nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// How long a message takes at least.
    pub delay_min: Duration,
    /// How long it takes at most, but for stragglers.
    pub delay_max: Duration,
    /// How many messages in a million are stragglers,
    pub stragglers: u64,
    /// which take up to this long.
    pub straggler_max: Duration,
    /// How many requests and answers in a million are lost.
    pub losses: u64,
    /// How many requests in a million arrive twice.
    pub doubles: u64,
}

impl Weather {
    /// A quiet network in one place: nothing is lost.
    pub const FAIR: Weather = Weather {
        delay_min: Duration::from_micros(100),
        delay_max: Duration::from_millis(1),
        stragglers: 0,
        straggler_max: Duration::from_millis(1),
        losses: 0,
        doubles: 0,
    };
}

/// What the network has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests, answers and messages of streams that were sent.
    pub messages: u64,
    /// Of these, those that did not arrive.
    pub dropped: u64,
    /// Requests that arrived twice.
    pub doubled: u64,
    /// Streams that were opened.
    pub streams: u64,
    /// Streams that broke.
    pub broken: u64,
}

/// The network of a simulation. Clones share it.
#[derive(Debug, Clone)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    /// One way each.
    cuts: BTreeSet<(Machine, Machine)>,
    /// What a way takes in addition.
    distances: BTreeMap<(Machine, Machine), Duration>,
    /// By address.
    listeners: BTreeMap<String, Listener>,
    /// Who has listened at an address last.
    places: BTreeMap<String, Machine>,
    streams: BTreeMap<u64, StreamEnd>,
    next_stream: u64,
    counters: Counters,
}

impl Network {
    /// A network in this weather, with nothing in it.
    pub fn new(weather: Weather) -> Self {
        let state = State {
            weather,
            cuts: BTreeSet::new(),
            distances: BTreeMap::new(),
            listeners: BTreeMap::new(),
            places: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            counters: Counters::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The transport of a node on `machine`. It can call at once, and is heard once it [listens](Endpoint::listen).
    pub fn endpoint(&self, machine: Machine, node: NodeId) -> Arc<Endpoint> {
        Arc::new(Endpoint::new(self.clone(), machine, node))
    }

    /// Changes the weather.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Has messages between two machines take this much longer, each way.
    pub fn set_distance(&self, one: Machine, other: Machine, distance: Duration) {
        let mut state = self.state.lock();
        state.distances.extend([((one, other), distance), ((other, one), distance)]);
    }

    /// Cuts the way from one machine to another, in this direction only.
    pub fn cut(&self, from: Machine, to: Machine) {
        sim::note("cut", from.0, to.0);
        let ends = {
            let mut state = self.state.lock();
            state.cuts.insert((from, to));
            state.ends_of_streams(|one, other| (one, other) == (from, to) || (other, one) == (from, to))
        };
        for end in ends {
            let within = Duration::from_nanos(sim::below(stream::nanoseconds(PROBE_MAX)));
            end.break_after(within);
        }
    }

    /// Cuts both ways between each of `machines` and everybody else of `all`.
    pub fn part(&self, machines: &[Machine], all: &[Machine]) {
        for inside in machines {
            for outside in all.iter().filter(|machine| !machines.contains(machine)) {
                self.cut(*inside, *outside);
                self.cut(*outside, *inside);
            }
        }
    }

    /// Opens the way from one machine to another again.
    pub fn mend(&self, from: Machine, to: Machine) {
        self.state.lock().cuts.remove(&(from, to));
    }

    /// Opens all ways.
    pub fn mend_all(&self) {
        sim::note("mend", 0, 0);
        self.state.lock().cuts.clear();
    }

    /// Whether a way is cut.
    pub fn is_cut(&self, from: Machine, to: Machine) -> bool {
        self.state.lock().cuts.contains(&(from, to))
    }

    /// What a kill of the process does to its connections: nobody listens, and its streams break at once.
    pub fn down(&self, machine: Machine) {
        let (listeners, ends) = {
            let mut state = self.state.lock();
            let of_machine = |_: &String, listener: &mut Listener| listener.machine == machine;
            let listeners: Vec<_> = state.listeners.extract_if(.., of_machine).collect();
            (listeners, state.ends_of_streams(|one, other| one == machine || other == machine))
        };
        drop(listeners);
        ends.iter().for_each(StreamEnd::break_now);
    }

    /// What the network has done so far.
    pub fn counters(&self) -> Counters {
        self.state.lock().counters
    }

    fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut self.state.lock().counters);
    }

    /// How long the next message takes that way.
    fn delay(&self, from: Machine, to: Machine) -> Duration {
        let (weather, distance) = {
            let state = self.state.lock();
            (state.weather, state.distances.get(&(from, to)).copied().unwrap_or_default())
        };
        let between = |min: Duration, max: Duration| {
            min + Duration::from_nanos(sim::below(stream::nanoseconds(max.saturating_sub(min)) + 1))
        };
        let straggles = sim::chance(weather.stragglers);
        let delay =
            between(weather.delay_min, if straggles { weather.straggler_max } else { weather.delay_max });
        delay + distance
    }

    /// Whether the next message that way is lost, by chance or because the way is cut.
    fn loses(&self, from: Machine, to: Machine) -> bool {
        let losses = self.state.lock().weather.losses;
        sim::chance(losses) || self.is_cut(from, to)
    }

    /// Takes a message that way. False if it does not arrive.
    async fn passes(&self, from: Machine, to: Machine) -> bool {
        self.count(|counters| counters.messages += 1);
        let lost = self.loses(from, to);
        if !lost {
            runtime::sleep(self.delay(from, to)).await;
        }
        let arrives = !lost && !self.is_cut(from, to);
        self.count(|counters| counters.dropped += u64::from(!arrives));
        arrives
    }

    /// Whether the next request arrives twice.
    fn doubles(&self) -> bool {
        let doubles = self.state.lock().weather.doubles;
        let doubled = sim::chance(doubles);
        self.count(|counters| counters.doubled += u64::from(doubled));
        doubled
    }

    /// Where an address is; nowhere if nobody has ever listened there.
    fn place(&self, address: &str) -> Machine {
        self.state.lock().places.get(address).copied().unwrap_or(Machine::WORLD)
    }

    fn listener(&self, address: &str) -> Option<Listener> {
        self.state.lock().listeners.get(address).cloned()
    }

    /// Whether it is still this one that listens.
    fn hears(&self, address: &str, listener: &Listener) -> bool {
        self.listener(address).is_some_and(|now| Arc::ptr_eq(&now.service, &listener.service))
    }

    /// Breaks the streams between two nodes.
    fn break_between(&self, one: NodeId, other: NodeId) {
        let ends: Vec<_> = {
            let state = self.state.lock();
            let between = |end: &&StreamEnd| end.nodes == (one, other) || end.nodes == (other, one);
            state.streams.values().filter(between).cloned().collect()
        };
        ends.iter().for_each(StreamEnd::break_now);
    }
}

impl State {
    fn ends_of_streams(&self, concerns: impl Fn(Machine, Machine) -> bool) -> Vec<StreamEnd> {
        self.streams.values().filter(|end| concerns(end.machines.0, end.machines.1)).cloned().collect()
    }
}
