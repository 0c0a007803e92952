//! The disk of one node of three is filled: first a follower's, which must hold nobody up, then the leader's, which may
//! only be refused with a 4xx. When there is space again, everything goes on by itself.

use crate::rig::cluster::Cluster;
use crate::rig::load::more_writes;
use crate::rig::small_disk::SmallDisk;
use crate::rig::{PATIENCE, TestResult, seed};

const NODES: usize = 3;
const CLIENTS: u64 = 6;
const DISK_MIB: u32 = 512;
/// Left on a full disk: half of [`DISK_RESERVE`](crate::rig::cluster::DISK_RESERVE).
const LEFT_MIB: u64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_follower_holds_nobody_up_and_a_full_leader_loses_nothing() -> TestResult {
    // Before the cluster, which is killed first.
    let folder = tempfile::tempdir()?;
    let mut disks = Vec::new();
    for number in 1..=NODES {
        let Some(disk) = SmallDisk::mount(&folder.path().join(number.to_string()), DISK_MIB)? else {
            return Ok(());
        };
        disks.push(disk);
    }
    let cluster = Cluster::at(folder.path(), NODES, &[])?;
    let load = cluster.load(CLIENTS, seed("cluster_disk")?).await?;
    more_writes(&load, 100, PATIENCE).await?;

    let follower = (cluster.leader()? + 1) % NODES;
    disks[follower].fill(LEFT_MIB)?;
    more_writes(&load, 500, PATIENCE).await?;
    disks[follower].empty()?;
    cluster.whole(NODES)?;

    let leader = cluster.leader()?;
    disks[leader].fill(LEFT_MIB)?;
    load.refused_or_moved(|| Ok(cluster.leader()? != leader), PATIENCE).await?;
    disks[leader].empty()?;
    more_writes(&load, 500, PATIENCE).await?;
    let leader = cluster.whole(NODES)?;

    let history = load.stop().await?;
    let verdict = history.judge(&mut cluster.connect(leader).await?).await?;
    println!(
        "cluster: a full follower, then a full leader, none lost or wrong: {}; {verdict:?}",
        history.figures
    );
    assert_eq!(history.figures.server_errors(), 0, "{}", history.figures);
    Ok(())
}
