//! Ships what an engine commits: segments within about a second, checkpoints now and then.
//!
//! - Segments go first: tables of a checkpoint are uploaded beside them, a few at a time, and a checkpoint that fails
//!   holds up no segment.
//! - A segment starts exactly after the last shipped commit and continues its content hash, or it is
//!   not shipped: then shipping starts again from a new checkpoint, and the gap is recorded.
//! - Progress is recorded in the database's own log after the object is durable, so a crash in between
//!   ships the same commits twice and never loses one.
//! - The only request in steady state is a put, and there is none while nothing is committed. Once after a start it is
//!   asked whether the last checkpoint is still there; a store that does not say is believed to have it.
//! - A lineage that another goes on from is shipped no more: this is asked before the first commits after a start, after a failure, and with each
//!   checkpoint; a store that refuses to say is believed to know of none.
//! - Each target has a shipper of its own: nothing of one is waited for by another.

mod checkpoints;
pub mod chosen;
mod direct;
pub mod follow;
mod keep;
mod known;
mod mark;
mod segments;
mod settings;
mod source;
pub mod status;
mod turns;
mod upload;

pub use direct::Direct;
pub use follow::{Follower, Replica};
pub use keep::Keep;
pub use mark::Mark as ProgressMark;
pub use settings::{DEFAULT_INTERVAL_MS, Settings};
pub use status::Status;

use crate::bugs::{self, Bug};
use crate::layout::{Digest, EndName, Kind, LINEAGES, LineageFolder, Name};
use crate::lineage::Announcement;
use crate::store::{ObjectStore, Page};
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use engine::{ContentHash, Engine, Lineage, Versionstamp};
use known::{Known, Owner};
use mark::Mark;
use segments::Prepared;
use source::Position;
use std::sync::Arc;
use tokio::sync::watch;
use turns::Pace;
use upload::Upload;

/// A checkpoint reuses only tables that a checkpoint this young names: half of what pruning grants.
const REUSE_WITHIN_MS: u64 = 12 * 3_600_000;

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

/// Where commits come from: an engine, its log, and what all targets still need of it.
#[derive(Debug, Clone)]
pub struct Source {
    /// The engine.
    pub engine: Engine,
    /// Where progress is recorded.
    pub progress: Arc<dyn ProgressLog>,
    /// What the targets of the engine need.
    pub keep: Keep,
}

/// Ships one engine to one store.
#[derive(Debug)]
pub struct Shipper {
    source: Source,
    store: Arc<dyn ObjectStore>,
    settings: Settings,
    lineage: Lineage,
    target: Digest,
    mark: Mark,
    /// The last version that needs no shipping any more.
    consumed: u64,
    announced: bool,
    /// Whether the last checkpoint is still in the archive was asked, or need not be.
    confirmed: bool,
    /// Whether the lineage has ended was asked, and is not to be asked again for now.
    asked_for_end: bool,
    /// Whether the store refused to say: it is not asked again.
    may_not_ask: bool,
    /// Tables that this node put into the archive; `None` until the file was read.
    known: Option<Known>,
    /// A segment that is not known to have arrived.
    prepared: Option<Prepared>,
    upload: Option<Upload>,
    /// When the log was last read: what was committed before is in what was read.
    looked_ms: u64,
    pace: Pace,
    status: watch::Sender<Status>,
}

/// Tells a target from others by where it is.
pub fn target_of(location: &str) -> Digest {
    Digest::of(location.as_bytes())
}

impl Shipper {
    /// Finds out where shipping stands, and makes the engine keep what was not shipped. Sends no
    /// request. Call it before the engine's background work starts.
    ///
    /// # Errors
    ///
    /// When the engine cannot seal its log.
    pub fn new(source: Source, store: Arc<dyn ObjectStore>, mut settings: Settings) -> Result<Self> {
        let engine = &source.engine;
        let lineage = engine.lineage();
        let target = target_of(&store.location());
        let recorded = Mark::read(engine, settings.group, target);
        let announced = recorded.is_some();
        engine.seal_segment()?;
        let mark = recorded.unwrap_or_else(|| {
            Mark::start(lineage.id, target, engine.env().clock.now_ms(), first_position(engine))
        });
        settings.scratch = known::directory(&settings.scratch, settings.group, target);
        let mut shipper = Self {
            confirmed: mark.checkpoint.is_none(),
            asked_for_end: false,
            may_not_ask: false,
            consumed: mark.position.version,
            source,
            store,
            settings,
            lineage,
            target,
            mark,
            announced,
            known: None,
            prepared: None,
            upload: None,
            looked_ms: 0,
            pace: Pace::default(),
            status: watch::Sender::new(Status::default()),
        };
        shipper.consume(shipper.consumed);
        if shipper.mark.rooted && shipper.lost_what_waited() {
            shipper.start_over("the log no longer holds the commit after the last shipped one");
        }
        Ok(shipper)
    }

    /// How shipping goes, now and later.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Does the next thing that is there to do, whether it is due or not.
    ///
    /// # Errors
    ///
    /// What the store, the engine or the disk says; the same step is next again then.
    pub async fn step(&mut self) -> Result<Step> {
        self.bound_backlog();
        if !self.mark.rooted && self.upload.is_none() {
            return self.begin_checkpoint().await;
        }
        if let Some(step) = self.ship_segment().await? {
            return Ok(step);
        }
        if self.upload.is_some() {
            return self.continue_upload(None).await;
        }
        if self.checkpoint_is_due() {
            return self.begin_checkpoint().await;
        }
        Ok(Step::Idle)
    }

    const fn engine(&self) -> &Engine {
        &self.source.engine
    }

    /// Whether there are commits after the last shipped one, but no log that holds them.
    fn lost_what_waited(&self) -> bool {
        let waiting = source::waiting(self.engine(), self.lineage.id, self.consumed);
        self.engine().applied().stamp != self.mark.position.stamp && waiting.is_empty()
    }

    fn now_ms(&self) -> u64 {
        self.engine().env().clock.now_ms()
    }

    fn name(&self, kind: Kind) -> String {
        Name { lineage: LineageFolder::from(self.lineage), kind }.to_string()
    }

    async fn put(&self, kind: Kind, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        self.store.put(&self.name(kind), bytes).await?;
        self.has_put(len);
        Ok(())
    }

    fn has_put(&self, len: u64) {
        self.status.send_modify(|status| {
            status.objects += 1;
            status.bytes += len;
        });
    }

    /// Refuses to go on with a lineage that another goes on from.
    async fn refuse_after_end(&mut self) -> Result<()> {
        if self.asked_for_end || self.may_not_ask {
            return Ok(());
        }
        let folder = LineageFolder::from(self.lineage);
        let prefix = format!("{LINEAGES}{folder}/groups/{}/ends/", self.settings.group);
        let page = match self.store.list(&prefix, None).await {
            // Nothing is put through a store that does not answer, and a put says that as well.
            Err(error) if error.is_transient() => return Err(error.into()),
            // Shipping may be allowed to put and nothing else.
            Err(_) => {
                self.may_not_ask = true;
                Page::default()
            }
            Ok(page) => page,
        };
        let ends = page.objects.iter().filter_map(|object| match Name::parse(&object.name)?.kind {
            Kind::End(_, end) => Some(end),
            _ => None,
        });
        let ended = ends.max();
        self.status.send_modify(|status| status.ended = ended.is_some());
        match ended {
            Some(EndName { stamp, child, .. }) => {
                Err(Error::Ended { lineage: self.lineage.id, stamp, child })
            }
            None => {
                self.asked_for_end = true;
                Ok(())
            }
        }
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

    /// Records a new mark; shipping goes on from there only once that is done.
    async fn record(&mut self, mark: Mark) -> Result<()> {
        let value = mark.as_engine_mark(self.settings.group);
        self.source.progress.record(value).await.map_err(|source| Error::Progress { source })?;
        self.mark = mark;
        Ok(())
    }

    fn consume(&mut self, version: u64) {
        self.consumed = self.consumed.max(version);
        self.source.keep.set(&self.source.engine, self.target, self.consumed);
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
        let archive = self.store.location();
        tracing::warn!(archive, %after, reason, "the archive gets a gap: shipping goes on from a new checkpoint");
        self.mark.rooted = false;
        self.mark.gap_after = Some(after).filter(|_| !bugs::seeded(Bug::GapUnrecorded));
        self.upload = None;
        self.prepared = None;
        self.status.send_modify(|status| status.gaps += 1);
        let applied = self.engine().applied();
        self.consume(applied.version);
    }

    fn owner(&self) -> Owner {
        let recipients = self.settings.recipients.digest();
        Owner { lineage: self.lineage.id, target: self.target, recipients }
    }

    /// Brings the status up to date, and adds what `change` says.
    fn tell(&self, change: impl FnOnce(&mut Status)) {
        let waiting = source::waiting(self.engine(), self.lineage.id, self.consumed);
        let (now_ms, applied) = (self.now_ms(), self.engine().applied());
        self.status.send_modify(|status| {
            status.shipped = self.mark.position.stamp;
            status.shipped_ms = self.mark.position.time_ms;
            status.committed = applied.stamp;
            status.rooted = self.mark.rooted;
            status.backlog_bytes = waiting.iter().map(|segment| segment.bytes).sum();
            let shipped_all = self.mark.position.stamp == applied.stamp;
            status.backlog_since_ms = match (shipped_all, status.backlog_since_ms) {
                (true, _) => None,
                (false, since) => since.or(Some(now_ms)),
            };
            status.checkpoint_ms = self.mark.checkpoint.map(|last| last.made_ms);
            status.checkpoint_upload = self.upload.as_ref().map(Upload::progress);
            change(status);
        });
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
