use super::*;
use crate::catalog::Intent;
use crate::cluster::testing::{FakeCluster, alone, member};
use crate::testing::TestResult;
use replication::{GroupId, NodeId};

fn request(node: u64) -> JoinRequest {
    JoinRequest {
        address: format!("10.0.0.{node}:4513"),
        region: "eu".to_owned(),
        votes: true,
        attempt: format!("{node:032x}"),
    }
}

fn intents(cluster: &FakeCluster) -> Result<Vec<(u64, Intent)>> {
    let nodes = cluster.decide(|view| view.nodes())?;
    Ok(nodes.into_iter().map(|(id, found)| (id.0, found.row.intent)).collect())
}

fn text<T>(result: Result<T>) -> String {
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn a_node_that_joins_is_told_who_it_is_and_where_the_others_are() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let answer = operator.join(&request(2)).await?;
    assert_eq!((answer.node, answer.epoch), (2, 0));
    assert_eq!(answer.cluster, "01".repeat(16));
    let groups: Vec<_> = answer.groups.iter().map(|group| (group.group, group.lineage.as_str())).collect();
    assert_eq!(groups, [(0, &*"00".repeat(16)), (1, &*"01".repeat(16)), (2, &*"02".repeat(16))]);
    let members: Vec<_> = answer.members.iter().map(|place| (place.node, place.address.as_str())).collect();
    assert_eq!(members, [(1, "10.0.0.1:4513")]);
    assert_eq!(operator.join(&request(2)).await?, answer, "asking again changes nothing");
    assert_eq!(intents(&cluster)?, [(1, Intent::Voter), (2, Intent::Voter)]);
    Ok(())
}

#[tokio::test]
async fn a_join_that_cannot_work_is_refused_and_changes_nothing() -> TestResult {
    let (cluster, operator, _) = alone()?;
    cluster.state(|state| state.silent.insert("10.0.0.2:4513".to_owned()));
    let silent = text(operator.join(&request(2)).await);
    assert!(silent.contains("node 1 cannot reach 10.0.0.2:4513: connection refused"), "{silent}");
    let taken = JoinRequest { address: "10.0.0.1:4513".to_owned(), ..request(3) };
    assert!(text(operator.join(&taken).await).contains("is the address of node 1"));
    let nowhere = JoinRequest { address: "nowhere".to_owned(), ..request(3) };
    assert!(text(operator.join(&nowhere).await).contains("expected <host>:<port>"));
    let nameless = JoinRequest { attempt: "7".to_owned(), ..request(3) };
    assert!(text(operator.join(&nameless).await).contains("32 hexadecimal digits"));
    cluster.state(|state| state.unavailable = true);
    assert!(text(operator.join(&request(3)).await).contains("no majority"));
    assert_eq!(intents(&cluster)?, [(1, Intent::Voter)]);
    Ok(())
}

#[tokio::test]
async fn nobody_joins_a_node_that_others_cannot_reach() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let hidden = Identity { address: String::new(), ..operator.identity().clone() };
    let hidden = Operator { identity: Arc::new(hidden), ..operator };
    assert!(text(hidden.join(&request(2)).await).contains("start it with --peer-addr"));
    assert_eq!(intents(&cluster)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_removal_that_does_harm_is_refused_and_one_that_does_not_is_begun() -> TestResult {
    let (cluster, operator, _) = alone()?;
    operator.join(&request(2)).await?;
    assert!(text(operator.remove(NodeId(1), true).await).contains("the last one that votes"));
    cluster.state(|state| {
        for group in state.groups.values_mut() {
            group.members.push(crate::cluster::status::Member { heard_ms: None, ..member(2, "eu", true) });
        }
    });
    let refused = text(operator.remove(NodeId(1), false).await);
    assert!(refused.contains("1 voters of which 0 answer"), "{refused}");
    assert!(text(operator.remove(NodeId(7), false).await).contains("there is no node 7"));
    assert_eq!(intents(&cluster)?, [(1, Intent::Voter), (2, Intent::Voter)]);
    operator.remove(NodeId(2), false).await?;
    assert_eq!(intents(&cluster)?, [(1, Intent::Voter), (2, Intent::Leaving)]);
    Ok(())
}

#[tokio::test]
async fn the_lead_is_handed_over_in_the_groups_that_were_named() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let leaders = |cluster: &FakeCluster| -> Vec<_> {
        cluster.state(|state| state.groups.values().map(|group| group.leader).collect())
    };
    let refused = text(operator.transfer_leader(None, NodeId(2)).await);
    assert!(refused.contains("node 2 is not in group 0"), "{refused}");
    assert!(
        text(operator.transfer_leader(Some(GroupId(9)), NodeId(1)).await).contains("there is no group 9")
    );
    cluster
        .state(|state| state.groups.values_mut().for_each(|group| group.members.push(member(2, "us", true))));
    operator.transfer_leader(Some(GroupId(1)), NodeId(2)).await?;
    assert_eq!(leaders(&cluster), [Some(1), Some(2), Some(1)]);
    Ok(())
}

#[tokio::test]
async fn a_status_is_given_without_a_majority_too() -> TestResult {
    let (cluster, operator, _) = alone()?;
    operator.join(&request(2)).await?;
    operator.add("10.0.0.9:4513", "us").await?;
    let states = |status: crate::cluster::status::ClusterStatus| -> Vec<_> {
        status.nodes.into_iter().map(|node| (node.node, node.state)).collect()
    };
    let expected = [(1, "voter"), (2, "joining"), (3, "expected")].map(|(node, s)| (node, s.to_owned()));
    assert_eq!(states(operator.status().await?), expected);
    cluster.state(|state| state.unavailable = true);
    assert_eq!(states(operator.status().await?), expected);
    Ok(())
}

#[tokio::test]
async fn regions_name_their_nodes_and_leaders() -> TestResult {
    let (_cluster, operator, _) = alone()?;
    operator.join(&JoinRequest { region: "us".to_owned(), ..request(2) }).await?;
    assert!(text(operator.set_primary_region(Some("ap")).await).contains("no node stands in region ap"));
    let regions = operator.set_primary_region(Some("us")).await?;
    let shown: Vec<_> =
        regions.iter().map(|r| (r.region.as_str(), r.primary, r.nodes.len(), r.leads.len())).collect();
    assert_eq!(shown, [("eu", false, 1, 3), ("us", true, 1, 0)]);
    Ok(())
}

#[tokio::test]
async fn a_database_has_a_token_that_only_its_maker_sees_and_ends_with_its_data() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let made = operator.create_database("shop").await?;
    assert_eq!((made.group, made.token.len()), (2, 48));
    let row = cluster.decide(|view| view.databases())?.remove(0).1.row;
    assert_eq!(row.token_digest, *blake3::hash(made.token.as_bytes()).as_bytes());
    let listed = operator.databases().await?;
    let names: Vec<_> = listed.iter().map(|database| database.name.as_str()).collect();
    assert_eq!(names, ["default", "shop"]);
    assert!(text(operator.create_database("shop").await).contains("there is a database called shop"));
    assert!(text(operator.delete_database("default").await).contains("cannot be deleted"));
    operator.delete_database("shop").await?;
    assert_eq!(cluster.state(|state| state.deleted.clone()), [(2, row.number.0)]);
    assert_eq!(operator.databases().await?.len(), 1);
    assert!(text(operator.delete_database(&made.id).await).contains("there is no database"));
    Ok(())
}
