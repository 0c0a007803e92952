//! The real node behind operators' commands.

use super::seam::{Cluster, ClusterError, Place, Result};
use super::status::{GroupStatus, Member, Role};
use crate::sealed::{self, Seal};
use async_trait::async_trait;
use engine::{Lineage, Snapshot, Versionstamp};
use replication::transport::Transport;
use replication::{
    AtomicWrite, Change, ChangeError, DatabaseNumber, Entry, Group, GroupId, Node, NodeId, Outcome, Peer,
    ReadError, RequestId, WriteError,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a command may wait for a leader.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a leader may take to say how its group stands.
const STATUS_WITHIN: Duration = Duration::from_secs(2);
/// How long a new node may take to take a connection.
const REACH_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of a write to the catalog, about, at most.
const CATALOG_WRITE_BYTES: usize = 4096;

/// A node and what it reaches others by.
#[derive(Debug, Clone)]
pub struct RealCluster {
    node: Node,
    catalog: Group,
    transport: Arc<dyn Transport>,
}

impl RealCluster {
    /// This node; `None` when it holds no catalog.
    pub fn new(node: Node, transport: Arc<dyn Transport>) -> Option<RealCluster> {
        let catalog = node.group(GroupId::CATALOG)?;
        Some(RealCluster { node, catalog, transport })
    }

    fn group(&self, id: GroupId) -> Result<Group> {
        self.node.group(id).ok_or_else(|| ClusterError::Failed(format!("there is no group {id}")))
    }

    async fn change(&self, group: GroupId, change: Change) -> Result<()> {
        Ok(self.group(group)?.change(change, WITHIN).await?)
    }
}

fn seal_of(group: &Group) -> Option<Seal> {
    sealed::of(&group.snapshot(), group.engine().lineage().id)
}

impl From<ChangeError> for ClusterError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(reason) => ClusterError::Failed(reason),
            // It may have been made: whoever asks again finds out, since every change can be asked for twice.
            ChangeError::Unavailable(reason) => ClusterError::Unavailable(reason),
        }
    }
}

impl From<WriteError> for ClusterError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Unknown(reason) => ClusterError::Unknown(reason),
            WriteError::Unavailable(reason) => ClusterError::Unavailable(reason),
            WriteError::Stopping => ClusterError::Unavailable(error.to_string()),
            WriteError::DiskFull { .. } | WriteError::Storage(_) => ClusterError::Failed(error.to_string()),
        }
    }
}

impl From<ReadError> for ClusterError {
    fn from(error: ReadError) -> Self {
        ClusterError::Unavailable(error.to_string())
    }
}

/// How a group stands, in the words of the admin API. Only this node knows how old its data is.
fn status_of(status: replication::GroupStatus, staleness_ms: Option<u64>) -> GroupStatus {
    let leads = status.role == replication::Role::Leader;
    let (last_index, leader) = (status.last_index, status.leader);
    let member = |member: replication::Member| Member {
        node: member.node.0,
        address: member.peer.address,
        region: member.peer.region,
        votes: member.is_voter,
        matched_index: member.lag.map(|lag| last_index.saturating_sub(lag)).filter(|_| leads),
        heard_ms: member.silent_ms.filter(|_| leads && leader != Some(member.node)),
    };
    GroupStatus {
        group: status.group.0,
        node: status.node.0,
        role: match status.role {
            replication::Role::Leader => Role::Leader,
            replication::Role::Follower => Role::Follower,
            replication::Role::Candidate => Role::Candidate,
            replication::Role::Learner => Role::Learner,
            replication::Role::Ended => Role::Stopped,
        },
        leader: status.leader.map(|node| node.0),
        term: status.term,
        last_index: status.last_index,
        committed_index: status.committed_index,
        applied_index: status.applied_index,
        applied_version: status.version,
        applied_hash: status.hash.to_string(),
        staleness_ms,
        changing: status.is_changing,
        members: status.members.into_iter().map(member).collect(),
    }
}

#[async_trait]
impl Cluster for RealCluster {
    fn node(&self) -> NodeId {
        self.node.id()
    }

    fn groups(&self) -> Vec<GroupId> {
        self.node.groups().iter().map(Group::id).collect()
    }

    fn status(&self, group: GroupId) -> Option<GroupStatus> {
        let group = self.node.group(group)?;
        Some(status_of(group.status(), group.staleness_ms()))
    }

    async fn leader_status(&self, group: GroupId) -> Result<GroupStatus> {
        let status = self.group(group)?.leader_status(STATUS_WITHIN).await?;
        Ok(status_of(status, Some(0)))
    }

    fn lineage(&self, group: GroupId) -> Option<Lineage> {
        self.node.group(group).map(|group| group.engine().lineage())
    }

    fn catalog(&self) -> Snapshot {
        self.catalog.snapshot()
    }

    async fn catalog_barrier(&self) -> Result<()> {
        Ok(self.catalog.barrier(WITHIN).await?)
    }

    async fn write_catalog(&self, write: AtomicWrite) -> Result<Outcome> {
        Ok(self.catalog.write(write, CATALOG_WRITE_BYTES, WITHIN).await?)
    }

    fn request_id(&self) -> RequestId {
        self.catalog.request_id()
    }

    async fn write_data(&self, group: GroupId, write: AtomicWrite, bytes: usize) -> Result<Outcome> {
        let group = self.group(group)?;
        let refused = |seal: Seal| format!("the cluster is sealed: {}", seal.reason);
        if let Some(seal) = seal_of(&group) {
            return Err(ClusterError::Failed(refused(seal)));
        }
        let outcome = group.write(write, bytes, WITHIN).await?;
        // Sealed meanwhile: it may be after the end.
        match seal_of(&group) {
            Some(seal) => Err(ClusterError::Unknown(refused(seal))),
            None => Ok(outcome),
        }
    }

    async fn write_seal(&self, group: GroupId, write: AtomicWrite) -> Result<Outcome> {
        Ok(self.group(group)?.write(write, CATALOG_WRITE_BYTES, WITHIN).await?)
    }

    fn applied_stamp(&self, group: GroupId) -> Option<Versionstamp> {
        self.node.group(group).map(|group| group.engine().applied().stamp)
    }

    async fn delete_database(&self, group: GroupId, database: DatabaseNumber) -> Result<()> {
        let group = self.group(group)?;
        let request = group.request_id();
        // The leader sets the time.
        let entry = Entry::DeleteDatabase { time_ms: 0, request, database };
        Ok(group.entry(entry, 0, WITHIN).await?)
    }

    async fn add_learner(&self, group: GroupId, node: NodeId, place: Place) -> Result<()> {
        let peer = Peer { address: place.address, region: place.region };
        self.change(group, Change::Add(node, peer)).await
    }

    async fn promote(&self, group: GroupId, node: NodeId) -> Result<()> {
        self.change(group, Change::Promote(node)).await
    }

    async fn remove(&self, group: GroupId, node: NodeId) -> Result<()> {
        self.change(group, Change::Remove(node)).await
    }

    async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<()> {
        self.change(group, Change::Transfer(to)).await
    }

    fn set_address(&self, node: NodeId, address: String) {
        self.transport.set_address(node, address);
    }

    fn forget(&self, node: NodeId) {
        self.transport.forget(node);
    }

    async fn reach(&self, address: &str) -> std::result::Result<(), String> {
        match tokio::time::timeout(REACH_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_stream)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err(format!("no answer within {} s", REACH_WITHIN.as_secs())),
        }
    }
}
