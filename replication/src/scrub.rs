//! Reads every table of a group again and again, at a rate, and has what is damaged mended.
//!
//! - The first pass begins at a random table, so that a node which is often started again reads all of them in time. Passes
//!   that follow are whole, and none begins too soon after the one before, however small the data is.
//! - Damage is counted and said with its file and offset. It is mended from another replica ([`crate::repair`]); until that
//!   succeeds it is tried again, less and less often. Where there is no other replica it is only said.

use crate::group::Core;
use crate::raft_snapshot::Rate;
use crate::{repair, runtime};
use engine::{Engine, Scrub, Scrubbed};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that are read in one step.
const STEP_BYTES: usize = 256 << 10;
/// Between the first two tries to mend a replica. It doubles with each.
const MEND_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Between two tries, at most.
const MEND_PAUSE_MAX: Duration = Duration::from_secs(600);

/// What scrubbing has come to since the node was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Times that every table was read.
    pub passes: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Tables that were found damaged.
    pub damaged: u64,
    /// Times that the replica was mended.
    pub mended: u64,
    /// What was found last and is not mended.
    pub damage: Option<String>,
}

/// Counts what scrubbing comes to.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<ScrubStatus>);

impl Counts {
    pub(crate) fn status(&self) -> ScrubStatus {
        self.0.lock().clone()
    }

    fn change(&self, change: impl FnOnce(&mut ScrubStatus)) {
        change(&mut self.0.lock());
    }
}

/// One pass after the other, until the group ends.
pub(crate) async fn run(core: Arc<Core>) {
    let (per_s, every) = core.scrub_pace();
    if per_s == 0 {
        return;
    }
    let rate = Rate::new(per_s);
    let first = Scrub::from_random(&*core.replica.engine().env().random);
    pass(&core, &rate, first).await;
    loop {
        let begun = runtime::now();
        if pass(&core, &rate, Scrub::default()).await {
            core.scrubbed.change(|counts| counts.passes += 1);
            runtime::sleep_until(begun + every).await;
        }
    }
}

/// Reads the tables of the engine that counts; whether that came to its end, as it does not when another engine comes to
/// count.
async fn pass(core: &Arc<Core>, rate: &Rate, mut scrub: Scrub) -> bool {
    let dir = core.replica.engine().dir().to_path_buf();
    loop {
        rate.take(STEP_BYTES).await;
        let engine = core.replica.engine();
        if engine.dir() != dir {
            return false;
        }
        let (step, at) = match step(engine, scrub).await {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(group = %core.id, %error, "a step of the scrub did not end");
                return true;
            }
        };
        scrub = at;
        match step {
            Scrubbed::Read(bytes) => core.scrubbed.change(|counts| counts.bytes += bytes as u64),
            Scrubbed::Pass => return true,
            Scrubbed::Damaged { path, error, .. } => {
                if report(core, &path, &error) {
                    mend(core).await;
                }
            }
        }
    }
}

async fn step(engine: Engine, mut scrub: Scrub) -> Result<(Scrubbed, Scrub), runtime::JoinError> {
    runtime::spawn_blocking(move || (engine.scrub(&mut scrub, STEP_BYTES), scrub)).await
}

/// Says what is damaged; whether anybody can mend it.
fn report(core: &Core, path: &Path, error: &engine::Error) -> bool {
    let damage = match error {
        engine::Error::Io { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    };
    let alone = core.replica.membership().nodes().all(|(id, _)| *id == core.node.0);
    tracing::error!(group = %core.id, path = %path.display(), damage, alone, "a table is damaged");
    core.scrubbed.change(|counts| {
        counts.damaged += 1;
        counts.damage = Some(damage);
    });
    !alone
}

/// Tries until the replica is mended.
async fn mend(core: &Arc<Core>) {
    let mut pause = MEND_PAUSE_MIN;
    loop {
        match repair::mend(core).await {
            Ok(()) => {
                tracing::warn!(group = %core.id, "the damaged replica was mended from another one");
                core.scrubbed.change(|counts| {
                    counts.mended += 1;
                    counts.damage = None;
                });
                return;
            }
            Err(reason) => tracing::warn!(group = %core.id, reason, "cannot mend the damaged replica yet"),
        }
        runtime::sleep(pause).await;
        pause = (pause * 2).min(MEND_PAUSE_MAX);
    }
}
