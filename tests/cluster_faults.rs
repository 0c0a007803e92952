//! Three nodes in namespaces of their own, while the network, the processes and a disk do what they should not.
//!
//! One fault at a time, so that a majority always works: a killed node, a paused one, one that is cut off, one that is
//! heard but hears nothing, loss, delay. Clients reach every node all the time, through links of their own.

use crate::rig::cluster::Cluster;
use crate::rig::load::{Load, more_writes};
use crate::rig::{PATIENCE, TestResult, count_from, seed};
use anyhow::Context;
use cairn::bench::random::SplitMix;
use std::time::Duration;
use wan::{Link, Wan};

const NODES: usize = 3;
const CLIENTS: u64 = 9;
/// Writes that must be acknowledged while a fault lasts, and again after it.
const WRITES: usize = 200;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Pause,
    Isolate,
    Deaf,
    Mute,
    Loss,
    Delay,
}

const FAULTS: [Fault; 7] =
    [Fault::Kill, Fault::Pause, Fault::Isolate, Fault::Deaf, Fault::Mute, Fault::Loss, Fault::Delay];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_wrong_whatever_befalls_one_of_three_nodes() -> TestResult {
    let rounds = count_from("CAIRN_TEST_CLUSTER_FAULTS", 1)?;
    let mut random = SplitMix(seed("cluster_faults")?);
    let Some(mut cluster) = Cluster::far(NODES)? else { return Ok(()) };
    let load = cluster.load(CLIENTS, random.next_u64()).await?;
    more_writes(&load, 100, PATIENCE).await?;
    for _round in 0..rounds {
        for fault in FAULTS {
            // The leader's turn comes as often as that of the others together.
            let leader = cluster.leader()?;
            let other = (leader + 1 + usize::try_from(random.below(2))?) % NODES;
            let node = if random.below(2) == 0 { leader } else { other };
            befall(&mut cluster, &load, node, fault)
                .await
                .with_context(|| format!("{fault:?} of node {node}"))?;
        }
    }
    let history = load.stop().await?;
    let verdict = history.judge(&mut cluster.connect(0).await?).await?;
    println!(
        "cluster: {} faults, none lost or wrong: {}; {verdict:?}",
        rounds * FAULTS.len(),
        history.figures
    );
    Ok(())
}

/// Begins a fault, waits until the others have gone on without the node, and mends it.
async fn befall(cluster: &mut Cluster, load: &Load, node: usize, fault: Fault) -> TestResult {
    begin(cluster, node, fault)?;
    more_writes(load, WRITES, PATIENCE).await?;
    mend(cluster, node, fault)?;
    cluster.whole(NODES)?;
    more_writes(load, WRITES, PATIENCE).await
}

fn begin(cluster: &mut Cluster, node: usize, fault: Fault) -> TestResult {
    let slow =
        Link { delay: Duration::from_millis(20), jitter: Duration::from_millis(20), ..Link::default() };
    let lossy = Link { loss_permille: 100, ..Link::default() };
    match fault {
        Fault::Kill => return cluster.kill(node),
        Fault::Pause => return cluster.pause(node, true),
        Fault::Isolate => between(cluster, node, |wan, node, other| {
            wan.cut(node, other, true);
            wan.cut(other, node, true);
        }),
        Fault::Deaf => between(cluster, node, |wan, node, other| wan.cut(other, node, true)),
        Fault::Mute => between(cluster, node, |wan, node, other| wan.cut(node, other, true)),
        Fault::Loss => between(cluster, node, |wan, node, other| wan.set_both(node, other, lossy)),
        Fault::Delay => between(cluster, node, |wan, node, other| wan.set_both(node, other, slow)),
    }
    Ok(())
}

fn mend(cluster: &mut Cluster, node: usize, fault: Fault) -> TestResult {
    match fault {
        Fault::Kill => return cluster.start(node),
        Fault::Pause => return cluster.pause(node, false),
        _ => between(cluster, node, |wan, node, other| wan.set_both(node, other, Link::default())),
    }
    Ok(())
}

/// Does something to the links between a node and each other one; those to the clients stay as they are.
fn between(cluster: &Cluster, node: usize, change: impl Fn(&Wan, usize, usize)) {
    let wan = cluster.wan.as_ref().expect("these nodes stand far apart");
    for other in (0..NODES).filter(|other| *other != node) {
        change(wan, node + 1, other + 1);
    }
}
