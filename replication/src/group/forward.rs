//! Carries writes of this node to the leader.
//!
//! - What waits goes as one message; some messages are on their way at once.
//! - A message whose answer does not come is sent again to the same leader of the same term, which takes each write
//!   once. When another leader is known, it is dropped: those who wait learn from the log that nothing came of it.

use super::leader::Leader;
use super::{Core, Work};
use crate::message::{Answer, Proposals, Request};
use crate::pending::Verdict;
use crate::runtime;
use crate::transport::Channel;
use crate::{AtomicWrite, Entry, WriteError};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Messages on their way at once, at most.
const MESSAGES_MAX: usize = 4;
/// Writes in one message, at most.
const WRITES_MAX: usize = 1_024;
/// Bytes of writes in one message, about, at most, unless one write alone is larger.
const BYTES_MAX: usize = 4 << 20;
/// How long an answer is waited for before the message is sent again, in milliseconds.
const ANSWER_MS_MAX: u64 = 1_000;
/// Pause before that, in milliseconds.
const RETRY_MS: u64 = 20;

/// Something to forward.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) leader: Leader,
    pub(super) work: Work,
    pub(super) counter: u64,
    pub(super) _room: Arc<OwnedSemaphorePermit>,
}

/// Forwards what comes until the group ends.
pub(super) async fn run(core: Arc<Core>, mut items: mpsc::Receiver<Item>) {
    let mut on_the_way: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut ahead = None;
    loop {
        while on_the_way.len() >= MESSAGES_MAX {
            on_the_way.next().await;
        }
        let first = match ahead.take() {
            Some(item) => item,
            None if on_the_way.is_empty() => match items.recv().await {
                Some(item) => item,
                None => return,
            },
            None => tokio::select! {
                biased;
                _done = on_the_way.next() => continue,
                item = items.recv() => match item {
                    Some(item) => item,
                    None => return,
                },
            },
        };
        let (batch, next) = fill(first, &mut items);
        ahead = next;
        on_the_way.push(Box::pin(forward(Arc::clone(&core), batch)));
    }
}

fn fill(first: Item, items: &mut mpsc::Receiver<Item>) -> (Vec<Item>, Option<Item>) {
    let (leader, mut bytes) = (first.leader, first._room.num_permits());
    let mut batch = vec![first];
    while batch.len() < WRITES_MAX {
        let Ok(item) = items.try_recv() else { break };
        bytes += item._room.num_permits();
        if item.leader != leader || bytes > BYTES_MAX {
            return (batch, Some(item));
        }
        batch.push(item);
    }
    (batch, None)
}

async fn forward(core: Arc<Core>, batch: Vec<Item>) {
    let Some(leader) = batch.first().map(|item| item.leader) else { return };
    let counters: Vec<u64> = batch.iter().map(|item| item.counter).collect();
    let (mut writes, mut entries): (Vec<AtomicWrite>, Vec<Entry>) = (Vec::new(), Vec::new());
    for item in batch {
        match item.work {
            Work::Write(write) => writes.push(write),
            Work::Entry(entry) => entries.push(entry),
        }
    }
    let pending = core.replica.pending();
    let request = Request::Propose(Proposals {
        term: leader.term,
        node: core.node.0,
        boot: core.replica.boot(),
        floor: pending.floor(),
        writes,
        entries,
    });
    let bytes = request.encode(core.id);
    let within = Duration::from_millis(ANSWER_MS_MAX);
    while core.leadership.now() == Some(leader) && counters.iter().any(|counter| pending.waits(*counter)) {
        let answered = core.transport.call(leader.node, Channel::Log, bytes.clone(), within).await;
        match answered.map(|bytes| Answer::decode(&bytes)) {
            Ok(Ok(Answer::Done)) => return,
            Ok(Ok(Answer::DiskFull { reason, reserve })) => {
                let refused = Verdict::Refused(WriteError::DiskFull { reason, reserve });
                counters.iter().for_each(|counter| pending.resolve(*counter, refused.clone()));
                return;
            }
            _not_taken_or_unknown => runtime::sleep(Duration::from_millis(RETRY_MS)).await,
        }
    }
}
