//! What operators' commands need of the node that serves them: its groups, and the catalog in group 0.
//!
//! - Whatever needs a leader is brought to it by the node itself, from wherever it is asked.
//! - An error says whether something may have happened: see [`ClusterError`].

use super::status::GroupStatus;
use async_trait::async_trait;
use engine::{Lineage, Snapshot, Versionstamp};
use replication::{AtomicWrite, DatabaseNumber, GroupId, NodeId, Outcome, RequestId};
use std::fmt;

/// Why the cluster did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No leader could be reached in time; nothing was changed. Ask again.
    #[error("the cluster cannot answer now: {0}")]
    Unavailable(String),
    /// It may have been done, or not. Look, and ask again.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// It cannot be done. A person must look.
    #[error("{0}")]
    Failed(String),
}

/// A result of the cluster.
pub type Result<T> = std::result::Result<T, ClusterError>;

/// Where a node is and stands, as Raft keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host:port` for other nodes.
    pub address: String,
    /// May be empty.
    pub region: String,
}

/// A node as operators' commands use it.
#[async_trait]
pub trait Cluster: Send + Sync + fmt::Debug + 'static {
    /// Its own id.
    fn node(&self) -> NodeId;

    /// Every group, the catalog first.
    fn groups(&self) -> Vec<GroupId>;

    /// How a group stands as this node sees it. Only a leader knows of the progress of others.
    fn status(&self, group: GroupId) -> Option<GroupStatus>;

    /// How a group stands as its leader sees it.
    ///
    /// # Errors
    ///
    /// When it has no leader that can be reached.
    async fn leader_status(&self, group: GroupId) -> Result<GroupStatus>;

    /// The history that a group writes.
    fn lineage(&self, group: GroupId) -> Option<Lineage>;

    /// The newest state of the catalog here.
    fn catalog(&self) -> Snapshot;

    /// Returns when [`catalog`](Self::catalog) shows every change that was acknowledged before the call.
    ///
    /// # Errors
    ///
    /// When no majority can be reached.
    async fn catalog_barrier(&self) -> Result<()>;

    /// Changes the catalog.
    ///
    /// # Errors
    ///
    /// When the write has no outcome.
    async fn write_catalog(&self, write: AtomicWrite) -> Result<Outcome>;

    /// An id for a write of this node.
    fn request_id(&self) -> RequestId;

    /// Writes to a database of a data group; about `bytes` bytes.
    ///
    /// # Errors
    ///
    /// When the write has no outcome.
    async fn write_data(&self, group: GroupId, write: AtomicWrite, bytes: usize) -> Result<Outcome>;

    /// Writes to the system's own keyspace of a group whether it is sealed, whether it is sealed or not.
    ///
    /// # Errors
    ///
    /// When the write has no outcome.
    async fn write_seal(&self, group: GroupId, write: AtomicWrite) -> Result<Outcome>;

    /// The last commit that this node has of a group.
    fn applied_stamp(&self, group: GroupId) -> Option<Versionstamp>;

    /// Removes everything that a database holds.
    ///
    /// # Errors
    ///
    /// When that was not done, or nobody knows.
    async fn delete_database(&self, group: GroupId, database: DatabaseNumber) -> Result<()>;

    /// Lets a node have all data of a group, without a vote; says where a node is that has.
    ///
    /// # Errors
    ///
    /// When that was not done, or nobody knows.
    async fn add_learner(&self, group: GroupId, node: NodeId, place: Place) -> Result<()>;

    /// Lets a learner vote in a group. Not an error when it does.
    ///
    /// # Errors
    ///
    /// When that was not done, or nobody knows.
    async fn promote(&self, group: GroupId, node: NodeId) -> Result<()>;

    /// Takes a node out of a group. Not an error when it is in it no more.
    ///
    /// # Errors
    ///
    /// When that was not done, or nobody knows.
    async fn remove(&self, group: GroupId, node: NodeId) -> Result<()>;

    /// Hands the leadership of a group to one of its voters.
    ///
    /// # Errors
    ///
    /// When that was not done, or nobody knows.
    async fn transfer_leader(&self, group: GroupId, to: NodeId) -> Result<()>;

    /// Says where a node is.
    fn set_address(&self, node: NodeId, address: String);

    /// Forgets a node that left, and answers it no more.
    fn forget(&self, node: NodeId);

    /// Whether something listens at an address.
    ///
    /// # Errors
    ///
    /// In words, when nothing does.
    async fn reach(&self, address: &str) -> std::result::Result<(), String>;
}
