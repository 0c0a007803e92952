//! What the tests of this module share: two nodes with engines on simulated disks, and a stream between them that can
//! be cut or altered at any message.

mod broken;
mod crashes;
mod refused;
mod transfer;

use super::{
    Destination, Error, Moved, Outgoing, Progress, Rate, Reason, Received, SILENCE_MAX, offered_version,
    receive, send,
};
use crate::runtime::{self, sim};
use crate::transport::{Duplex, STREAM_MESSAGES_MAX};
use bytes::Bytes;
use engine::env::sim::SimRandom;
use engine::fs::sim::Sim;
use engine::{Engine, Env, Lineage, LineageId, Options, Progress as Step, WriteBatch};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) type TestResult = Result<(), Box<dyn std::error::Error>>;

const LIVE: &str = "/groups/1";
const INCOMING: &str = "/groups/1.r1";
const OUTGOING: &str = "/groups/1.out0";
const LINEAGE: Lineage = Lineage { id: LineageId([7; 16]), epoch: 0, parent: None };

/// Tables of several chunks, and several of them.
pub(crate) fn options() -> Options {
    Options {
        memtable_bytes_max: 700 << 10,
        table_bytes: 600 << 10,
        level0_tables_max: 2,
        level1_bytes: 1 << 20,
        segment_bytes_max: 128 << 10,
        disk_reserve_bytes: Some(0),
        ..Options::default()
    }
}

/// A node: an engine on a disk of its own.
pub(crate) struct Node {
    pub(crate) env: Env,
    pub(crate) disk: Sim,
    pub(crate) engine: Engine,
}

impl Node {
    /// With nothing in it.
    pub(crate) fn empty(seed: u64) -> engine::Result<Node> {
        let (env, disk, _clock) = engine::env::sim::env(seed);
        let engine = Engine::create(env.clone(), Path::new(LIVE), options(), LINEAGE)?;
        Ok(Node { env, disk, engine })
    }

    /// With these keys, of 10 KiB each that nothing compresses; flushed and compacted.
    pub(crate) fn with_keys(seed: u64, keys: std::ops::Range<u32>) -> engine::Result<Node> {
        let node = Node::empty(seed)?;
        node.put(keys)?;
        Ok(node)
    }

    pub(crate) fn put(&self, keys: std::ops::Range<u32>) -> engine::Result<()> {
        for key in keys {
            let random = SimRandom::new(u64::from(key) << 20);
            let value: Vec<u8> = (0..1_280).flat_map(|_| random.next_u64().to_le_bytes()).collect();
            let mut batch = WriteBatch::new();
            batch.put(&key.to_be_bytes(), &value, None)?;
            self.engine.commit_unsynced(batch)?;
            while self.engine.maintain()? == Step::Worked {}
        }
        self.engine.flush()?;
        while self.engine.compact()? == Step::Worked {}
        Ok(())
    }

    pub(crate) fn outgoing(&self) -> Result<Outgoing, Error> {
        Outgoing::prepare(&self.engine, Path::new(OUTGOING))
    }

    fn destination(&self) -> Destination {
        Destination::in_place_of(&self.engine, Path::new(INCOMING))
    }

    /// Opens what was received as its engine.
    fn switch(&mut self, received: &Received) -> engine::Result<()> {
        self.engine = Engine::open(self.env.clone(), &received.dir, options())?.0;
        Ok(())
    }

    fn incoming_files(&self) -> Vec<(String, u64)> {
        let files = self.disk.files().into_iter().filter(|(path, _)| path.starts_with(INCOMING));
        files.map(|(path, len)| (path.display().to_string(), len)).collect()
    }
}

/// Every key and value, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) applied: engine::Applied,
    pub(crate) rows: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(crate) fn content(engine: &Engine) -> engine::Result<Content> {
    let rows = engine.newest().all(engine::Direction::Forward);
    let rows = rows.map(|row| row.map(|row| (row.key.to_vec(), row.value.bytes.to_vec())));
    Ok(Content { applied: engine.applied(), rows: rows.collect::<engine::Result<_>>()? })
}

/// What happens to the messages between two nodes; they are counted from 1, both ways together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fault {
    /// From this one on everything is lost, and both ends break.
    pub(crate) cut: Option<usize>,
    /// This one is altered.
    pub(crate) flip: Option<usize>,
}

/// A stream whose messages pass a fault; and how many have passed.
fn stream(fault: Fault) -> (Duplex, Duplex, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (left, left_far) = pair();
    let (right, right_far) = pair();
    runtime::spawn({
        let (there, back) = (Arc::clone(&count), Arc::clone(&count));
        async move {
            let there = pump(fault, left_far.receiver, right_far.sender, there);
            let back = pump(fault, right_far.receiver, left_far.sender, back);
            if fault.cut.is_some() {
                // One direction breaks with the other.
                tokio::select! { biased; () = there => {} () = back => {} }
            } else {
                tokio::join!(there, back);
            }
        }
    });
    (left, right, count)
}

async fn pump(
    fault: Fault,
    mut from: mpsc::Receiver<Bytes>,
    to: mpsc::Sender<Bytes>,
    count: Arc<AtomicUsize>,
) {
    while let Some(bytes) = from.recv().await {
        let number = 1 + count.fetch_add(1, Ordering::SeqCst);
        if fault.cut.is_some_and(|cut| number >= cut) {
            return;
        }
        let bytes = if fault.flip == Some(number) { flipped(&bytes) } else { bytes };
        if to.send(bytes).await.is_err() {
            return;
        }
    }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    bytes.into()
}

fn pair() -> (Duplex, Duplex) {
    let (there, from_there) = mpsc::channel(STREAM_MESSAGES_MAX);
    let (back, from_back) = mpsc::channel(STREAM_MESSAGES_MAX);
    (Duplex { sender: there, receiver: from_back }, Duplex { sender: back, receiver: from_there })
}

/// What a transfer came to on both sides.
pub(crate) struct Outcome {
    sent: Result<(), Error>,
    pub(crate) received: Result<Received, Error>,
    moved: Moved,
    messages: usize,
}

impl Outcome {
    pub(crate) fn whole(self) -> Result<(Received, Moved), Error> {
        self.sent?;
        Ok((self.received?, self.moved))
    }
}

/// Sends over a stream with a fault, in a simulation.
pub(crate) fn transfer(outgoing: Outgoing, into: Destination, fault: Fault) -> Outcome {
    transfer_at(outgoing, into, fault, Rate::new(0)).0
}

fn transfer_at(outgoing: Outgoing, into: Destination, fault: Fault, rate: Rate) -> (Outcome, Duration) {
    sim::run(1, async move {
        let (mut left, mut right, messages) = stream(fault);
        let sender = runtime::spawn(async move {
            let sent = send(&outgoing, &mut left, &rate, &Progress::default()).await;
            drop(left);
            sent
        });
        let progress = Progress::default();
        let received = receive(&into, &mut right, &progress).await;
        drop(right);
        let sent = sender.await.expect("the sender does not panic");
        let messages = messages.load(Ordering::SeqCst);
        (Outcome { sent, received, moved: progress.get(), messages }, sim::elapsed())
    })
}
