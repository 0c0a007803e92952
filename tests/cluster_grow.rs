//! A directory of the earlier version, which knew no clusters, becomes a cluster of three, and then does without the node
//! that it came with. Nothing of it is lost on the way, and no versionstamp changes.

use crate::rig::cluster::Cluster;
use crate::rig::load::more_writes;
use crate::rig::{PATIENCE, TestResult, seed, writes};
use anyhow::Context;
use replication::{DEFAULT_DATABASE, engine_key};
use std::path::Path;

/// Made by the program of version 0.1.0, before it could form clusters: see `tests/testdata/README.md`.
const EARLIER: &str = "tests/testdata/0.1.0";
const CLIENTS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_the_earlier_version_grows_to_three_nodes_and_loses_its_first() -> TestResult {
    let earlier = Path::new(env!("CARGO_MANIFEST_DIR")).join(EARLIER);
    let expected = std::fs::read_to_string(earlier.join("content.txt"))?;
    let mut cluster = Cluster::begin_with(|data| copy(&earlier.join("data"), data))?;
    assert_eq!(content(&cluster, 0).await?, expected, "the first node alone");

    let load = cluster.load(CLIENTS, seed("cluster_grow")?).await?;
    for voters in 2..=3 {
        let node = cluster.add_node()?;
        load.add(cluster.url(node));
        cluster.whole(voters)?;
        more_writes(&load, 100, PATIENCE).await?;
        assert_eq!(content(&cluster, node).await?, expected, "node {node} has all of it");
    }
    let first = cluster.id_of(0)?;
    cluster.ask(1, "DELETE", &format!("/cluster/nodes/{first}"))?;
    cluster.forget(0)?;
    let leader = cluster.whole(2)?;
    more_writes(&load, 100, PATIENCE).await?;
    let history = load.stop().await?;

    for node in [1, 2] {
        assert_eq!(content(&cluster, node).await?, expected, "node {node}, after the first was removed");
    }
    // What was there before the clients came is none of their history.
    let rows = history.rows(&mut cluster.connect(leader).await?).await?;
    let earlier = engine_key(DEFAULT_DATABASE, &writes::key(&["earlier"]));
    let rows = rows.into_iter().filter(|row| !row.key.starts_with(&earlier)).collect();
    let verdict = history.judge_rows(rows)?;
    println!(
        "cluster: grown from 0.1.0 to three, the first removed, under load: {}; {verdict:?}",
        history.figures
    );
    Ok(())
}

/// The entries that the earlier version left: versionstamp, key and value of each.
async fn content(cluster: &Cluster, node: usize) -> TestResult<String> {
    let start = writes::key(&["earlier"]);
    let end = [&start[..], &[0xff]].concat();
    let entries = writes::list(&mut cluster.connect(node).await?, &start, &end).await?;
    let line = |entry: &denokv_proto::datapath::KvEntry| {
        let stamp = writes::stamp_of(&entry.versionstamp)?;
        Ok(format!("{stamp} {} {}\n", entry.key.escape_ascii(), entry.value.escape_ascii()))
    };
    entries.iter().map(line).collect()
}

fn copy(from: &Path, to: &Path) -> TestResult {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
