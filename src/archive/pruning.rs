//! Removes from the archive what is older than it is kept, now and then.
//!
//! A failure is said once and tried again at the next turn; nothing waits for it.

use super::GROUP;
use crate::connect::errors::Chain;
use archiver::Archive;
use archiver::job::{Job, JobKind, Jobs};
use replication::ServingClock;
use std::time::Duration;
use tokio::sync::watch;

/// The shortest pause between two turns.
const TURN_MIN: Duration = Duration::from_secs(10);
/// The longest.
const TURN_MAX: Duration = Duration::from_secs(3_600);
/// Turns in the time that the archive is kept: what is removed is at most this part too old.
const TURNS: u32 = 24;

/// Prunes until `stopping` is true.
pub(super) async fn run(
    archive: Archive,
    clock: ServingClock,
    keep_ms: u64,
    jobs: Jobs,
    mut stopping: watch::Receiver<bool>,
) {
    let prune = async {
        let mut failing = false;
        loop {
            tokio::time::sleep(pause(keep_ms)).await;
            let job = jobs.begin(JobKind::Prune, archive.location());
            failing = turn(&archive, clock.now_ms(), keep_ms, &job, failing).await;
        }
    };
    tokio::select! {
        // Told to stop, or nobody is left to tell.
        _stopped = stopping.wait_for(|stopping| *stopping) => {}
        () = prune => {}
    }
}

fn pause(keep_ms: u64) -> Duration {
    (Duration::from_millis(keep_ms) / TURNS).clamp(TURN_MIN, TURN_MAX)
}

/// One turn; returns whether it failed.
async fn turn(archive: &Archive, now_ms: u64, keep_ms: u64, job: &Job, failing: bool) -> bool {
    let done = archiver::prune::prune(archive, GROUP, now_ms, keep_ms, job).await;
    job.conclude(&done, |pruned| format!("{} objects removed", pruned.objects));
    match done {
        Ok(pruned) => {
            if pruned.objects > 0 {
                tracing::info!(
                    objects = pruned.objects,
                    "removed from the archive what is older than it is kept"
                );
            }
            false
        }
        Err(error) => {
            if !failing {
                let (location, error) = (archive.location(), Chain(&error).to_string());
                tracing::warn!(
                    archive = location,
                    error,
                    "cannot remove what is old from the archive; trying again"
                );
            }
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archiver::store::sim::Sim;
    use std::sync::Arc;

    #[test]
    fn a_turn_comes_often_enough_and_not_too_often() {
        assert_eq!(pause(86_400_000), TURN_MAX);
        assert_eq!(pause(24 * 60_000), Duration::from_secs(60));
        assert_eq!(pause(0), TURN_MIN);
    }

    #[tokio::test]
    async fn a_failure_is_remembered_until_it_is_over() {
        let store = Sim::new();
        let archive = Archive::plain(Arc::new(store.clone()));
        store.set_down(true);
        assert!(turn(&archive, 10, 1, &Job::unwatched(JobKind::Prune), false).await);
        store.set_down(false);
        assert!(!turn(&archive, 10, 1, &Job::unwatched(JobKind::Prune), true).await);
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_told() {
        let store = Arc::new(Sim::new());
        let (stop, stopping) = watch::channel(false);
        let clock = ServingClock::new(crate::testing::FakeClock::at(1), 0);
        let env = engine::Env::real();
        let jobs = Jobs::new(env.clock, env.random);
        let running = tokio::spawn(run(Archive::plain(store.clone()), clock, 1, jobs.clone(), stopping));
        tokio::time::timeout(TURN_MIN * 3, async {
            while store.requests() == 0 {
                tokio::time::sleep(TURN_MIN / 10).await;
            }
        })
        .await
        .expect("a turn came");
        stop.send_replace(true);
        running.await.expect("it ends");
        assert!(jobs.tally(JobKind::Prune).done > 0);
    }
}
