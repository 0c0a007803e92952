//! What the tests share: trials side by side, and what they came to.

use crate::archive;
use parking_lot::Mutex;
use replication::sim::server::Server;
use replication::sim::trial::{Report, Trial, Wrong};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) type TestResult<T = ()> = Result<T, Box<dyn Error>>;

/// Every stamp can be read to the end of a trial, however its clocks jump: the checker asks for the time of each.
const HISTORY_MS: u64 = 1 << 40;

/// A number from the environment.
pub(crate) fn number(variable: &str) -> TestResult<Option<u64>> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text.parse().map_err(|error| format!("{variable}={text}: {error}"))?)),
        Err(_unset) => Ok(None),
    }
}

/// Nanoseconds of the real clock.
pub(crate) fn now_ns() -> u64 {
    engine::Env::real().clock.elapsed_ns()
}

/// A trial, and whether an archive stands beside the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) trial: Trial,
    pub(crate) is_archived: bool,
}

impl Case {
    /// What a seed draws. Three in four have an archive.
    pub(crate) fn of(seed: u64) -> Self {
        Self { trial: Trial::of(seed), is_archived: !seed.is_multiple_of(4) }
    }
}

/// Runs one trial, without an archive.
pub(crate) fn run(trial: &Trial) -> TestResult<Result<Report, Wrong>> {
    let mirrors = tempfile::tempdir()?;
    Ok(trial.run(server(), mirrors.path()))
}

/// Runs one trial, with or without an archive.
pub(crate) fn run_case(case: &Case) -> TestResult<Result<Report, Wrong>> {
    if case.is_archived { run_archived(&case.trial, None) } else { run(&case.trial) }
}

/// Runs one trial with an archive, and a mistake of the archiver that is made on purpose.
pub(crate) fn run_archived(
    trial: &Trial,
    bug: Option<archiver::bugs::Bug>,
) -> TestResult<Result<Report, Wrong>> {
    let mirrors = tempfile::tempdir()?;
    Ok(archive::run(trial, server(), mirrors.path(), bug))
}

fn server() -> Server {
    Server::default().with_history_ms(HISTORY_MS)
}

/// Runs trials as long as `next` gives any, as many at once as there are processors, until one is wrong.
pub(crate) fn run_all(next: impl Fn() -> Option<Case> + Sync) -> TestResult<Tally> {
    let threads = std::thread::available_parallelism()?.get();
    let (tally, failure) = (Mutex::new(Tally::default()), Mutex::new(None));
    let work = || {
        while failure.lock().is_none()
            && let Some(case) = next()
        {
            match run_case(&case) {
                Ok(Ok(report)) => tally.lock().add(&report),
                Ok(Err(wrong)) => drop(failure.lock().insert(replay(&case, &wrong))),
                Err(error) => drop(failure.lock().insert(error.to_string())),
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    match failure.into_inner() {
        Some(failure) => Err(failure.into()),
        None => Ok(tally.into_inner()),
    }
}

/// Gives the seeds from `first` on, `count` of them.
pub(crate) fn counted(first: u64, count: u64) -> impl Fn() -> Option<u64> + Sync {
    let given = AtomicU64::new(0);
    move || {
        let place = given.fetch_add(1, Ordering::Relaxed);
        (place < count).then(|| first.wrapping_add(place))
    }
}

fn replay(case: &Case, wrong: &Wrong) -> String {
    let (seed, archive) = (case.trial.seed, u8::from(case.is_archived));
    format!(
        "seed {seed}: {wrong}\nto see it again: CAIRN_SIM_SEED={seed} CAIRN_SIM_ARCHIVE={archive} cargo test -p cairn-replication --test simulation \
         seeds:: -- --nocapture"
    )
}

/// What trials came to, together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) seeds: u64,
    simulated: Duration,
    noted: BTreeMap<&'static str, u64>,
    committed: usize,
    resolved: usize,
    reads: usize,
    watched: usize,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.simulated += report.simulated;
        for (kind, count) in &report.noted {
            *self.noted.entry(kind).or_default() += count;
        }
        let verdict = &report.verdict;
        self.committed += verdict.committed;
        self.resolved += verdict.resolved;
        self.reads += verdict.strong + verdict.eventual + verdict.at_stamp;
        self.watched += verdict.watched;
    }

    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.noted.get(kind).copied().unwrap_or(0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        let Tally { seeds, committed, resolved, reads, watched, .. } = self;
        write!(
            f,
            "{seeds} seeds, {hours:.1} simulated hours, {committed} writes ({resolved} of them without an answer), {reads} \
             reads, {watched} messages of watches"
        )?;
        self.noted.iter().try_for_each(|(kind, count)| write!(f, ", {count} {kind}"))?;
        f.write_str(", 0 violations")
    }
}
