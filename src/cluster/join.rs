//! How a node that is started for the first time becomes one of a cluster, or begins one.
//!
//! - A directory that knows who it is goes on as that, whatever it is told to join.
//! - A directory with data of its own does not join: its data would be hidden, or be taken for the cluster's.
//! - The identity is written last: until then the same attempt asks again, and is given the same id.

use super::hex;
use super::identity::Identity;
use super::operator::{GroupLineage, JoinAnswer};
use super::status::ClusterStatus;
use crate::config::cluster::ClusterSettings;
use engine::{Lineage, LineageId, Versionstamp};
use replication::{ClusterId, GroupId, NodeId};

pub use super::operator::JoinRequest as Request;

/// How a node begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// As what it was, now at this address and region.
    Resume(Identity),
    /// As the first node of a new cluster; it may have data of an earlier version.
    Bootstrap(Identity),
    /// By asking these nodes.
    Join(Vec<String>),
}

/// What a node was told that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotBegin(pub String);

/// What is known of a node before it begins.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who it was.
    pub identity: Option<Identity>,
    /// The groups that it has data of.
    pub groups: Vec<GroupId>,
    /// 16 random bytes for a new cluster, and 16 for its lineage.
    pub random: [[u8; 16]; 2],
}

/// How a node begins, from what it is told and what it was.
///
/// # Errors
///
/// When that does not fit together.
pub fn beginning(told: &ClusterSettings, known: Known) -> Result<Beginning, CannotBegin> {
    let address = told.peer.as_ref().map(|peer| peer.advertised()).unwrap_or_default();
    if let Some(was) = known.identity {
        return resume(told, was, address).map(Beginning::Resume);
    }
    if !told.join.is_empty() {
        if known.groups.is_empty() {
            return Ok(Beginning::Join(told.join.clone()));
        }
        let reason = "the data directory holds data of its own: a node joins with an empty one";
        return Err(CannotBegin(reason.to_owned()));
    }
    let [cluster, lineage] = known.random;
    Ok(Beginning::Bootstrap(Identity {
        cluster: ClusterId(cluster),
        lineage: LineageId(lineage),
        epoch: 0,
        node: NodeId(1),
        // A restored directory may hold more.
        groups: told.groups.or(known.groups.iter().map(|group| group.0).max()).unwrap_or(1).max(1),
        address,
        region: told.region.clone().unwrap_or_default(),
    }))
}

fn resume(told: &ClusterSettings, was: Identity, address: String) -> Result<Identity, CannotBegin> {
    if let Some(groups) = told.groups.filter(|groups| *groups != was.groups) {
        let reason =
            format!("--groups {groups}: this cluster has {}, and that cannot be changed", was.groups);
        return Err(CannotBegin(reason));
    }
    if address.is_empty() && !was.address.is_empty() {
        let reason = format!("this is node {} of a cluster, at {}: say --peer-addr", was.node, was.address);
        return Err(CannotBegin(reason));
    }
    let region = told.region.clone().unwrap_or_else(|| was.region.clone());
    Ok(Identity { address, region, ..was })
}

/// What a node says that wants to join.
pub fn request(told: &ClusterSettings, attempt: [u8; 16]) -> Request {
    Request {
        address: told.peer.as_ref().map(|peer| peer.advertised()).unwrap_or_default(),
        region: told.region.clone().unwrap_or_default(),
        votes: !told.learner,
        attempt: hex::encode(attempt),
    }
}

/// Who a node is that was let in, and the lineage of each group.
///
/// # Errors
///
/// When the answer is not one that a node gives.
pub fn admitted(
    answer: &JoinAnswer,
    address: String,
) -> Result<(Identity, Vec<(GroupId, Lineage)>), CannotBegin> {
    let malformed =
        || CannotBegin("the answer to the join cannot be read: are both nodes of one version?".to_owned());
    let lineages: Option<Vec<_>> = answer.groups.iter().map(lineage).collect();
    let lineages = lineages.filter(|groups| groups.len() > 1).ok_or_else(malformed)?;
    let cluster = hex::decode(&answer.cluster).ok_or_else(malformed)?;
    let lineage = hex::decode(&answer.lineage).ok_or_else(malformed)?;
    let identity = Identity {
        cluster: ClusterId(cluster),
        lineage: LineageId(lineage),
        epoch: answer.epoch,
        node: NodeId(answer.node),
        groups: lineages.len() as u64 - 1,
        address,
        region: answer.region.clone(),
    };
    Ok((identity, lineages))
}

/// Whether a node that answers is one of the cluster and lineage of `own`.
///
/// # Errors
///
/// When it is not.
pub fn check_same(own: &Identity, other: &ClusterStatus) -> Result<(), CannotBegin> {
    let (cluster, lineage) = (own.cluster.to_string(), own.lineage.to_string());
    if other.cluster != cluster {
        return Err(CannotBegin(format!(
            "the data directory belongs to cluster {cluster}, and the nodes to join to cluster {}",
            other.cluster
        )));
    }
    if other.lineage != lineage {
        return Err(CannotBegin(format!(
            "the cluster was begun anew: the data directory belongs to its lineage {lineage} (epoch {}), and the nodes to join \
             to {} (epoch {}). Empty the data directory and join as a new node",
            own.epoch, other.lineage, other.epoch
        )));
    }
    Ok(())
}

fn lineage(group: &GroupLineage) -> Option<(GroupId, Lineage)> {
    let parent = match &group.parent {
        None => None,
        Some((id, stamp)) => Some((LineageId(hex::decode(id)?), stamp.parse::<Versionstamp>().ok()?)),
    };
    let id = LineageId(hex::decode(&group.lineage)?);
    Some((GroupId(group.group), Lineage { id, epoch: group.epoch, parent }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Settings};

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn told(set: impl FnOnce(&mut crate::config::cluster::ClusterFlags)) -> Result<ClusterSettings, String> {
        let mut flags = Flags::default();
        flags.cluster.peer_addr = Some("10.0.0.2:4513".to_owned());
        set(&mut flags.cluster);
        Settings::resolve(flags).map(|settings| settings.cluster).map_err(|error| error.to_string())
    }

    fn known(identity: Option<Identity>, groups: &[u64]) -> Known {
        let groups = groups.iter().copied().map(GroupId).collect();
        Known { identity, groups, random: [[1; 16], [2; 16]] }
    }

    fn identity() -> Identity {
        Identity {
            cluster: ClusterId([1; 16]),
            lineage: LineageId([2; 16]),
            epoch: 0,
            node: NodeId(1),
            groups: 1,
            address: "10.0.0.2:4513".to_owned(),
            region: String::new(),
        }
    }

    fn refused(told: &ClusterSettings, known: Known) -> String {
        beginning(told, known).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_empty_directory_and_one_of_an_earlier_version_begin_a_cluster() -> TestResult {
        for groups in [&[][..], &[1]] {
            let begun = beginning(&told(|_| ())?, known(None, groups))?;
            assert_eq!(begun, Beginning::Bootstrap(identity()), "{groups:?}");
        }
        Ok(())
    }

    #[test]
    fn only_an_empty_directory_joins() -> TestResult {
        let told = told(|flags| flags.join = Some("http://10.0.0.1:4512".to_owned()))?;
        let join = beginning(&told, known(None, &[]))?;
        assert_eq!(join, Beginning::Join(vec!["http://10.0.0.1:4512".to_owned()]));
        assert!(refused(&told, known(None, &[1])).contains("holds data of its own"));
        let resumed = beginning(&told, known(Some(identity()), &[0, 1]))?;
        assert_eq!(resumed, Beginning::Resume(identity()), "one that has joined goes on");
        Ok(())
    }

    #[test]
    fn a_node_goes_on_as_what_it_was_wherever_it_is_now() -> TestResult {
        let moved = told(|flags| {
            flags.peer_addr = Some("10.0.0.9:4513".to_owned());
            flags.region = Some("eu".to_owned());
        })?;
        let expected =
            Identity { address: "10.0.0.9:4513".to_owned(), region: "eu".to_owned(), ..identity() };
        assert_eq!(beginning(&moved, known(Some(identity()), &[0, 1]))?, Beginning::Resume(expected));
        let more = told(|flags| flags.groups = Some(2))?;
        assert!(refused(&more, known(Some(identity()), &[0, 1])).contains("this cluster has 1"));
        let hidden = told(|flags| flags.peer_addr = None)?;
        assert!(refused(&hidden, known(Some(identity()), &[0, 1])).contains("say --peer-addr"));
        Ok(())
    }

    #[test]
    fn a_node_of_another_cluster_or_lineage_is_told_apart() {
        let own = identity();
        let of = |cluster: [u8; 16], lineage: [u8; 16]| ClusterStatus {
            cluster: hex::encode(cluster),
            lineage: hex::encode(lineage),
            epoch: 1,
            node: 2,
            primary_region: None,
            sealed: None,
            nodes: Vec::new(),
            groups: Vec::new(),
        };
        assert_eq!(check_same(&own, &of(own.cluster.0, own.lineage.0)), Ok(()));
        let other = check_same(&own, &of([9; 16], own.lineage.0));
        assert!(other.is_err_and(|error| error.to_string().contains("to join to cluster 0909")));
        let anew = check_same(&own, &of(own.cluster.0, [9; 16]));
        assert!(anew.is_err_and(|error| error.to_string().contains("was begun anew")));
    }

    #[test]
    fn what_a_node_is_told_makes_it_one_of_the_cluster() -> TestResult {
        let stamp = Versionstamp::new(7, 1);
        let of = |group: u64, parent: Option<(String, String)>| GroupLineage {
            group,
            lineage: hex::encode([u8::try_from(group).unwrap_or(0); 16]),
            epoch: 3,
            parent,
        };
        let answer = JoinAnswer {
            cluster: hex::encode([8; 16]),
            lineage: hex::encode([9; 16]),
            epoch: 4,
            node: 5,
            region: "eu".to_owned(),
            groups: vec![of(0, None), of(1, Some((hex::encode([6; 16]), stamp.to_string())))],
            members: Vec::new(),
        };
        let (identity, lineages) = admitted(&answer, "a:1".to_owned())?;
        assert_eq!((identity.node, identity.groups, identity.epoch), (NodeId(5), 1, 4));
        assert_eq!((identity.cluster, identity.lineage), (ClusterId([8; 16]), LineageId([9; 16])));
        let parent = Some((LineageId([6; 16]), stamp));
        assert_eq!(lineages[1], (GroupId(1), Lineage { id: LineageId([1; 16]), epoch: 3, parent }));
        for broken in [
            JoinAnswer { cluster: "x".to_owned(), ..answer.clone() },
            JoinAnswer { groups: vec![of(0, None)], ..answer.clone() },
            JoinAnswer { groups: vec![of(0, None), of(1, Some(("x".to_owned(), "y".to_owned())))], ..answer },
        ] {
            assert!(admitted(&broken, "a:1".to_owned()).is_err(), "{broken:?}");
        }
        Ok(())
    }
}
