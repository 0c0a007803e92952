//! The verdict against that of a checker that knows nothing of stamps or places: it searches for an order by trial.
//!
//! What is not an operation between its begin and its end is put so: an eventual read may take effect at any time from the
//! start of the test, one at a stamp at any time at all, messages of a watch in their order, a write without an answer
//! until the end of the test, where everything is read.

use super::random::{break_one, history};
use super::*;
use engine::env::sim::SimRandom;
use std::collections::BTreeMap;
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::Action::{Call, Response};
use todc_utils::linearizability::history::History;
use todc_utils::specifications::Specification;

/// A database, as simple as it can be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Database {
    rows: BTreeMap<Vec<u8>, (Vec<u8>, [u8; 10])>,
    newest: [u8; 10],
    /// How many messages each watch has said.
    said: BTreeMap<usize, usize>,
}

#[derive(Debug, Clone)]
enum Operation {
    Write(AtomicWrite, Written),
    Read {
        selections: Vec<Selection>,
        rows: Vec<Vec<Row>>,
        /// The newest commit in the state.
        newest: Option<[u8; 10]>,
        /// Which message of which watch it is.
        message: Option<(usize, usize)>,
    },
}

impl Database {
    fn number(&self, key: &[u8]) -> u64 {
        let bytes =
            self.rows.get(key).map_or([0; 8], |(value, _)| value[1..].try_into().expect("all are numbers"));
        u64::from_le_bytes(bytes)
    }

    fn failed(&self, write: &AtomicWrite) -> Vec<u32> {
        let found =
            |check: &Check| self.rows.get(&engine_key(write.database, &check.key)).map(|(_, stamp)| *stamp);
        let fails = |check: &Check| found(check) != check.stamp.map(|stamp| *stamp.as_bytes());
        (0..).zip(&write.checks).filter(|(_, check)| fails(check)).map(|(index, _)| index).collect()
    }

    fn write(&mut self, write: &AtomicWrite, stamp: Versionstamp) {
        for mutation in &write.mutations {
            let mut key = engine_key(write.database, &mutation.key);
            let value = match &mutation.kind {
                MutationKind::Set { value, .. } => value.to_engine(),
                MutationKind::Sum(Sum::U64(operand)) => {
                    StoredValue::u64(self.number(&key) + operand).to_engine()
                }
                MutationKind::SetSuffixed { value, .. } => {
                    key.extend(format!("\x02{stamp}\0").into_bytes());
                    value.to_engine()
                }
                _ => {
                    self.rows.remove(&key);
                    continue;
                }
            };
            self.rows.insert(key, (value, *stamp.as_bytes()));
        }
        self.newest = *stamp.as_bytes();
    }

    fn rows(&self, selection: &Selection) -> Vec<Row> {
        let range = self.rows.range(selection.start.clone()..selection.end.clone());
        let row = |(key, (value, stamp)): (&Vec<u8>, &(Vec<u8>, [u8; 10]))| Row {
            key: key.clone(),
            value: value.clone(),
            stamp: Versionstamp::from_bytes(*stamp),
        };
        range.map(row).take(selection.limit).collect()
    }
}

impl Specification for Database {
    type State = Database;
    type Operation = Operation;

    fn init() -> Database {
        Database::default()
    }

    fn apply(operation: &Operation, state: &Database) -> (bool, Database) {
        let mut after = state.clone();
        let valid = match operation {
            Operation::Write(write, Written::Committed(stamp)) => {
                after.write(write, *stamp);
                *stamp.as_bytes() > state.newest && state.failed(write).is_empty()
            }
            Operation::Write(write, Written::ChecksFailed(indexes)) => {
                !indexes.is_empty() && state.failed(write) == *indexes
            }
            Operation::Write(..) => true,
            Operation::Read { selections, rows, newest, message } => {
                let shown: Vec<_> = selections.iter().map(|selection| state.rows(selection)).collect();
                let mut in_turn = true;
                if let Some((watch, number)) = message {
                    let said = after.said.entry(*watch).or_default();
                    in_turn = *said == *number;
                    *said += 1;
                }
                in_turn && shown == *rows && newest.is_none_or(|newest| newest == state.newest)
            }
        };
        if valid { (true, after) } else { (false, state.clone()) }
    }
}

/// Stamps and ids of the notes in the end.
fn notes(last: &Last) -> Vec<(u64, Versionstamp)> {
    let prefix = journal::prefix(DEFAULT_DATABASE);
    let notes = last.rows.iter().filter(|row| row.key.starts_with(&prefix));
    notes.filter_map(|row| Some((super::model::u64_of(&row.value)?, row.stamp))).collect()
}

/// Calls and responses in the order in which they were.
fn operations(events: &[Event], last: &Last) -> Vec<(Moment, Option<Moment>, Operation)> {
    let notes = notes(last);
    let newest_by = |stamp: Option<Versionstamp>| {
        let stamp = stamp?;
        let commits = notes.iter().map(|(_, noted)| *noted).filter(|noted| *noted <= stamp);
        Some(*commits.max().unwrap_or(Versionstamp::ZERO).as_bytes())
    };
    let mut operations = Vec::new();
    for (index, event) in events.iter().enumerate() {
        match &event.action {
            Action::Write { id, write, outcome } => {
                let (end, outcome) = match (outcome, notes.iter().find(|(noted, _)| noted == id)) {
                    (Written::Unknown, Some((_, stamp))) => (None, Written::Committed(*stamp)),
                    (outcome, _) => (event.completed, outcome.clone()),
                };
                operations.push((event.invoked, end, Operation::Write(write.clone(), outcome)));
            }
            Action::Read { level, selections, seen } => {
                let (begin, end, stamp) = match level {
                    Level::Strong => (event.invoked, event.completed, seen.stamp),
                    Level::Eventual { .. } => (Moment::default(), event.completed, seen.stamp),
                    Level::At(stamp) => (Moment::default(), None, Some(*stamp)),
                };
                let (selections, rows) = (selections.clone(), seen.rows.clone());
                let newest = newest_by(stamp);
                operations.push((begin, end, Operation::Read { selections, rows, newest, message: None }));
            }
            Action::Watch { keys, messages, .. } => {
                for (number, message) in messages.iter().enumerate() {
                    let selections = keys.iter().map(|key| Selection::key(key)).collect();
                    let rows = message.rows.iter().map(|row| row.iter().cloned().collect()).collect();
                    let newest = newest_by(message.stamp);
                    let message_of = Some((index, number));
                    let read = Operation::Read { selections, rows, newest, message: message_of };
                    operations.push((event.invoked, Some(message.at), read));
                }
            }
        }
    }
    operations
}

fn holds_by_search(events: &[Event], last: &Last) -> bool {
    let operations = operations(events, last);
    let mut actions = Vec::new();
    for (process, (begin, end, operation)) in operations.into_iter().enumerate() {
        // Begins are before ends of the same moment: what touches may be in either order.
        actions.push((begin.order, 0, process, Call(operation.clone())));
        actions.push((end.map_or(u64::MAX, |end| end.order), 1, process, Response(operation)));
    }
    actions.sort_by_key(|(order, kind, process, _)| (*order, *kind, *process));
    let count = actions.len();
    let mut actions: Vec<_> = actions.into_iter().map(|(_, _, process, action)| (process, action)).collect();
    let selections =
        vec![Selection { start: Vec::new(), end: vec![0xff; 9], limit: usize::MAX, reverse: false }];
    let all = Operation::Read { selections, rows: vec![last.rows.clone()], newest: None, message: None };
    actions.extend([(count, Call(all.clone())), (count, Response(all))]);
    WGLChecker::<Database>::is_linearizable(History::from_actions(actions))
}

#[test]
fn the_verdict_is_that_of_a_checker_that_searches() {
    let histories = std::env::var("CAIRN_CHECK_HISTORIES").ok().and_then(|text| text.parse().ok());
    let (mut hold, mut broken, mut kinds) = (0, 0, BTreeMap::<&str, usize>::new());
    for seed in 0..histories.unwrap_or(20_000) {
        let random = SimRandom::new(seed);
        let size = 2 + usize::try_from(random.below(7)).expect("few");
        let (mut events, toy) = history(&random, size);
        let mut last = toy.last();
        let breaks = random.below(3);
        for _ in 0..breaks {
            break_one(&random, &mut events, &toy, &mut last);
        }
        let (ours, theirs) = (check(&events, &last), holds_by_search(&events, &last));
        assert_eq!(ours.is_ok(), theirs, "seed {seed}: {ours:?}\n{}", in_words(&events, &last));
        assert!(breaks > 0 || ours.is_ok(), "seed {seed}: a history that is right: {ours:?}");
        match ours {
            Ok(_) => hold += 1,
            Err(violation) => {
                broken += 1;
                *kinds.entry(kind(&violation)).or_default() += 1;
            }
        }
    }
    println!("the checker: {hold} histories hold, {broken} do not, all by both: {kinds:?}");
    assert!(hold > 0 && broken > 0 && kinds.len() > 4, "all kinds are drawn");
}

fn in_words(events: &[Event], last: &Last) -> String {
    let mut words: Vec<_> = events.iter().map(|event| format!("{event}: {:?}", event.action)).collect();
    words.extend(last.rows.iter().map(Row::to_string));
    words.join("\n")
}

fn kind(violation: &Violation) -> &'static str {
    match violation {
        Violation::Lost { .. } => "lost",
        Violation::OtherStamp { .. } => "another stamp",
        Violation::Happened { .. } => "happened",
        Violation::Impossible { .. } => "impossible",
        Violation::OutOfOrder { .. } => "out of order",
        Violation::NoSuchState { .. } => "no such state",
        Violation::OtherEnd { .. } => "another end",
        _ => "a note that cannot be",
    }
}
