//! Ships what an engine commits: segments within about a second, checkpoints now and then.
//!
//! - Every step is bounded: one segment object, or one table of a checkpoint. Segments go first, so
//!   that the upload of a checkpoint never delays them by more than one table.
//! - A segment starts exactly after the last shipped commit and continues its content hash, or it is
//!   not shipped: then shipping starts again from a new checkpoint, and the gap is recorded.
//! - Progress is recorded in the database's own log after the object is durable, so a crash in between
//!   ships the same commits twice and never loses one.
//! - The only request in steady state is a put, and there is none while nothing is committed. A read
//!   happens once after a start, to learn which tables the last checkpoint named.

mod checkpoints;
mod direct;
mod mark;
mod source;
pub mod status;
mod upload;

pub use direct::Direct;
pub use mark::Mark as ProgressMark;
pub use status::Status;

use crate::error::blocking;
use crate::layout::{Digest, Kind, LineageFolder, Name, TableDigest};
use crate::lineage::Announcement;
use crate::store::ObjectStore;
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use engine::{ContentHash, Engine, Lineage, Versionstamp};
use mark::Mark;
use source::{Gathered, Position};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use upload::Upload;

/// How long the loop waits before it looks for new segments.
const POLL: Duration = Duration::from_millis(100);
/// The pause after a first failure; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A checkpoint reuses only tables that a checkpoint this young names: half of what pruning grants.
const REUSE_WITHIN_MS: u64 = 12 * 3_600_000;

/// How to ship.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The group whose engine it is.
    pub group: u64,
    /// The node that ships.
    pub node: u64,
    /// A segment object is closed at this many bytes of records.
    pub object_bytes_max: u64,
    /// What may wait for an unreachable store, in bytes of WAL segments.
    pub backlog_bytes_max: u64,
    /// A checkpoint is made this long after the last one, if there were commits, in milliseconds.
    pub checkpoint_interval_ms: u64,
    /// A checkpoint is made after this many bytes of segment objects, even before that.
    pub checkpoint_bytes: u64,
    /// A directory of the shipper's own, on the engine's file system: checkpoints are linked there.
    pub scratch: PathBuf,
}

impl Settings {
    /// What suits a single node.
    pub fn new(scratch: PathBuf) -> Self {
        Self {
            group: 1,
            node: 1,
            object_bytes_max: 32 << 20,
            backlog_bytes_max: 4 << 30,
            checkpoint_interval_ms: 3_600_000,
            checkpoint_bytes: 1 << 30,
            scratch,
        }
    }
}

/// Records progress in the database's own log.
#[async_trait]
pub trait ProgressLog: Send + Sync + std::fmt::Debug {
    /// Commits a record that sets `mark` and nothing else.
    ///
    /// # Errors
    ///
    /// Why it could not be committed.
    async fn record(&self, mark: engine::Mark) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A segment was shipped: everything up to this commit is in the archive.
    Segment(Versionstamp),
    /// A part of a checkpoint was uploaded.
    Table,
    /// A checkpoint was made, and its upload began.
    CheckpointBegun,
    /// A checkpoint is in the archive.
    Checkpoint(Versionstamp),
    /// Nothing waits.
    Idle,
}

/// Ships one engine to one store.
#[derive(Debug)]
pub struct Shipper {
    engine: Engine,
    store: Arc<dyn ObjectStore>,
    settings: Settings,
    progress: Arc<dyn ProgressLog>,
    lineage: Lineage,
    mark: Mark,
    /// The last version that needs no shipping any more.
    consumed: u64,
    announced: bool,
    /// Tables that the last checkpoint names; `None` until they are known after a start.
    known_tables: Option<BTreeSet<TableDigest>>,
    upload: Option<Upload>,
    status: watch::Sender<Status>,
}

impl Shipper {
    /// Finds out where shipping stands, and makes the engine keep what was not shipped. Sends no
    /// request. Call it before the engine's background work starts.
    ///
    /// # Errors
    ///
    /// When the engine cannot seal its log.
    pub fn new(
        engine: Engine,
        store: Arc<dyn ObjectStore>,
        settings: Settings,
        progress: Arc<dyn ProgressLog>,
    ) -> Result<Self> {
        let lineage = engine.lineage();
        let target = Digest::of(store.location().as_bytes());
        let recorded = engine.mark(&Mark::name(settings.group)).and_then(|value| Mark::decode(&value).ok());
        let recorded = recorded.filter(|mark| mark.lineage == lineage.id && mark.target == target);
        let announced = recorded.is_some();
        engine.seal_segment()?;
        let mark = recorded.unwrap_or_else(|| {
            Mark::start(lineage.id, target, engine.env().clock.now_ms(), first_position(&engine))
        });
        let consumed = mark.position.version;
        engine.keep_segments_after(Some(consumed));
        let known_tables = mark.checkpoint.is_none().then(BTreeSet::new);
        let status = watch::Sender::new(Status::default());
        let upload = None;
        let mut shipper = Self {
            engine,
            store,
            settings,
            progress,
            lineage,
            mark,
            consumed,
            announced,
            known_tables,
            upload,
            status,
        };
        shipper.tell(|_| {});
        if shipper.mark.rooted && shipper.lost_what_waited() {
            shipper.start_over("the log no longer holds the commit after the last shipped one");
        }
        Ok(shipper)
    }

    /// How shipping goes, now and later.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Does the next thing that is due.
    ///
    /// # Errors
    ///
    /// What the store, the engine or the disk says; the same step is due again then.
    pub async fn step(&mut self) -> Result<Step> {
        self.bound_backlog();
        if !self.mark.rooted && self.upload.is_none() {
            return self.begin_checkpoint().await;
        }
        if let Some(step) = self.ship_segment().await? {
            return Ok(step);
        }
        if self.upload.is_some() {
            return self.continue_upload().await;
        }
        if self.checkpoint_is_due() {
            return self.begin_checkpoint().await;
        }
        Ok(Step::Idle)
    }

    /// Ships until `stop` says true, trying again after failures with growing pauses.
    pub async fn run(&mut self, mut stop: watch::Receiver<bool>) {
        let mut pause = PAUSE_MIN;
        loop {
            let wait = match self.step().await {
                Ok(Step::Idle) => {
                    self.succeeded();
                    POLL
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
            match tokio::time::timeout(wait, stopping).await {
                Err(_) => {}
                // Told to stop, or nobody is left to tell.
                Ok(_) => return,
            }
        }
    }

    /// Ships what is committed so far, checkpoints excepted, for at most `limit`. Returns whether all of it
    /// is in the archive.
    pub async fn drain(&mut self, limit: Duration) -> bool {
        let engine = self.engine.clone();
        let ship = async {
            blocking(move || Ok(engine.seal_segment()?)).await?;
            while self.mark.rooted && self.ship_segment().await?.is_some() {}
            Ok::<_, Error>(self.mark.rooted)
        };
        match tokio::time::timeout(limit, ship).await {
            Ok(Ok(rooted)) => rooted,
            Ok(Err(error)) => {
                self.failed(&error);
                false
            }
            Err(_) => false,
        }
    }

    /// Whether there are commits after the last shipped one, but no log that holds them.
    fn lost_what_waited(&self) -> bool {
        let waiting = source::waiting(&self.engine, self.lineage.id, self.consumed);
        self.engine.applied().stamp != self.mark.position.stamp && waiting.is_empty()
    }

    fn now_ms(&self) -> u64 {
        self.engine.env().clock.now_ms()
    }

    fn name(&self, kind: Kind) -> String {
        Name { lineage: LineageFolder::from(self.lineage), kind }.to_string()
    }

    async fn put(&self, kind: Kind, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        self.store.put(&self.name(kind), bytes).await?;
        self.status.send_modify(|status| {
            status.objects += 1;
            status.bytes += len;
        });
        Ok(())
    }

    /// Puts the object that says who the lineage is, before its first other object.
    async fn announce(&mut self) -> Result<()> {
        if !self.announced {
            let announcement = Announcement { lineage: self.lineage, begun_ms: self.mark.begun_ms };
            let bytes = announcement.encode();
            self.put(Kind::Lineage(Digest::of(&bytes)), bytes.into()).await?;
            self.announced = true;
        }
        Ok(())
    }

    async fn record(&self) -> Result<()> {
        let mark = self.mark.as_engine_mark(self.settings.group);
        self.progress.record(mark).await.map_err(|source| Error::Progress { source })
    }

    /// Ships one object of what waits, if there is a commit in it.
    async fn ship_segment(&mut self) -> Result<Option<Step>> {
        let waiting = source::waiting(&self.engine, self.lineage.id, self.consumed);
        if waiting.is_empty() {
            return Ok(None);
        }
        let gather = source::Gather {
            fs: self.engine.env().fs.clone(),
            lineage: self.lineage.into(),
            group: self.settings.group,
            node: self.settings.node,
            from: self.mark.position,
            bytes_max: self.settings.object_bytes_max,
        };
        match blocking(move || gather.run(&waiting)).await? {
            Gathered::Nothing { consumed } => {
                self.consume(consumed);
                Ok(None)
            }
            Gathered::Broken => {
                self.start_over("the log no longer holds the commit after the last shipped one");
                self.begin_checkpoint().await.map(Some)
            }
            Gathered::Segment { name, bytes, end, consumed } => {
                if !self.find_last_checkpoint().await? {
                    return self.begin_checkpoint().await.map(Some);
                }
                self.announce().await?;
                let len = bytes.len() as u64;
                self.put(Kind::Segment(self.settings.group, name), bytes).await?;
                let before = self.mark.clone();
                self.mark.position = end;
                self.mark.bytes_since_checkpoint += len;
                if let Err(error) = self.record().await {
                    // Not recorded: it is shipped again.
                    self.mark = before;
                    return Err(error);
                }
                self.consume(consumed);
                Ok(Some(Step::Segment(end.stamp)))
            }
        }
    }

    fn consume(&mut self, version: u64) {
        self.consumed = self.consumed.max(version);
        self.engine.keep_segments_after(Some(self.consumed));
        self.tell(|_| {});
    }

    /// Gives up on a backlog that is too large: the archive gets a gap.
    fn bound_backlog(&mut self) {
        self.tell(|_| {});
        let backlog = self.status.borrow().backlog_bytes;
        if backlog > self.settings.backlog_bytes_max {
            self.start_over("more waits for the archive than the backlog may hold");
        }
    }

    /// Forgets where shipping stood; the next step makes a checkpoint to go on from.
    fn start_over(&mut self, reason: &'static str) {
        let after = self.mark.gap_after.unwrap_or(self.mark.position.stamp);
        tracing::warn!(%after, reason, "the archive gets a gap: shipping goes on from a new checkpoint");
        self.mark.rooted = false;
        self.mark.gap_after = Some(after);
        self.upload = None;
        self.status.send_modify(|status| status.gaps += 1);
        let applied = self.engine.applied();
        self.consume(applied.version);
    }

    /// Brings the status up to date, and adds what `change` says.
    fn tell(&self, change: impl FnOnce(&mut Status)) {
        let waiting = source::waiting(&self.engine, self.lineage.id, self.consumed);
        let now_ms = self.now_ms();
        self.status.send_modify(|status| {
            status.shipped = self.mark.position.stamp;
            status.shipped_ms = self.mark.position.time_ms;
            status.rooted = self.mark.rooted;
            status.backlog_bytes = waiting.iter().map(|segment| segment.bytes).sum();
            status.backlog_since_ms = match (waiting.is_empty(), status.backlog_since_ms) {
                (true, _) => None,
                (false, since) => since.or(Some(now_ms)),
            };
            status.checkpoint_ms = self.mark.checkpoint.map(|last| last.made_ms);
            status.checkpoint_upload = self.upload.as_ref().map(Upload::progress);
            change(status);
        });
    }

    fn succeeded(&self) {
        if self.status.borrow().error.is_some() {
            tracing::info!(archive = self.store.location(), "the archive is reachable again");
            self.tell(|status| status.error = None);
        }
    }

    /// Says once that shipping stands still, and why; what changes is only in the status.
    fn failed(&self, error: &Error) {
        let text = crate::error::with_causes(error);
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

/// Where shipping starts when nothing was recorded: at the beginning of history, if the log still holds
/// it; `None` when only a checkpoint can tell what came before.
fn first_position(engine: &Engine) -> Option<Position> {
    let lineage = engine.lineage();
    let start = Position { version: 0, stamp: Versionstamp::ZERO, hash: ContentHash::EMPTY, time_ms: 0 };
    let first = engine.sealed_segments().into_iter().next();
    let from_empty =
        |first: engine::wal::Segment| first.lineage == lineage.id && first.hash_before == ContentHash::EMPTY;
    let whole = engine.applied().hash == ContentHash::EMPTY || first.is_some_and(from_empty);
    (lineage.parent.is_none() && whole).then_some(start)
}
