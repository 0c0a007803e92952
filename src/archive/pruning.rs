//! Removes from the archive what is older than it is kept, and joins small segments, now and then.
//!
//! A failure is said once and tried again at the next turn; nothing waits for it.

use crate::config::Settings;
use crate::connect::errors::Chain;
use crate::database::Database;
use archiver::Archive;
use archiver::job::{Job, JobKind, Jobs};
use archiver::merge::{self, Rules};
use archiver::retention::Policy;
use archiver::seal::Recipients;
use archiver::store::ObjectStore;
use replication::ServingClock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The shortest pause between two turns.
const TURN_MIN: Duration = Duration::from_secs(10);
/// The longest.
const TURN_MAX: Duration = Duration::from_secs(3_600);
/// Turns in the time that the archive is kept: what is removed is at most this part too old.
const TURNS: u32 = 24;

/// Prunes a group's part of each archive in the background, where a policy says what is kept. What is encrypted cannot be
/// read here, and is pruned where its identity is.
pub(super) fn start(
    stores: &[Arc<dyn ObjectStore>],
    settings: &Settings,
    database: &Database,
    ships: watch::Receiver<bool>,
    jobs: &Jobs,
    stopping: &watch::Receiver<bool>,
) {
    let Some(policy) = settings.archive.policy.filter(|_| settings.archive.recipients.is_nobody()) else {
        return;
    };
    for store in stores {
        let pruner = Pruner {
            archive: Archive::plain(Arc::clone(store)),
            group: database.group().id().0,
            clock: database.clock().clone(),
            policy,
            ships: ships.clone(),
            jobs: jobs.clone(),
        };
        tokio::spawn(pruner.run(stopping.clone()));
    }
}

/// What pruning one group in one archive needs.
struct Pruner {
    archive: Archive,
    group: u64,
    clock: ServingClock,
    policy: Policy,
    /// Whether this node ships the group: one node prunes.
    ships: watch::Receiver<bool>,
    jobs: Jobs,
}

impl Pruner {
    /// Prunes until `stopping` is true.
    async fn run(self, mut stopping: watch::Receiver<bool>) {
        let prune = async {
            let mut failing = false;
            loop {
                tokio::time::sleep(pause(self.policy.window_ms)).await;
                if *self.ships.borrow() {
                    let job = self.jobs.begin(JobKind::Prune, self.archive.location());
                    failing = self.turn(&job, failing).await;
                    if !failing {
                        self.merge().await;
                    }
                }
            }
        };
        tokio::select! {
            // Told to stop, or nobody is left to tell.
            _stopped = stopping.wait_for(|stopping| *stopping) => {}
            () = prune => {}
        }
    }

    /// Joins small segments. Nothing is missing without that: a failure waits for the next turn.
    async fn merge(&self) {
        let (archive, nobody) = (self.archive.location(), Recipients::nobody());
        let job = self.jobs.begin(JobKind::Merge, archive.clone());
        let (now_ms, rules) = (self.clock.now_ms(), Rules::default());
        let done = merge::merge(&self.archive, self.group, now_ms, &rules, &nobody, &job).await;
        job.conclude(&done, |merged| format!("{} segments joined to {}", merged.segments, merged.made));
        match done {
            Ok(merged) => {
                if let Some(object) = merged.disputed.first() {
                    tracing::error!(archive, object, "another history is in the archive: run cairn verify");
                }
            }
            Err(error) => {
                let error = Chain(&error).to_string();
                tracing::info!(archive, error, "small segments were not joined; trying again");
            }
        }
    }

    /// One turn; returns whether it failed.
    async fn turn(&self, job: &Job, was_failing: bool) -> bool {
        let now_ms = self.clock.now_ms();
        let done = archiver::prune::prune(&self.archive, self.group, now_ms, &self.policy, job).await;
        job.conclude(&done, |pruned| format!("{} objects removed", pruned.objects));
        let archive = self.archive.location();
        let error = match done {
            Ok(pruned) => {
                if pruned.objects > 0 {
                    tracing::info!(
                        archive,
                        group = self.group,
                        objects = pruned.objects,
                        "removed what is older than it is kept"
                    );
                }
                pruned.reason
            }
            Err(error) => Some(Chain(&error).to_string()),
        };
        let failing = error.is_some();
        if let Some(error) = error.filter(|_| !was_failing) {
            tracing::warn!(archive, error, "cannot remove what is old from the archive; trying again");
        }
        failing
    }
}

fn pause(keep_ms: u64) -> Duration {
    (Duration::from_millis(keep_ms) / TURNS).clamp(TURN_MIN, TURN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use archiver::retention::Kept;
    use archiver::store::sim::Sim;

    #[test]
    fn a_turn_comes_often_enough_and_not_too_often() {
        assert_eq!(pause(86_400_000), TURN_MAX);
        assert_eq!(pause(24 * 60_000), Duration::from_secs(60));
        assert_eq!(pause(0), TURN_MIN);
    }

    fn pruner(store: &Sim) -> Pruner {
        let env = engine::Env::real();
        let (_told, ships) = watch::channel(true);
        Pruner {
            archive: Archive::plain(Arc::new(store.clone())),
            group: 1,
            clock: ServingClock::new(crate::testing::FakeClock::at(1), 0),
            policy: Policy::new(1, Kept::default()),
            ships,
            jobs: Jobs::new(env.clock, env.random),
        }
    }

    #[tokio::test]
    async fn a_failure_is_remembered_until_it_is_over() {
        let store = Sim::new();
        let (pruner, job) = (pruner(&store), Job::unwatched(JobKind::Prune));
        store.set_down(true);
        assert!(pruner.turn(&job, false).await);
        store.set_down(false);
        assert!(!pruner.turn(&job, true).await);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_told() {
        let store = Sim::new();
        let (stop, stopping) = watch::channel(false);
        let pruner = pruner(&store);
        let jobs = pruner.jobs.clone();
        let running = tokio::spawn(pruner.run(stopping));
        tokio::time::timeout(TURN_MIN * 3, async {
            while store.requests() == 0 {
                tokio::time::sleep(TURN_MIN / 10).await;
            }
        })
        .await
        .expect("a turn came");
        assert!(!jobs.list().is_empty());
        stop.send_replace(true);
        running.await.expect("it ends");
    }
}
