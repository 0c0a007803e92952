//! What every [`Transport`] must do, as one suite that each implementation passes.

use super::{Channel, Duplex, MESSAGE_LEN_MAX, STREAM_MESSAGES_MAX, Service, Transport, TransportError};
use crate::NodeId;
use crate::runtime::{self, JoinHandle};
use async_trait::async_trait;
use bytes::Bytes;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Two or more nodes that can be started and killed. Each stays at its address.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Starts a node, again after a kill.
    async fn start(&self, node: NodeId, service: Arc<dyn Service>) -> Arc<dyn Transport>;

    /// Ends a node as the end of its process does.
    async fn kill(&self, node: NodeId);

    /// Where a node is, or will be.
    fn address(&self, node: NodeId) -> String;
}

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
/// By when what should happen has happened.
const SOON: Duration = Duration::from_secs(20);
/// Messages of a stream whose reader does not read that get no further than the transport, at most.
const UNREAD_MAX: usize = 4 * STREAM_MESSAGES_MAX;

/// Runs the suite.
///
/// # Panics
///
/// When something is not as promised.
pub async fn all(fixture: &dyn Fixture) {
    let pair = Pair::start(fixture).await;
    answers_match_their_requests(&pair).await;
    the_other_side_knows_who_asks(&pair).await;
    a_node_without_an_address_is_not_called(&pair).await;
    who_does_not_answer_is_waited_for_only_so_long(&pair).await;
    the_longest_message_passes_and_a_longer_one_is_refused(&pair).await;
    streams_keep_their_order_both_ways(&pair).await;
    one_direction_ends_and_the_other_goes_on(&pair).await;
    who_reads_no_more_stops_its_writer(&pair).await;
    a_writer_waits_for_the_reader(&pair).await;
    a_stream_that_nobody_reads_holds_up_nothing_else(&pair).await;
    another_node_at_the_address_is_refused(&pair).await;
    a_death_ends_calls_and_streams(&pair).await;
    who_comes_back_is_reached_again(&pair).await;
    who_was_forgotten_is_not_answered(&pair).await;
}

/// Two nodes that know each other.
struct Pair<'a> {
    fixture: &'a dyn Fixture,
    one: Arc<dyn Transport>,
    two: Arc<dyn Transport>,
    /// What the service of node 2 waits for.
    gate: Arc<Gate>,
}

impl<'a> Pair<'a> {
    async fn start(fixture: &'a dyn Fixture) -> Self {
        let gate = Arc::<Gate>::default();
        let one = fixture.start(ONE, Arc::new(Script { node: ONE, gate: Arc::default() })).await;
        let two = fixture.start(TWO, Arc::new(Script { node: TWO, gate: gate.clone() })).await;
        one.set_address(TWO, fixture.address(TWO));
        two.set_address(ONE, fixture.address(ONE));
        Self { fixture, one, two, gate }
    }

    async fn call(&self, request: impl Into<Bytes>) -> Result<Bytes, TransportError> {
        self.one.call(TWO, Channel::Log, request.into(), SOON).await
    }

    async fn open(&self, header: &'static str) -> Duplex {
        let duplex = self.one.open(TWO, Channel::Snapshot, Bytes::from(header)).await;
        duplex.expect("the stream opens")
    }
}

/// What the service of a node waits for, and what it tells.
#[derive(Debug)]
struct Gate {
    /// A request or stream that will never be answered has arrived.
    arrived: Notify,
    /// Permits to read one message.
    reads: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrived: Notify::new(), reads: Semaphore::new(0) }
    }
}

/// Does what requests and headers say.
struct Script {
    node: NodeId,
    gate: Arc<Gate>,
}

#[async_trait]
impl Service for Script {
    async fn answer(&self, from: NodeId, request: Bytes) -> Bytes {
        match &request[..] {
            b"who" => Bytes::from(format!("{from} asks {}", self.node)),
            b"never" => {
                self.gate.arrived.notify_one();
                pending().await
            }
            _ => request.iter().rev().copied().collect(),
        }
    }

    async fn stream(&self, from: NodeId, header: Bytes, mut duplex: Duplex) {
        match &header[..] {
            b"echo" => echo(duplex).await,
            b"count" => count(duplex).await,
            b"gate" => {
                while self.gate.reads.acquire().await.map(|permit| permit.forget()).is_ok() {
                    let Some(message) = duplex.receiver.recv().await else { return };
                    if duplex.sender.send(message).await.is_err() {
                        return;
                    }
                }
            }
            _ => {
                self.gate.arrived.notify_one();
                drop(duplex.sender.send(Bytes::from(format!("{from}"))).await);
                pending().await
            }
        }
    }
}

async fn echo(mut duplex: Duplex) {
    while let Some(message) = duplex.receiver.recv().await {
        if duplex.sender.send(message).await.is_err() {
            return;
        }
    }
}

/// Tells how many messages came once the other side has ended its direction.
async fn count(mut duplex: Duplex) {
    let mut count = 0_u32;
    while duplex.receiver.recv().await.is_some() {
        count += 1;
    }
    drop(duplex.sender.send(number(count)).await);
}

fn number(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match runtime::timeout(SOON, future).await {
        Ok(output) => output,
        Err(_elapsed) => panic!("not in {} s: {what}", SOON.as_secs()),
    }
}

async fn answers_match_their_requests(pair: &Pair<'_>) {
    let calls = (0..300_u32).map(|n| async move {
        let request = [&n.to_be_bytes()[..], &vec![0; n as usize * n as usize % 10_007]].concat();
        let reversed: Vec<u8> = request.iter().rev().copied().collect();
        assert_eq!(pair.call(request).await, Ok(Bytes::from(reversed)), "call {n}");
    });
    soon("300 calls at once", futures::future::join_all(calls)).await;
    assert_eq!(pair.call(Bytes::new()).await, Ok(Bytes::new()), "an empty request has an empty answer");
}

async fn the_other_side_knows_who_asks(pair: &Pair<'_>) {
    for channel in Channel::ALL {
        let asked = pair.one.call(TWO, channel, Bytes::from("who"), SOON).await;
        assert_eq!(asked, Ok(Bytes::from("1 asks 2")));
        let asked = pair.two.call(ONE, channel, Bytes::from("who"), SOON).await;
        assert_eq!(asked, Ok(Bytes::from("2 asks 1")));
    }
}

async fn a_node_without_an_address_is_not_called(pair: &Pair<'_>) {
    let nobody = NodeId(9);
    let called = pair.one.call(nobody, Channel::Log, Bytes::new(), SOON).await;
    assert_eq!(called, Err(TransportError::NoAddress(nobody)));
    let opened = pair.one.open(nobody, Channel::Log, Bytes::new()).await;
    assert_eq!(opened.map(drop), Err(TransportError::NoAddress(nobody)));
}

async fn who_does_not_answer_is_waited_for_only_so_long(pair: &Pair<'_>) {
    let within = Duration::from_millis(200);
    let began = runtime::now();
    let never = pair.one.call(TWO, Channel::Log, Bytes::from("never"), within);
    let others = async {
        soon("the request arrives", pair.gate.arrived.notified()).await;
        assert_eq!(pair.call("abc").await, Ok(Bytes::from("cba")), "others are answered meanwhile");
    };
    let (never, ()) = futures::future::join(never, others).await;
    assert_eq!(never, Err(TransportError::TimedOut { node: TWO, within_ms: 200 }));
    assert!(began.elapsed() >= within);
}

async fn the_longest_message_passes_and_a_longer_one_is_refused(pair: &Pair<'_>) {
    let mut longest = vec![7; MESSAGE_LEN_MAX];
    longest[0] = 1;
    let answer = soon("the longest call", pair.call(longest.clone())).await.expect("it is answered");
    assert!(answer.len() == MESSAGE_LEN_MAX && answer.last() == Some(&1));
    let mut stream = pair.open("echo").await;
    stream.sender.send(Bytes::from(longest)).await.expect("the stream takes it");
    let echoed = soon("the longest message", stream.receiver.recv()).await;
    assert_eq!(echoed.map(|message| message.len()), Some(MESSAGE_LEN_MAX));

    let too_long = Bytes::from(vec![0; MESSAGE_LEN_MAX + 1]);
    let refused = TransportError::TooLong(MESSAGE_LEN_MAX + 1);
    assert_eq!(pair.call(too_long.clone()).await, Err(refused.clone()));
    let opened = pair.one.open(TWO, Channel::Log, too_long.clone()).await;
    assert_eq!(opened.map(drop), Err(refused));
    // A stream has nobody to tell, so it ends.
    drop(stream.sender.send(too_long).await);
    assert_eq!(soon("the stream ends", stream.receiver.recv()).await, None);
    assert_eq!(pair.call("abc").await, Ok(Bytes::from("cba")));
}

async fn streams_keep_their_order_both_ways(pair: &Pair<'_>) {
    const MESSAGES: u32 = 3_000;
    let streams = (0..3).map(|_| async {
        let Duplex { sender, mut receiver } = pair.open("echo").await;
        let writer = async move {
            for n in 0..MESSAGES {
                sender.send(number(n)).await.expect("the stream takes it");
            }
        };
        let reader = async {
            for n in 0..MESSAGES {
                assert_eq!(receiver.recv().await, Some(number(n)));
            }
            assert_eq!(receiver.recv().await, None, "it ends after the last");
        };
        futures::future::join(writer, reader).await;
    });
    soon("three streams", futures::future::join_all(streams)).await;
}

async fn one_direction_ends_and_the_other_goes_on(pair: &Pair<'_>) {
    let Duplex { sender, mut receiver } = pair.open("count").await;
    for n in 0..5 {
        sender.send(number(n)).await.expect("the stream takes it");
    }
    drop(sender);
    assert_eq!(soon("the count", receiver.recv()).await, Some(number(5)));
    assert_eq!(soon("the end", receiver.recv()).await, None);
}

async fn who_reads_no_more_stops_its_writer(pair: &Pair<'_>) {
    let Duplex { sender, receiver } = pair.open("echo").await;
    drop(receiver);
    let writer = async { while sender.send(number(1)).await.is_ok() {} };
    soon("who echoes has nobody to write to, and ends", writer).await;
}

async fn a_writer_waits_for_the_reader(pair: &Pair<'_>) {
    let Duplex { sender, mut receiver } = pair.open("gate").await;
    let message = |n| Bytes::from([&u32::to_be_bytes(n)[..], &[0; 4_096]].concat());
    let mut written = 0;
    // It stands still once what may be on the way is on the way.
    while runtime::timeout(Duration::from_millis(300), sender.send(message(written))).await.is_ok() {
        written += 1;
        assert!(written as usize <= UNREAD_MAX, "nobody reads, and {written} messages were taken");
    }
    pair.gate.reads.add_permits(written as usize + 1);
    for n in 0..written {
        assert_eq!(soon("what was written", receiver.recv()).await, Some(message(n)));
    }
    soon("room to write", sender.send(message(written))).await.expect("the stream takes it");
    assert_eq!(soon("the last", receiver.recv()).await, Some(message(written)));
}

async fn a_stream_that_nobody_reads_holds_up_nothing_else(pair: &Pair<'_>) {
    let full = pair.open("gate").await;
    while runtime::timeout(Duration::from_millis(300), full.sender.send(Bytes::from(vec![0; 65_536])))
        .await
        .is_ok()
    {}
    for channel in Channel::ALL {
        let asked = soon("a call", pair.one.call(TWO, channel, Bytes::from("who"), SOON)).await;
        assert_eq!(asked, Ok(Bytes::from("1 asks 2")));
    }
    let mut other = pair.open("echo").await;
    other.sender.send(number(1)).await.expect("the stream takes it");
    assert_eq!(soon("another stream", other.receiver.recv()).await, Some(number(1)));
}

async fn another_node_at_the_address_is_refused(pair: &Pair<'_>) {
    let impostor = NodeId(7);
    pair.one.set_address(impostor, pair.fixture.address(TWO));
    let called = soon("a refusal", pair.one.call(impostor, Channel::Log, Bytes::from("who"), SOON)).await;
    assert!(matches!(called, Err(TransportError::Refused { node, .. }) if node == impostor), "{called:?}");
    pair.one.forget(impostor);
}

async fn a_death_ends_calls_and_streams(pair: &Pair<'_>) {
    let mut stream = pair.open("hold").await;
    assert_eq!(soon("a greeting", stream.receiver.recv()).await, Some(Bytes::from("1")));
    soon("the stream arrives", pair.gate.arrived.notified()).await;
    let one = pair.one.clone();
    let call: JoinHandle<_> =
        runtime::spawn(async move { one.call(TWO, Channel::Log, Bytes::from("never"), 10 * SOON).await });
    soon("the request arrives", pair.gate.arrived.notified()).await;
    pair.fixture.kill(TWO).await;
    let called = soon("the call fails", call).await.expect("the task ends");
    assert!(
        matches!(called, Err(TransportError::Broken { node: TWO, .. })),
        "it was seen, and not {called:?}"
    );
    assert_eq!(soon("the stream ends", stream.receiver.recv()).await, None);
    soon("the stream takes no more", stream.sender.closed()).await;
    let called = soon("nobody is there", pair.call("abc")).await;
    assert!(matches!(called, Err(TransportError::Unreachable { node: TWO, .. })), "{called:?}");
    let opened = soon("nobody is there", pair.one.open(TWO, Channel::Log, Bytes::new())).await;
    assert!(matches!(opened, Err(TransportError::Unreachable { node: TWO, .. })), "{opened:?}");
}

async fn who_comes_back_is_reached_again(pair: &Pair<'_>) {
    let two = pair.fixture.start(TWO, Arc::new(Script { node: TWO, gate: pair.gate.clone() })).await;
    two.set_address(ONE, pair.fixture.address(ONE));
    let called = soon("node 2 is back", async {
        loop {
            match pair.call("who").await {
                Err(TransportError::Unreachable { .. } | TransportError::Broken { .. }) => {
                    runtime::sleep(Duration::from_millis(20)).await
                }
                other => break other,
            }
        }
    });
    assert_eq!(called.await, Ok(Bytes::from("1 asks 2")));
    let asked = two.call(ONE, Channel::Log, Bytes::from("who"), SOON).await;
    assert_eq!(asked, Ok(Bytes::from("2 asks 1")));
}

async fn who_was_forgotten_is_not_answered(pair: &Pair<'_>) {
    let mut stream = pair.open("echo").await;
    stream.sender.send(number(1)).await.expect("the stream takes it");
    assert_eq!(soon("an echo", stream.receiver.recv()).await, Some(number(1)));
    pair.one.forget(TWO);
    assert_eq!(soon("the stream ends", stream.receiver.recv()).await, None);
    assert_eq!(pair.call("abc").await, Err(TransportError::NoAddress(TWO)));
}
