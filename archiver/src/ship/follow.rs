//! Ships a group to one target while this node is the one that does, and keeps what may have to be shipped while it is not.
//!
//! - Where to go on from stands in the group's own log, so whoever ships next knows it.
//! - A node that is not named any more stops within a moment; what it ships until then is also shipped by the next one, under other
//!   names, and does no harm.
//! - A node that does not ship keeps the segments after what is recorded as shipped, within the bound that the shipper has.
//! - The leader names who ships ([`look`]).

use super::chosen::{self, Naming, View};
use super::{Keep, ProgressLog, ProgressMark, Settings, Shipper, Source, Status, target_of};
use crate::runtime;
use crate::store::ObjectStore;
use async_trait::async_trait;
use engine::Engine;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often what is kept is looked at, who ships, and whether the engine is still the same.
pub const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A group as one of its nodes holds it.
#[async_trait]
pub trait Replica: ProgressLog {
    /// Which group.
    fn group(&self) -> u64;

    /// The engine under it. Another takes its place when a Raft snapshot is installed: it is not kept.
    fn engine(&self) -> Engine;

    /// What this node knows of the group.
    fn view(&self) -> View;
}

/// Whether this node ships a group now.
pub fn ships_now(replica: &dyn Replica) -> bool {
    replica.view().ships(named(replica))
}

fn named(replica: &dyn Replica) -> Option<u64> {
    chosen::read(&replica.engine(), replica.group())
}

/// Looks until `stopping` is true: tells `ships` whether this node ships the group and, where it leads, names who does.
pub async fn look(
    replica: Arc<dyn Replica>,
    ships: watch::Sender<bool>,
    mut stopping: watch::Receiver<bool>,
) {
    let looks = async {
        let mut naming = Naming::default();
        loop {
            let (view, named) = (replica.view(), named(&*replica));
            ships.send_replace(view.ships(named));
            if let Some(node) = naming.to_name(&view, named) {
                let group = replica.group();
                match replica.record(chosen::as_mark(group, node)).await {
                    Ok(()) => tracing::info!(group, node, "this node ships to the archive from now on"),
                    Err(error) => tracing::debug!(%error, "cannot name who ships to the archive"),
                }
            }
            runtime::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        biased;
        // Told to stop, or nobody is left to tell.
        _stopped = stopping.wait_for(|stopping| *stopping) => {}
        () = looks => {}
    }
}

/// What shipping a group to one target needs.
#[derive(Debug)]
pub struct Follower {
    /// The group.
    pub replica: Arc<dyn Replica>,
    /// The target.
    pub store: Arc<dyn ObjectStore>,
    /// How to ship.
    pub how: Settings,
    /// What all targets of the group need.
    pub keep: Keep,
    /// Whether this node ships the group.
    pub ships: watch::Receiver<bool>,
    /// Told how it goes.
    pub status: watch::Sender<Status>,
}

impl Follower {
    /// Ships or keeps until `stopping` is true; returns the shipper if this node was shipping then.
    pub async fn run(self, mut stopping: watch::Receiver<bool>) -> Option<Shipper> {
        loop {
            if *stopping.borrow() {
                // What was written just now is still to be shipped.
                return if ships_now(&*self.replica) { self.shipper() } else { None };
            }
            if !*self.ships.borrow() {
                self.keep();
                tokio::select! {
                    biased;
                    _stopped = stopping.wait_for(|stopping| *stopping) => {}
                    () = runtime::sleep(LOOK_EVERY) => {}
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
        let engine = self.replica.engine();
        let Some(mut shipper) = self.shipper() else {
            runtime::sleep(LOOK_EVERY).await;
            return None;
        };
        let (end, ending) = watch::channel(false);
        let mut shown = shipper.status();
        let mut shipping = Box::pin(async move {
            shipper.run(ending).await;
            shipper
        });
        let mut look = Box::pin(runtime::sleep(LOOK_EVERY));
        let mut stopped = false;
        let shipper = loop {
            tokio::select! {
                biased;
                shipper = &mut shipping => break shipper,
                () = &mut look => look = Box::pin(runtime::sleep(LOOK_EVERY)),
                _stopped = stopping.wait_for(|stopping| *stopping), if !stopped => stopped = true,
                Ok(()) = shown.changed() => {
                    self.status.send_replace(shown.borrow_and_update().clone());
                }
            }
            let is_ours = *self.ships.borrow() && is_same(&self.replica.engine(), &engine);
            if stopped || !is_ours {
                end.send_replace(true);
            }
        };
        stopped.then_some(shipper)
    }

    fn shipper(&self) -> Option<Shipper> {
        let progress: Arc<dyn ProgressLog> = Arc::clone(&self.replica) as Arc<dyn ProgressLog>;
        let source = Source { engine: self.replica.engine(), progress, keep: self.keep.clone() };
        let made = Shipper::new(source, Arc::clone(&self.store), self.how.clone());
        made.inspect_err(|error| tracing::warn!(%error, "cannot begin to ship")).ok()
    }

    /// Keeps what comes after what is shipped, and says how far that is.
    pub fn keep(&self) {
        let engine = self.replica.engine();
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
