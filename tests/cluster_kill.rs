//! Five nodes in namespaces of their own, any two of which are killed in turn while clients write and read.
//!
//! Every pair of nodes has its turn, the leader's among them. A cluster of five goes on without two: what clients saw is
//! judged by the checker of histories, and no time without an acknowledged write may be longer than [`GAP_MAX`].

use crate::rig::cluster::Cluster;
use crate::rig::load::more_writes;
use crate::rig::{PATIENCE, TestResult, count_from, seed};
use cairn::bench::random::SplitMix;
use std::time::{Duration, Instant};

const NODES: usize = 5;
const CLIENTS: u64 = 10;
/// Far above what an election takes, and far below what a person would call an outage.
const GAP_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_two_of_five_nodes_die_in_turn_and_nothing_is_lost_or_wrong() -> TestResult {
    let seconds = u64::try_from(count_from("CAIRN_TEST_CLUSTER_SECONDS", 60)?)?;
    let mut random = SplitMix(seed("cluster_kill")?);
    let Some(mut cluster) = Cluster::far(NODES)? else { return Ok(()) };
    let load = cluster.load(CLIENTS, random.next_u64()).await?;
    more_writes(&load, 100, PATIENCE).await?;
    let (start, mut kills) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        for (one, other) in shuffled_pairs(&mut random)? {
            if kills > 0 && start.elapsed() >= Duration::from_secs(seconds) {
                break;
            }
            cluster.kill(one)?;
            // Now and then the second one dies while the cluster still deals with the first.
            more_writes(&load, usize::try_from(random.below(3))? * 20, PATIENCE).await?;
            cluster.kill(other)?;
            kills += 2;
            more_writes(&load, 100, PATIENCE).await?;
            cluster.start(one)?;
            cluster.start(other)?;
            cluster.whole(NODES)?;
        }
    }
    let history = load.stop().await?;
    let verdict = history.judge(&mut cluster.connect(0).await?).await?;
    println!(
        "cluster: {kills} kills of five nodes, two at a time, none lost or wrong: {}; {verdict:?}",
        history.figures
    );
    assert!(history.figures.worst_gap() < GAP_MAX, "{}", history.figures);
    assert_eq!(history.figures.server_errors(), 0, "writes wait for the next leader: {}", history.figures);
    Ok(())
}

/// All pairs of nodes, in some order, in either order of the two.
fn shuffled_pairs(random: &mut SplitMix) -> TestResult<Vec<(usize, usize)>> {
    let mut pairs = Vec::new();
    for one in 0..NODES {
        for other in one + 1..NODES {
            let at = usize::try_from(random.below(u64::try_from(pairs.len())? + 1))?;
            let pair = if random.below(2) == 0 { (one, other) } else { (other, one) };
            pairs.insert(at, pair);
        }
    }
    Ok(pairs)
}
