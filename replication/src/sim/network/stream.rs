//! Streams of messages on the way.
//!
//! At most [`STREAM_MESSAGES_MAX`] messages wait with the sender, as many are on the way, and as many wait with the reader: then
//! the sender waits.

use super::endpoint::Route;
use super::{Network, State};
use crate::NodeId;
use crate::runtime::sim::{self, Machine, spawn_on};
use crate::runtime::{Instant, Rt, now, sleep, sleep_until, watch};
use crate::transport::{Duplex, MESSAGE_LEN_MAX, STREAM_MESSAGES_MAX};
use bytes::Bytes;
use openraft_rt::{AsyncRuntime, Select2};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// By what the network breaks a stream.
#[derive(Debug, Clone)]
pub(super) struct StreamEnd {
    pub(super) machines: (Machine, Machine),
    pub(super) nodes: (NodeId, NodeId),
    broken: Arc<watch::Sender<bool>>,
}

impl StreamEnd {
    pub(super) fn break_now(&self) {
        self.broken.send_replace(true);
    }

    pub(super) fn break_after(self, after: Duration) {
        spawn_on(Machine::WORLD, async move {
            sleep(after).await;
            self.break_now();
        });
    }
}

/// The two ends of a new stream: that of who opens it, and that on the machine `there`.
pub(super) fn begin(route: &Route, there: Machine) -> (Duplex, Duplex) {
    let (broken, watched) = watch::channel(false);
    let end = StreamEnd {
        machines: (route.machine, there),
        nodes: (route.from, route.to),
        broken: Arc::new(broken),
    };
    let id = route.network.state.lock().add_stream(end.clone());
    sim::note("stream", route.machine.0, there.0);
    let channel = || mpsc::channel(STREAM_MESSAGES_MAX);
    let ((near_out, near_sent), (near_in, near_read)) = (channel(), channel());
    let ((far_out, far_sent), (far_in, far_read)) = (channel(), channel());
    let way = |from, to| Way { network: route.network.clone(), from, to, end: end.clone() };
    let there_way = way(route.machine, there).pump(near_sent, far_in);
    let back_way = way(there, route.machine).pump(far_sent, near_in);
    spawn_on(Machine::WORLD, carry(route.network.clone(), id, watched, there_way, back_way));
    (Duplex { sender: near_out, receiver: near_read }, Duplex { sender: far_out, receiver: far_read })
}

/// Pumps both ways until both have ended or the stream breaks.
async fn carry(
    network: Network,
    id: u64,
    mut broken: watch::Receiver<bool>,
    there: impl Future<Output = ()> + Send,
    back: impl Future<Output = ()> + Send,
) {
    let breaks = broken.wait_for(|broken| *broken);
    let carried = Rt::select2(breaks, futures::future::join(there, back)).await;
    let mut state = network.state.lock();
    state.streams.remove(&id);
    state.counters.broken += u64::from(matches!(carried, Select2::First(_)));
}

/// One direction of a stream.
struct Way {
    network: Network,
    from: Machine,
    to: Machine,
    end: StreamEnd,
}

impl Way {
    async fn pump(self, sent: mpsc::Receiver<Bytes>, reader: mpsc::Sender<Bytes>) {
        let (on_the_way, arriving) = mpsc::channel(STREAM_MESSAGES_MAX);
        let deliver = deliver(self.network.clone(), (self.from, self.to), arriving, reader);
        futures::future::join(self.send(sent, on_the_way), deliver).await;
    }

    /// Sends off what was written, each with the time of its arrival, which is not before that of the one before.
    async fn send(self, mut sent: mpsc::Receiver<Bytes>, on_the_way: mpsc::Sender<(Instant, Bytes)>) {
        let mut last = now();
        while let Some(message) = sent.recv().await {
            self.network.count(|counters| counters.messages += 1);
            if message.len() > MESSAGE_LEN_MAX || self.network.loses(self.from, self.to) {
                self.network.count(|counters| counters.dropped += 1);
                self.break_later();
                // What comes after it does not arrive either.
                return std::future::pending().await;
            }
            last = last.max(now() + self.network.delay(self.from, self.to));
            if on_the_way.send((last, message)).await.is_err() {
                return;
            }
        }
    }

    fn break_later(&self) {
        self.end.clone().break_after(Duration::from_nanos(sim::below(nanoseconds(super::PROBE_MAX))));
    }
}

/// Brings what has arrived to the reader.
async fn deliver(
    network: Network,
    (from, to): (Machine, Machine),
    mut arriving: mpsc::Receiver<(Instant, Bytes)>,
    reader: mpsc::Sender<Bytes>,
) {
    while let Some((at, message)) = arriving.recv().await {
        sleep_until(at).await;
        if network.is_cut(from, to) {
            network.count(|counters| counters.dropped += 1);
            // Whoever cut the way breaks the stream.
            return std::future::pending().await;
        }
        if reader.send(message).await.is_err() {
            return;
        }
    }
}

pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl State {
    fn add_stream(&mut self, end: StreamEnd) -> u64 {
        self.counters.streams += 1;
        self.next_stream += 1;
        self.streams.insert(self.next_stream, end);
        self.next_stream
    }
}
