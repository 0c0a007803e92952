//! When to ship: segments at an interval, tables beside them, and pauses after failures.
//!
//! - The interval bounds requests, not lag alone: what comes while an upload is slow goes into one object.
//! - The log is sealed only when there is something to ship, so that an idle database does nothing.
//! - A failing checkpoint pauses checkpoints, never segments.

use super::{Shipper, Step};
use crate::error::{blocking, with_causes};
use crate::{Error, Result, runtime};
use std::time::Duration;
use tokio::sync::watch;

/// The pause after a first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is left of a checkpoint when a stop waits for it, at most; more is for the next start.
const LAST_CHECKPOINT_BYTES: u64 = 64 << 20;

/// When what is next, by the clock of elapsed time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When segments were looked for last, in nanoseconds; `None` before the first time.
    looked_ns: Option<u64>,
    /// No checkpoint is gone on with before this, in nanoseconds.
    checkpoint_after_ns: u64,
    /// The pause after the next failure of a checkpoint.
    checkpoint_pause: Duration,
}

impl Shipper {
    /// Ships until `stop` says true, trying again after failures with growing pauses.
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) {
        let mut pause = PAUSE_MIN;
        loop {
            let wait = match self.turn().await {
                Ok(Step::Idle) => {
                    self.succeeded();
                    self.until_due()
                }
                Ok(_) => {
                    self.succeeded();
                    pause = PAUSE_MIN;
                    Duration::ZERO
                }
                Err(error) => {
                    self.failed(&error);
                    let wait = pause;
                    pause = PAUSE_MAX.min(pause * 2);
                    wait
                }
            };
            let stopping = async { stop.wait_for(|stop| *stop).await.is_ok() };
            // Told to stop, or nobody is left to tell.
            if runtime::timeout(wait, stopping).await.is_some() {
                return;
            }
        }
    }

    /// Does the next thing that is due.
    pub(crate) async fn turn(&mut self) -> Result<Step> {
        self.bound_backlog();
        if self.is_due() {
            self.pace.looked_ns = Some(self.elapsed_ns());
            self.seal().await?;
            if let Some(step) = self.ship_due_segment().await? {
                return Ok(step);
            }
        }
        if self.elapsed_ns() < self.pace.checkpoint_after_ns {
            return Ok(Step::Idle);
        }
        let wanted = self.upload.is_some() || !self.mark.rooted || self.checkpoint_is_due();
        if !wanted {
            return Ok(Step::Idle);
        }
        let wait = self.until_due();
        let done = match self.upload {
            Some(_) => self.continue_upload(Some(wait)).await,
            None => self.begin_checkpoint().await,
        };
        match done {
            Err(Error::Cancelled) => {
                self.pause_checkpoints(Duration::from_millis(self.settings.checkpoint_interval_ms));
                Ok(Step::Idle)
            }
            Err(error) => {
                self.checkpoint_failed(&error);
                Ok(Step::Idle)
            }
            Ok(step) => {
                if matches!(step, Step::Table | Step::Checkpoint(_)) {
                    self.checkpoint_goes_on();
                }
                Ok(step)
            }
        }
    }

    /// Ships a segment, unless only a checkpoint can say what comes before it.
    async fn ship_due_segment(&mut self) -> Result<Option<Step>> {
        if !self.mark.rooted && self.upload.is_none() {
            return Ok(None);
        }
        self.ship_segment().await
    }

    /// Ships what is committed so far, for at most `limit`. Returns whether all of it is in the archive. A checkpoint is uploaded
    /// only when nothing can be restored without it, and it is small.
    pub async fn drain(&mut self, limit: Duration) -> bool {
        let ship = async {
            self.seal().await?;
            while !self.mark.rooted && self.root_is_near() {
                self.step().await?;
            }
            while self.mark.rooted && self.ship_segment().await?.is_some() {}
            Ok::<_, Error>(self.mark.rooted)
        };
        match runtime::timeout(limit, ship).await {
            Some(Ok(rooted)) => rooted,
            Some(Err(error)) => {
                self.failed(&error);
                false
            }
            None => false,
        }
    }

    /// Whether little is left to upload of the checkpoint from which everything is restored.
    fn root_is_near(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| {
            let (done, total) = upload.progress();
            total.saturating_sub(done) <= LAST_CHECKPOINT_BYTES
        })
    }

    /// Seals the log if it holds commits that were not shipped.
    async fn seal(&self) -> Result<()> {
        let engine = self.engine().clone();
        if engine.applied().stamp == self.mark.position.stamp {
            return Ok(());
        }
        blocking(move || Ok(engine.seal_segment()?)).await
    }

    fn elapsed_ns(&self) -> u64 {
        self.engine().env().clock.elapsed_ns()
    }

    fn is_due(&self) -> bool {
        let is_full = || self.status.borrow().backlog_bytes >= self.settings.object_bytes_max;
        self.until_due().is_zero() || is_full()
    }

    /// How long until segments are looked for.
    fn until_due(&self) -> Duration {
        let interval = Duration::from_millis(self.settings.interval_ms);
        let since = |looked_ns| Duration::from_nanos(self.elapsed_ns().saturating_sub(looked_ns));
        self.pace.looked_ns.map_or(Duration::ZERO, |looked| interval.saturating_sub(since(looked)))
    }

    fn pause_checkpoints(&mut self, pause: Duration) {
        let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        self.pace.checkpoint_after_ns = self.elapsed_ns().saturating_add(pause_ns);
    }

    /// Says once that checkpoints stand still, and tries again later.
    fn checkpoint_failed(&mut self, error: &Error) {
        let text = with_causes(error);
        if self.status.borrow().checkpoint_error.is_none() {
            let archive = self.store.location();
            tracing::warn!(archive, error = text, "cannot put a checkpoint into the archive; trying again");
        }
        self.tell(|status| status.checkpoint_error = Some(text));
        let pause = self.pace.checkpoint_pause.max(PAUSE_MIN);
        self.pause_checkpoints(pause);
        self.pace.checkpoint_pause = PAUSE_MAX.min(pause * 2);
    }

    fn checkpoint_goes_on(&mut self) {
        self.pace.checkpoint_pause = PAUSE_MIN;
        if self.status.borrow().checkpoint_error.is_some() {
            self.tell(|status| status.checkpoint_error = None);
        }
    }

    fn succeeded(&self) {
        if self.status.borrow().error.is_some() {
            tracing::info!(archive = self.store.location(), "the archive is reachable again");
            self.tell(|status| status.error = None);
        }
    }

    /// Says once that shipping stands still, and why; what changes is only in the status.
    fn failed(&self, error: &Error) {
        let text = with_causes(error);
        if self.status.borrow().error.is_none() {
            let archive = self.store.location();
            if error.is_transient() {
                tracing::warn!(archive, error = text, "cannot ship to the archive; trying again");
            } else {
                tracing::error!(archive, error = text, "cannot ship to the archive; trying again");
            }
        }
        self.tell(|status| status.error = Some(text));
    }
}
