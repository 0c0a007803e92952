//! A cluster that is one database in memory: nodes that are behind, answers that are late or get lost, and bugs on demand.

use crate::AtomicWrite;
use crate::check::toy::Toy;
use crate::check::{Last, Message, Moment, Row, Seen, Selection, Written};
use crate::runtime::sim::{self, clock};
use crate::sim::workload::{Ask, Client, Shown, Watching};
use crate::{MutationKind, Outcome, runtime};
use async_trait::async_trait;
use engine::Versionstamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NODES: u64 = 3;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A write is acknowledged and not done.
    Lost,
    /// A write is done twice.
    Twice,
    /// A write is done half.
    Half,
    /// A write is done that is said not to have been.
    Denied,
    /// Checks are not looked at.
    ChecksIgnored,
    /// A strong read asks a replica that may be behind.
    NoBarrier,
    /// A read at a stamp sees the commit before.
    StampOffByOne,
    /// A deleted key comes back.
    Tombstone,
    /// An eventual read shows a write that never is.
    Uncommitted,
    /// A replica is older than it says.
    Staleness,
    /// A range stops one row early.
    ShortRange,
    /// A watch goes back.
    WatchBack,
    /// A watch goes deaf.
    WatchDeaf,
    /// What has expired is still there.
    Expiry,
}

impl Bug {
    pub(super) const ALL: [Bug; 14] = [
        Bug::Lost,
        Bug::Twice,
        Bug::Half,
        Bug::Denied,
        Bug::ChecksIgnored,
        Bug::NoBarrier,
        Bug::StampOffByOne,
        Bug::Tombstone,
        Bug::Uncommitted,
        Bug::Staleness,
        Bug::ShortRange,
        Bug::WatchBack,
        Bug::WatchDeaf,
        Bug::Expiry,
    ];
}

#[derive(Debug)]
struct Inner {
    toy: Toy,
    /// The version that each node has applied.
    applied: BTreeMap<u64, u64>,
    /// When each version was made, in milliseconds of the simulation.
    made_ms: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct MemoryCluster {
    inner: Arc<Mutex<Inner>>,
    bug: Option<Bug>,
}

fn now_ms() -> u64 {
    u64::try_from(sim::elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn travel() {
    runtime::sleep(Duration::from_millis(sim::below(20))).await;
}

impl MemoryCluster {
    pub(super) fn new(bug: Option<Bug>) -> Self {
        let applied = (1..=NODES).map(|node| (node, 0)).collect();
        Self { inner: Arc::new(Mutex::new(Inner { toy: Toy::new(), applied, made_ms: vec![0] })), bug }
    }

    fn has(&self, bug: Bug, one_in: u64) -> bool {
        self.bug == Some(bug) && sim::below(one_in) == 0
    }

    fn apply(&self, mut write: AtomicWrite) -> Written {
        let mut inner = self.inner.lock();
        if self.has(Bug::Lost, 50) {
            return Written::Committed(Versionstamp::new(inner.toy.applied.version, 1));
        }
        if self.has(Bug::ChecksIgnored, 5) {
            write.checks.clear();
        }
        if self.has(Bug::Half, 50) && write.mutations.len() > 2 {
            write.mutations.remove(1);
        }
        let mut outcome = inner.commit(write.clone());
        if self.has(Bug::Twice, 50) {
            inner.commit(write);
        }
        if self.has(Bug::Denied, 50) && matches!(outcome, Written::Committed(_)) {
            outcome = Written::Not;
        }
        outcome
    }

    fn rows(&self, selection: &Selection, at: Versionstamp, time_ms: u64) -> Vec<Row> {
        let inner = self.inner.lock();
        let time_ms = if self.bug == Some(Bug::Expiry) { time_ms.saturating_sub(200) } else { time_ms };
        let mut rows = inner.toy.rows(selection, at, time_ms);
        if rows.is_empty() && selection.limit == 1 && self.has(Bug::Tombstone, 10) {
            let before = Versionstamp::new(at.version().saturating_sub(5), 0);
            rows = inner.toy.rows(selection, before, time_ms);
        }
        if rows.len() > 1 && self.has(Bug::ShortRange, 20) {
            rows.pop();
        }
        rows
    }

    fn seen(&self, selections: &[Selection], at: Versionstamp, time_ms: u64) -> Seen {
        let mut rows: Vec<_> = selections.iter().map(|selection| self.rows(selection, at, time_ms)).collect();
        if self.has(Bug::Uncommitted, 30)
            && let Some(row) = rows.iter_mut().flatten().next()
        {
            row.stamp = Versionstamp::new(at.version() + 1, 7);
        }
        let stamp = (sim::below(2) == 0).then_some(at);
        Seen { stamp, time_ms: Some(time_ms), rows }
    }

    /// The state of a node, a bit newer than when last asked.
    fn replica(&self, node: u64) -> (Versionstamp, u64) {
        let mut inner = self.inner.lock();
        let (newest, had) = (inner.toy.applied.version, inner.applied[&node]);
        let has = had + sim::below(newest - had + 1);
        inner.applied.insert(node, has);
        let missing = usize::try_from(has + 1).unwrap_or(usize::MAX);
        let staleness_ms = inner.made_ms.get(missing).map_or(0, |made_ms| now_ms() + 1 - made_ms);
        let told = if self.bug == Some(Bug::Staleness) { 0 } else { staleness_ms };
        (inner.toy.commit_at(has), told)
    }
}

impl Inner {
    fn commit(&mut self, write: AtomicWrite) -> Written {
        let outcome = self.toy.write(clock::wall_ms(sim::current()), vec![write]).remove(0);
        self.made_ms.push(now_ms());
        match outcome {
            Outcome::Committed(stamp) => Written::Committed(stamp),
            Outcome::ChecksFailed(indexes) => Written::ChecksFailed(indexes),
            Outcome::Refused(_) => Written::Refused,
        }
    }
}

#[async_trait]
impl Client for MemoryCluster {
    fn nodes(&self) -> Vec<u64> {
        (1..=NODES).collect()
    }

    async fn write(&self, _node: u64, write: AtomicWrite) -> Written {
        let suffixed = |mutation: &crate::Mutation| matches!(mutation.kind, MutationKind::SetSuffixed { .. });
        assert!(write.mutations.iter().any(suffixed), "every write has its note");
        travel().await;
        match sim::below(40) {
            0 => return Written::Not,
            1 => return Written::Unknown,
            2 => {
                let late = self.clone();
                runtime::spawn(async move {
                    travel().await;
                    late.apply(write);
                });
                return Written::Unknown;
            }
            _ => {}
        }
        let outcome = self.apply(write);
        travel().await;
        if sim::below(40) == 0 { Written::Unknown } else { outcome }
    }

    async fn read(&self, node: u64, ask: Ask, selections: Vec<Selection>) -> Option<Shown> {
        travel().await;
        let (replica, staleness_ms) = self.replica(node);
        let newest = self.inner.lock().toy.applied.stamp;
        let now_ms = clock::wall_ms(sim::current());
        let shown = match ask {
            Ask::At(stamp) => {
                let off = if self.bug == Some(Bug::StampOffByOne) { 1 } else { 0 };
                let at = Versionstamp::new(stamp.version() - off, u16::MAX);
                let time_ms = self.inner.lock().toy.time_at(stamp);
                Shown { seen: self.seen(&selections, at, time_ms), staleness_ms: None }
            }
            Ask::Strong if !self.has(Bug::NoBarrier, 3) => {
                Shown { seen: self.seen(&selections, newest, now_ms), staleness_ms: None }
            }
            Ask::Strong | Ask::Eventual => {
                Shown { seen: self.seen(&selections, replica, now_ms), staleness_ms: Some(staleness_ms) }
            }
        };
        travel().await;
        Some(shown)
    }

    async fn watch(&self, node: u64, keys: Vec<Vec<u8>>) -> Option<Box<dyn Watching>> {
        travel().await;
        let newest = self.inner.lock().toy.applied.version;
        let mut inner = self.inner.lock();
        inner.applied.insert(node, newest);
        drop(inner);
        Some(Box::new(Watch { cluster: self.clone(), node, keys, said: None }))
    }

    async fn last(&self, _node: u64) -> Option<Last> {
        Some(self.inner.lock().toy.last())
    }
}

struct Watch {
    cluster: MemoryCluster,
    node: u64,
    keys: Vec<Vec<u8>>,
    said: Option<Vec<Option<Row>>>,
}

impl Watch {
    fn rows(&self, at: Versionstamp) -> Vec<Option<Row>> {
        let row = |key: &Vec<u8>| self.cluster.inner.lock().toy.rows(&Selection::key(key), at, 0).pop();
        self.keys.iter().map(row).collect()
    }
}

#[async_trait]
impl Watching for Watch {
    async fn next(&mut self) -> Option<Message> {
        loop {
            runtime::sleep(Duration::from_millis(2)).await;
            let (mut at, _) = self.cluster.replica(self.node);
            if self.cluster.has(Bug::WatchBack, 100) {
                at = Versionstamp::last_of(at.version().saturating_sub(10));
            }
            let rows = self.rows(at);
            let deaf = self.cluster.bug == Some(Bug::WatchDeaf) && sim::elapsed() > Duration::from_secs(15);
            if self.said.as_ref() == Some(&rows) || (deaf && self.said.is_some()) {
                continue;
            }
            self.said = Some(rows.clone());
            return Some(Message { at: Moment::default(), stamp: None, time_ms: Some(0), rows });
        }
    }
}
