//! Ships while this node leads the group, and keeps what may have to be shipped while it does not.
//!
//! - Where to go on from stands in the group's own log, so whoever leads next knows it.
//! - A deposed leader stops within a moment; what it ships until then is also shipped by the next one, under other names, and
//!   does no harm.
//! - A node that does not lead keeps the segments after what is recorded as shipped, within the bound that the shipper has.

use super::GROUP;
use crate::database::Database;
use archiver::ship::{Keep, ProgressMark, Settings, Shipper, Source, Status, target_of};
use archiver::store::ObjectStore;
use engine::Engine;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often it is looked at who leads.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What shipping needs.
pub(super) struct Follower {
    pub(super) database: Database,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) how: Settings,
    pub(super) keep: Keep,
    pub(super) status: watch::Sender<Status>,
}

impl Follower {
    /// Ships or keeps until `stopping` is true; returns the shipper if this node was shipping then.
    pub(super) async fn run(self, mut stopping: watch::Receiver<bool>) -> Option<Shipper> {
        loop {
            if *stopping.borrow() {
                // What was written just now is still to be shipped.
                return if self.database.group().leads() { self.shipper() } else { None };
            }
            if !self.database.group().leads() {
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

    /// Ships while this node leads; returns the shipper when it was told to stop.
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
            let is_ours = self.database.group().leads() && is_same(&self.database.engine(), &engine);
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

    /// Keeps what comes after what is shipped.
    pub(super) fn keep(&self) {
        let engine = self.database.engine();
        let target = target_of(&self.store.location());
        let shipped = ProgressMark::read(&engine, GROUP, target).map_or(0, |mark| mark.shipped().version());
        let waiting: u64 = engine.sealed_segments().iter().map(|segment| segment.bytes).sum();
        let kept = (waiting <= self.how.backlog_bytes_max).then_some(shipped);
        self.keep.set(&engine, target, kept.unwrap_or(engine.applied().version));
    }
}

/// Whether two handles are of one engine.
fn is_same(one: &Engine, other: &Engine) -> bool {
    one.dir() == other.dir()
}
