//! Verifies the archives now and then, where that was asked for.
//!
//! - The node that ships the first data group does it, for all groups, against what its own log says was shipped.
//! - What is encrypted cannot be opened here: of that, only names and sizes are checked.
//! - A problem is an error in the log and a number in the metrics; the time of the last good one stands still then.

use crate::config::Settings;
use crate::connect::errors::Chain;
use crate::database::Database;
use archiver::Archive;
use archiver::job::{Job, JobKind, Jobs, Outcome};
use archiver::ship::{ProgressMark, target_of};
use archiver::store::ObjectStore;
use archiver::verify::{Depth, Position, Report, verify_all};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use replication::ServingClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Which archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Target {
    target: String,
}

/// When each archive was last verified. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    /// When it was last found sound, Unix seconds.
    pub at_s: Family<Target, Gauge>,
    /// What the last verification found wrong.
    pub problems: Family<Target, Gauge>,
}

/// Verifies each archive in the background.
pub(super) fn start(
    stores: &[Arc<dyn ObjectStore>],
    settings: &Settings,
    groups: &[Database],
    ships: watch::Receiver<bool>,
    verified: &Verified,
    jobs: &Jobs,
    stopping: &watch::Receiver<bool>,
) {
    let (Some(every_ms), Some(first)) = (settings.archive.verify_every_ms, groups.first()) else { return };
    for store in stores {
        let verifier = Verifier {
            archive: Archive::plain(Arc::clone(store)),
            groups: groups.to_vec(),
            clock: first.clock().clone(),
            depth: if settings.archive.recipients.is_nobody() { Depth::Deep } else { Depth::Fast },
            ships: ships.clone(),
            verified: verified.clone(),
            jobs: jobs.clone(),
        };
        tokio::spawn(verifier.run(Duration::from_millis(every_ms), stopping.clone()));
    }
}

/// What verifying one archive needs.
struct Verifier {
    archive: Archive,
    groups: Vec<Database>,
    clock: ServingClock,
    depth: Depth,
    /// Whether this node ships: one node verifies.
    ships: watch::Receiver<bool>,
    verified: Verified,
    jobs: Jobs,
}

impl Verifier {
    /// Verifies until `stopping` is true.
    async fn run(self, every: Duration, mut stopping: watch::Receiver<bool>) {
        let verify = async {
            loop {
                tokio::time::sleep(every).await;
                if *self.ships.borrow() {
                    let job = self.jobs.begin(JobKind::Verify, self.archive.location());
                    self.turn(&job).await;
                }
            }
        };
        tokio::select! {
            // Told to stop, or nobody is left to tell.
            _stopped = stopping.wait_for(|stopping| *stopping) => {}
            () = verify => {}
        }
    }

    async fn turn(&self, job: &Job) {
        // Before the listing: what is shipped after this is not missed.
        let positions = self.positions();
        let begun_ms = self.clock.now_ms();
        let done = verify_all(&self.archive, self.depth, &positions, job).await;
        if let Ok(Report { problems, .. }) = &done
            && let Some(first) = problems.first()
        {
            job.end(Outcome::Failed(format!(
                "{} problems: {}: {}",
                problems.len(),
                first.object,
                first.reason
            )));
        }
        job.conclude(&done, |report| format!("{} of {} objects read", report.objects, report.listed));
        match done {
            Ok(report) => self.tell(&report, begun_ms),
            Err(error) => {
                let (archive, error) = (self.archive.location(), Chain(&error).to_string());
                tracing::warn!(archive, error, "cannot verify the archive; trying again at the next turn");
            }
        }
    }

    fn tell(&self, report: &Report, begun_ms: u64) {
        let target = Target { target: self.archive.location() };
        let problems = i64::try_from(report.problems.len()).unwrap_or(i64::MAX);
        self.verified.problems.get_or_create(&target).set(problems);
        let Some(first) = report.problems.first() else {
            self.verified
                .at_s
                .get_or_create(&target)
                .set(i64::try_from(begun_ms / 1_000).unwrap_or(i64::MAX));
            return;
        };
        let (archive, object, reason) = (&target.target, &first.object, &first.reason);
        tracing::error!(archive, problems, object, reason, "the archive is damaged: see cairn verify");
    }

    /// What was shipped of each group, as its log says.
    fn positions(&self) -> Vec<Position> {
        let target = target_of(&self.archive.location());
        let position = |database: &Database| {
            let group = database.group().id().0;
            let mark = ProgressMark::read(&database.engine(), group, target)?;
            Some(Position { group, stamp: mark.shipped(), checkpoint: None })
        };
        self.groups.iter().filter_map(position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archiver::store::sim::Sim;
    use archiver::verify::Problem;

    fn verifier(verified: &Verified) -> Verifier {
        let env = engine::Env::real();
        Verifier {
            archive: Archive::plain(Arc::new(Sim::new())),
            groups: Vec::new(),
            clock: ServingClock::new(crate::testing::FakeClock::at(5_000), 0),
            depth: Depth::Deep,
            ships: watch::channel(true).1,
            verified: verified.clone(),
            jobs: Jobs::new(env.clock, env.random),
        }
    }

    #[tokio::test]
    async fn a_sound_archive_moves_the_time_and_a_damaged_one_does_not() {
        let verified = Verified::default();
        let verifier = verifier(&verified);
        let target = Target { target: "sim://".to_owned() };
        verifier.tell(&Report::default(), 5_000);
        assert_eq!(verified.at_s.get_or_create(&target).get(), 5);
        let problem = Problem { object: "o".to_owned(), reason: "it is missing".to_owned() };
        verifier.tell(&Report { problems: vec![problem], ..Report::default() }, 9_000);
        assert_eq!(verified.at_s.get_or_create(&target).get(), 5);
        assert_eq!(verified.problems.get_or_create(&target).get(), 1);
        verifier.turn(&verifier.jobs.begin(JobKind::Verify, "sim://".to_owned())).await;
        assert_eq!(verified.problems.get_or_create(&target).get(), 0, "there is nothing that is wrong");
    }

    #[tokio::test]
    async fn a_job_that_finds_a_problem_has_failed() {
        let verified = Verified::default();
        let verifier = verifier(&verified);
        let (zeros, lineage) = ("0".repeat(32), "lineages/00000-0123456789abcdef0123456789abcdef");
        let object = format!("{lineage}/lineage.{zeros}.lin");
        verifier.archive.store().put(&object, "altered".into()).await.expect("memory takes it");
        verifier.turn(&verifier.jobs.begin(JobKind::Verify, "sim://".to_owned())).await;
        let tally = verifier.jobs.tally(JobKind::Verify);
        assert_eq!((tally.done, tally.failed), (0, 1), "{:?}", verifier.jobs.list());
        let target = Target { target: "sim://".to_owned() };
        assert_eq!(verified.at_s.get_or_create(&target).get(), 0);
        assert!(verified.problems.get_or_create(&target).get() > 0);
    }
}
