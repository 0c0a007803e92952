//! Long work that people watch: what it does, how far it is, and how to stop or slow it.
//!
//! - A [`Job`] is told by whoever works how much is done; whoever watches asks for its [`JobStatus`]. Neither waits.
//! - Cancelling is a wish: the work ends at its next [`Job::checkpoint`], in the order that it needs to leave nothing half done.
//! - What ended is remembered, the last [`ENDED_MAX`] of it, and only in memory.

mod rate;

use crate::{Error, Result};
use engine::{Clock, Random};
use rate::{Pace, Rate};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Jobs that have ended and are still known, at most.
pub const ENDED_MAX: usize = 128;

/// Names a job: 16 hexadecimal digits, drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for JobId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let id = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        id.map(Self).ok_or("a job id is 16 hexadecimal digits")
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobKind {
    /// Uploads a checkpoint.
    Backup,
    /// Brings a point back.
    Restore,
    /// Checks an archive.
    Verify,
    /// Removes what retention lets go.
    Prune,
    /// Joins small segments.
    Merge,
    /// Copies an archive.
    Sync,
    /// Takes data in from elsewhere.
    Import,
}

impl JobKind {
    /// One word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Verify => "verify",
            Self::Prune => "prune",
            Self::Merge => "merge",
            Self::Sync => "sync",
            Self::Import => "import",
        }
    }
}

impl JobKind {
    /// Every one.
    pub const ALL: [JobKind; 7] =
        [Self::Backup, Self::Restore, Self::Verify, Self::Prune, Self::Merge, Self::Sync, Self::Import];
}

/// How jobs of one kind have ended since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Those that work.
    pub working: u64,
    /// Those that ended as they should.
    pub done: u64,
    /// Those that were cancelled.
    pub cancelled: u64,
    /// Those that failed.
    pub failed: u64,
    /// When the last one ended as it should, Unix milliseconds.
    pub last_done_ms: Option<u64>,
}

impl Tally {
    fn add(&mut self, status: &JobStatus) {
        match &status.outcome {
            None => self.working += 1,
            Some(Outcome::Done(_)) => {
                self.done += 1;
                self.last_done_ms = self.last_done_ms.max(status.ended_ms);
            }
            Some(Outcome::Cancelled) => self.cancelled += 1,
            Some(Outcome::Failed(_)) => self.failed += 1,
        }
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should; what came of it, in a line.
    Done(String),
    /// It was cancelled.
    Cancelled,
    /// It failed; why, in a line.
    Failed(String),
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// Which one.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// What it is about: an archive, a database.
    pub subject: String,
    /// What it does at the moment.
    pub phase: &'static str,
    /// When it began, Unix milliseconds.
    pub begun_ms: u64,
    /// When it ended, Unix milliseconds; `None` while it works.
    pub ended_ms: Option<u64>,
    /// Bytes done.
    pub bytes: u64,
    /// Bytes in all; `None` until it is known.
    pub bytes_total: Option<u64>,
    /// Keys done, where keys are what it works on.
    pub keys: u64,
    /// Bytes a second, lately.
    pub bytes_per_s: u64,
    /// Seconds left at that rate; `None` when nobody can tell.
    pub eta_s: Option<u64>,
    /// Bytes a second, at most; `None` without a bound.
    pub bytes_per_s_max: Option<u64>,
    /// Whether it was asked to stop.
    pub is_cancelled: bool,
    /// How it ended; `None` while it works.
    pub outcome: Option<Outcome>,
}

/// Long work. Clones are the same.
#[derive(Debug, Clone)]
pub struct Job {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: JobId,
    kind: JobKind,
    subject: String,
    clock: Option<Arc<dyn Clock>>,
    begun_ms: u64,
    bytes: AtomicU64,
    keys: AtomicU64,
    cancelled: AtomicBool,
    changing: Mutex<Changing>,
}

#[derive(Debug)]
struct Changing {
    phase: &'static str,
    bytes_total: Option<u64>,
    rate: Rate,
    pace: Option<Pace>,
    ended: Option<(u64, Outcome)>,
}

impl Job {
    /// Begins one.
    pub fn new(id: JobId, kind: JobKind, subject: String, clock: Arc<dyn Clock>) -> Job {
        Job::with(id, kind, subject, Some(clock))
    }

    /// One that nobody watches.
    pub fn unwatched(kind: JobKind) -> Job {
        Job::with(JobId(0), kind, String::new(), None)
    }

    fn with(id: JobId, kind: JobKind, subject: String, clock: Option<Arc<dyn Clock>>) -> Job {
        let begun_ms = clock.as_ref().map_or(0, |clock| clock.now_ms());
        let rate = Rate::new(clock.as_ref().map_or(0, |clock| elapsed_ms(&**clock)));
        let changing = Changing { phase: "starting", bytes_total: None, rate, pace: None, ended: None };
        let shared = Shared {
            id,
            kind,
            subject,
            clock,
            begun_ms,
            bytes: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            changing: Mutex::new(changing),
        };
        Job { shared: Arc::new(shared) }
    }

    /// Which one.
    pub fn id(&self) -> JobId {
        self.shared.id
    }

    /// What it does.
    pub fn kind(&self) -> JobKind {
        self.shared.kind
    }

    /// Says what is done now, in one or two words.
    pub fn phase(&self, phase: &'static str) {
        self.change(|changing| changing.phase = phase);
    }

    /// Says how many bytes there are in all.
    pub fn total_bytes(&self, bytes: u64) {
        self.change(|changing| changing.bytes_total = Some(bytes));
    }

    /// What was thought to take `from` of all bytes takes `to`.
    pub fn total_changes(&self, from: u64, to: u64) {
        self.change(|changing| {
            changing.bytes_total =
                changing.bytes_total.map(|total| total.saturating_sub(from).saturating_add(to));
        });
    }

    /// So many bytes more are done.
    pub fn done_bytes(&self, bytes: u64) {
        let done = self.shared.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let elapsed_ms = self.elapsed_ms();
        self.change(|changing| changing.rate.note(elapsed_ms, done));
    }

    /// So many keys more are done.
    pub fn done_keys(&self, keys: u64) {
        self.shared.keys.fetch_add(keys, Ordering::Relaxed);
    }

    /// Asks it to stop.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
    }

    /// Where work may stop.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] when it was asked to.
    pub fn checkpoint(&self) -> Result<()> {
        if self.shared.cancelled.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Bounds its bytes a second; `None` lifts the bound.
    pub fn set_bytes_per_s_max(&self, bytes_per_s: Option<u64>) {
        let elapsed_ms = self.elapsed_ms();
        self.change(|changing| {
            changing.pace = bytes_per_s.filter(|rate| *rate > 0).map(|rate| Pace::new(rate, elapsed_ms));
        });
    }

    /// Its bytes a second, at most; `None` without a bound.
    pub fn bytes_per_s_max(&self) -> Option<u64> {
        self.change(|changing| changing.pace.as_ref().map(Pace::per_s))
    }

    /// Waits as long as the bound asks for before so many bytes more are moved.
    pub async fn throttle(&self, bytes: u64) {
        let elapsed_ms = self.elapsed_ms();
        let wait_ms =
            self.change(|changing| changing.pace.as_mut().map_or(0, |pace| pace.take(elapsed_ms, bytes)));
        if wait_ms > 0 {
            crate::runtime::sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    /// Says how it ended. Only the first time counts.
    pub fn end(&self, outcome: Outcome) {
        let now_ms = self.now_ms();
        self.change(|changing| {
            if changing.ended.is_none() {
                changing.ended = Some((now_ms, outcome));
            }
        });
    }

    /// Says how it ended, as a result tells; `summary` is for one that is right.
    pub fn conclude<T>(&self, result: &Result<T>, summary: impl FnOnce(&T) -> String) {
        self.end(match result {
            Ok(done) => Outcome::Done(summary(done)),
            Err(Error::Cancelled) => Outcome::Cancelled,
            Err(error) => Outcome::Failed(crate::error::with_causes(error)),
        });
    }

    /// How far it is.
    pub fn status(&self) -> JobStatus {
        let (shared, elapsed_ms) = (&self.shared, self.elapsed_ms());
        let bytes = shared.bytes.load(Ordering::Relaxed);
        self.change(|changing| {
            let working = changing.ended.is_none();
            let bytes_per_s = if working { changing.rate.per_s(elapsed_ms, bytes) } else { 0 };
            let left = changing.bytes_total.map(|total| total.saturating_sub(bytes));
            JobStatus {
                id: shared.id,
                kind: shared.kind,
                subject: shared.subject.clone(),
                phase: changing.phase,
                begun_ms: shared.begun_ms,
                ended_ms: changing.ended.as_ref().map(|(at, _)| *at),
                bytes,
                bytes_total: changing.bytes_total,
                keys: shared.keys.load(Ordering::Relaxed),
                bytes_per_s,
                eta_s: left.filter(|_| working).and_then(|left| left.checked_div(bytes_per_s)),
                bytes_per_s_max: changing.pace.as_ref().map(Pace::per_s),
                is_cancelled: shared.cancelled.load(Ordering::Relaxed),
                outcome: changing.ended.as_ref().map(|(_, outcome)| outcome.clone()),
            }
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Changing) -> T) -> T {
        change(&mut self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now_ms(&self) -> u64 {
        self.shared.clock.as_ref().map_or(0, |clock| clock.now_ms())
    }

    fn elapsed_ms(&self) -> u64 {
        self.shared.clock.as_ref().map_or(0, |clock| elapsed_ms(&**clock))
    }
}

fn elapsed_ms(clock: &dyn Clock) -> u64 {
    clock.elapsed_ns() / 1_000_000
}

/// The jobs of a process: those that work, and the last that have ended. Clones are the same.
#[derive(Debug, Clone)]
pub struct Jobs {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    jobs: VecDeque<Job>,
    /// Of those that are known no more.
    forgotten: BTreeMap<JobKind, Tally>,
}

impl Known {
    /// Forgets the oldest of those that have ended, past [`ENDED_MAX`].
    fn forget(&mut self) {
        let mut ended = self.jobs.iter().filter(|job| job.status().outcome.is_some()).count();
        let forgotten = &mut self.forgotten;
        self.jobs.retain(|job| {
            let status = job.status();
            let goes = ended > ENDED_MAX && status.outcome.is_some();
            if goes {
                ended -= 1;
                forgotten.entry(status.kind).or_default().add(&status);
            }
            !goes
        });
    }
}

impl Jobs {
    /// None yet.
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Jobs {
        Jobs { clock, random, known: Arc::default() }
    }

    /// Begins a job.
    pub fn begin(&self, kind: JobKind, subject: String) -> Job {
        let mut id = [0; 8];
        self.random.fill(&mut id);
        let job = Job::new(JobId(u64::from_be_bytes(id)), kind, subject, Arc::clone(&self.clock));
        let mut known = self.lock();
        known.jobs.push_back(job.clone());
        known.forget();
        job
    }

    /// All that are known, oldest first.
    pub fn list(&self) -> Vec<JobStatus> {
        self.lock().jobs.iter().map(Job::status).collect()
    }

    /// The job of an id.
    pub fn get(&self, id: JobId) -> Option<Job> {
        self.lock().jobs.iter().find(|job| job.id() == id).cloned()
    }

    /// How those of a kind have ended, those that are known no more among them.
    pub fn tally(&self, kind: JobKind) -> Tally {
        let known = self.lock();
        let mut tally = known.forgotten.get(&kind).copied().unwrap_or_default();
        known
            .jobs
            .iter()
            .map(Job::status)
            .filter(|status| status.kind == kind)
            .for_each(|job| tally.add(&job));
        tally
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
