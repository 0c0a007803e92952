//! The checker by example: histories that hold, and each kind that does not.

mod examples;
mod expiry;
mod independent;
mod random;

use super::*;
use crate::check::toy::Toy;
use crate::{
    AtomicWrite, Check, DEFAULT_DATABASE, Mutation, MutationKind, Outcome, RequestId, StoredValue, Sum,
    engine_key,
};
use engine::Versionstamp;

fn key(name: &str) -> Vec<u8> {
    engine_key(DEFAULT_DATABASE, name.as_bytes())
}

fn set(name: &str, value: u64) -> Mutation {
    let kind = MutationKind::Set { value: StoredValue::u64(value), expire_at_ms: None };
    Mutation { key: name.as_bytes().to_vec(), kind }
}

fn sum(name: &str, operand: u64) -> Mutation {
    Mutation { key: name.as_bytes().to_vec(), kind: MutationKind::Sum(Sum::U64(operand)) }
}

fn delete(name: &str) -> Mutation {
    Mutation { key: name.as_bytes().to_vec(), kind: MutationKind::Delete }
}

fn write(id: u64, checks: Vec<Check>, mutations: Vec<Mutation>) -> AtomicWrite {
    let request = RequestId { node: 1, boot: 1, counter: id };
    let mutations = mutations.into_iter().chain([journal::note(id)]).collect();
    AtomicWrite { request, database: DEFAULT_DATABASE, checks, mutations }
}

fn written(outcome: &Outcome) -> Written {
    match outcome {
        Outcome::Committed(stamp) => Written::Committed(*stamp),
        Outcome::ChecksFailed(indexes) => Written::ChecksFailed(indexes.clone()),
        Outcome::Refused(_) => Written::Refused,
    }
}

/// A history that happens as a test says, with a database that is right.
struct Story {
    toy: Toy,
    recorder: Recorder,
    next_id: u64,
}

impl Story {
    fn new() -> Self {
        Self { toy: Toy::new(), recorder: Recorder::default(), next_id: 1 }
    }

    fn begin(&mut self, checks: Vec<Check>, mutations: Vec<Mutation>) -> (Open, AtomicWrite) {
        let (id, write) = (self.next_id, write(self.next_id, checks, mutations));
        self.next_id += 1;
        (self.recorder.write(1, 1, 0, id, write.clone()), write)
    }

    /// Applies a write and says what it came to.
    fn apply(&mut self, write: AtomicWrite) -> Written {
        written(&self.toy.write(self.toy.applied.time_ms + 1, vec![write])[0])
    }

    /// A write from begin to end.
    fn write(&mut self, checks: Vec<Check>, mutations: Vec<Mutation>) -> Versionstamp {
        let (open, write) = self.begin(checks, mutations);
        let outcome = self.apply(write);
        self.recorder.answered(&open, 0, outcome);
        self.toy.applied.stamp
    }

    fn seen(&self, names: &[&str], at: Versionstamp) -> (Vec<Selection>, Seen) {
        let selections: Vec<_> = names.iter().map(|name| Selection::key(&key(name))).collect();
        let time_ms = self.toy.time_at(at);
        let rows = selections.iter().map(|selection| self.toy.rows(selection, at, time_ms)).collect();
        (selections, Seen { stamp: None, time_ms: Some(time_ms), rows })
    }

    /// A read that begins and ends now and shows the state at a stamp.
    fn read(&self, level: Level, names: &[&str], at: Versionstamp) {
        let invoked = self.recorder.moment(0);
        let (selections, seen) = self.seen(names, at);
        self.recorder.read(2, 2, invoked, 0, Action::Read { level, selections, seen });
    }

    fn message(&self, names: &[&str], at: Versionstamp) -> Message {
        let (_, seen) = self.seen(names, at);
        let rows = seen.rows.into_iter().map(|rows| rows.into_iter().next()).collect();
        Message { at: self.recorder.moment(0), stamp: None, time_ms: seen.time_ms, rows }
    }

    fn check(&self) -> Result<Verdict, Violation> {
        check(&self.recorder.events(), &self.toy.last())
    }
}

const EVENTUAL: Level = Level::Eventual { staleness_ns: None };
