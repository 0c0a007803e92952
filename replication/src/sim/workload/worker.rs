//! One client that writes and reads, one thing after the other.

use super::client::{Ask, Client, Shown};
use super::memory::Memory;
use super::{PATIENCE, Phase, SETUP_TRIES_MAX, Shared, draw};
use crate::AtomicWrite;
use crate::check::{Action, Level, Selection, Written};
use crate::runtime::sim::SplitMix;
use crate::runtime::{self, watch};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A worker stays with a node for this many operations on average.
const STAY: u64 = 12;
/// Clocks differ by this much when a staleness is judged: one that is as slow as a trial makes any counts a twentieth less than
/// has passed.
const STALENESS_SLACK: u64 = 19;
/// And a little.
const STALENESS_SLACK_NS: u64 = 5_000_000;

/// A client that writes and reads.
pub(super) struct Worker<C> {
    number: u64,
    node: u64,
    random: SplitMix,
    memory: Memory,
    shared: Arc<Shared<C>>,
    think_max: Duration,
}

impl<C: Client> Worker<C> {
    pub(super) fn new(number: u64, random: SplitMix, shared: Arc<Shared<C>>, think_max: Duration) -> Self {
        Self { number, node: 0, random, memory: Memory::default(), shared, think_max }
    }

    /// Works until the phase is over.
    pub(super) async fn run(mut self, phases: watch::Receiver<Phase>) {
        let working = || *phases.borrow() == Phase::Work;
        self.change_node();
        for _ in 0..SETUP_TRIES_MAX {
            let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
            let outcome = self.write(id, draw::setup(id)).await;
            if !working() || matches!(outcome, Written::Committed(_) | Written::ChecksFailed(_)) {
                break;
            }
            self.change_node();
            self.think().await;
        }
        while working() {
            self.think().await;
            if self.random.below(STAY) == 0 {
                self.change_node();
            }
            if !self.step().await {
                self.change_node();
            }
        }
    }

    fn change_node(&mut self) {
        let nodes = self.shared.client.nodes();
        let count = u64::try_from(nodes.len()).unwrap_or(1);
        let index = usize::try_from(self.random.below(count)).unwrap_or(0);
        self.node = nodes.get(index).copied().unwrap_or_default();
    }

    async fn think(&mut self) {
        let most = u64::try_from(self.think_max.as_micros()).unwrap_or(u64::MAX);
        runtime::sleep(Duration::from_micros(self.random.below(most + 1))).await;
    }

    /// One operation; false when the node gave no good answer.
    async fn step(&mut self) -> bool {
        match self.random.below(20) {
            0..=9 => {
                let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
                let write = draw::write(&mut self.random, &self.memory, id);
                !matches!(self.write(id, write).await, Written::Unknown | Written::Not)
            }
            10..=13 => self.read(Ask::Strong).await,
            14..=17 => self.read(Ask::Eventual).await,
            _ => match self.memory.any_stamp(self.random.next_u64()) {
                Some(stamp) => self.read(Ask::At(stamp)).await,
                None => self.read(Ask::Eventual).await,
            },
        }
    }

    async fn write(&mut self, id: u64, write: AtomicWrite) -> Written {
        let shared = self.shared.clone();
        let open = shared.recorder.write(self.number, self.node, shared.now_ns(), id, write.clone());
        let answer = runtime::timeout(PATIENCE, shared.client.write(self.node, write)).await;
        let outcome = answer.unwrap_or(Written::Unknown);
        shared.recorder.answered(&open, shared.now_ns(), outcome.clone());
        if let Written::Committed(stamp) = &outcome {
            self.memory.stamp(*stamp);
        }
        outcome
    }

    async fn read(&mut self, ask: Ask) -> bool {
        let selections = draw::selections(&mut self.random);
        let shared = self.shared.clone();
        let invoked = shared.recorder.moment(shared.now_ns());
        let answer = runtime::timeout(PATIENCE, shared.client.read(self.node, ask, selections.clone())).await;
        let Ok(Some(Shown { seen, staleness_ms })) = answer else { return false };
        if !matches!(ask, Ask::At(_)) {
            self.remember(&selections, &seen.rows);
            self.memory.time_ms = self.memory.time_ms.max(seen.time_ms.unwrap_or(0));
        }
        let level = match ask {
            Ask::Strong => Level::Strong,
            Ask::At(stamp) => Level::At(stamp),
            Ask::Eventual => Level::Eventual { staleness_ns: staleness_ms.map(with_slack) },
        };
        let action = Action::Read { level, selections, seen };
        shared.recorder.read(self.number, self.node, invoked, shared.now_ns(), action);
        true
    }

    fn remember(&mut self, selections: &[Selection], rows: &[Vec<crate::check::Row>]) {
        for (selection, rows) in selections.iter().zip(rows) {
            if rows.len() < selection.limit {
                self.memory.saw(&selection.start, &selection.end, rows);
            }
        }
    }
}

fn with_slack(staleness_ms: u64) -> u64 {
    let ns = staleness_ms.saturating_mul(1_000_000);
    ns.saturating_add(ns / STALENESS_SLACK).saturating_add(STALENESS_SLACK_NS)
}
