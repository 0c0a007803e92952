//! One writer and readers in every order that the memory model allows, found by `loom`: `./soak loom`.
//!
//! Nodes have three slots here, so that a few entries split them. Every order of the steps of the threads is tried, and
//! every value that a load may give: there is no bound.

use super::*;
use crate::entry::{Entry, compare};
use crate::testing::put;
use loom::sync::atomic::AtomicUsize as Counter;
use loom::thread;

/// Steps of one run, at most.
const STEPS_MAX: usize = 50_000;

/// A write of the commit `stamp` to a key; its value says both.
type Write = (&'static str, u64);

/// Entries that are there when the threads start, and those that one of them writes.
struct Scenario {
    before: &'static [Write],
    writes: &'static [Write],
}

/// The memtable of a scenario, and how many of its writes are published.
#[derive(Clone)]
struct World {
    memtable: Arc<Memtable>,
    published: Arc<Counter>,
}

/// What a reader does: it is given what it must find, and what it may find besides.
type Read = fn(&World, &[Write], &[Write]);

/// Checks readers beside the writer of a scenario, in every order.
fn check(scenario: &'static Scenario, readers: &'static [Read]) {
    let mut model = loom::model::Builder::new();
    model.max_branches = STEPS_MAX;
    let tried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tried);
    model.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let world = World { memtable: Arc::new(Memtable::new()), published: Arc::new(Counter::new(0)) };
        scenario.before.iter().for_each(|write| insert(&world.memtable, *write));
        let beside = world.clone();
        let mut threads = vec![thread::spawn(move || {
            for (index, write) in scenario.writes.iter().enumerate() {
                insert(&beside.memtable, *write);
                beside.published.store(index + 1, Ordering::Release);
            }
        })];
        let read = |world: &World, read: Read| {
            let shown = world.published.load(Ordering::Acquire);
            let must = [scenario.before, &scenario.writes[..shown]].concat();
            read(world, &must, scenario.writes);
        };
        for reader in &readers[1..] {
            let beside = world.clone();
            threads.push(thread::spawn(move || read(&beside, *reader)));
        }
        read(&world, readers[0]);
        assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
    });
    println!("{} interleavings tried", tried.load(Ordering::Relaxed));
}

/// Checks each way to read beside the writer of a scenario.
fn check_each(scenario: &'static Scenario) {
    check(scenario, &[get_all]);
    check(scenario, &[scan_forward]);
    check(scenario, &[scan_reverse]);
}

fn stamp(number: u64) -> Versionstamp {
    Versionstamp::new(number, 0)
}

fn value_of((key, number): Write) -> Version {
    put([key.as_bytes(), &number.to_be_bytes()].concat())
}

fn insert(memtable: &Memtable, write: Write) {
    memtable.insert(write.0.as_bytes(), stamp(write.1), value_of(write));
}

/// Every write that was published is found, at its stamp.
fn get_all(world: &World, must: &[Write], _: &[Write]) {
    for write in must {
        let found = world.memtable.get(write.0.as_bytes(), stamp(write.1));
        assert_eq!(found, Some((stamp(write.1), value_of(*write))), "{write:?} is found");
    }
}

fn scan_forward(world: &World, must: &[Write], may: &[Write]) {
    scan(world, must, may, Direction::Forward);
}

fn scan_reverse(world: &World, must: &[Write], may: &[Write]) {
    scan(world, must, may, Direction::Reverse);
}

/// A scan yields every write that was published, in order, and besides only others that were made.
fn scan(world: &World, must: &[Write], may: &[Write], direction: Direction) {
    let source = world.memtable.source(KeyRange::all(), direction);
    let found = crate::testing::drain(source).expect("memory does not fail");
    let before = |left: &Entry, right: &Entry| {
        direction.apply(compare((&left.key, left.stamp), (&right.key, right.stamp))).is_lt()
    };
    assert!(found.is_sorted_by(before), "{found:?} is in order");
    let is = |entry: &Entry, write: &Write| {
        entry.key == write.0.as_bytes() && entry.stamp == stamp(write.1) && entry.version == value_of(*write)
    };
    for write in must {
        assert!(found.iter().any(|entry| is(entry, write)), "{write:?} is among {found:?}");
    }
    for entry in &found {
        assert!(must.iter().chain(may).any(|write| is(entry, write)), "{entry:?} was written");
    }
}

/// A leaf with room takes an entry, then splits and becomes two below a new root.
const FIRST_SPLIT: Scenario = Scenario { before: &[("b", 1), ("f", 1)], writes: &[("d", 2), ("c", 3)] };
/// Two leaves below a root with room; both split in the middle.
const SPLIT: Scenario = Scenario {
    before: &[("b", 1), ("d", 1), ("f", 1), ("h", 1), ("c", 1), ("g", 1)],
    writes: &[("a", 2), ("e", 3)],
};
/// Keys that rise: full nodes stay.
const RISING: Scenario = Scenario { before: &[("a", 1), ("b", 1), ("c", 1)], writes: &[("d", 2), ("e", 3)] };
/// A key that shares less than those that are there.
const REFIT: Scenario = Scenario {
    before: &[("prefixes-a", 1), ("prefixes-b", 1), ("prefixes-c", 1), ("prefixes-d", 1)],
    writes: &[("prefix", 2), ("a", 3)],
};
/// Versions of one key, newest first.
const VERSIONS: Scenario =
    Scenario { before: &[("a", 1), ("a", 2), ("a", 3), ("b", 1)], writes: &[("a", 4), ("a", 5)] };
/// A commit that writes one key twice.
const REWRITE: Scenario = Scenario { before: &[("a", 1), ("b", 1)], writes: &[("b", 1), ("c", 2)] };
/// A full root above full leaves: the tree grows by a level.
const GROWTH: Scenario = Scenario {
    before: &[
        ("b", 1),
        ("d", 1),
        ("f", 1),
        ("h", 1),
        ("j", 1),
        ("l", 1),
        ("n", 1),
        ("p", 1),
        ("r", 1),
        ("t", 1),
        ("v", 1),
        ("x", 1),
    ],
    writes: &[("e", 2), ("z", 3)],
};

/// Keys that rose until the root was full; then the last leaf splits in the middle.
const LAST_LEAF: Scenario = Scenario {
    before: &[
        ("a", 1),
        ("b", 1),
        ("c", 1),
        ("d", 1),
        ("e", 1),
        ("f", 1),
        ("g", 1),
        ("h", 1),
        ("i", 1),
        ("j", 1),
        ("k", 1),
        ("m", 1),
    ],
    writes: &[("l", 2)],
};

#[test]
fn readers_find_what_was_published_while_a_leaf_becomes_a_tree() {
    check_each(&FIRST_SPLIT);
}

#[test]
fn readers_find_what_was_published_while_leaves_split() {
    check_each(&SPLIT);
}

#[test]
fn readers_find_what_was_published_while_keys_rise() {
    check_each(&RISING);
}

#[test]
fn readers_find_what_was_published_while_heads_change() {
    check_each(&REFIT);
}

#[test]
fn readers_find_what_was_published_while_a_key_gets_versions() {
    check_each(&VERSIONS);
}

#[test]
fn readers_find_what_was_published_while_a_commit_writes_a_key_again() {
    check_each(&REWRITE);
}

#[test]
fn readers_find_what_was_published_while_the_tree_grows() {
    check_each(&GROWTH);
    check_each(&LAST_LEAF);
}

#[test]
fn two_readers_at_once_find_what_was_published() {
    check(&RISING, &[get_all, scan_forward]);
    check(&REWRITE, &[scan_reverse, get_all]);
}
