//! Commands about nodes and leaders.

use super::{Operator, OperatorError, Result};
use crate::catalog::{self, Admission, CatalogError, Intent, NodeRow, View};
use crate::cluster::hex;
use crate::cluster::policy::{check_removal, check_transfer};
use crate::cluster::seam::Cluster;
use crate::cluster::status::{ClusterStatus, GroupStatus, NodeStatus};
use engine::Lineage;
use replication::{GroupId, NodeId};
use serde::{Deserialize, Serialize};

/// What a node says that wants to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinRequest {
    /// Where other nodes reach it, as `host:port`.
    pub address: String,
    /// Where it stands; may be empty.
    #[serde(default)]
    pub region: String,
    /// Whether it is to vote.
    pub votes: bool,
    /// Its attempt: 32 hexadecimal digits, the same when it asks again.
    pub attempt: String,
}

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinAnswer {
    /// The cluster, as 32 hexadecimal digits.
    pub cluster: String,
    /// Its lineage, likewise.
    pub lineage: String,
    /// How often it was begun anew.
    pub epoch: u32,
    /// The id of the new node.
    pub node: u64,
    /// Where it stands, as announced when it did not say.
    pub region: String,
    /// Every group, the catalog first.
    pub groups: Vec<GroupLineage>,
    /// Every node that can be reached.
    pub members: Vec<MemberPlace>,
}

/// The history that a group writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupLineage {
    /// Which group.
    pub group: u64,
    /// Its lineage, as 32 hexadecimal digits.
    pub lineage: String,
    /// The epoch.
    pub epoch: u32,
    /// The lineage that it continues, and its last versionstamp of that.
    pub parent: Option<(String, String)>,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberPlace {
    /// Which node.
    pub node: u64,
    /// Where other nodes reach it.
    pub address: String,
    /// Where it stands; may be empty.
    pub region: String,
}

/// What a command about a node came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeChange {
    /// Which node.
    pub node: u64,
    /// What was done, and what is still to come, in a sentence.
    pub message: String,
}

/// A region of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionStatus {
    /// Its name; empty for nodes that said none.
    pub region: String,
    /// Whether leaders are kept there.
    pub primary: bool,
    /// The nodes that stand there.
    pub nodes: Vec<u64>,
    /// The groups that are led from there.
    pub leads: Vec<u64>,
}

impl Operator {
    /// How the cluster stands, as its leaders see it; of a group without one, as this node does.
    ///
    /// # Errors
    ///
    /// When the catalog here cannot be read.
    pub async fn status(&self) -> Result<ClusterStatus> {
        let mut groups = Vec::new();
        for group in self.cluster.groups() {
            let seen = self.cluster.leader_status(group).await.ok().or_else(|| self.cluster.status(group));
            groups.extend(seen);
        }
        // Without a barrier: a cluster that has lost its majority must still be able to say so.
        let snapshot = self.cluster.catalog();
        let view = View::new(&snapshot);
        let nodes = view.nodes()?;
        Ok(ClusterStatus {
            cluster: self.identity.cluster.to_string(),
            lineage: self.identity.lineage.to_string(),
            epoch: self.identity.epoch,
            node: self.identity.node.0,
            primary_region: view.primary_region()?.map(|found| found.row),
            sealed: self.seal_here().map(|seal| seal.reason),
            nodes: nodes.iter().map(|(id, found)| node_status(*id, &found.row, &groups)).collect(),
            groups,
        })
    }

    /// Whether this node is to [`begin`](Self::begin): it was told so, or it is the only voter of a lineage that is not written
    /// down, as after a crash at the beginning and after a forced recovery.
    pub fn begins(&self, told: bool) -> bool {
        let status = self.cluster.status(GroupId::CATALOG);
        let alone =
            status.is_some_and(|status| status.voters().map(|member| member.node).eq([self.identity.node.0]));
        let snapshot = self.cluster.catalog();
        let lineage = View::new(&snapshot).lineage().ok().flatten();
        told || (alone && lineage.is_none_or(|found| found.row != self.identity.lineage))
    }

    /// Writes down that this node begins the cluster, or begins it anew. Nothing when that was done.
    ///
    /// # Errors
    ///
    /// When the cluster cannot answer.
    pub async fn begin(&self) -> Result<()> {
        let now_ms = self.clock.now_ms();
        self.change(|view| catalog::begin(view, &self.identity, now_ms).map(|change| ((), change))).await
    }

    /// Writes down where this node is. Nothing when that is known.
    ///
    /// # Errors
    ///
    /// When another node is there, this one is unknown, or the cluster cannot answer.
    pub async fn announce(&self) -> Result<()> {
        self.change(|view| catalog::announce(view, &self.identity).map(|change| ((), change))).await
    }

    /// Lets a node join: gives it an id, and has it added to every group.
    ///
    /// # Errors
    ///
    /// When it cannot be reached where it says, another node is there, or the cluster cannot answer.
    pub async fn join(&self, request: &JoinRequest) -> Result<JoinAnswer> {
        if self.identity.address.is_empty() {
            let reason =
                "this node has no address for other nodes: start it with --peer-addr before others join";
            return Err(OperatorError::Refused(reason.to_owned()));
        }
        let malformed = || CatalogError::Invalid("an attempt has 32 hexadecimal digits".to_owned());
        let asks = Admission {
            address: request.address.clone(),
            region: request.region.clone(),
            votes: request.votes,
            attempt: hex::decode(&request.attempt).ok_or_else(malformed)?,
        };
        let now_ms = self.clock.now_ms();
        // Refusals first: an address in use would be found to answer.
        self.look(|view| catalog::admit(view, &asks, now_ms).map(drop)).await?;
        self.check_reach(&asks.address).await?;
        let id = self.change(|view| catalog::admit(view, &asks, now_ms)).await?;
        let nodes = self.look(|view| view.nodes()).await?;
        let region = nodes.iter().find(|(node, _)| *node == id).map(|(_, found)| found.row.region.clone());
        let others = nodes.into_iter().filter(|(node, found)| *node != id && !found.row.address.is_empty());
        let places = others.map(|(node, found)| MemberPlace {
            node: node.0,
            address: found.row.address,
            region: found.row.region,
        });
        Ok(JoinAnswer {
            cluster: self.identity.cluster.to_string(),
            lineage: self.identity.lineage.to_string(),
            epoch: self.identity.epoch,
            node: id.0,
            region: region.unwrap_or_default(),
            groups: lineages(&*self.cluster),
            members: places.collect(),
        })
    }

    async fn check_reach(&self, address: &str) -> Result<()> {
        let own = self.identity.node;
        self.cluster
            .reach(address)
            .await
            .map_err(|reason| OperatorError::Refused(format!("node {own} cannot reach {address}: {reason}")))
    }

    /// Announces a node that will join from an address.
    ///
    /// # Errors
    ///
    /// When a node is at that address, or the cluster cannot answer.
    pub async fn add(&self, address: &str, region: &str) -> Result<NodeChange> {
        let now_ms = self.clock.now_ms();
        let id = self
            .change(|view| {
                catalog::expect(view, address, region, now_ms).map(|(id, change)| (id, Some(change)))
            })
            .await?;
        let message = format!("node {id} is expected at {address}: start it there with --join");
        Ok(NodeChange { node: id.0, message })
    }

    /// Gives a learner a vote in every group, as soon as it has all data.
    ///
    /// # Errors
    ///
    /// When there is no such node, it is leaving, or the cluster cannot answer.
    pub async fn promote(&self, id: NodeId) -> Result<NodeChange> {
        self.change(|view| catalog::set_intent(view, id, Intent::Voter).map(|change| ((), change))).await?;
        let message = format!("node {id} votes in each group as soon as it has its data");
        Ok(NodeChange { node: id.0, message })
    }

    /// Takes a node out of every group, and forgets it.
    ///
    /// # Errors
    ///
    /// When there is no such node, a group would be left without a majority that answers, or the cluster cannot answer.
    pub async fn remove(&self, id: NodeId, force: bool) -> Result<NodeChange> {
        self.look(|view| catalog::leave(view, id).map(drop)).await?;
        let mut voters = 0;
        for group in self.cluster.groups() {
            let status = self.cluster.leader_status(group).await?;
            check_removal(&status, id, force).map_err(OperatorError::Refused)?;
            voters = status.voters().filter(|member| member.node != id.0).count();
        }
        self.change(|view| catalog::leave(view, id).map(|change| ((), change))).await?;
        let spare = voters.saturating_sub(1) / 2;
        let message = format!("node {id} leaves; {voters} nodes vote then, of which {spare} may fail");
        Ok(NodeChange { node: id.0, message })
    }

    /// Hands the leadership of one group, or of all, to a node.
    ///
    /// # Errors
    ///
    /// When that node cannot lead one of them, or the cluster cannot answer.
    pub async fn transfer_leader(&self, group: Option<GroupId>, to: NodeId) -> Result<NodeChange> {
        let all = self.cluster.groups();
        if let Some(group) = group.filter(|group| !all.contains(group)) {
            return Err(CatalogError::NotFound(format!("there is no group {group}")).into());
        }
        let chosen: Vec<GroupId> = group.map_or(all, |group| vec![group]);
        for group in &chosen {
            let status = self.cluster.leader_status(*group).await?;
            check_transfer(&status, to).map_err(OperatorError::Refused)?;
        }
        for group in &chosen {
            self.cluster.transfer_leader(*group, to).await?;
        }
        let groups = chosen.iter().map(GroupId::to_string).collect::<Vec<_>>().join(", ");
        Ok(NodeChange { node: to.0, message: format!("node {to} leads: groups {groups}") })
    }

    /// Which regions there are.
    ///
    /// # Errors
    ///
    /// When the catalog here cannot be read.
    pub async fn regions(&self) -> Result<Vec<RegionStatus>> {
        let status = self.status().await?;
        let mut regions: Vec<RegionStatus> = Vec::new();
        for node in &status.nodes {
            let at = regions.iter().position(|region| region.region == node.region).unwrap_or_else(|| {
                let primary = status.primary_region.as_ref() == Some(&node.region);
                let region = node.region.clone();
                regions.push(RegionStatus { region, primary, nodes: Vec::new(), leads: Vec::new() });
                regions.len() - 1
            });
            regions[at].nodes.push(node.node);
            regions[at].leads.extend(&node.leads);
        }
        regions.sort_by(|a, b| a.region.cmp(&b.region));
        Ok(regions)
    }

    /// Says where leaders are kept; `None` is wherever they are.
    ///
    /// # Errors
    ///
    /// When no node stands there, or the cluster cannot answer.
    pub async fn set_primary_region(&self, region: Option<&str>) -> Result<Vec<RegionStatus>> {
        self.change(|view| catalog::set_primary_region(view, region).map(|change| ((), change))).await?;
        self.regions().await
    }
}

/// What a node is: what is to become of it, unless it is that.
fn state(id: NodeId, row: &NodeRow, groups: &[GroupStatus]) -> &'static str {
    let everywhere = |votes: bool| {
        let is = |group: &GroupStatus| group.member(id.0).is_some_and(|member| member.votes || !votes);
        !groups.is_empty() && groups.iter().all(is)
    };
    match row.intent {
        Intent::Expected => "expected",
        Intent::Leaving => "leaving",
        Intent::Voter if everywhere(true) => "voter",
        Intent::Learner if everywhere(false) => "learner",
        Intent::Voter | Intent::Learner => "joining",
    }
}

fn node_status(id: NodeId, row: &NodeRow, groups: &[GroupStatus]) -> NodeStatus {
    let member = |group: &GroupStatus| group.member(id.0).map(|member| (group.lag(member), member.heard_ms));
    let seen: Vec<_> = groups.iter().filter_map(member).collect();
    NodeStatus {
        node: id.0,
        address: row.address.clone(),
        region: row.region.clone(),
        state: state(id, row, groups).to_owned(),
        leads: groups.iter().filter(|group| group.leader == Some(id.0)).map(|group| group.group).collect(),
        lag: seen.iter().filter_map(|(lag, _)| *lag).max(),
        heard_ms: seen.iter().filter_map(|(_, heard_ms)| *heard_ms).min(),
    }
}

fn lineages(cluster: &dyn Cluster) -> Vec<GroupLineage> {
    let of = |group: GroupId| {
        let Lineage { id, epoch, parent } = cluster.lineage(group)?;
        let parent = parent.map(|(id, stamp)| (id.to_string(), stamp.to_string()));
        Some(GroupLineage { group: group.0, lineage: id.to_string(), epoch, parent })
    };
    cluster.groups().into_iter().filter_map(of).collect()
}
