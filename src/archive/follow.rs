//! Ships a group to one target while this node is the one that does, and keeps what may have to be shipped while it is not.
//!
//! - Where to go on from stands in the group's own log, so whoever ships next knows it.
//! - A node that is not named any more stops within a moment; what it ships until then is also shipped by the next one, under other
//!   names, and does no harm.
//! - A node that does not ship keeps the segments after what is recorded as shipped, within the bound that the shipper has.

use crate::database::Database;
use archiver::ship::{Keep, ProgressMark, Settings, Shipper, Source, Status, target_of};
use archiver::store::ObjectStore;
use engine::Engine;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often what is kept is looked at, and whether the engine is still the same.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What shipping to one target needs.
pub(super) struct Follower {
    pub(super) database: Database,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) how: Settings,
    /// What all targets of the group need.
    pub(super) keep: Keep,
    /// Whether this node ships the group.
    pub(super) ships: watch::Receiver<bool>,
    pub(super) status: watch::Sender<Status>,
}

impl Follower {
    /// Ships or keeps until `stopping` is true; returns the shipper if this node was shipping then.
    pub(super) async fn run(self, mut stopping: watch::Receiver<bool>) -> Option<Shipper> {
        loop {
            if *stopping.borrow() {
                // What was written just now is still to be shipped.
                return if super::shipper::ships_now(&self.database) { self.shipper() } else { None };
            }
            if !*self.ships.borrow() {
                self.keep();
                tokio::select! {
                    _stopped = stopping.wait_for(|stopping| *stopping) => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                continue;
            }
            if let Some(shipper) = self.ship(&mut stopping).await {
                return Some(shipper);
            }
        }
    }

    /// Ships while this node is to; returns the shipper when it was told to stop.
    async fn ship(&self, stopping: &mut watch::Receiver<bool>) -> Option<Shipper> {
        let engine = self.database.engine();
        let Some(mut shipper) = self.shipper() else {
            tokio::time::sleep(LOOK_EVERY).await;
            return None;
        };
        let (end, ending) = watch::channel(false);
        let mut shown = shipper.status();
        let mut shipping = Box::pin(async move {
            shipper.run(ending).await;
            shipper
        });
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut stopped = false;
        let shipper = loop {
            tokio::select! {
                shipper = &mut shipping => break shipper,
                _now = looks.tick() => {}
                _stopped = stopping.wait_for(|stopping| *stopping), if !stopped => stopped = true,
                Ok(()) = shown.changed() => {
                    self.status.send_replace(shown.borrow_and_update().clone());
                }
            }
            let is_ours = *self.ships.borrow() && is_same(&self.database.engine(), &engine);
            if stopped || !is_ours {
                end.send_replace(true);
            }
        };
        stopped.then_some(shipper)
    }

    fn shipper(&self) -> Option<Shipper> {
        let progress = Arc::new(self.database.clone());
        let source = Source { engine: self.database.engine(), progress, keep: self.keep.clone() };
        let made = Shipper::new(source, Arc::clone(&self.store), self.how.clone());
        made.inspect_err(|error| tracing::warn!(%error, "cannot begin to ship")).ok()
    }

    /// Keeps what comes after what is shipped, and says how far that is.
    pub(super) fn keep(&self) {
        let engine = self.database.engine();
        let target = target_of(&self.store.location());
        let mark = ProgressMark::read(&engine, self.how.group, target);
        let shipped = mark.as_ref().map(ProgressMark::shipped).unwrap_or_default();
        let waiting: u64 = engine.sealed_segments().iter().map(|segment| segment.bytes).sum();
        let kept = (waiting <= self.how.backlog_bytes_max).then_some(shipped.version());
        self.keep.set(&engine, target, kept.unwrap_or(engine.applied().version));
        self.status.send_modify(|status| {
            *status = Status {
                shipped,
                shipped_ms: mark.map_or(0, |mark| mark.shipped_ms()),
                committed: engine.applied().stamp,
                objects: status.objects,
                bytes: status.bytes,
                gaps: status.gaps,
                ..Status::default()
            };
        });
    }
}

/// Whether two handles are of one engine.
fn is_same(one: &Engine, other: &Engine) -> bool {
    one.dir() == other.dir()
}
