//! The program that counts: a whole node, with settings so small that everything happens often.
//!
//! Each start draws some settings anew, as a person changes them from one start to the next.

use super::host::{Boot, Position, Program};
use crate::runtime::sim::{self, SplitMix};
use crate::runtime::{sleep, spawn};
use crate::transport::{Service, Transport};
use crate::{Change, Group, GroupOptions, Inbox, LogOptions, Node, NodeOptions, Timing};
use async_trait::async_trait;
use engine::{Budget, BudgetOptions, Mark, Options};
use std::sync::Arc;
use std::time::Duration;

/// How long a change of members is waited for before it is asked for again.
const CHANGE_MAX: Duration = Duration::from_secs(8);
/// How long a probe is waited for.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// Steps of flushes and compactions at one moment, at most.
const STEPS_MAX: usize = 16;

/// The program: a node with a catalog and one data group.
#[derive(Debug, Clone)]
pub struct Server {
    timing: Timing,
    history_ms: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self { timing: Timing::default(), history_ms: Options::default().history_ms }
    }
}

impl Server {
    /// With heartbeats and elections of another speed.
    #[must_use]
    pub fn with_timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// With versions that can be read for so long.
    #[must_use]
    pub fn with_history_ms(self, history_ms: u64) -> Self {
        Self { history_ms, ..self }
    }

    fn options(&self, boot: &Boot, random: &mut SplitMix) -> NodeOptions {
        NodeOptions {
            peer: boot.peer.clone(),
            joins: boot.joins,
            timing: self.timing,
            group: group_options(random),
            engine: self.engine_options(random),
            log: log_options(boot, random),
            ..NodeOptions::alone(boot.node)
        }
    }

    fn engine_options(&self, random: &mut SplitMix) -> Options {
        Options {
            memtable_bytes_max: 1 << between(random, 13, 17),
            block_bytes: 1 << between(random, 7, 12),
            table_bytes: 1 << between(random, 12, 16),
            level0_tables_max: 2 + between(random, 0, 6),
            level1_bytes: 1 << between(random, 14, 18),
            segment_bytes_max: 1 << between(random, 12, 17),
            segment_age_ms_max: 1 << between(random, 6, 13),
            history_ms: self.history_ms,
            disk_reserve_bytes: Some(1 << between(random, 14, 19)),
            ..Options::default()
        }
    }
}

/// Files so small that raft-engine begins new ones, and collects old ones, all the time.
fn log_options(boot: &Boot, random: &mut SplitMix) -> LogOptions {
    let file_bytes = 1 << between(random, 12, 18);
    LogOptions {
        file_bytes,
        purge_bytes: file_bytes << between(random, 1, 3),
        mirror: Some(boot.mirror.clone()),
    }
}

fn group_options(random: &mut SplitMix) -> GroupOptions {
    let kept = 1 << between(random, 10, 16);
    GroupOptions {
        log_bytes_kept: kept,
        log_bytes_max: kept << between(random, 0, 4),
        upkeep: Duration::from_millis(1 << between(random, 5, 11)),
        ..GroupOptions::default()
    }
}

/// A number from `min` to `max`, inclusive.
fn between(random: &mut SplitMix, min: usize, max: usize) -> usize {
    min + usize::try_from(random.below((max - min + 1) as u64)).unwrap_or_default()
}

#[async_trait]
impl Program for Server {
    type Process = Node;

    async fn start(&self, boot: Boot) -> Result<Node, String> {
        let options = self.options(&boot, &mut sim::fork_random());
        let budget = Budget::new(BudgetOptions { memory_bytes_max: 4 << 20, ..BudgetOptions::default() });
        let budget = budget.map_err(|error| text_of(&error))?;
        let inbox = Inbox::new();
        boot.endpoint.listen(&boot.peer.address, Arc::clone(&inbox) as Arc<dyn Service>);
        let transport = Arc::clone(&boot.endpoint) as Arc<dyn Transport>;
        let node = Node::open(boot.env, &boot.dir, options, &budget, transport, inbox).await;
        let node = node.map_err(|error| text_of(&error))?;
        for group in node.groups() {
            spawn(upkeep(group));
        }
        Ok(node)
    }

    async fn close(&self, node: Node) {
        if let Err(error) = node.close().await {
            tracing::info!(error = text_of(&error), "a node did not close in order");
        }
    }

    async fn failure(&self, node: Node) -> String {
        node.failure().await
    }

    async fn change(&self, node: Node, change: Change) -> Result<(), String> {
        for group in node.groups() {
            group.change(change.clone(), CHANGE_MAX).await.map_err(|error| text_of(&error))?;
        }
        Ok(())
    }

    async fn probe(&self, node: Node) -> Result<(), String> {
        for group in node.groups() {
            let mark = Mark { name: b"probe".to_vec(), value: sim::random_u64().to_be_bytes().to_vec() };
            group.record(mark, PROBE_MAX).await.map_err(|error| text_of(&error))?;
            group.barrier(PROBE_MAX).await.map_err(|error| text_of(&error))?;
        }
        Ok(())
    }

    fn position(&self, node: &Node) -> Position {
        let statuses = node.groups().into_iter().map(|group| group.status());
        statuses.map(|status| (status.version, status.hash)).collect()
    }
}

/// Makes the steps that threads make elsewhere. Ends when the engine does.
async fn upkeep(group: Group) {
    loop {
        sleep(Duration::from_micros(sim::below(50_000))).await;
        let engine = group.engine();
        for _ in 0..STEPS_MAX {
            match (engine.maintain(), engine.compact()) {
                (Ok(engine::Progress::Idle), Ok(engine::Progress::Idle)) => break,
                (Ok(_), Ok(_)) => {}
                (maintained, compacted) => {
                    for error in [maintained.err(), compacted.err()].into_iter().flatten() {
                        tracing::info!(error = text_of(&error), "an engine has stopped");
                    }
                    return;
                }
            }
        }
    }
}

/// An error and what caused it.
fn text_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
