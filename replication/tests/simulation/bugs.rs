//! Mistakes made on purpose: each must be found, or the figures of all other tests say nothing.

use crate::rig::{TestResult, counted, number, run, run_archived};
use archiver::bugs::Bug as ArchiveBug;
use parking_lot::Mutex;
use replication::bugs::Bug;
use replication::sim::nemesis::{Kind, Mix};
use replication::sim::trial::{Trial, Wrong};
use std::fmt;
use std::time::Duration;

/// How long a cluster may take to work again: the longest that a right one has taken is far below.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mistake, of the replication or of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Of(Bug),
    OfArchive(ArchiveBug),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Of(bug) => write!(f, "{bug:?}"),
            Mistake::OfArchive(bug) => write!(f, "{bug:?}"),
        }
    }
}

/// How a mistake is looked for.
struct Hunt {
    bug: Mistake,
    /// In how many seeds it must be found.
    seeds: u64,
    /// How long things go wrong, in seconds.
    torment_s: u64,
    /// What goes wrong; all, when it is nothing.
    kinds: &'static [Kind],
}

const fn hunt(bug: Bug, seeds: u64, torment_s: u64, kinds: &'static [Kind]) -> Hunt {
    Hunt { bug: Mistake::Of(bug), seeds, torment_s, kinds }
}

/// Whatever goes wrong with the nodes, the bucket fails besides.
const fn of_archive(bug: ArchiveBug, seeds: u64) -> Hunt {
    Hunt { bug: Mistake::OfArchive(bug), seeds, torment_s: 60, kinds: CRASHES }
}

const CRASHES: &[Kind] = &[Kind::PowerCut, Kind::Blackout, Kind::Part, Kind::Pause];
const BLACKOUTS: &[Kind] = &[Kind::Blackout];
const CALM: &[Kind] = &[Kind::HandOver, Kind::Jump];
const NETWORK: &[Kind] = &[Kind::Part, Kind::Cut, Kind::Storm, Kind::Pause, Kind::HandOver];
const BEHIND: &[Kind] = &[Kind::Part, Kind::Kill, Kind::Cut, Kind::Replace, Kind::PowerCut];

const HUNTS: [Hunt; 29] = [
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
    of_archive(ArchiveBug::MarkedBeforePut, 20),
    of_archive(ArchiveBug::MarkedTooFar, 10),
    of_archive(ArchiveBug::TableNotPut, 10),
    of_archive(ArchiveBug::GapUnrecorded, 60),
    of_archive(ArchiveBug::KeptPointPruned, 20),
    of_archive(ArchiveBug::WindowCut, 20),
    of_archive(ArchiveBug::RemovedBeforeMerged, 40),
    of_archive(ArchiveBug::WrongLineage, 10),
    of_archive(ArchiveBug::TimeOffByOne, 10),
];

/// Tries seeds until one shows the mistake.
fn find(hunt: &Hunt, seeds: u64) -> TestResult<Option<(u64, Wrong)>> {
    for seed in 0..seeds {
        let mut trial = Trial::of(seed);
        trial.machines = 3;
        trial.patience = PATIENCE;
        trial.torment = Duration::from_secs(hunt.torment_s);
        trial.mix = if hunt.kinds.is_empty() { Mix::all() } else { Mix::of(hunt.kinds) };
        let done = match hunt.bug {
            Mistake::Of(bug) => run(&Trial { bug: Some(bug), ..trial }),
            Mistake::OfArchive(bug) => run_archived(&trial, Some(bug)),
        };
        if let Err(wrong) = done? {
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
            if only.as_ref().is_some_and(|only| *only != hunt.bug.to_string()) {
                continue;
            }
            let (bug, seeds) = (hunt.bug, seeds.unwrap_or(hunt.seeds));
            match find(hunt, seeds) {
                Ok(Some((seed, wrong))) => {
                    println!("seeded bug {bug}: caught in seed {seed}, of {seeds} at most: {wrong}");
                }
                Ok(None) => missed.lock().push(format!("{bug}, not in {seeds} seeds")),
                Err(error) => missed.lock().push(format!("{bug}, {error}")),
            }
        }
    };
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let missed = missed.into_inner();
    assert!(missed.is_empty(), "not caught: {missed:?}");
    let of_archive = ArchiveBug::ALL.into_iter().map(Mistake::OfArchive);
    let all: Vec<Mistake> = Bug::ALL.into_iter().map(Mistake::Of).chain(of_archive).collect();
    assert!(all.iter().all(|bug| HUNTS.iter().any(|hunt| hunt.bug == *bug)), "each has its hunt");
    println!("seeded bugs: {} of {} caught", HUNTS.len(), all.len());
    Ok(())
}
