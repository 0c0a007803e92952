//! A node: its groups, the Raft log that they share, and what they are reached by.
//!
//! - A node that begins alone is a cluster of one: each of its groups has it as the only member.
//! - An engine that belongs to no group yet (that of an earlier version, or of a restore) is adopted: one record makes
//!   this node the only member, and the Raft log begins after it.
//! - A node that is to join begins with nothing; the leader sends it everything.

use crate::bugs::{self, Bug};
use crate::group::{Group, GroupOptions, Parts};
use crate::home::Home;
use crate::inbox::Inbox;
use crate::log::{Log, LogOptions, LogStore};
use crate::network::Network;
use crate::raft::{Membership, Peer, Raft, StoredMembership, log_id};
use crate::rebuild::Rebuild;
use crate::replica::{Replica, index_of, membership_in, membership_mark};
use crate::replica_dir::{ReplicaDir, is_damage};
use crate::state_machine::StateMachine;
use crate::transport::Transport;
use crate::{GroupId, NodeId, OpenError, ServingClock};
use engine::{Budget, Engine, Env, Options, Record, Recovery};
use openraft::{Config, SnapshotPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the engines of groups are, in the data directory.
const GROUPS: &str = "groups";

/// How often a leader is heard, and when it is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats, in milliseconds. More than a round trip between any two nodes.
    pub heartbeat_ms: u64,
    /// A follower that hears nothing for a time drawn from here, in milliseconds, asks for votes. At least ten round
    /// trips. The upper end is how long a leader's lease lasts.
    pub election_ms: (u64, u64),
}

impl Default for Timing {
    /// For nodes in one region.
    fn default() -> Self {
        Self { heartbeat_ms: 50, election_ms: (200, 300) }
    }
}

/// What a node is and how it works.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Which node.
    pub id: NodeId,
    /// Where others reach it.
    pub peer: Peer,
    /// The groups that it holds, rising.
    pub groups: Vec<GroupId>,
    /// Whether a group that holds nothing waits to be added by its leader, instead of beginning alone.
    pub joins: bool,
    /// How often leaders are heard.
    pub timing: Timing,
    /// How groups read and keep their log.
    pub group: GroupOptions,
    /// How engines work.
    pub engine: Options,
    /// How the Raft log is kept.
    pub log: LogOptions,
}

impl NodeOptions {
    /// A node alone, with one data group.
    pub fn alone(id: NodeId) -> Self {
        Self {
            id,
            peer: Peer::default(),
            groups: vec![GroupId::CATALOG, GroupId::FIRST],
            joins: false,
            timing: Timing::default(),
            group: GroupOptions::default(),
            engine: Options::default(),
            log: LogOptions::default(),
        }
    }
}

/// A node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: NodeId,
    groups: BTreeMap<GroupId, Group>,
    log: Arc<Log>,
    inbox: Arc<Inbox>,
    recoveries: BTreeMap<GroupId, Recovery>,
}

impl Node {
    /// Opens the groups in a data directory and takes part in them.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(
        env: Env,
        data: &Path,
        options: NodeOptions,
        budget: &Arc<Budget>,
        transport: Arc<dyn Transport>,
        inbox: Arc<Inbox>,
    ) -> Result<Node, OpenError> {
        let log = Log::open(&env, data, &options.log)?;
        let mut boot = [0; 8];
        env.random.fill(&mut boot);
        let opening = Opening {
            env,
            data: data.to_path_buf(),
            options,
            budget: Arc::clone(budget),
            transport,
            log: Arc::clone(&log),
            boot: u64::from_le_bytes(boot),
        };
        let (mut groups, mut recoveries) = (BTreeMap::new(), BTreeMap::new());
        for id in opening.options.groups.clone() {
            let (group, recovery) = opening.group(id).await?;
            inbox.add(Arc::clone(group.core()));
            groups.insert(id, group);
            recoveries.insert(id, recovery);
        }
        let id = opening.options.id;
        Ok(Node { shared: Arc::new(Shared { id, groups, log, inbox, recoveries }) })
    }

    /// Which node.
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// A group that it holds.
    pub fn group(&self, id: GroupId) -> Option<Group> {
        self.shared.groups.get(&id).cloned()
    }

    /// All groups that it holds, by id.
    pub fn groups(&self) -> Vec<Group> {
        self.shared.groups.values().cloned().collect()
    }

    /// What opening found in each group.
    pub fn recoveries(&self) -> &BTreeMap<GroupId, Recovery> {
        &self.shared.recoveries
    }

    /// Waits until this node cannot go on and has to be started again; returns why.
    pub async fn failure(&self) -> String {
        let log = self.shared.log.failure();
        let ended = self.shared.groups.values().map(|group| Box::pin(group.failure()));
        let groups = futures::future::select_all(ended);
        match futures::future::select(Box::pin(log), groups).await {
            futures::future::Either::Left((reason, _)) => reason,
            futures::future::Either::Right(((reason, _, _), _)) => reason,
        }
    }

    /// Hands the leadership of every group that it leads to another node, where there is one.
    pub async fn hand_over(&self) {
        let groups = self.groups();
        futures::future::join_all(groups.iter().map(Group::hand_over)).await;
    }

    /// Hands leadership over, ends all groups and closes their engines.
    ///
    /// # Errors
    ///
    /// The first engine that cannot be closed.
    pub async fn close(&self) -> engine::Result<()> {
        let groups = self.groups();
        futures::future::join_all(groups.iter().map(Group::close)).await;
        self.shared.inbox.clear();
        let closed: Vec<_> = groups.iter().map(|group| group.engine().close()).collect();
        closed.into_iter().collect()
    }
}

/// What opening a group needs.
struct Opening {
    env: Env,
    data: PathBuf,
    options: NodeOptions,
    budget: Arc<Budget>,
    transport: Arc<dyn Transport>,
    log: Arc<Log>,
    boot: u64,
}

impl Opening {
    async fn group(&self, id: GroupId) -> Result<(Group, Recovery), OpenError> {
        let mut dir = self.replica_dir(id)?;
        let (engine, recovery) = self.engine(id, &mut dir).await?;
        let behind = dir.discard_behind(engine.applied().version);
        behind.map_err(|source| OpenError::Replica { group: id, source })?;
        let (options, budget) = (self.options.engine.clone(), Arc::clone(&self.budget));
        let home = Arc::new(Home::new(self.env.clone(), options, budget, dir));
        self.forget_parent(id, &engine).await?;
        let log = LogStore::open(&self.log, id)?;
        if self.log.is_new(id) {
            self.begin(id, &engine, &log).await?;
        }
        log.belong_to(engine.lineage()).await.map_err(|source| OpenError::ReadLog { group: id, source })?;
        let clock = ServingClock::new(Arc::clone(&self.env.clock), engine.applied().time_ms);
        let replica = Arc::new(Replica::new(id, self.options.id.0, self.boot, engine));
        let machine = StateMachine::new(Arc::clone(&replica), Arc::clone(&home), log.clone());
        let network = Network::new(Arc::clone(&self.transport), id, Arc::clone(&home), Arc::clone(&replica));
        let refused = |reason: String| OpenError::Raft { group: id, reason };
        let config =
            config(self.options.timing, id).validate().map_err(|error| refused(error.to_string()))?;
        let raft = Raft::new(self.options.id.0, Arc::new(config), network, log.clone(), machine).await;
        let raft = raft.map_err(|fatal| refused(fatal.to_string()))?;
        let group = Group::start(Parts {
            id,
            node: self.options.id,
            raft,
            replica,
            home,
            log,
            transport: Arc::clone(&self.transport),
            clock,
            options: self.options.group.clone(),
        });
        Ok((group, recovery))
    }

    fn replica_dir(&self, id: GroupId) -> Result<ReplicaDir, OpenError> {
        let opened = ReplicaDir::open(Arc::clone(&self.env.fs), &self.data.join(GROUPS), id);
        opened.map_err(|source| OpenError::Replica { group: id, source })
    }

    /// Opens the engine of a group, or rebuilds the replica when that is damaged.
    async fn engine(&self, id: GroupId, dir: &mut ReplicaDir) -> Result<(Engine, Recovery), OpenError> {
        let open = |dir: &Path| {
            let options = self.options.engine.clone();
            Engine::open_with_budget(self.env.clone(), dir, options, &self.budget)
        };
        let damage = if dir.awaits_snapshot() {
            None
        } else {
            match open(&dir.engine_dir()) {
                Err(error) if is_damage(&error) => Some(error),
                opened => return opened.map_err(|source| OpenError::Engine { group: id, source }),
            }
        };
        let rebuild = Rebuild {
            group: id,
            node: self.options.id,
            env: &self.env,
            options: &self.options.engine,
            transport: &self.transport,
            log: &self.log,
        };
        let engine = rebuild.run(dir, damage, |dir| open(dir).map(|(engine, _)| engine)).await?;
        Ok((engine, Recovery { created: false, records: 0, torn: None }))
    }

    /// Forgets the Raft log of a lineage that the engine has left: a restore or a forced recovery goes on without it.
    async fn forget_parent(&self, id: GroupId, engine: &Engine) -> Result<(), OpenError> {
        let failed = |source| OpenError::ReadLog { group: id, source };
        let Some((lineage, epoch)) = self.log.lineage(id).map_err(failed)? else { return Ok(()) };
        let current = engine.lineage();
        if lineage == current.id {
            return Ok(());
        }
        if epoch >= current.epoch {
            return Err(OpenError::ForeignLog { group: id, log: lineage, engine: current.id });
        }
        tracing::warn!(group = %id, %lineage, "forgetting the Raft log of the lineage that this one left");
        self.log.forget(id).await.map_err(failed)
    }

    /// Begins the Raft log of a group that has none.
    async fn begin(&self, id: GroupId, engine: &Engine, log: &LogStore) -> Result<(), OpenError> {
        let failed = |source| OpenError::Engine { group: id, source };
        let position = match membership_in(engine) {
            None if self.options.joins && engine.applied().version == 0 => return Ok(()),
            None => self.seed(engine).map_err(failed)?,
            // A crash between the two steps of a beginning: nothing has been applied since.
            Some(stored) if *stored.log_id() == position_of(engine) && is_seed(&stored) => {
                position_of(engine)
            }
            Some(_) => return Err(OpenError::LogMissing { group: id }),
        };
        if let Some(position) = position {
            log.begin_after(position).await.map_err(|source| OpenError::ReadLog { group: id, source })?;
        }
        Ok(())
    }

    /// Makes this node the only member, in one record after all others.
    fn seed(&self, engine: &Engine) -> engine::Result<Option<crate::raft::LogId>> {
        let (applied, version) = (engine.applied(), engine.next_version());
        let position = log_id(0, index_of(version));
        let nodes = BTreeMap::from([(self.options.id.0, self.options.peer.clone())]);
        let voters = vec![BTreeSet::from([self.options.id.0])];
        let membership = Membership::new(voters, nodes).expect("the one voter is a node");
        let mark = membership_mark(engine, &StoredMembership::new(Some(position), membership));
        let record = Record {
            version,
            term: 0,
            time_ms: applied.time_ms.max(self.env.clock.now_ms()),
            hash: applied.hash,
            batches: Vec::new(),
            marks: vec![mark],
        };
        // Into the reserve of a full disk as well: a node must come up to say that its disk is full.
        engine.append_agreed(&record)?;
        engine.sync()?;
        engine.publish(version);
        Ok(Some(position))
    }
}

fn position_of(engine: &Engine) -> Option<crate::raft::LogId> {
    let applied = engine.applied();
    Some(log_id(applied.term, index_of(applied.version)))
}

/// Whether a membership is that of a beginning: written by no leader.
fn is_seed(stored: &StoredMembership) -> bool {
    stored.log_id().is_some_and(|id| id.leader_id.term == 0)
}

/// openraft's settings. That a leader is elected anew is watched by a seeded bug, the pre-vote by a test.
fn config(timing: Timing, group: GroupId) -> Config {
    Config {
        cluster_name: format!("group {group}"),
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_ms.0,
        election_timeout_max: timing.election_ms.1,
        // Ours is a position; upkeep decides when it moves.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        // A leader that comes back must be elected: having sent entries that it then lost, it would give the same
        // positions to others.
        enable_leader_restore: Some(bugs::seeded(Bug::LeaderRestore)),
        // A node that comes back does not disturb a leader that the others hear.
        enable_pre_vote: Some(true),
        allow_log_reversion: Some(false),
        install_snapshot_timeout: SNAPSHOT_MS_MAX,
        max_payload_entries: 512,
        ..Config::default()
    }
}

/// How long a Raft snapshot may take, in milliseconds.
const SNAPSHOT_MS_MAX: u64 = 6 * 60 * 60 * 1000;

#[cfg(test)]
mod tests;
