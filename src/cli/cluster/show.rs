//! What `cairn cluster` prints for people. Pure.

use crate::cli::columns::{cells, columns};
use crate::cluster::operator::{RegionStatus, SealedGroup};
use crate::cluster::status::{ClusterStatus, GroupStatus, NodeStatus};

/// Numbers in one cell.
fn numbers(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn number(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// Nodes, then groups.
pub(super) fn status(status: &ClusterStatus) -> String {
    let mut out = format!("cluster {}  lineage {}  epoch {}\n", status.cluster, status.lineage, status.epoch);
    if let Some(region) = &status.primary_region {
        out.push_str(&format!("leaders are kept in {region}\n"));
    }
    if let Some(reason) = &status.sealed {
        out.push_str(&format!("sealed, takes no writes: {reason}\n"));
    }
    out.push('\n');
    let head =
        cells(["node", "address", "region", "state", "leads groups", "entries behind", "heard ms ago"]);
    let rows = [vec![head], status.nodes.iter().map(node).collect()].concat();
    out.push_str(&columns(&rows, ""));
    out.push('\n');
    let head =
        cells(["group", "leader", "term", "committed", "applied", "voters", "learners", "content hash"]);
    let rows = [vec![head], status.groups.iter().map(group).collect()].concat();
    out.push_str(&columns(&rows, ""));
    for group in status.groups.iter().filter(|group| group.leader.is_none()) {
        out.push_str(&format!("group {} has no leader that node {} knows of\n", group.group, group.node));
    }
    out
}

/// Where each group ends.
pub(super) fn sealed(sealed: &[SealedGroup]) -> String {
    let line = |done: &SealedGroup| format!("group {} ends at {}\n", done.group, done.versionstamp);
    let groups: String = sealed.iter().map(line).collect();
    format!("{groups}the cluster takes no more writes; cairn cluster unseal lets it go on\n")
}

fn node(node: &NodeStatus) -> Vec<String> {
    vec![
        node.node.to_string(),
        node.address.clone(),
        node.region.clone(),
        node.state.clone(),
        numbers(&node.leads),
        number(node.lag),
        number(node.heard_ms),
    ]
}

fn group(group: &GroupStatus) -> Vec<String> {
    let who = |votes: bool| {
        let members = group.members.iter().filter(|member| member.votes == votes);
        numbers(&members.map(|member| member.node).collect::<Vec<_>>())
    };
    let hash = group.applied_hash.get(..16).unwrap_or(&group.applied_hash);
    vec![
        group.group.to_string(),
        number(group.leader),
        group.term.to_string(),
        group.committed_index.to_string(),
        group.applied_index.to_string(),
        who(true),
        who(false),
        hash.to_owned(),
    ]
}

/// The regions.
pub(super) fn regions(regions: &[RegionStatus]) -> String {
    let mut rows = vec![cells(["region", "nodes", "leads groups", ""])];
    for region in regions {
        let name = if region.region.is_empty() { "(none)" } else { &region.region };
        let primary = if region.primary { "leaders are kept here" } else { "" };
        rows.push(cells([name, &numbers(&region.nodes), &numbers(&region.leads), primary]));
    }
    columns(&rows, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::{group as group_of, member};

    #[test]
    fn a_status_names_nodes_groups_and_what_is_wrong() {
        let node = |node: u64, state: &str, lag| NodeStatus {
            node,
            address: format!("10.0.0.{node}:4513"),
            region: "eu".to_owned(),
            state: state.to_owned(),
            leads: if node == 1 { vec![0, 1] } else { Vec::new() },
            lag,
            heard_ms: None,
        };
        let members = || vec![member(1, "eu", true), member(2, "eu", false)];
        let shown = status(&ClusterStatus {
            cluster: "c".to_owned(),
            lineage: "l".to_owned(),
            epoch: 0,
            node: 1,
            primary_region: Some("eu".to_owned()),
            sealed: None,
            nodes: vec![node(1, "voter", Some(0)), node(2, "joining", None)],
            groups: vec![group_of(0, members()), GroupStatus { leader: None, ..group_of(1, members()) }],
        });
        let expected = "\
cluster c  lineage l  epoch 0
leaders are kept in eu

node  address        region  state    leads groups  entries behind  heard ms ago
1     10.0.0.1:4513  eu      voter    0,1           0
2     10.0.0.2:4513  eu      joining

group  leader  term  committed  applied  voters  learners  content hash
0      1       1     100        100      1       2         0000000000000000
1              1     100        100      1       2         0000000000000000
group 1 has no leader that node 1 knows of
";
        assert_eq!(shown, expected);
    }
}
