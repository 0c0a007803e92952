use super::*;
use crate::runtime::sim::Trace;
use crate::sim::cluster::Cluster;
use crate::sim::nemesis::{Kind, Mix, Nemesis};
use std::collections::BTreeMap;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Torments three nodes, heals them, and waits until they agree.
fn tormented(seed: u64, mix: Mix, during: Duration) -> Result<(Trace, BTreeMap<&'static str, u64>), String> {
    let mirrors = tempfile::tempdir().map_err(|error| error.to_string())?;
    sim::run(seed, async {
        let cluster = Cluster::new(3, Server::default(), mirrors.path());
        cluster.begin(Duration::from_secs(60)).await.map_err(|error| error.to_string())?;
        Nemesis::new(mix).torment(&cluster, during).await;
        cluster.heal();
        cluster.settle(Duration::from_secs(120)).await.map_err(|error| error.to_string())?;
        Ok((sim::trace(), cluster.tally()))
    })
}

#[test]
fn nodes_come_back_from_each_kind_of_fault() -> TestResult {
    let mut wrong = Vec::new();
    for (seed, kind) in (1..).zip(Kind::ALL) {
        if let Err(error) = tormented(seed, Mix::of(&[kind]), Duration::from_secs(60)) {
            wrong.push(format!("{kind:?}: {error}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    Ok(())
}

#[test]
fn two_runs_of_a_seed_are_the_same() -> TestResult {
    for seed in 0..3 {
        let run = || tormented(seed, Mix::all(), Duration::from_secs(60));
        assert_eq!(run()?, run()?, "seed {seed}");
    }
    Ok(())
}
