use super::*;
use crate::runtime::sim::{run, spawn_on};
use crate::transport::conformance::{self, Fixture};
use crate::transport::{Channel, Duplex, Service, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const SECOND: Duration = Duration::from_secs(1);

/// One machine a node, of the same number.
struct Simulated(Network);

#[async_trait]
impl Fixture for Simulated {
    async fn start(&self, node: NodeId, service: Arc<dyn Service>) -> Arc<dyn Transport> {
        let endpoint = self.0.endpoint(Machine(node.0), node);
        endpoint.listen(&self.address(node), service);
        endpoint
    }

    async fn kill(&self, node: NodeId) {
        sim::kill(Machine(node.0));
        self.0.down(Machine(node.0));
    }

    fn address(&self, node: NodeId) -> String {
        format!("machine-{node}:4600")
    }
}

#[test]
fn the_simulated_network_passes_the_suite() {
    for seed in 0..10 {
        run(seed, async { conformance::all(&Simulated(Network::new(Weather::FAIR))).await });
    }
}

/// Tells what it sees, and on which machine, and echoes it.
#[derive(Debug)]
struct Seer(mpsc::UnboundedSender<(Machine, Bytes)>);

#[async_trait]
impl Service for Seer {
    async fn answer(&self, _from: NodeId, request: Bytes) -> Bytes {
        self.0.send((sim::current(), request.clone())).unwrap();
        request
    }

    async fn stream(&self, _from: NodeId, _header: Bytes, mut duplex: Duplex) {
        while let Some(message) = duplex.receiver.recv().await {
            self.0.send((sim::current(), message)).unwrap();
        }
        self.0.send((sim::current(), Bytes::from("end"))).unwrap();
    }
}

type Seen = mpsc::UnboundedReceiver<(Machine, Bytes)>;

/// A caller that is node 1 on machine 1, and what node 2 on machine 2 sees.
fn two_machines(network: &Network) -> (Arc<Endpoint>, Seen) {
    let (sender, seen) = mpsc::unbounded_channel();
    network.endpoint(Machine(2), TWO).listen("two", Arc::new(Seer(sender)));
    let one = network.endpoint(Machine(1), ONE);
    one.set_address(TWO, "two".to_owned());
    (one, seen)
}

fn all_of(seen: &mut Seen) -> Vec<Bytes> {
    std::iter::from_fn(|| seen.try_recv().ok()).map(|(_, message)| message).collect()
}

async fn call(one: &Endpoint, request: &'static str) -> Result<Bytes, TransportError> {
    one.call(TWO, Channel::Log, Bytes::from(request), SECOND).await
}

const TIMED_OUT: TransportError = TransportError::TimedOut { node: TWO, within_ms: 1000 };

#[test]
fn what_arrives_runs_on_the_machine_where_it_arrives() {
    run(1, async {
        let network = Network::new(Weather::FAIR);
        let (one, mut seen) = two_machines(&network);
        call(&one, "a").await.unwrap();
        assert_eq!(seen.recv().await.unwrap(), (Machine(2), Bytes::from("a")));
        sim::pause(Machine(2), Duration::from_millis(500));
        let began = crate::runtime::now();
        call(&one, "b").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(500), "a machine that stands still answers later");
    });
}

#[test]
fn a_cut_way_loses_requests_one_way_and_answers_the_other_way() {
    run(2, async {
        let network = Network::new(Weather::FAIR);
        let (one, mut seen) = two_machines(&network);
        network.cut(Machine(1), Machine(2));
        assert_eq!(call(&one, "lost").await, Err(TIMED_OUT));
        assert_eq!(all_of(&mut seen), Vec::<Bytes>::new());
        network.mend(Machine(1), Machine(2));
        network.cut(Machine(2), Machine(1));
        assert_eq!(call(&one, "seen").await, Err(TIMED_OUT));
        assert_eq!(all_of(&mut seen), [Bytes::from("seen")], "it is the answer that is lost");
        network.mend_all();
        assert_eq!(call(&one, "well").await, Ok(Bytes::from("well")));
        assert_eq!(network.counters().dropped, 2);
    });
}

#[test]
fn a_part_of_the_machines_is_cut_off_both_ways() {
    run(3, async {
        let network = Network::new(Weather::FAIR);
        let all = [Machine(1), Machine(2), Machine(3)];
        network.part(&all[..1], &all);
        let cut: BTreeSet<_> = network.state.lock().cuts.iter().map(|(from, to)| (from.0, to.0)).collect();
        assert_eq!(cut, BTreeSet::from([(1, 2), (2, 1), (1, 3), (3, 1)]));
    });
}

#[test]
fn a_message_that_is_on_the_way_when_the_way_is_cut_does_not_arrive() {
    run(4, async {
        let network = Network::new(Weather::FAIR);
        network.set_distance(Machine(1), Machine(2), Duration::from_millis(100));
        let (one, mut seen) = two_machines(&network);
        let cutter = network.clone();
        spawn_on(Machine::WORLD, async move {
            crate::runtime::sleep(Duration::from_millis(50)).await;
            cutter.cut(Machine(1), Machine(2));
        });
        assert_eq!(call(&one, "late").await, Err(TIMED_OUT));
        assert_eq!(all_of(&mut seen), Vec::<Bytes>::new());
    });
}

#[test]
fn a_distance_takes_its_time() {
    run(5, async {
        let network = Network::new(Weather::FAIR);
        network.set_distance(Machine(1), Machine(2), Duration::from_millis(100));
        let (one, _seen) = two_machines(&network);
        let began = crate::runtime::now();
        call(&one, "a").await.unwrap();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(203), "{took:?}");
    });
}

#[test]
fn bad_weather_loses_doubles_and_reorders() {
    run(6, async {
        let weather = Weather { losses: 100_000, doubles: 100_000, ..Weather::FAIR };
        let network = Network::new(weather);
        let (one, mut seen) = two_machines(&network);
        let calls = (0..1_000_u32).map(|n| {
            let one = one.clone();
            async move {
                one.call(TWO, Channel::Log, Bytes::copy_from_slice(&n.to_be_bytes()), SECOND).await.is_ok()
            }
        });
        let answered =
            futures::future::join_all(calls).await.into_iter().filter(|answered| *answered).count();
        assert!(
            (700..900).contains(&answered),
            "{answered} of 1,000 were answered: 81 % were to be expected"
        );
        let seen = all_of(&mut seen);
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert!((50..150).contains(&(seen.len() - distinct.len())), "one in ten is seen twice");
        assert!(seen.windows(2).any(|pair| pair[0] > pair[1]), "some overtake others");
        let counters = network.counters();
        assert_eq!(counters.doubled, (seen.len() - distinct.len()) as u64);
        assert_eq!(counters.dropped, (1_000 - answered) as u64);
    });
}

#[test]
fn a_stream_breaks_when_its_way_is_cut_whoever_writes() {
    for (from, to) in [(1, 2), (2, 1)] {
        run(7, async move {
            let network = Network::new(Weather::FAIR);
            let (one, mut seen) = two_machines(&network);
            let mut stream = one.open(TWO, Channel::Snapshot, Bytes::new()).await.unwrap();
            stream.sender.send(Bytes::from("a")).await.unwrap();
            assert_eq!(seen.recv().await.unwrap().1, Bytes::from("a"));
            network.cut(Machine(from), Machine(to));
            let began = crate::runtime::now();
            assert_eq!(stream.receiver.recv().await, None);
            stream.sender.closed().await;
            assert_eq!(seen.recv().await.unwrap().1, Bytes::from("end"), "the other end learns it as well");
            assert!(began.elapsed() <= PROBE_MAX + Duration::from_millis(1));
            assert_eq!(network.counters().broken, 1);
            assert!(network.state.lock().streams.is_empty());
        });
    }
}

#[test]
fn after_a_lost_message_of_a_stream_nothing_arrives() {
    run(8, async {
        let network = Network::new(Weather::FAIR);
        let (one, mut seen) = two_machines(&network);
        let stream = one.open(TWO, Channel::Snapshot, Bytes::new()).await.unwrap();
        stream.sender.send(Bytes::from("a")).await.unwrap();
        assert_eq!(seen.recv().await.unwrap().1, Bytes::from("a"));
        network.set_weather(Weather { losses: 1_000_000, ..Weather::FAIR });
        stream.sender.send(Bytes::from("lost")).await.unwrap();
        crate::runtime::sleep(Duration::from_millis(1)).await;
        network.set_weather(Weather::FAIR);
        drop(stream.sender.send(Bytes::from("b")).await);
        assert_eq!(seen.recv().await.unwrap().1, Bytes::from("end"));
    });
}

#[test]
fn a_stream_ends_quietly_when_both_sides_have_done() {
    run(9, async {
        let network = Network::new(Weather::FAIR);
        let (one, mut seen) = two_machines(&network);
        let mut stream = one.open(TWO, Channel::Snapshot, Bytes::new()).await.unwrap();
        drop(stream.sender);
        assert_eq!(seen.recv().await.unwrap().1, Bytes::from("end"));
        assert_eq!(stream.receiver.recv().await, None);
        crate::runtime::sleep(SECOND).await;
        assert!(network.state.lock().streams.is_empty());
        let counters = network.counters();
        assert_eq!((counters.streams, counters.broken), (1, 0));
    });
}

#[test]
fn an_answer_of_a_machine_that_was_killed_never_comes() {
    run(10, async {
        let network = Network::new(Weather::FAIR);
        let (one, mut seen) = two_machines(&network);
        sim::pause(Machine(2), SECOND);
        let killer = network.clone();
        spawn_on(Machine::WORLD, async move {
            crate::runtime::sleep(Duration::from_millis(10)).await;
            sim::kill(Machine(2));
            killer.down(Machine(2));
        });
        let called = call(&one, "a").await;
        assert!(matches!(called, Err(TransportError::Broken { .. })), "{called:?}");
        assert_eq!(all_of(&mut seen), Vec::<Bytes>::new());
        let called = call(&one, "b").await;
        assert!(matches!(called, Err(TransportError::Unreachable { .. })), "{called:?}");
    });
}
