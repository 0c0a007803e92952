//! Starts the clusters and makes all measurements, the systems in turn.

use crate::Args;
use crate::results::{CLIENTS, Failover, Measurement, Results};
use cairn::bench::load::{self, Load, Mode};
use cairn::bench::report::Report;
use cairn_benches::cluster::{Cluster, Kind, NODES, Place};
use cairn_benches::{disk, failover};
use std::path::Path;
use std::time::Duration;
use wan::{Link, Wan};

/// The length of a value, in bytes.
pub(crate) const VALUE_BYTES: usize = 100;
/// Keys that the clients choose from.
pub(crate) const KEYS: u64 = 10_000;
const WARM_UP: Duration = Duration::from_secs(1);
const MODES: [(&str, Mode); 3] = [("put", Mode::Write), ("get", Mode::Read), ("mixed", Mode::Mixed)];

/// What cairn is told of nodes in one region, and of nodes far apart.
const NEAR: [&str; 4] = ["--archive", "none", "--disk-reserve", "1GiB"];
const FAR: [&str; 8] =
    ["--archive", "none", "--disk-reserve", "1GiB", "--heartbeat", "100ms", "--election", "400ms"];

/// All parts that were asked for.
pub(crate) async fn all(args: &Args, folder: &Path) -> anyhow::Result<Results> {
    let mut results = Results::default();
    let places = vec![Place::local(); NODES];
    {
        let mut etcd = start(args.has("etcd"), args.etcd(None), &folder.join("etcd"), &places).await?;
        let mut cairn = start(args.has("cairn"), args.cairn(&NEAR), &folder.join("cairn"), &places).await?;
        results.syncs_us.push(disk::append_and_sync(folder)?.as_micros());
        for round in 1..=args.rounds {
            eprintln!("round {round} of {}", args.rounds);
            if args.runs("load") {
                loads(args, etcd.as_mut(), cairn.as_mut(), &mut results).await?;
            }
            if args.runs("follower") {
                follower(args, etcd.as_mut(), &mut results).await?;
                follower(args, cairn.as_mut(), &mut results).await?;
            }
            results.syncs_us.push(disk::append_and_sync(folder)?.as_micros());
        }
        for _kill in 0..if args.runs("failover") { args.kills } else { 0 } {
            kill_leader(etcd.as_mut(), &mut results).await?;
            kill_leader(cairn.as_mut(), &mut results).await?;
        }
    }
    if args.runs("regions") {
        regions(args, folder, &mut results).await?;
    }
    Ok(results)
}

/// Puts with nodes in regions of their own; the clients are near the leader.
async fn regions(args: &Args, folder: &Path, results: &mut Results) -> anyhow::Result<()> {
    let wan = match Wan::start(NODES) {
        Ok(wan) => wan,
        Err(wan::Error::NotHere(why)) => {
            results.skipped.push(format!("regions, for want of {why}"));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let link = Link::half_of(Duration::from_millis(args.round_trip_ms));
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        wan.set_both(a, b, link);
    }
    let place =
        |site| Place { host: wan.address(site).into(), namespace: wan.namespace(site).map(str::to_owned) };
    let places: Vec<_> = (1..=NODES).map(place).collect();
    let mut etcd = start(args.has("etcd"), args.etcd(None), &folder.join("far-etcd"), &places).await?;
    let mut cairn = start(args.has("cairn"), args.cairn(&FAR), &folder.join("far-cairn"), &places).await?;
    for _round in 0..args.rounds {
        for clients in CLIENTS {
            measure(args, etcd.as_mut(), "regions", MODES[0], clients, results).await?;
            measure(args, cairn.as_mut(), "regions", MODES[0], clients, results).await?;
        }
    }
    Ok(())
}

async fn start<K: Kind>(
    wanted: bool,
    kind: K,
    folder: &Path,
    places: &[Place],
) -> anyhow::Result<Option<Cluster<K>>> {
    if !wanted {
        return Ok(None);
    }
    let cluster = Cluster::start(kind, folder, places).await?;
    let load = load(Mode::Read, 1, Duration::from_secs(1), Vec::new());
    load::fill(&[cluster.target(0).await?], &load).await?;
    Ok(Some(cluster))
}

fn load(mode: Mode, clients: u32, duration: Duration, server_pids: Vec<u32>) -> Load {
    Load { mode, clients, value_bytes: VALUE_BYTES, keys: KEYS, warm_up: WARM_UP, duration, server_pids }
}

/// Every mode with every number of clients, all of them connected to the leader.
async fn loads<A: Kind, B: Kind>(
    args: &Args,
    mut first: Option<&mut Cluster<A>>,
    mut second: Option<&mut Cluster<B>>,
    results: &mut Results,
) -> anyhow::Result<()> {
    for mode in MODES {
        for clients in CLIENTS {
            measure(args, first.as_deref_mut(), "leader", mode, clients, results).await?;
            measure(args, second.as_deref_mut(), "leader", mode, clients, results).await?;
        }
    }
    Ok(())
}

/// Writes and reads through a node that does not lead.
async fn follower<K: Kind>(
    args: &Args,
    mut cluster: Option<&mut Cluster<K>>,
    results: &mut Results,
) -> anyhow::Result<()> {
    for mode in [MODES[0], MODES[1]] {
        for clients in CLIENTS {
            measure(args, cluster.as_deref_mut(), "follower", mode, clients, results).await?;
        }
    }
    Ok(())
}

/// One measurement of one cluster, if there is one.
pub(crate) async fn measure<K: Kind>(
    args: &Args,
    cluster: Option<&mut Cluster<K>>,
    place: &str,
    (name, mode): (&str, Mode),
    clients: u32,
    results: &mut Results,
) -> anyhow::Result<()> {
    let Some(cluster) = cluster else { return Ok(()) };
    let leader = cluster.whole().await?;
    let node = if place == "follower" { (leader + 1) % cluster.nodes().len() } else { leader };
    let target = cluster.target(node).await?;
    let load = load(mode, clients, args.window(), cluster.pids());
    let report = Report::of(&load::run(&[target], &load).await?);
    let system = cluster.kind().name().to_owned();
    eprintln!("{system}, {place}, {name}, {clients} clients: {report}\n");
    results.measurements.push(Measurement {
        place: place.to_owned(),
        mode: name.to_owned(),
        clients,
        system,
        report,
    });
    Ok(())
}

async fn kill_leader<K: Kind>(cluster: Option<&mut Cluster<K>>, results: &mut Results) -> anyhow::Result<()> {
    let Some(cluster) = cluster else { return Ok(()) };
    let leader = cluster.whole().await?;
    let mut survivors = Vec::new();
    for node in (0..cluster.nodes().len()).filter(|node| *node != leader) {
        survivors.push(cluster.target(node).await?);
    }
    let killed = cluster.kill_node(leader)?;
    let took = failover::first_acknowledged(survivors, killed).await?;
    let system = cluster.kind().name().to_owned();
    eprintln!("{system}: {:.0} ms without a write after a kill of the leader", took.as_secs_f64() * 1e3);
    results.failovers.push(Failover { system, ms: took.as_secs_f64() * 1e3 });
    cluster.start_node(leader)?;
    cluster.whole().await?;
    Ok(())
}
