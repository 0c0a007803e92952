//! A cluster that archives to two places: one node ships, a follower by preference, and another one goes on when it dies.

use crate::rig::cluster::Cluster;
use crate::rig::server::{cairn, run, succeed};
use crate::rig::{TestResult, http, until, writes};
use anyhow::Context;
use cairn::bench::client::Client;
use engine::Versionstamp;
use std::path::Path;

/// What a node says that it has put of group 1 since its start, to one target.
fn objects_put(cluster: &Cluster, position: usize, target: &str) -> TestResult<u64> {
    let body = http::get(&cluster.nodes()[position].client, "/metrics")?.body;
    let wanted = |line: &&str| {
        let counts = line.starts_with("cairn_archive_objects_total{");
        counts && line.contains("group=\"1\"") && line.contains(target)
    };
    let line = body.lines().find(wanted).context("the metric is there")?;
    Ok(line.rsplit(' ').next().context("a number")?.parse()?)
}

async fn put(client: &mut Client, n: u64) -> TestResult<Versionstamp> {
    writes::commit(client, vec![writes::set(&writes::key(&["k"]), n.to_string().as_bytes())]).await
}

/// Whether an archive can bring a commit back.
fn holds(url: &str, stamp: Versionstamp, to: &Path) -> TestResult<bool> {
    let (at, to) = (stamp.to_string(), to.display().to_string());
    Ok(run(cairn().args(["restore", "--from", url, "--at", &at, "--to", &to]))?.code == Some(0))
}

#[tokio::test]
async fn one_node_ships_to_both_places_and_another_goes_on_when_it_dies() -> TestResult {
    let folder = tempfile::tempdir()?;
    let url = |name: &str| format!("file://{}", folder.path().join(name).display());
    let (east, west) = (url("east"), url("west"));
    let nodes = folder.path().join("nodes");
    let flags = [("--archive", east.as_str()), ("--archive", west.as_str()), ("--archive-interval", "100ms")];
    let mut cluster = Cluster::with(&nodes, 3, &flags)?;
    let leader = cluster.leader()?;
    let mut client = cluster.connect(leader).await?;
    let mut n = 0;
    // A follower is named after a few looks of the leader, and ships from then on.
    let shipper = loop {
        n += 1;
        put(&mut client, n).await?;
        let mut others: Vec<usize> = cluster.live().filter(|position| *position != leader).collect();
        others.retain(|position| objects_put(&cluster, *position, "east").is_ok_and(|count| count > 0));
        if let [shipper] = others[..] {
            break shipper;
        }
        assert!(n < 100_000, "no follower ships");
    };
    cluster.kill(shipper)?;
    let last = put(&mut client, n + 1).await?;
    for (name, url) in [("east", &east), ("west", &west)] {
        let mut tries = 0;
        until(&format!("{name} has the commit after the shipper died"), || {
            tries += 1;
            let to = folder.path().join(format!("{name}-{tries}"));
            Ok(holds(url, last, &to)?.then_some(()))
        })?;
        let found = succeed(cairn().args(["pitr", "list", "--from", url]))?.stdout;
        assert!(!found.contains("missing"), "{found}");
    }
    Ok(())
}
