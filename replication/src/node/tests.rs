mod repair;

use super::*;
use crate::runtime::sim::{self, Machine, SimClock, SimRandom, spawn_on};
use crate::runtime::{sleep, timeout};
use crate::sim::disk::Disk;
use crate::sim::network::{Network as SimNetwork, Weather};
use crate::transport::Service;
use crate::{
    AtomicWrite, Change, DEFAULT_DATABASE, Encoding, Mutation, MutationKind, Outcome, RequestId, Role,
    StoredValue, Sum, engine_key,
};
use engine::BudgetOptions;
use std::time::Duration;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const SOON: Duration = Duration::from_secs(20);

/// Starts a node on the machine of its number.
async fn start(
    network: &SimNetwork,
    disk: &Disk,
    mirror: &Path,
    id: u64,
    joins: bool,
    tune: fn(&mut NodeOptions),
) -> Result<Node, String> {
    let (network, disk, mirror) = (network.clone(), disk.clone(), mirror.to_path_buf());
    let machine = Machine(id);
    let opened = spawn_on(machine, async move {
        let env = Env { fs: Arc::new(disk.boot()), clock: Arc::new(SimClock), random: Arc::new(SimRandom) };
        let budget = Budget::new(BudgetOptions::default()).map_err(|error| error.to_string())?;
        let endpoint = network.endpoint(machine, NodeId(id));
        let inbox = Inbox::new();
        let address = format!("node-{id}:1");
        endpoint.listen(&address, Arc::clone(&inbox) as Arc<dyn Service>);
        let peer = Peer { address, region: String::new() };
        let log = LogOptions { mirror: Some(mirror), ..LogOptions::default() };
        let mut options = NodeOptions { peer, joins, log, ..NodeOptions::alone(NodeId(id)) };
        tune(&mut options);
        Node::open(env, Path::new("/data"), options, &budget, endpoint, inbox)
            .await
            .map_err(|error| error.to_string())
    });
    opened.await.map_err(|error| error.to_string())?
}

fn data(node: &Node) -> Result<Group, String> {
    node.group(GroupId::FIRST).ok_or_else(|| "no data group".to_owned())
}

fn add(request: RequestId, key: &[u8]) -> AtomicWrite {
    let mutation = Mutation { key: key.to_vec(), kind: MutationKind::Sum(Sum::U64(1)) };
    AtomicWrite { request, database: DEFAULT_DATABASE, checks: Vec::new(), mutations: vec![mutation] }
}

fn set(request: RequestId, key: &[u8], value: &[u8]) -> AtomicWrite {
    let value = StoredValue { encoding: Encoding::Bytes, bytes: value.to_vec() };
    let mutation = Mutation { key: key.to_vec(), kind: MutationKind::Set { value, expire_at_ms: None } };
    AtomicWrite { request, database: DEFAULT_DATABASE, checks: Vec::new(), mutations: vec![mutation] }
}

async fn on<T: Send + 'static>(
    id: u64,
    work: impl Future<Output = Result<T, String>> + Send + 'static,
) -> Result<T, String> {
    spawn_on(Machine(id), work).await.map_err(|error| error.to_string())?
}

/// Adds one to a counter through a node; returns the stamp's version.
async fn count(node: &Node, id: u64) -> Result<u64, String> {
    let group = data(node)?;
    on(id, async move {
        let write = add(group.request_id(), b"counter");
        match group.write(write, 10, SOON).await.map_err(|error| error.to_string())? {
            Outcome::Committed(stamp) => Ok(stamp.version()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// The counter as a strong read on a node sees it.
async fn read(node: &Node, id: u64) -> Result<u64, String> {
    let group = data(node)?;
    on(id, async move {
        group.barrier(SOON).await.map_err(|error| error.to_string())?;
        let value = group.snapshot().get(&engine_key(DEFAULT_DATABASE, b"counter"));
        let Some(value) = value.map_err(|error| error.to_string())? else { return Ok(0) };
        let (_, bytes) = crate::split_value(&value.bytes).ok_or("no value")?;
        Ok(u64::from_le_bytes(bytes[..].try_into().map_err(|_short| "not 8 bytes")?))
    })
    .await
}

async fn change(node: &Node, id: u64, change: Change) -> Result<(), String> {
    for group in node.groups() {
        let change = change.clone();
        on(id, async move { group.change(change, SOON).await.map_err(|error| error.to_string()) }).await?;
    }
    Ok(())
}

struct World {
    network: SimNetwork,
    disks: Vec<Disk>,
    mirrors: tempfile::TempDir,
    tune: fn(&mut NodeOptions),
}

impl World {
    fn new() -> std::io::Result<Self> {
        let disks = (0..4).map(|_| Disk::default()).collect();
        let tune = |_: &mut NodeOptions| {};
        Ok(Self { network: SimNetwork::new(Weather::FAIR), disks, mirrors: tempfile::tempdir()?, tune })
    }

    async fn start(&self, id: u64, joins: bool) -> Result<Node, String> {
        let place = usize::try_from(id).map_err(|error| error.to_string())?;
        let mirror = self.mirrors.path().join(id.to_string());
        start(&self.network, &self.disks[place], &mirror, id, joins, self.tune).await
    }

    /// Three nodes that all vote.
    async fn three(&self) -> Result<Vec<Node>, String> {
        let first = self.start(1, false).await?;
        let mut nodes = vec![first];
        for id in 2..=3 {
            let node = self.start(id, true).await?;
            let peer = Peer { address: format!("node-{id}:1"), region: String::new() };
            change(&nodes[0], 1, Change::Add(NodeId(id), peer)).await?;
            change(&nodes[0], 1, Change::Promote(NodeId(id))).await?;
            nodes.push(node);
        }
        Ok(nodes)
    }
}

fn simulate(seed: u64, test: impl Future<Output = Result<(), String>>) -> TestResult {
    let bounded =
        async { timeout(Duration::from_secs(300), test).await.map_err(|_late| "it took too long")? };
    Ok(sim::run(seed, bounded)?)
}

#[test]
fn a_node_alone_is_a_cluster_of_one() -> TestResult {
    simulate(1, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let node = world.start(1, false).await?;
        for expected in 1..=20 {
            count(&node, 1).await?;
            assert_eq!(read(&node, 1).await?, expected);
        }
        on(1, async move { node.close().await.map_err(|error| error.to_string()) }).await?;
        sim::kill(Machine(1));
        world.network.down(Machine(1));
        world.disks[1].take_away();
        world.disks[1].kill();
        let node = world.start(1, false).await?;
        assert_eq!(read(&node, 1).await?, 20);
        Ok(())
    })
}

#[test]
fn any_node_takes_writes_and_strong_reads() -> TestResult {
    simulate(2, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let nodes = world.three().await?;
        let mut expected = 0;
        for round in 0..10 {
            for (id, node) in (1..).zip(&nodes) {
                count(node, id).await?;
                expected += 1;
                let reader = (round + id) % 3;
                let at = &nodes[usize::try_from(reader).map_err(|error| error.to_string())?];
                assert_eq!(read(at, reader + 1).await?, expected);
            }
        }
        Ok(())
    })
}

#[test]
fn any_node_tells_how_the_leader_sees_its_group() -> TestResult {
    simulate(4, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let nodes = world.three().await?;
        count(&nodes[2], 3).await?;
        for (id, node) in (1..).zip(&nodes) {
            let group = data(node)?;
            let ask = async move { group.leader_status(SOON).await.map_err(|error| error.to_string()) };
            let status = on(id, ask).await?;
            assert_eq!((status.node, status.role, status.leader), (NodeId(1), Role::Leader, Some(NodeId(1))));
            assert!(status.members.len() == 3 && status.members.iter().all(|member| member.is_voter));
            let known =
                status.members.iter().all(|member| member.lag.is_some() && member.silent_ms.is_some());
            assert!(known, "{status:?}");
        }
        let own = data(&nodes[1])?.status();
        assert_eq!((own.node, own.role, own.is_changing), (NodeId(2), Role::Follower, false));
        Ok(())
    })
}

#[test]
fn a_dead_leader_is_replaced_and_nothing_is_lost() -> TestResult {
    simulate(3, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let nodes = world.three().await?;
        for _ in 0..10 {
            count(&nodes[1], 2).await?;
        }
        world.disks[1].take_away();
        sim::kill(Machine(1));
        world.network.down(Machine(1));
        world.disks[1].crash(engine::fs::sim::Unsynced::Lost);
        let started = sim::elapsed();
        count(&nodes[1], 2).await?;
        let waited = sim::elapsed() - started;
        assert!(waited < Duration::from_secs(3), "{waited:?}");
        assert_eq!(read(&nodes[2], 3).await?, 11);
        let back = world.start(1, false).await?;
        count(&back, 1).await?;
        assert_eq!(read(&back, 1).await?, 12);
        sleep(Duration::from_millis(500)).await;
        let hashes: Vec<_> =
            [&back, &nodes[1], &nodes[2]].map(|node| data(node).map(|group| group.status().hash)).into();
        assert_eq!(hashes[0], hashes[1]);
        assert_eq!(hashes[0], hashes[2]);
        Ok(())
    })
}

#[test]
fn a_node_that_comes_back_does_not_disturb_the_leader() -> TestResult {
    simulate(7, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let nodes = world.three().await?;
        count(&nodes[0], 1).await?;
        let led = |node: &Node| data(node).map(|group| (group.status().leader, group.status().term));
        let before = led(&nodes[0])?;
        let all = [1, 2, 3].map(Machine);
        world.network.part(&all[2..], &all);
        // It misses the leader many times over, and asks for votes that nobody hears.
        sleep(Duration::from_secs(10)).await;
        world.network.mend_all();
        sleep(Duration::from_secs(3)).await;
        assert_eq!(led(&nodes[0])?, before, "without a pre-vote its term ends the leader's");
        assert_eq!(led(&nodes[2])?, before);
        count(&nodes[2], 3).await?;
        Ok(())
    })
}

#[test]
fn a_value_is_set_and_two_runs_of_a_seed_do_the_same() -> TestResult {
    let run = || {
        sim::run(5, async {
            let world = World::new().map_err(|error| error.to_string())?;
            let nodes = world.three().await?;
            let group = data(&nodes[2])?;
            let write = set(group.request_id(), b"k", b"v");
            on(3, async move { group.write(write, 10, SOON).await.map_err(|error| error.to_string()) })
                .await?;
            Ok::<_, String>(sim::trace())
        })
    };
    assert_eq!(run()?, run()?);
    Ok(())
}

/// Begins anew on the machine of a node that is down, as `cairn cluster force-new` does.
async fn salvaged(world: &World, id: u64) -> Result<Vec<crate::Salvaged>, String> {
    let place = usize::try_from(id).map_err(|error| error.to_string())?;
    let (disk, mirror) = (world.disks[place].clone(), world.mirrors.path().join(id.to_string()));
    let salvaged = on(id, async move {
        let env = Env { fs: Arc::new(disk.boot()), clock: Arc::new(SimClock), random: Arc::new(SimRandom) };
        let groups = [GroupId::CATALOG, GroupId::FIRST];
        crate::salvage(&env, Path::new("/data"), &groups, Some(mirror))
            .await
            .map_err(|error| error.to_string())
    })
    .await;
    // The process ends with what it was started for.
    world.disks[place].take_away();
    sim::kill(Machine(id));
    world.disks[place].kill();
    salvaged
}

#[test]
fn a_survivor_goes_on_with_all_that_reached_its_log() -> TestResult {
    simulate(6, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let nodes = world.three().await?;
        for _ in 0..10 {
            count(&nodes[0], 1).await?;
        }
        let before = data(&nodes[1])?.engine().lineage();
        sleep(Duration::from_millis(500)).await;
        for id in 1..=3 {
            let place = usize::try_from(id).map_err(|error: std::num::TryFromIntError| error.to_string())?;
            world.disks[place].take_away();
            sim::kill(Machine(id));
            world.network.down(Machine(id));
            // What the engine had not synced is gone; the Raft log has it.
            world.disks[place].crash(engine::fs::sim::Unsynced::Lost);
        }
        let first = salvaged(&world, 2).await?;
        assert!(first[1].entries >= 10, "{first:?}");
        assert_eq!(first[1].lineage.parent, Some((before.id, first[1].stamp)));
        let again = salvaged(&world, 2).await?;
        assert_eq!((again[1].entries, again[1].stamp), (0, first[1].stamp), "entries are applied once");
        let alone = world.start(2, true).await?;
        assert_eq!(read(&alone, 2).await?, 10);
        let version = count(&alone, 2).await?;
        assert_eq!(engine::versionstamp::epoch_of(version), before.epoch + 2);
        let status = data(&alone)?.status();
        assert_eq!(status.members.iter().map(|member| member.node).collect::<Vec<_>>(), [NodeId(2)]);
        Ok(())
    })
}
