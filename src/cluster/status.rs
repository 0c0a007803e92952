//! How a cluster stands, in the words of the admin API.

use serde::{Deserialize, Serialize};

/// What a node is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It orders the writes.
    Leader,
    /// It votes and follows.
    Follower,
    /// It wants to lead.
    Candidate,
    /// It follows without a vote.
    Learner,
    /// It has stopped, or is not in the group.
    Stopped,
}

/// How a group stands, as one of its nodes sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupStatus {
    /// Which group.
    pub group: u64,
    /// The node that says this.
    pub node: u64,
    /// What that node is in the group.
    pub role: Role,
    /// The leader, when one is known.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// Index of the last entry of its log.
    pub last_index: u64,
    /// Index of the last entry that it knows to be agreed on.
    pub committed_index: u64,
    /// Index of the last entry that it has applied.
    pub applied_index: u64,
    /// Version of the last record that it has applied.
    pub applied_version: u64,
    /// Content hash after that, in hexadecimal digits.
    pub applied_hash: String,
    /// How old its data may be, in milliseconds; absent when that is unknown.
    pub staleness_ms: Option<u64>,
    /// Whether a change of members is half way.
    pub changing: bool,
    /// Who belongs to the group, by id.
    pub members: Vec<Member>,
}

/// A node in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Which node.
    pub node: u64,
    /// Where other nodes reach it.
    pub address: String,
    /// Where it stands; may be empty.
    pub region: String,
    /// Whether it votes.
    pub votes: bool,
    /// The last index that it has, when a leader says this.
    pub matched_index: Option<u64>,
    /// Milliseconds since the leader last heard of it, when a leader says this and has.
    pub heard_ms: Option<u64>,
}

impl GroupStatus {
    /// A node in the group.
    pub fn member(&self, node: u64) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// Those who vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.votes)
    }

    /// Whether a member is known to be there: it leads, or was heard within `silence_ms`.
    pub fn is_healthy(&self, member: &Member, silence_ms: u64) -> bool {
        let leads = self.leader == Some(member.node);
        leads || member.heard_ms.is_some_and(|heard_ms| heard_ms <= silence_ms)
    }

    /// How many entries a member lacks; `None` when that is unknown.
    pub fn lag(&self, member: &Member) -> Option<u64> {
        if self.leader == Some(member.node) {
            return Some(0);
        }
        member.matched_index.map(|matched| self.last_index.saturating_sub(matched))
    }
}

/// A node as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its id.
    pub node: u64,
    /// Where other nodes reach it.
    pub address: String,
    /// Where it stands; may be empty.
    pub region: String,
    /// What it is: expected, joining, learner, voter or leaving.
    pub state: String,
    /// The groups that it leads.
    pub leads: Vec<u64>,
    /// The entries that it lacks in the group where it lacks most; absent when that is unknown.
    pub lag: Option<u64>,
    /// Milliseconds since the leader that heard of it last did; absent when none has.
    pub heard_ms: Option<u64>,
}

/// How the cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its id, in hexadecimal digits.
    pub cluster: String,
    /// Its lineage, in hexadecimal digits.
    pub lineage: String,
    /// How often it was begun anew.
    pub epoch: u32,
    /// The node that says this.
    pub node: u64,
    /// Where leaders are kept, if somewhere.
    pub primary_region: Option<String>,
    /// Why the cluster takes no writes; absent when it does.
    #[serde(default)]
    pub sealed: Option<String>,
    /// Every node.
    pub nodes: Vec<NodeStatus>,
    /// Every group, as its leader sees it, or else this node.
    pub groups: Vec<GroupStatus>,
}
