use super::*;
use crate::cluster::identity::Identity;
use crate::cluster::operator::JoinRequest;
use crate::cluster::testing::{FakeCluster, alone};
use crate::testing::TestResult;

fn request(node: u64, region: &str) -> JoinRequest {
    JoinRequest {
        address: format!("10.0.0.{node}:4513"),
        region: region.to_owned(),
        votes: true,
        attempt: format!("{node:032x}"),
    }
}

async fn looks(steward: &mut Steward, times: u32) {
    for _ in 0..times {
        steward.look().await;
    }
}

fn ids(cluster: &FakeCluster) -> catalog::Result<Vec<u64>> {
    Ok(cluster.decide(|view| view.nodes())?.into_iter().map(|(id, _)| id.0).collect())
}

#[tokio::test]
async fn a_node_that_joins_comes_to_vote_in_every_group_and_one_that_leaves_is_forgotten() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let mut steward = Steward::new(operator.clone(), None);
    operator.join(&request(2, "eu")).await?;
    looks(&mut steward, 1).await;
    assert_eq!([0, 1, 2].map(|group| cluster.members(group)), [0, 1, 2].map(|_| vec![(1, true), (2, false)]));
    assert_eq!(cluster.state(|state| state.addresses.clone()), [(2, "10.0.0.2:4513".to_owned())].into());
    looks(&mut steward, 1).await;
    assert_eq!([0, 1, 2].map(|group| cluster.members(group)), [0, 1, 2].map(|_| vec![(1, true), (2, true)]));
    operator.remove(NodeId(2), false).await?;
    looks(&mut steward, 2).await;
    assert_eq!([0, 1, 2].map(|group| cluster.members(group)), [0, 1, 2].map(|_| vec![(1, true)]));
    assert_eq!(ids(&cluster)?, [1]);
    looks(&mut steward, 1).await;
    assert!(cluster.state(|state| state.forgotten.contains(&2)), "it is answered no more");
    Ok(())
}

#[tokio::test]
async fn a_learner_stays_one_until_it_is_promoted() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let mut steward = Steward::new(operator.clone(), None);
    operator.join(&JoinRequest { votes: false, ..request(2, "eu") }).await?;
    looks(&mut steward, 5).await;
    assert_eq!(cluster.members(1), [(1, true), (2, false)]);
    operator.promote(NodeId(2)).await?;
    looks(&mut steward, 1).await;
    assert_eq!(cluster.members(1), [(1, true), (2, true)]);
    Ok(())
}

#[tokio::test]
async fn nothing_is_done_on_a_catalog_that_nobody_confirms() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let mut steward = Steward::new(operator.clone(), None);
    operator.join(&request(2, "eu")).await?;
    cluster.state(|state| state.unavailable = true);
    looks(&mut steward, 3).await;
    assert_eq!(cluster.members(1), [(1, true)]);
    cluster.state(|state| state.unavailable = false);
    looks(&mut steward, 1).await;
    assert_eq!(cluster.members(1), [(1, true), (2, false)]);
    Ok(())
}

#[tokio::test]
async fn the_lead_moves_to_the_primary_region_once_a_node_was_ready_there_for_some_time() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let mut steward = Steward::new(operator.clone(), None);
    operator.join(&request(2, "us")).await?;
    looks(&mut steward, 2).await;
    operator.set_primary_region(Some("us")).await?;
    let leader = |cluster: &FakeCluster| cluster.state(|state| state.groups[&1].leader);
    looks(&mut steward, LOOKS_BEFORE_HANDOVER - 1).await;
    assert_eq!(leader(&cluster), Some(1));
    // Silent for one look: the count begins anew.
    let hear = |ms| cluster.state(|state| state.groups.values_mut().for_each(|g| g.members[1].heard_ms = ms));
    hear(None);
    looks(&mut steward, 1).await;
    hear(Some(10));
    looks(&mut steward, LOOKS_BEFORE_HANDOVER - 1).await;
    assert_eq!(leader(&cluster), Some(1));
    looks(&mut steward, 1).await;
    assert_eq!(leader(&cluster), Some(2));
    Ok(())
}

#[tokio::test]
async fn what_late_writes_left_in_a_deleted_database_is_removed() -> TestResult {
    let (cluster, operator, clock) = alone()?;
    let mut steward = Steward::new(operator.clone(), None);
    operator.create_database("shop").await?;
    operator.delete_database("shop").await?;
    clock.set(1_000 + LAST_WRITES_MS - 1);
    looks(&mut steward, 1).await;
    assert_eq!(cluster.state(|state| state.deleted.len()), 1);
    clock.set(1_000 + LAST_WRITES_MS);
    looks(&mut steward, 2).await;
    assert_eq!(cluster.state(|state| state.deleted.len()), 2);
    assert!(cluster.decide(|view| view.databases())?.is_empty());
    Ok(())
}

#[tokio::test]
async fn the_primary_region_is_written_down_once_and_not_against_an_operator() -> TestResult {
    let (cluster, operator, _) = alone()?;
    let primary = |cluster: &FakeCluster| cluster.decide(|view| view.primary_region());
    let mut steward = Steward::new(operator.clone(), Some("us".to_owned()));
    looks(&mut steward, 2).await;
    assert_eq!(primary(&cluster)?, None, "nobody stands there yet");
    operator.join(&request(2, "us")).await?;
    looks(&mut steward, 1).await;
    assert_eq!(primary(&cluster)?.map(|found| found.row).as_deref(), Some("us"));
    operator.set_primary_region(None).await?;
    looks(&mut steward, 2).await;
    assert_eq!(primary(&cluster)?, None);
    Ok(())
}

#[tokio::test]
async fn a_node_that_moved_writes_down_where_it_is() -> TestResult {
    let (cluster, operator, clock) = alone()?;
    let moved = Identity { address: "10.0.0.9:4513".to_owned(), ..operator.identity().clone() };
    let serving = replication::ServingClock::new(clock, 0);
    let moved = Operator::new(cluster.clone(), moved, serving, engine::Env::real().random);
    looks(&mut Steward::new(moved, None), 2).await;
    let row = cluster.decide(|view| view.node(NodeId(1)))?.ok_or("no row")?.row;
    assert_eq!(row.address, "10.0.0.9:4513");
    let address = |group| cluster.state(|state| state.groups[&group].members[0].address.clone());
    assert_eq!([0, 1, 2].map(address), [0, 1, 2].map(|_| "10.0.0.9:4513".to_owned()), "and so do the groups");
    Ok(())
}
