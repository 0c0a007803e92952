//! Mistakes made on purpose: each must be found, or the figures of all other tests say nothing.

use crate::rig::{TestResult, counted, number, run};
use parking_lot::Mutex;
use replication::bugs::Bug;
use replication::sim::nemesis::{Kind, Mix};
use replication::sim::trial::{Trial, Wrong};
use std::time::Duration;

/// How long a cluster may take to work again: the longest that a right one has taken is far below.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a mistake is looked for.
struct Hunt {
    bug: Bug,
    /// In how many seeds it must be found.
    seeds: u64,
    /// How long things go wrong, in seconds.
    torment_s: u64,
    /// What goes wrong; all, when it is nothing.
    kinds: &'static [Kind],
}

const fn hunt(bug: Bug, seeds: u64, torment_s: u64, kinds: &'static [Kind]) -> Hunt {
    Hunt { bug, seeds, torment_s, kinds }
}

const CRASHES: &[Kind] = &[Kind::PowerCut, Kind::Blackout, Kind::Part, Kind::Pause];
const BLACKOUTS: &[Kind] = &[Kind::Blackout];
const CALM: &[Kind] = &[Kind::HandOver, Kind::Jump];
const NETWORK: &[Kind] = &[Kind::Part, Kind::Cut, Kind::Storm, Kind::Pause, Kind::HandOver];
const BEHIND: &[Kind] = &[Kind::Part, Kind::Kill, Kind::Cut, Kind::Replace, Kind::PowerCut];

const HUNTS: [Hunt; 20] = [
    hunt(Bug::LeaderRestore, 40, 60, CRASHES),
    hunt(Bug::LogUnsynced, 10, 30, CRASHES),
    hunt(Bug::AckedBeforeWritten, 20, 30, CRASHES),
    hunt(Bug::VoteNotSaved, 60, 60, CRASHES),
    hunt(Bug::EngineUnsynced, 40, 40, BLACKOUTS),
    hunt(Bug::PurgedTooFar, 40, 40, BLACKOUTS),
    hunt(Bug::TombstoneDropped, 10, 30, CALM),
    hunt(Bug::StampOffByOne, 3, 10, CALM),
    hunt(Bug::NoBarrier, 5, 30, NETWORK),
    hunt(Bug::BarrierWithoutApply, 20, 30, NETWORK),
    hunt(Bug::ReadUnconfirmed, 40, 60, NETWORK),
    hunt(Bug::ProposedAgain, 10, 30, NETWORK),
    hunt(Bug::ForwardedTwice, 10, 30, NETWORK),
    hunt(Bug::HiddenIsNotApplied, 60, 60, BEHIND),
    hunt(Bug::SwitchUnsynced, 40, 60, BEHIND),
    hunt(Bug::TableMissing, 20, 60, BEHIND),
    hunt(Bug::ApplySkips, 5, 10, CALM),
    hunt(Bug::OwnClock, 10, 30, CALM),
    hunt(Bug::WatchDeaf, 10, 30, CALM),
    hunt(Bug::StalenessLies, 10, 30, NETWORK),
];

/// Tries seeds until one shows the mistake.
fn find(hunt: &Hunt, seeds: u64) -> TestResult<Option<(u64, Wrong)>> {
    for seed in 0..seeds {
        let mut trial = Trial::of(seed);
        trial.bug = Some(hunt.bug);
        trial.machines = 3;
        trial.patience = PATIENCE;
        trial.torment = Duration::from_secs(hunt.torment_s);
        trial.mix = if hunt.kinds.is_empty() { Mix::all() } else { Mix::of(hunt.kinds) };
        if let Err(wrong) = run(&trial)? {
            return Ok(Some((seed, wrong)));
        }
    }
    Ok(None)
}

#[test]
fn seeded_bugs_are_caught() -> TestResult {
    let (seeds, next) = (number("CAIRN_SIM_BUG_SEEDS")?, counted(0, HUNTS.len() as u64));
    let only = std::env::var("CAIRN_SIM_BUG").ok();
    let missed = Mutex::new(Vec::new());
    let work = || {
        while let Some(hunt) = next().and_then(|place| HUNTS.get(usize::try_from(place).ok()?)) {
            if only.as_ref().is_some_and(|only| *only != format!("{:?}", hunt.bug)) {
                continue;
            }
            let (bug, seeds) = (hunt.bug, seeds.unwrap_or(hunt.seeds));
            match find(hunt, seeds) {
                Ok(Some((seed, wrong))) => {
                    println!("seeded bug {bug:?}: caught in seed {seed}, of {seeds} at most: {wrong}");
                }
                Ok(None) => missed.lock().push(format!("{bug:?}, not in {seeds} seeds")),
                Err(error) => missed.lock().push(format!("{bug:?}, {error}")),
            }
        }
    };
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let missed = missed.into_inner();
    assert!(missed.is_empty(), "not caught: {missed:?}");
    assert!(Bug::ALL.iter().all(|bug| HUNTS.iter().any(|hunt| hunt.bug == *bug)), "each has its hunt");
    println!("seeded bugs: {} of {} caught", HUNTS.len(), Bug::ALL.len());
    Ok(())
}
