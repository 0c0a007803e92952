//! Every state that a database ever had, from its writes in the order of their stamps.
//!
//! - It shares no code with apply: its arithmetic and its expiry are its own.
//! - A *place* counts commits: the state at place `n` is that after the first `n`.
//! - Where the replicated clock is not known, an entry that can expire is there for checks and sums, and either there or
//!   not for readers.

mod judge;
mod reading;

pub(super) use judge::u64_of;

use super::{Action, Event, Row, Violation};
use engine::Versionstamp;
use std::collections::BTreeMap;

/// A write that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where in the order.
    pub stamp: Versionstamp,
    /// Which of the events it is.
    pub event: usize,
    /// The replicated clock at it, Unix milliseconds, where it is known.
    pub time_ms: Option<u64>,
}

/// What a key became at a place.
#[derive(Debug, Clone)]
struct Version {
    place: usize,
    stamp: Versionstamp,
    /// `None` for a deletion.
    value: Option<Value>,
}

/// A value of the engine, with its expiry in Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    bytes: Vec<u8>,
    expire_at_ms: Option<u64>,
}

/// Whether a value is there at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Here,
    Absent,
    /// It expires, and nobody knows the time.
    Either,
}

impl Presence {
    fn of(value: &Value, time_ms: Option<u64>) -> Presence {
        match (value.expire_at_ms, time_ms) {
            (None, _) => Presence::Here,
            (Some(_), None) => Presence::Either,
            (Some(at), Some(now)) if at > now => Presence::Here,
            (Some(_), Some(_)) => Presence::Absent,
        }
    }
}

/// All states.
#[derive(Debug, Default)]
pub struct Model {
    commits: Vec<Commit>,
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    places: BTreeMap<usize, usize>,
}

impl Model {
    /// Does the writes again, in the order of their stamps.
    ///
    /// # Errors
    ///
    /// When the checks of one do not hold at its place or its mutations cannot be done there, or the clock falls.
    pub fn replay(events: &[Event], commits: &[Commit]) -> Result<Model, Violation> {
        let mut model = Model::default();
        for commit in commits {
            let Action::Write { write, .. } = &events[commit.event].action else {
                return Err(Violation::Misrecorded { what: "a commit is no write".to_owned() });
            };
            model.clock_rises(commit)?;
            let changes = model
                .judge(write, model.commits.len(), commit.stamp, commit.time_ms)
                .map_err(|why| model.impossible(&events[commit.event], commit, &why))?;
            model.commits.push(*commit);
            let place = model.commits.len();
            model.places.insert(commit.event, place);
            for (key, value) in changes {
                let version = Version { place, stamp: commit.stamp, value };
                model.keys.entry(key).or_default().push(version);
            }
        }
        Ok(model)
    }

    fn clock_rises(&self, commit: &Commit) -> Result<(), Violation> {
        let before = self.commits.iter().rev().find_map(|before| before.time_ms);
        match (before, commit.time_ms) {
            (Some(before_ms), Some(at_ms)) if at_ms < before_ms => {
                Err(Violation::ClockFell { stamp: commit.stamp, before_ms, at_ms })
            }
            _ => Ok(()),
        }
    }

    fn impossible(&self, event: &Event, commit: &Commit, why: &judge::NotDone) -> Violation {
        let (write, stamp) = (event.to_string(), commit.stamp);
        let after = self.stamp_at(self.commits.len());
        Violation::Impossible { write, stamp, why: format!("{why} after {after}") }
    }

    /// How many commits there are: the place of the last state.
    pub fn last_place(&self) -> usize {
        self.commits.len()
    }

    /// The place after the last commit that is not above `stamp`.
    pub fn place_at(&self, stamp: Versionstamp) -> usize {
        self.commits.partition_point(|commit| commit.stamp <= stamp)
    }

    /// The stamp of the last commit in the state at `place`.
    pub fn stamp_at(&self, place: usize) -> Versionstamp {
        place.checked_sub(1).map_or(Versionstamp::ZERO, |index| match self.commits.get(index) {
            Some(commit) => commit.stamp,
            None => Versionstamp::MAX,
        })
    }

    /// The writes that happened, in the order of their stamps.
    pub fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// The first difference between all that is there at `place` and `rows`, which are all that was found; `time_ms` is that
    /// by which expiry was judged.
    pub fn difference(&self, place: usize, time_ms: Option<u64>, rows: &[Row]) -> Option<String> {
        self.differs(&reading::everything(), place, time_ms, rows)
    }

    /// The place that this event made, if it is a write that happened.
    pub fn place_of(&self, event: usize) -> Option<usize> {
        self.places.get(&event).copied()
    }

    /// The replicated clock from `place` to before the next: the first and the last time it can have been.
    fn times_of(&self, place: usize) -> Option<(u64, u64)> {
        let known = |place: usize| self.commits.get(place).map(|commit| commit.time_ms);
        let from = if place == 0 { Some(0) } else { known(place - 1)? }?;
        let until = known(place).unwrap_or(Some(u64::MAX))?;
        Some((from, until))
    }

    fn version(&self, key: &[u8], place: usize) -> Option<&Version> {
        newest(self.keys.get(key)?, place)
    }
}

fn newest(versions: &[Version], place: usize) -> Option<&Version> {
    let until = versions.partition_point(|version| version.place <= place);
    until.checked_sub(1).map(|index| &versions[index])
}
