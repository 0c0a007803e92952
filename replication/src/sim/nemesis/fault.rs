//! What can go wrong, and the drawing of what does: a pure function of a stream of random numbers.

use super::super::disk::{Failure, Operation};
use super::super::network::Weather;
use crate::runtime::sim::{Machine, SplitMix};
use engine::fs::sim::Unsynced;
use std::time::Duration;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process is killed.
    Kill,
    /// A machine loses its power.
    PowerCut,
    /// All machines lose their power at once.
    Blackout,
    /// A process ends of its own will, and starts with other settings.
    Restart,
    /// A machine stands still.
    Pause,
    /// One machine does not reach another, one way.
    Cut,
    /// Some machines and the others do not reach each other.
    Part,
    /// Messages are lost, late and doubled.
    Storm,
    /// A clock goes wrong.
    Drift,
    /// A wall clock jumps.
    Jump,
    /// A sync fails.
    FailedSync,
    /// A write fails.
    FailedWrite,
    /// A read fails.
    FailedRead,
    /// A disk fills up.
    FullDisk,
    /// A bit of a file changes where it is stored.
    FlippedBit,
    /// Another node leads.
    HandOver,
    /// A node leaves for ever, and its machine joins, empty, as another.
    Replace,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 17] = [
        Kind::Kill,
        Kind::PowerCut,
        Kind::Blackout,
        Kind::Restart,
        Kind::Pause,
        Kind::Cut,
        Kind::Part,
        Kind::Storm,
        Kind::Drift,
        Kind::Jump,
        Kind::FailedSync,
        Kind::FailedWrite,
        Kind::FailedRead,
        Kind::FullDisk,
        Kind::FlippedBit,
        Kind::HandOver,
        Kind::Replace,
    ];
}

/// A fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// See [`Kind::Kill`]; it stays down for so long.
    Kill(Machine, Duration),
    /// See [`Kind::PowerCut`]; what is not durable is lost as told.
    PowerCut(Machine, Unsynced, Duration),
    /// See [`Kind::Blackout`].
    Blackout(Vec<(Machine, Unsynced, Duration)>),
    /// See [`Kind::Restart`].
    Restart(Machine, Duration),
    /// See [`Kind::Pause`].
    Pause(Machine, Duration),
    /// See [`Kind::Cut`]: from, to, for how long.
    Cut(Machine, Machine, Duration),
    /// See [`Kind::Part`].
    Part(Vec<Machine>, Duration),
    /// See [`Kind::Storm`].
    Storm(Weather, Duration),
    /// See [`Kind::Drift`], in millionths.
    Drift(Machine, i64),
    /// See [`Kind::Jump`], in milliseconds.
    Jump(Machine, i64),
    /// A failure of the disk; if the process lives after so long, it is killed.
    FailedDisk(Machine, Failure, Duration),
    /// See [`Kind::FullDisk`]: bytes that are left, and for how long.
    FullDisk(Machine, u64, Duration),
    /// See [`Kind::FlippedBit`]: in a file whose path holds this; the machine is killed and started again, if told so.
    FlippedBit(Machine, &'static str, bool),
    /// See [`Kind::HandOver`].
    HandOver(Machine),
    /// See [`Kind::Replace`].
    Replace(Machine),
}

/// How often each kind comes, in relation to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix(Vec<(Kind, u64)>);

impl Mix {
    /// Everything that a cluster must bear.
    pub fn all() -> Self {
        Self(vec![
            (Kind::Kill, 12),
            (Kind::PowerCut, 12),
            (Kind::Blackout, 4),
            (Kind::Restart, 6),
            (Kind::Pause, 10),
            (Kind::Cut, 10),
            (Kind::Part, 12),
            (Kind::Storm, 6),
            (Kind::Drift, 4),
            (Kind::Jump, 4),
            (Kind::FailedSync, 5),
            (Kind::FailedWrite, 3),
            (Kind::FailedRead, 3),
            (Kind::FullDisk, 3),
            (Kind::FlippedBit, 3),
            (Kind::HandOver, 6),
            (Kind::Replace, 3),
        ])
    }

    /// These, equally often.
    pub fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().map(|kind| (*kind, 1)).collect())
    }

    /// Without these.
    #[must_use]
    pub fn without(mut self, kinds: &[Kind]) -> Self {
        self.0.retain(|(kind, _)| !kinds.contains(kind));
        self
    }

    /// The next kind; `None` of an empty mix.
    fn draw(&self, random: &mut SplitMix) -> Option<Kind> {
        let all: u64 = self.0.iter().map(|(_, weight)| weight).sum();
        let mut at = if all == 0 { return None } else { random.below(all) };
        self.0
            .iter()
            .find(|(_, weight)| at.checked_sub(*weight).map(|rest| at = rest).is_none())
            .map(|(kind, _)| *kind)
    }
}

/// The shortest and the longest that something lasts, in milliseconds.
type Range = (u64, u64);

/// How long a machine is down.
const DOWN_MS: Range = (50, 20_000);
/// How long a machine stands still: from less than a heartbeat to many elections.
const PAUSE_MS: Range = (5, 10_000);
/// How long the network is cut.
const CUT_MS: Range = (20, 20_000);
/// How long a disk is full.
const FULL_MS: Range = (500, 20_000);
/// How long a process may live on with a disk that has failed.
const FAILED_MS: Range = (10, 5_000);
/// How far a wall clock jumps.
const JUMP_MS: Range = (1, 3_600_000);
/// How wrong a clock goes, in millionths.
const DRIFT_PPM: Range = (10, 50_000);
/// What a full disk has left, in bytes.
const LEFT_BYTES: Range = (1, 1 << 20);
/// Which files of a node's directory a failure is about.
const FILES: [&str; 4] = ["/data/raft/", "/data/raft.mark", "/data/groups/", "/data/"];

/// Draws a fault of the mix for `machines`.
///
/// # Panics
///
/// If there are no machines.
pub fn draw(mix: &Mix, machines: &[Machine], random: &mut SplitMix) -> Option<Fault> {
    assert!(!machines.is_empty(), "faults are of machines");
    let kind = mix.draw(random)?;
    let machine = one_of(machines, random);
    Some(match kind {
        Kind::Kill => Fault::Kill(machine, time(random, DOWN_MS)),
        Kind::PowerCut => Fault::PowerCut(machine, unsynced(random), time(random, DOWN_MS)),
        Kind::Blackout => Fault::Blackout(
            machines.iter().map(|machine| (*machine, unsynced(random), time(random, DOWN_MS))).collect(),
        ),
        Kind::Restart => Fault::Restart(machine, time(random, DOWN_MS)),
        Kind::Pause => Fault::Pause(machine, time(random, PAUSE_MS)),
        Kind::Cut => {
            let others: Vec<_> = machines.iter().copied().filter(|other| *other != machine).collect();
            let other = if others.is_empty() { machine } else { one_of(&others, random) };
            Fault::Cut(machine, other, time(random, CUT_MS))
        }
        Kind::Part => Fault::Part(side(machines, random), time(random, CUT_MS)),
        Kind::Storm => Fault::Storm(storm(random), time(random, CUT_MS)),
        Kind::Drift => Fault::Drift(machine, signed(random, DRIFT_PPM)),
        Kind::Jump => Fault::Jump(machine, signed(random, JUMP_MS)),
        Kind::FailedSync => failed(machine, Operation::Sync, random),
        Kind::FailedWrite => failed(machine, Operation::Write, random),
        Kind::FailedRead => failed(machine, Operation::Read, random),
        Kind::FullDisk => Fault::FullDisk(machine, magnitude(random, LEFT_BYTES), time(random, FULL_MS)),
        Kind::FlippedBit => Fault::FlippedBit(machine, one_of(&FILES, random), random.chance(700_000)),
        Kind::HandOver => Fault::HandOver(machine),
        Kind::Replace => Fault::Replace(machine),
    })
}

fn one_of<T: Copy>(of: &[T], random: &mut SplitMix) -> T {
    of[usize::try_from(random.below(of.len() as u64)).unwrap_or_default()]
}

/// A number between two, each order of magnitude as likely as another.
pub(super) fn magnitude(random: &mut SplitMix, (min, max): Range) -> u64 {
    let mut ceiling = min.max(1);
    let steps = random.below(u64::from((max / ceiling).ilog2()) + 1) + 1;
    for _ in 0..steps {
        ceiling = ceiling.saturating_mul(2);
    }
    let ceiling = ceiling.clamp(min, max);
    let floor = (ceiling / 2).clamp(min, max);
    floor + random.below(ceiling - floor + 1)
}

/// A duration, likewise.
pub(super) fn time(random: &mut SplitMix, range: Range) -> Duration {
    Duration::from_millis(magnitude(random, range))
}

fn signed(random: &mut SplitMix, range: Range) -> i64 {
    let number = i64::try_from(magnitude(random, range)).unwrap_or(i64::MAX);
    if random.chance(500_000) { number } else { -number }
}

fn unsynced(random: &mut SplitMix) -> Unsynced {
    match random.below(4) {
        0 => Unsynced::Lost,
        1 => Unsynced::Kept,
        2 => Unsynced::Torn(random.next_u64()),
        _ => Unsynced::Reordered(random.next_u64()),
    }
}

/// Some machines, not none and not all of several.
fn side(machines: &[Machine], random: &mut SplitMix) -> Vec<Machine> {
    let first = one_of(machines, random);
    let mut side: Vec<_> =
        machines.iter().copied().filter(|machine| *machine == first || random.chance(300_000)).collect();
    if side.len() == machines.len() {
        side.truncate(1);
    }
    side
}

fn storm(random: &mut SplitMix) -> Weather {
    Weather {
        delay_min: Duration::from_micros(100),
        delay_max: time(random, (1, 50)),
        stragglers: magnitude(random, (1_000, 200_000)),
        straggler_max: time(random, (10, 3_000)),
        losses: magnitude(random, (1_000, 300_000)),
        doubles: magnitude(random, (1_000, 300_000)),
    }
}

fn failed(machine: Machine, operation: Operation, random: &mut SplitMix) -> Fault {
    let failure = Failure { operation, of: one_of(&FILES, random), after: magnitude(random, (1, 256)) - 1 };
    Fault::FailedDisk(machine, failure, time(random, FAILED_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const MACHINES: [Machine; 3] = [Machine(1), Machine(2), Machine(3)];

    #[test]
    fn every_kind_is_drawn_and_no_other() {
        let mut random = SplitMix(1);
        let mix = Mix::all().without(&[Kind::Replace]);
        let drawn: BTreeSet<_> = (0..10_000).filter_map(|_| mix.draw(&mut random)).collect();
        assert_eq!(drawn.len(), 16);
        assert!(!drawn.contains(&Kind::Replace));
        assert_eq!(Mix::of(&[]).draw(&mut random), None);
    }

    #[test]
    fn a_kind_is_drawn_as_often_as_it_weighs() {
        let mut random = SplitMix(2);
        let mix = Mix(vec![(Kind::Kill, 3), (Kind::Pause, 1)]);
        let kills = (0..10_000).filter(|_| mix.draw(&mut random) == Some(Kind::Kill)).count();
        assert!((7_200..7_800).contains(&kills), "{kills} of 10,000");
    }

    #[test]
    fn every_order_of_magnitude_is_drawn() {
        let mut random = SplitMix(3);
        let drawn: Vec<_> = (0..10_000).map(|_| magnitude(&mut random, (10, 20_000))).collect();
        assert!(drawn.iter().all(|number| (10..=20_000).contains(number)));
        for (from, to) in [(10, 100), (100, 1_000), (1_000, 10_000), (10_000, 20_001)] {
            let count = drawn.iter().filter(|number| (from..to).contains(*number)).count();
            assert!(count > 500, "{count} from {from} to {to}");
        }
    }

    #[test]
    fn a_part_is_neither_nothing_nor_everything() {
        let mut random = SplitMix(4);
        for _ in 0..1_000 {
            let side = side(&MACHINES, &mut random);
            assert!(!side.is_empty() && side.len() < 3);
        }
        assert_eq!(side(&MACHINES[..1], &mut random).len(), 1, "one machine is cut off from nobody");
    }

    #[test]
    fn the_same_numbers_draw_the_same_faults() {
        let draw_all = |seed| {
            let mut random = SplitMix(seed);
            (0..500).filter_map(|_| draw(&Mix::all(), &MACHINES, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw_all(5), draw_all(5));
        assert_ne!(draw_all(5), draw_all(6));
    }
}
