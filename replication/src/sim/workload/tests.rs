//! The workload against a database in memory: right, it passes; with any one bug, the checker says so.

mod memory_cluster;

use super::*;
use crate::runtime::sim::run;
use memory_cluster::{Bug, MemoryCluster};

/// How many seeds a bug may stay hidden.
const SEEDS_MAX: u64 = 10;

/// One run of 20 simulated seconds.
fn simulate(seed: u64, bug: Option<Bug>) -> Result<Done, Stuck> {
    run(seed, async move {
        let workload = Workload { workers: 5, watchers: 2, ..Workload::default() };
        let mut running = workload.start(MemoryCluster::new(bug));
        runtime::sleep(Duration::from_secs(20)).await;
        running.stop().await?;
        running.drain(1).await
    })
}

#[test]
fn a_database_that_is_right_passes_and_everything_is_tried() -> Result<(), Box<dyn std::error::Error>> {
    let mut all = Verdict::default();
    for seed in 0..10 {
        let verdict =
            simulate(seed, None)?.check().map_err(|violation| format!("seed {seed}: {violation}"))?;
        all.committed += verdict.committed;
        all.resolved += verdict.resolved;
        all.checks_failed += verdict.checks_failed;
        all.strong += verdict.strong;
        all.eventual += verdict.eventual;
        all.at_stamp += verdict.at_stamp;
        all.watched += verdict.watched;
    }
    println!("the workload in memory: {all:?}");
    let counts = [all.resolved, all.checks_failed, all.strong, all.eventual, all.at_stamp, all.watched];
    assert!(counts.iter().all(|count| *count > 10), "all kinds are tried: {all:?}");
    assert!(all.committed > 1_000, "most writes commit: {all:?}");
    Ok(())
}

#[test]
fn two_runs_of_a_seed_see_the_same() -> Result<(), Stuck> {
    let (one, other) = (simulate(5, None)?, simulate(5, None)?);
    assert_eq!(one.events, other.events);
    assert_eq!(one.last, other.last);
    Ok(())
}

#[test]
fn every_bug_is_caught() -> Result<(), Box<dyn std::error::Error>> {
    for bug in Bug::ALL {
        let mut caught = None;
        for seed in 0..SEEDS_MAX {
            if let Err(violation) = simulate(seed, Some(bug))?.check() {
                caught = Some((seed, violation));
                break;
            }
        }
        let (seed, violation) =
            caught.ok_or_else(|| format!("{bug:?} is not caught in {SEEDS_MAX} seeds"))?;
        println!("in memory, {bug:?}: seed {seed}: {violation}");
    }
    Ok(())
}
