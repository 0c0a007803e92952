//! A client of the data group of simulated nodes.
//!
//! - A request runs as a task of the machine that is asked, as that of a server does; it ends with it, and then nobody
//!   knows what became of it.
//! - Keys are those of the default database; what the nodes keep for themselves is not looked at.

use super::client::{Ask, Client, Shown, Watching};
use crate::check::{Last, Message, Moment, Row, Seen, Selection, Written, journal};
use crate::runtime::JoinHandle;
use crate::runtime::sim::Machine;
use crate::sim::cluster::Cluster;
use crate::sim::host::Program;
use crate::{
    AtomicWrite, DEFAULT_DATABASE, Group, GroupId, Node, Outcome, RequestId, Subscription, WriteError,
    engine_key,
};
use async_trait::async_trait;
use engine::{Direction, Snapshot};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a node tries; less than a client waits.
const WITHIN: Duration = Duration::from_secs(4);
/// What a write counts as waiting, in bytes.
const WRITE_BYTES: usize = 512;
/// Messages of a watch that wait for the watcher, at most.
const MESSAGES_MAX: usize = 64;

/// Asks the nodes of a cluster.
pub struct Groups<P: Program<Process = Node>> {
    cluster: Cluster<P>,
}

impl<P: Program<Process = Node>> Groups<P> {
    /// A client of this cluster.
    pub fn new(cluster: Cluster<P>) -> Self {
        Self { cluster }
    }

    /// Runs something on a machine, with its data group.
    fn run<T, F>(
        &self,
        machine: u64,
        work: impl FnOnce(Group) -> F + Send + 'static,
    ) -> Option<JoinHandle<Option<T>>>
    where
        F: Future<Output = Option<T>> + Send,
        T: Send + 'static,
    {
        self.cluster.host(Machine(machine)).run(move |node: Node| async move {
            let group = node.group(GroupId::FIRST)?;
            work(group).await
        })
    }

    async fn ask<T, F>(&self, machine: u64, work: impl FnOnce(Group) -> F + Send + 'static) -> Option<T>
    where
        F: Future<Output = Option<T>> + Send,
        T: Send + 'static,
    {
        self.run(machine, work)?.await.ok().flatten()
    }
}

#[async_trait]
impl<P: Program<Process = Node>> Client for Groups<P> {
    fn nodes(&self) -> Vec<u64> {
        self.cluster.machines().iter().map(|machine| machine.0).collect()
    }

    async fn write(&self, node: u64, write: AtomicWrite) -> Written {
        let asked = self.run(node, move |group| async move {
            let request: RequestId = group.request_id();
            Some(group.write(AtomicWrite { request, ..write }, WRITE_BYTES, WITHIN).await)
        });
        match asked {
            // Nobody was there to take it.
            None => Written::Not,
            Some(answer) => answer.await.ok().flatten().map_or(Written::Unknown, written),
        }
    }

    async fn read(&self, node: u64, ask: Ask, selections: Vec<Selection>) -> Option<Shown> {
        self.ask(node, move |group| async move {
            if ask != Ask::Eventual {
                group.barrier(WITHIN).await.ok()?;
            }
            let staleness_ms = group.staleness_ms();
            let snapshot = match ask {
                Ask::At(stamp) => group.engine().snapshot_at(stamp).ok()?,
                Ask::Strong | Ask::Eventual => group.snapshot(),
            };
            Some(Shown { seen: seen(&snapshot, &selections)?, staleness_ms })
        })
        .await
    }

    async fn watch(&self, node: u64, keys: Vec<Vec<u8>>) -> Option<Box<dyn Watching>> {
        let (sender, messages) = mpsc::channel(MESSAGES_MAX);
        let task = self.run(node, move |group| async move {
            group.barrier(WITHIN).await.ok()?;
            let subscription = group.subscribe(keys.clone())?;
            tell(&group, &subscription, &keys, &sender).await
        })?;
        Some(Box::new(Watch { messages, _task: task.abort_on_drop() }))
    }

    async fn last(&self, node: u64) -> Option<Last> {
        self.ask(node, |group| async move {
            group.barrier(WITHIN).await.ok()?;
            let (engine, snapshot) = (group.engine(), group.snapshot());
            let all = Selection::prefix(&engine_key(DEFAULT_DATABASE, b""));
            let rows = rows(&snapshot, &all)?;
            let notes = journal::prefix(DEFAULT_DATABASE);
            let versions =
                rows.iter().filter(|row| row.key.starts_with(&notes)).map(|row| row.stamp.version());
            let times_ms = versions.filter_map(|version| Some((version, engine.time_at(version)?))).collect();
            Some(Last { rows, time_ms: Some(snapshot.time_ms()), times_ms })
        })
        .await
    }
}

fn written(answer: Result<Outcome, WriteError>) -> Written {
    match answer {
        Ok(Outcome::Committed(stamp)) => Written::Committed(stamp),
        Ok(Outcome::ChecksFailed(indexes)) => Written::ChecksFailed(indexes),
        Ok(Outcome::Refused(_)) => Written::Refused,
        Err(WriteError::Unknown(_)) => Written::Unknown,
        Err(
            WriteError::DiskFull { .. }
            | WriteError::Storage(_)
            | WriteError::Unavailable(_)
            | WriteError::Stopping,
        ) => Written::Not,
    }
}

fn seen(snapshot: &Snapshot, selections: &[Selection]) -> Option<Seen> {
    let rows: Option<_> = selections.iter().map(|selection| rows(snapshot, selection)).collect();
    Some(Seen { stamp: Some(snapshot.stamp()), time_ms: Some(snapshot.time_ms()), rows: rows? })
}

/// The rows of a selection; `None` when the disk fails.
fn rows(snapshot: &Snapshot, selection: &Selection) -> Option<Vec<Row>> {
    let direction = if selection.reverse { Direction::Reverse } else { Direction::Forward };
    let range = snapshot.range(&selection.start, &selection.end, direction).ok()?;
    let row = |entry: engine::KeyValue| Row {
        key: entry.key.to_vec(),
        value: entry.value.bytes.to_vec(),
        stamp: entry.value.stamp,
    };
    range.take(selection.limit).map(|entry| entry.ok().map(row)).collect()
}

/// Says what is there, and then again whenever it has changed, as the server does.
async fn tell(
    group: &Group,
    subscription: &Subscription,
    keys: &[Vec<u8>],
    sender: &mpsc::Sender<Message>,
) -> Option<()> {
    let mut said = None;
    loop {
        let snapshot = group.snapshot();
        let shown: Option<Vec<Option<Row>>> =
            keys.iter().map(|key| Some(rows(&snapshot, &Selection::key(key))?.pop())).collect();
        let shown = shown?;
        if said.as_ref() != Some(&shown) {
            let (stamp, time_ms) = (Some(snapshot.stamp()), Some(snapshot.time_ms()));
            let message = Message { at: Moment::default(), stamp, time_ms, rows: shown.clone() };
            sender.send(message).await.ok()?;
            said = Some(shown);
        }
        drop(snapshot);
        subscription.woken().await;
    }
}

struct Watch {
    messages: mpsc::Receiver<Message>,
    _task: crate::runtime::AbortOnDrop<Option<()>>,
}

#[async_trait]
impl Watching for Watch {
    async fn next(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}
