//! Everything is lost but the bucket, and comes back: what docs/recovery.md tells, step by step and timed.
//!
//! Three nodes archive to a real S3 server under load, and their leader dies once. Then all of them die and their
//! directories are deleted. A restore from the bucket, one node on it and two that join are the same database again: nothing
//! that was acknowledged is missing, by the checker of histories, and it takes writes.

use crate::rig::cluster::Cluster;
use crate::rig::load::more_writes;
use crate::rig::s3::{CREDENTIALS, S3};
use crate::rig::server::{cairn, run, succeed};
use crate::rig::{PATIENCE, TestResult, seed, until, writes};
use engine::Versionstamp;
use replication::{DEFAULT_DATABASE, engine_key};
use std::path::Path;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 4;
/// Writes before and after the leader dies.
const WRITES: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_lost_every_disk_comes_back_from_its_bucket() -> TestResult {
    let (s3, folder) = (S3::weed()?, tempfile::tempdir()?);
    let url = s3.archive("prod");
    let mut cluster = Cluster::archiving(&folder.path().join("old"), 3, &url, &CREDENTIALS)?;
    let load = cluster.load(CLIENTS, seed("cluster_recovery")?).await?;
    more_writes(&load, WRITES, PATIENCE).await?;
    let leader = cluster.leader()?;
    cluster.kill(leader)?;
    more_writes(&load, WRITES, PATIENCE).await?;
    let history = load.stop().await?;
    let via = cluster.live().next().expect("two nodes run");
    let marker = writes::key(&["the last write of all"]);
    let last = writes::commit(&mut cluster.connect(via).await?, vec![writes::set(&marker, b"here")]).await?;
    until("the last commit is in the bucket", || Ok((archived_up_to(&url)? >= Some(last)).then_some(())))?;

    drop(cluster);
    std::fs::remove_dir_all(folder.path().join("old"))?;
    let lost = Instant::now();
    let mut took = Vec::new();
    let mut cluster = Cluster::restored(&folder.path().join("new"), 1, &url, &CREDENTIALS, |data| {
        restore(&url, data)?;
        took.push(("restored", lost.elapsed()));
        Ok(())
    })?;
    took.push(("serves", lost.elapsed()));
    let back = history.rows(&mut cluster.connect(0).await?).await?;
    let marker = engine_key(DEFAULT_DATABASE, &marker);
    let (marked, back): (Vec<_>, Vec<_>) = back.into_iter().partition(|row| row.key == marker);
    assert_eq!(marked.first().map(|row| row.stamp), Some(last), "with the versionstamp that it had");
    let verdict = history.judge_rows(back)?;
    for _ in 0..2 {
        cluster.add_node()?;
    }
    cluster.whole(3)?;
    took.push(("three nodes", lost.elapsed()));
    let load = cluster.load(CLIENTS, seed("cluster_recovery")? + 1).await?;
    more_writes(&load, WRITES, PATIENCE).await?;
    load.stop().await?;
    let seconds = |(what, took): &(&str, Duration)| format!("{what} after {:.1} s", took.as_secs_f64());
    let took: Vec<_> = took.iter().map(seconds).collect();
    println!(
        "recovery drill: {} writes acknowledged, none lost, {}; {verdict:?}",
        history.figures.acknowledged(),
        took.join(", ")
    );
    Ok(())
}

fn restore(url: &str, to: &Path) -> TestResult {
    let mut command = cairn();
    command.args(["restore", "--from", url, "--at", "latest", "--to"]).arg(to).envs(CREDENTIALS);
    succeed(&mut command).map(drop)
}

/// The last commit that a restore can reach.
fn archived_up_to(url: &str) -> TestResult<Option<Versionstamp>> {
    let mut list = cairn();
    list.args(["pitr", "list", "--json", "--from", url]).envs(CREDENTIALS);
    let ended = run(&mut list)?;
    let Ok(listing) = serde_json::from_str::<serde_json::Value>(&ended.stdout) else { return Ok(None) };
    let windows = listing["lineages"][0]["windows"].as_array().cloned().unwrap_or_default();
    Ok(windows.iter().filter_map(|window| window["last"]["versionstamp"].as_str()?.parse().ok()).max())
}
