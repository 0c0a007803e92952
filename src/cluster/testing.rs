//! A cluster in memory, for tests: real catalog, pretended groups.

use super::identity::Identity;
use super::operator::Operator;
use super::seam::{Cluster, ClusterError, Place, Result};
use super::status::{GroupStatus, Member, Role};
use crate::catalog::testing::Store;
use crate::catalog::{self, View};
use crate::testing::FakeClock;
use async_trait::async_trait;
use engine::{Env, Lineage, LineageId, Snapshot, Versionstamp};
use parking_lot::Mutex;
use replication::ServingClock;
use replication::{AtomicWrite, ClusterId, DatabaseNumber, Entry, GroupId, NodeId, Outcome, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Groups whose members do as they are told, seen from node 1.
#[derive(Debug)]
pub(crate) struct FakeCluster {
    store: Store,
    state: Mutex<State>,
}

/// What tests look at and change.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Every group; node 1 is the one that is asked.
    pub(crate) groups: BTreeMap<u64, GroupStatus>,
    /// Addresses at which nothing listens.
    pub(crate) silent: BTreeSet<String>,
    /// What the transport was told.
    pub(crate) addresses: BTreeMap<u64, String>,
    pub(crate) forgotten: BTreeSet<u64>,
    /// Databases whose content was removed, in order.
    pub(crate) deleted: Vec<(u64, u32)>,
    /// Whether a majority answers.
    pub(crate) unavailable: bool,
}

pub(crate) fn identity() -> Identity {
    Identity {
        cluster: ClusterId([1; 16]),
        lineage: LineageId([2; 16]),
        epoch: 0,
        node: NodeId(1),
        groups: 2,
        address: "10.0.0.1:4513".to_owned(),
        region: "eu".to_owned(),
    }
}

pub(crate) fn member(node: u64, region: &str, votes: bool) -> Member {
    Member {
        node,
        address: format!("10.0.0.{node}:4513"),
        region: region.to_owned(),
        votes,
        matched_index: Some(100),
        heard_ms: (node != 1).then_some(10),
    }
}

/// A group that node 1 leads, of these members.
pub(crate) fn group(id: u64, members: Vec<Member>) -> GroupStatus {
    GroupStatus {
        group: id,
        node: 1,
        role: Role::Leader,
        leader: Some(1),
        term: 1,
        last_index: 100,
        committed_index: 100,
        applied_index: 100,
        applied_version: 100,
        applied_hash: "00".repeat(32),
        staleness_ms: Some(0),
        changing: false,
        members,
    }
}

type Begun<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A cluster of node 1 alone, with a catalog and two data groups, its operator, and the clock.
pub(crate) fn alone() -> Begun<(Arc<FakeCluster>, Operator, Arc<FakeClock>)> {
    let store = Store::new()?;
    if let Some(change) = store.decide(|view| catalog::begin(view, &identity(), 1))? {
        store.commit(change)?;
    }
    let groups = (0..=2).map(|id| (id, group(id, vec![member(1, "eu", true)]))).collect();
    let state = Mutex::new(State { groups, ..State::default() });
    let cluster = Arc::new(FakeCluster { store, state });
    let clock = FakeClock::at(1_000);
    let serving = ServingClock::new(clock.clone(), 0);
    let operator = Operator::new(cluster.clone(), identity(), serving, Env::real().random);
    Ok((cluster, operator, clock))
}

impl FakeCluster {
    pub(crate) fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }

    pub(crate) fn decide<T>(&self, decide: impl FnOnce(&View<'_>) -> T) -> T {
        self.store.decide(decide)
    }

    /// The ids in a group, and whether they vote.
    pub(crate) fn members(&self, group: u64) -> Vec<(u64, bool)> {
        self.state(|state| state.groups[&group].members.iter().map(|m| (m.node, m.votes)).collect())
    }

    fn available(&self) -> Result<()> {
        if self.state(|state| state.unavailable) {
            return Err(ClusterError::Unavailable("no majority".to_owned()));
        }
        Ok(())
    }

    fn change(&self, group: GroupId, change: impl FnOnce(&mut GroupStatus)) -> Result<()> {
        self.available()?;
        self.state(|state| match state.groups.get_mut(&group.0) {
            Some(status) => {
                change(status);
                Ok(())
            }
            None => Err(ClusterError::Failed(format!("no group {group}"))),
        })
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn groups(&self) -> Vec<GroupId> {
        self.state(|state| state.groups.keys().copied().map(GroupId).collect())
    }

    fn status(&self, group: GroupId) -> Option<GroupStatus> {
        self.state(|state| state.groups.get(&group.0).cloned())
    }

    async fn leader_status(&self, group: GroupId) -> Result<GroupStatus> {
        self.available()?;
        self.status(group).ok_or_else(|| ClusterError::Failed("no such group".to_owned()))
    }

    fn lineage(&self, group: GroupId) -> Option<Lineage> {
        let id = u8::try_from(group.0).unwrap_or(u8::MAX);
        Some(Lineage { id: LineageId([id; 16]), epoch: 0, parent: None })
    }

    fn catalog(&self) -> Snapshot {
        self.store.snapshot()
    }

    async fn catalog_barrier(&self) -> Result<()> {
        self.available()
    }

    async fn write_catalog(&self, write: AtomicWrite) -> Result<Outcome> {
        self.available()?;
        self.store.write(write).map_err(|error| ClusterError::Failed(error.to_string()))
    }

    fn request_id(&self) -> RequestId {
        RequestId { node: 1, boot: 1, counter: 1 }
    }

    async fn write_data(&self, _group: GroupId, write: AtomicWrite, _bytes: usize) -> Result<Outcome> {
        self.write_catalog(write).await
    }

    async fn write_seal(&self, _group: GroupId, write: AtomicWrite) -> Result<Outcome> {
        self.write_catalog(write).await
    }

    fn applied_stamp(&self, _group: GroupId) -> Option<Versionstamp> {
        Some(self.store.snapshot().stamp())
    }

    async fn delete_database(&self, group: GroupId, database: DatabaseNumber) -> Result<()> {
        self.available()?;
        let applied =
            self.store.apply(&Entry::DeleteDatabase { time_ms: 1, request: self.request_id(), database });
        applied.map_err(|error| ClusterError::Failed(error.to_string()))?;
        self.state(|state| state.deleted.push((group.0, database.0)));
        Ok(())
    }

    async fn add_learner(&self, group: GroupId, node: NodeId, place: Place) -> Result<()> {
        self.change(group, |status| {
            let votes = status.member(node.0).is_some_and(|member| member.votes);
            status.members.retain(|member| member.node != node.0);
            status.members.push(Member { address: place.address, ..member(node.0, &place.region, votes) });
            status.members.sort_by_key(|member| member.node);
        })
    }

    async fn promote(&self, group: GroupId, node: NodeId) -> Result<()> {
        self.change(group, |status| {
            status.members.iter_mut().filter(|m| m.node == node.0).for_each(|m| m.votes = true);
        })
    }

    async fn remove(&self, group: GroupId, node: NodeId) -> Result<()> {
        self.change(group, |status| status.members.retain(|m| m.node != node.0))
    }

    async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<()> {
        self.change(group, |status| {
            (status.leader, status.role) = (Some(to.0), Role::Follower);
        })
    }

    fn set_address(&self, node: NodeId, address: String) {
        self.state(|state| state.addresses.insert(node.0, address));
    }

    fn forget(&self, node: NodeId) {
        self.state(|state| state.forgotten.insert(node.0));
    }

    async fn reach(&self, address: &str) -> std::result::Result<(), String> {
        let silent = self.state(|state| state.silent.contains(address));
        if silent { Err("connection refused".to_owned()) } else { Ok(()) }
    }
}
