//! What the leader does with writes: those that wait become one entry while the entries before are made durable.
//!
//! - An entry names the term in which it was made. If it ends up in another one, it does nothing.
//! - A write that comes twice within a term (its sender did not hear the answer) is taken once.
//! - Nothing is taken while the disk is filled up to its reserve.

use super::{Core, Work};
use crate::bugs::{self, Bug};
use crate::message::{Answer, Proposals};
use crate::pending::Verdict;
use crate::proposal::Proposal;
use crate::raft::{Proposed, TypeConfig};
use crate::runtime;
use crate::{Entry, WriteError};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Entries on their way at once, at most.
const ENTRIES_MAX: usize = 64;
/// So many may follow each other at once. While they are on their way the next one fills, for this long: where a majority is
/// near it goes when one of them is done, and where it is far the distance is not waited for.
const ENTRIES_AT_ONCE: usize = 2;
const PACE: Duration = Duration::from_millis(2);
/// Writes in one entry, at most.
const WRITES_MAX: usize = crate::apply::WRITES_MAX;
/// Bytes of writes in one entry, about, at most, unless one write alone is larger.
const BYTES_MAX: usize = 4 << 20;
/// How long a leader that may not append waits before it tries again, in milliseconds.
const RETRY_MS: u64 = 5;

/// Something to propose.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) term: u64,
    pub(super) work: Work,
    /// Of a request of this node, which waits for it.
    pub(super) counter: Option<u64>,
    pub(super) _room: Option<Arc<OwnedSemaphorePermit>>,
}

/// The requests that the leader of a term has taken from other nodes.
#[derive(Debug, Default)]
pub(super) struct Seen {
    term: u64,
    /// By node and boot.
    requests: BTreeMap<(u64, u64), Taken>,
}

/// The requests that were taken from one run of a node.
#[derive(Debug, Default)]
struct Taken {
    /// Below this counter nobody waits any more: what comes from there is late, whatever it says.
    floor: u64,
    /// Taken, from the floor on.
    counters: BTreeSet<u64>,
}

impl Seen {
    /// Keeps those that are new in this term, and notes them. None are of a term that is over: to forget what was taken
    /// since would let it be taken again.
    fn take(&mut self, term: u64, proposals: &Proposals, counters: impl Iterator<Item = u64>) -> Vec<bool> {
        if term < self.term {
            return counters.map(|_| false).collect();
        }
        if term > self.term {
            *self = Self { term, requests: BTreeMap::new() };
        }
        let taken = self.requests.entry((proposals.node, proposals.boot)).or_default();
        if proposals.floor > taken.floor {
            taken.floor = proposals.floor;
            taken.counters = taken.counters.split_off(&taken.floor);
        }
        counters.map(|counter| counter >= taken.floor && taken.counters.insert(counter)).collect()
    }

    fn knows(&self, term: u64, proposals: &Proposals, counter: u64) -> bool {
        let taken = self.requests.get(&(proposals.node, proposals.boot));
        self.term == term
            && taken.is_some_and(|taken| counter < taken.floor || taken.counters.contains(&counter))
    }
}

/// Proposes what comes until the group ends.
pub(super) async fn run(core: Arc<Core>, mut items: mpsc::Receiver<Item>) {
    let mut on_the_way: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut ahead = None;
    let mut paced_until = runtime::now();
    loop {
        let first = match ahead.take() {
            Some(item) => item,
            None => match next(&mut items, &mut on_the_way).await {
                Some(item) => item,
                None => return,
            },
        };
        pace(&mut on_the_way, paced_until).await;
        paced_until = runtime::now() + PACE;
        let (batch, next) = fill(first, &mut items);
        ahead = next;
        on_the_way.push(Box::pin(propose(Arc::clone(&core), batch)));
    }
}

/// Waits until another entry may go: few are on their way, or they have been for a while.
async fn pace(on_the_way: &mut FuturesUnordered<BoxFuture<'static, ()>>, until: runtime::Instant) {
    while on_the_way.len() >= ENTRIES_MAX {
        on_the_way.next().await;
    }
    while on_the_way.len() >= ENTRIES_AT_ONCE && runtime::now() < until {
        // What is done and what is due both end the wait.
        let _done_or_due = runtime::timeout_at(until, on_the_way.next()).await;
    }
}

/// The next item; entries that are on their way go on meanwhile.
async fn next(
    items: &mut mpsc::Receiver<Item>,
    on_the_way: &mut FuturesUnordered<BoxFuture<'static, ()>>,
) -> Option<Item> {
    loop {
        if on_the_way.is_empty() {
            return items.recv().await;
        }
        tokio::select! {
            biased;
            _done = on_the_way.next() => {}
            item = items.recv() => return item,
        }
    }
}

/// Takes what waits and fits one entry; also returns the first item that does not.
fn fill(first: Item, items: &mut mpsc::Receiver<Item>) -> (Vec<Item>, Option<Item>) {
    let is_alone = matches!(first.work, Work::Entry(_));
    let (term, mut bytes) = (first.term, size(&first.work));
    let mut batch = vec![first];
    while !is_alone && batch.len() < WRITES_MAX {
        let Ok(item) = items.try_recv() else { break };
        bytes += size(&item.work);
        if item.term != term || matches!(item.work, Work::Entry(_)) || bytes > BYTES_MAX {
            return (batch, Some(item));
        }
        batch.push(item);
    }
    (batch, None)
}

fn size(work: &Work) -> usize {
    const OVERHEAD: usize = 48;
    let Work::Write(write) = work else { return OVERHEAD };
    let checks: usize = write.checks.iter().map(|check| check.key.len() + OVERHEAD).sum();
    let mutations: usize = write.mutations.iter().map(|mutation| mutation.bytes() + OVERHEAD).sum();
    checks + mutations + OVERHEAD
}

/// Proposes one entry and waits until it is applied, or until this node cannot append it.
async fn propose(core: Arc<Core>, batch: Vec<Item>) {
    let Some(term) = batch.first().map(|item| item.term) else { return };
    if let Err(error) = core.replica.engine().check_room() {
        let refused = refusal(error);
        let counters = batch.iter().filter_map(|item| item.counter);
        counters
            .for_each(|counter| core.replica.pending().resolve(counter, Verdict::Refused(refused.clone())));
        return;
    }
    let mut rooms = Vec::with_capacity(batch.len());
    let mut writes = Vec::with_capacity(batch.len());
    let mut alone = None;
    for item in batch {
        rooms.push(item._room);
        match item.work {
            Work::Write(write) => writes.push(write),
            Work::Entry(entry) => alone = Some(entry),
        }
    }
    core.counts.propose(writes.len());
    let time_ms = core.clock.now_ms();
    let entry = alone.map_or(Entry::Batch { time_ms, writes }, |entry| entry.at(time_ms));
    let bytes = Proposal { term, reference: core.replica.reference(), entry }.encode();
    while core.leadership.own_term() == Some(term) {
        match core.raft.client_write(Proposed(bytes.clone())).await {
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))
                if was_not_appended(&forward) =>
            {
                runtime::sleep(Duration::from_millis(RETRY_MS)).await;
            }
            // Whatever it is, those who wait learn it from the log.
            _applied_or_unknown => return,
        }
    }
}

/// Whether a leader said that it did not append, and may do so later in the same term.
const fn was_not_appended(forward: &openraft::errors::ForwardToLeader<TypeConfig>) -> bool {
    matches!(forward.reason, ForwardReason::LeaseExpired | ForwardReason::LeadershipTransfer)
}

fn refusal(error: engine::Error) -> WriteError {
    match error {
        engine::Error::DiskFull { reserve, .. } => {
            WriteError::DiskFull { reason: error.to_string(), reserve }
        }
        other => WriteError::Storage(other.to_string()),
    }
}

impl Core {
    /// Takes writes that another node forwards, if this node leads the term that they are meant for.
    pub(crate) async fn take(&self, mut proposals: Proposals) -> Answer {
        let term = proposals.term;
        if self.leadership.own_term() != Some(term) {
            return Answer::NotTheLeader;
        }
        let writes = std::mem::take(&mut proposals.writes).into_iter();
        let writes = writes.map(|write| (write.request.counter, Work::Write(write)));
        let entries = std::mem::take(&mut proposals.entries).into_iter().map(|entry| {
            let counter = entry.requests().first().map_or(0, |request| request.counter);
            (counter, Work::Entry(entry))
        });
        let works: Vec<(u64, Work)> = writes.chain(entries).collect();
        let taken = {
            let mut seen = self.seen.lock();
            let is_repeated = works.iter().any(|(counter, _)| seen.knows(term, &proposals, *counter));
            if !is_repeated && let Err(error) = self.replica.engine().check_room() {
                return match refusal(error) {
                    WriteError::DiskFull { reason, reserve } => Answer::DiskFull { reason, reserve },
                    other => Answer::Failed(other.to_string()),
                };
            }
            seen.take(term, &proposals, works.iter().map(|(counter, _)| *counter))
        };
        for ((_, work), is_new) in works.into_iter().zip(taken) {
            let item = Item { term, work, counter: None, _room: None };
            if (is_new || bugs::seeded(Bug::ForwardedTwice)) && self.proposer.send(item).await.is_err() {
                return Answer::Failed("this node is stopping".to_owned());
            }
        }
        Answer::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposals(floor: u64) -> Proposals {
        Proposals { term: 1, node: 2, boot: 3, floor, writes: Vec::new(), entries: Vec::new() }
    }

    #[test]
    fn a_late_message_of_an_earlier_term_does_not_make_the_leader_forget() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(3, &proposals(0), [1].into_iter()), [true]);
        assert_eq!(seen.take(2, &proposals(0), [9].into_iter()), [false]);
        assert_eq!(seen.take(3, &proposals(0), [1].into_iter()), [false]);
    }

    #[test]
    fn what_comes_twice_within_a_term_is_taken_once() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(1, &proposals(4), [4, 6].into_iter()), [true, true]);
        assert_eq!(seen.take(1, &proposals(4), [4, 5, 6].into_iter()), [false, true, false]);
        assert!(seen.knows(1, &proposals(4), 5) && !seen.knows(1, &proposals(4), 7));
        assert_eq!(seen.take(2, &proposals(4), [4].into_iter()), [true], "another term, another entry");
    }

    #[test]
    fn a_message_that_was_long_on_its_way_is_not_taken_again() {
        let mut seen = Seen::default();
        let late = proposals(4);
        assert_eq!(seen.take(1, &late, [4].into_iter()), [true]);
        assert_eq!(seen.take(1, &proposals(9), [9].into_iter()), [true]);
        assert!(seen.knows(1, &late, 4));
        assert_eq!(seen.take(1, &late, [4].into_iter()), [false]);
    }
}
