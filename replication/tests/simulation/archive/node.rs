//! The program that ships: the server, and beside each of its groups what a real one starts.
//!
//! - Who ships is decided and named as in a server, and progress goes through the log of the group.
//! - A node that is not named any more may go on for a while, as one does that does not know it yet.
//! - Each start draws anew how often is shipped and what, as a person changes settings from one start to the next.

use super::bucket::Bucket;
use super::told::Told;
use archiver::Archive;
use archiver::job::{Job, JobKind};
use archiver::merge::{self, Rules};
use archiver::prune::prune;
use archiver::retention::Policy;
use archiver::seal::Recipients;
use archiver::ship::chosen::{Candidate, View};
use archiver::ship::{Follower, Keep, ProgressLog, Replica, Settings, Shipper, Status, follow};
use archiver::store::ObjectStore;
use archiver::store::retry::Retrying;
use async_trait::async_trait;
use engine::{Engine, Mark};
use futures::future::join_all;
use parking_lot::Mutex;
use replication::runtime::sim::{self, SplitMix};
use replication::runtime::{JoinHandle, sleep, spawn};
use replication::sim::host::{Boot, Position, Program};
use replication::sim::server::Server;
use replication::{Change, Group, Member, Node, NodeId, Role};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long progress is waited for until it counts as not recorded.
const RECORD_WITHIN: Duration = Duration::from_secs(30);
/// How long a stop waits for the last commits to be shipped.
const LAST_SHIPPING: Duration = Duration::from_secs(3);
/// How long a node goes on that is not named any more, in milliseconds, at most.
const STUBBORN_MS: u64 = 15_000;
/// Time between two turns of pruning, in milliseconds, at most.
const TURN_MS: u64 = 10_000;

/// The server, and an archive.
#[derive(Debug, Clone)]
pub(super) struct Archiving {
    pub(super) server: Server,
    pub(super) bucket: Bucket,
    pub(super) told: Arc<Told>,
    pub(super) policy: Policy,
    pub(super) rules: Rules,
    /// What each node has at work.
    pub(super) at_work: Arc<Mutex<BTreeMap<NodeId, Vec<AtWork>>>>,
}

/// Shipping of one group by one node.
#[derive(Debug)]
pub(super) struct AtWork {
    stops: Vec<watch::Sender<bool>>,
    follower: JoinHandle<Option<Shipper>>,
}

/// One group as one node holds it.
#[derive(Debug)]
struct Held {
    group: Group,
    told: Arc<Told>,
}

#[async_trait]
impl ProgressLog for Held {
    async fn record(&self, mark: Mark) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.group.record(mark.clone(), RECORD_WITHIN).await?;
        self.told.recorded(self.group.id().0, &mark);
        Ok(())
    }
}

#[async_trait]
impl Replica for Held {
    fn group(&self) -> u64 {
        self.group.id().0
    }

    fn engine(&self) -> Engine {
        self.group.engine()
    }

    fn view(&self) -> View {
        let status = self.group.status();
        let candidate = |member: &Member| Candidate {
            node: member.node.0,
            is_voter: member.is_voter,
            is_leader: member.node == status.node,
            lag: member.lag,
            silent_ms: member.silent_ms,
        };
        View {
            node: status.node.0,
            leads: status.role == Role::Leader,
            members: status.members.iter().map(candidate).collect(),
        }
    }
}

/// A number of so many bits, from `min` to `max`, inclusive.
fn bits(random: &mut SplitMix, min: u64, max: u64) -> u64 {
    1 << (min + random.below(max - min + 1))
}

fn settings(random: &mut SplitMix, scratch: &Path, group: u64, node: u64) -> Settings {
    Settings {
        group,
        node,
        interval_ms: 50 + random.below(1_500),
        object_bytes_max: bits(random, 10, 18),
        backlog_bytes_max: if random.chance(150_000) { bits(random, 15, 19) } else { 4 << 30 },
        checkpoint_interval_ms: bits(random, 12, 22),
        checkpoint_bytes: bits(random, 12, 19),
        ..Settings::new(scratch.to_path_buf())
    }
}

impl Archiving {
    /// Starts what ships, keeps and prunes a group.
    fn begin(&self, group: Group, scratch: &Path, random: &mut SplitMix) -> AtWork {
        let (id, node) = (group.id().0, group.status().node.0);
        let clock = group.clock().clone();
        let replica: Arc<dyn Replica> = Arc::new(Held { group, told: Arc::clone(&self.told) });
        let store: Arc<dyn ObjectStore> = Arc::new(Retrying::new(Arc::new(self.bucket.clone())));
        let (tell, chosen) = watch::channel(follow::ships_now(&*replica));
        let (hold, ships) = watch::channel(*chosen.borrow());
        let follower = Follower {
            replica: Arc::clone(&replica),
            store: Arc::clone(&store),
            how: settings(random, scratch, id, node),
            keep: Keep::new(),
            ships: ships.clone(),
            status: watch::channel(Status::default()).0,
        };
        // What is needed is known before the engine does anything.
        follower.keep();
        let (stop, stopping) = watch::channel(false);
        let (stop_looking, no_more_looks) = watch::channel(false);
        let follower = spawn(follower.run(stopping));
        spawn(follow::look(replica, tell, no_more_looks));
        spawn(stubborn(chosen, hold));
        let pruner = Pruner { archive: Archive::plain(store), group: id, program: self.clone() };
        spawn(pruner.run(move || clock.now_ms(), ships));
        AtWork { stops: vec![stop, stop_looking], follower }
    }
}

/// Passes on whether the node ships; at times later, when it does not any more.
async fn stubborn(mut chosen: watch::Receiver<bool>, hold: watch::Sender<bool>) {
    while chosen.changed().await.is_ok() {
        let ships = *chosen.borrow_and_update();
        if !ships && *hold.borrow() && sim::chance(500_000) {
            sim::note("deposed shipper that goes on", 0, 0);
            sleep(Duration::from_millis(sim::below(STUBBORN_MS))).await;
        }
        hold.send_replace(*chosen.borrow());
    }
}

/// Prunes and merges where the group is shipped.
struct Pruner {
    archive: Archive,
    group: u64,
    program: Archiving,
}

impl Pruner {
    async fn run(self, now_ms: impl Fn() -> u64, ships: watch::Receiver<bool>) {
        loop {
            sleep(Duration::from_millis(sim::below(TURN_MS))).await;
            if *ships.borrow() {
                self.turn(now_ms()).await;
            }
        }
    }

    async fn turn(&self, now_ms: u64) {
        let Archiving { policy, rules, told, .. } = &self.program;
        told.prunes(self.group, now_ms);
        let job = Job::unwatched(JobKind::Prune);
        match prune(&self.archive, self.group, now_ms, policy, &job).await {
            Ok(_pruned) => {}
            Err(error) => tracing::info!(%error, "not pruned"),
        }
        let (nobody, job) = (Recipients::nobody(), Job::unwatched(JobKind::Merge));
        match merge::merge(&self.archive, self.group, now_ms, rules, &nobody, &job).await {
            Ok(merged) => {
                (0..merged.made).for_each(|_| sim::note("merge", 0, 0));
                told.disputed(merged.disputed);
            }
            Err(error) => tracing::info!(%error, "not merged"),
        }
    }
}

#[async_trait]
impl Program for Archiving {
    type Process = Node;

    async fn start(&self, boot: Boot) -> Result<Node, String> {
        let (id, scratch) = (boot.node, boot.dir.join("scratch"));
        let node = self.server.start(boot).await?;
        let mut random = sim::fork_random();
        let groups = node.groups().into_iter();
        let at_work = groups.map(|group| self.begin(group, &scratch, &mut random)).collect();
        self.at_work.lock().insert(id, at_work);
        Ok(node)
    }

    async fn close(&self, node: Node) {
        let id = node.groups().first().map(|group| group.status().node);
        let at_work = id.and_then(|id| self.at_work.lock().remove(&id)).unwrap_or_default();
        let drain = |at_work: AtWork| async move {
            for stop in &at_work.stops {
                stop.send_replace(true);
            }
            if let Ok(Some(mut shipper)) = at_work.follower.await {
                // What is not shipped is shipped by another node, or after the next start.
                shipper.drain(LAST_SHIPPING).await;
            }
        };
        join_all(at_work.into_iter().map(drain)).await;
        self.server.close(node).await;
    }

    async fn failure(&self, node: Node) -> String {
        self.server.failure(node).await
    }

    async fn change(&self, node: Node, change: Change) -> Result<(), String> {
        self.server.change(node, change).await
    }

    async fn probe(&self, node: Node) -> Result<(), String> {
        self.server.probe(node).await
    }

    fn position(&self, node: &Node) -> Position {
        self.server.position(node)
    }
}
