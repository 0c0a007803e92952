use super::*;
use crate::NodeId;
use crate::runtime::JoinError;
use crate::runtime::sim::{Trace, run};
use crate::sim::disk::{Failure, Operation};
use crate::sim::toy::Toy;
use std::collections::BTreeMap;
use std::path::Path;

const SOON: Duration = Duration::from_secs(60);
const ONE: Machine = Machine(1);

/// A cluster of three that has begun.
async fn three() -> Cluster<Toy> {
    let cluster = Cluster::new(3, Toy::default(), Path::new("/nowhere"));
    cluster.begin(SOON).await.unwrap();
    cluster
}

fn tormented(seed: u64) -> (Trace, BTreeMap<&'static str, u64>) {
    run(seed, async {
        let cluster = three().await;
        Nemesis::new(Mix::all()).torment(&cluster, Duration::from_secs(600)).await;
        cluster.heal();
        cluster.settle(SOON).await.unwrap();
        (sim::trace(), sim::noted())
    })
}

#[test]
fn a_tormented_cluster_comes_back_and_each_run_of_a_seed_is_the_same() {
    let mut all = BTreeMap::<_, u64>::new();
    for seed in 0..10 {
        let (trace, noted) = tormented(seed);
        assert_eq!((trace, noted.clone()), tormented(seed), "seed {seed}");
        for (kind, count) in noted {
            *all.entry(kind).or_default() += count;
        }
    }
    for kind in [
        "process kill",
        "power cut",
        "blackout",
        "restart",
        "pause",
        "cut",
        "part",
        "storm",
        "drift",
        "jump",
        "full disk",
        "flipped bit",
        "hand over",
        "replaced",
        "failure of a process",
    ] {
        assert!(all.get(kind).is_some_and(|count| *count > 0), "{kind} has not come: {all:?}");
    }
}

#[test]
fn what_is_asked_of_a_process_ends_with_it() {
    run(1, async {
        let cluster = three().await;
        let asked = cluster.host(ONE).run(|_process| std::future::pending::<()>()).unwrap();
        cluster.end(ONE, End::Killed, Duration::from_secs(5));
        assert_eq!(asked.await, Err(JoinError::Cancelled));
        assert!(cluster.host(ONE).run(|_process| async {}).is_none(), "it is down");
        sleep(Duration::from_millis(4_900)).await;
        assert!(cluster.host(ONE).process().is_none(), "it is held down");
        sleep(Duration::from_millis(200)).await;
        assert_eq!(cluster.host(ONE).process().map(|process| process.starts), Some(2));
    });
}

#[test]
fn a_process_that_cannot_go_on_is_started_again() {
    run(2, async {
        let cluster = three().await;
        cluster.host(ONE).process().unwrap().cannot_go_on();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(cluster.host(ONE).process().map(|process| process.starts), Some(2));
        cluster.disk(ONE).fail(Failure { operation: Operation::Sync, of: "starts", after: 0 });
        sleep(Duration::from_secs(1)).await;
        assert_eq!(cluster.host(ONE).process().map(|process| process.starts), Some(3));
    });
}

#[test]
fn a_process_that_panics_after_a_failure_is_started_again() {
    run(3, async {
        let cluster = three().await;
        cluster.host(ONE).may_die();
        let asked = cluster.host(ONE).run(|_process| async { panic!("no disk") }).unwrap();
        assert_eq!(asked.await, Err::<(), _>(JoinError::Cancelled));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(cluster.host(ONE).process().map(|process| process.starts), Some(2));
    });
}

#[test]
#[should_panic(expected = "machine 1: a bug")]
fn a_process_that_panics_for_nothing_ends_the_simulation() {
    run(4, async {
        let cluster = three().await;
        drop(cluster.host(ONE).run(|_process| async { panic!("a bug") }));
        sleep(SOON).await;
    });
}

#[test]
fn one_machine_is_damaged_until_it_is_replaced() {
    run(5, async {
        let cluster = three().await;
        let starts = cluster.host(ONE).process().unwrap();
        assert!(cluster.damage(ONE) && cluster.damage(ONE));
        assert!(!cluster.damage(Machine(2)), "the others must have all");
        cluster.replace_damaged().await;
        assert_eq!(cluster.damaged(), None);
        let process = cluster.host(ONE).process().unwrap();
        assert_eq!((process.node, process.starts), (NodeId(4), 1), "it is new, and was {}", starts.node);
        assert!(cluster.damage(Machine(2)));
    });
}

#[test]
fn a_machine_that_is_replaced_stays_down_until_its_node_has_left() {
    run(6, async {
        let cluster = three().await;
        // Nobody is up who could be asked.
        for machine in [Machine(2), Machine(3)] {
            cluster.end(machine, End::Killed, Duration::from_secs(10));
        }
        assert!(cluster.damage(ONE));
        go_on(&cluster, |cluster| async move { cluster.replace_damaged().await });
        sleep(Duration::from_secs(1)).await;
        cluster.end(ONE, End::Killed, Duration::ZERO);
        assert!(!cluster.damage(ONE), "it is being replaced");
        sleep(Duration::from_secs(8)).await;
        assert!(cluster.host(ONE).is_down());
        cluster.settle(SOON).await.unwrap();
        assert_eq!(cluster.host(ONE).node(), NodeId(4));
    });
}

#[test]
fn what_does_not_come_back_is_told() {
    run(7, async {
        let cluster = three().await;
        cluster.end(ONE, End::Killed, Duration::from_secs(3600));
        let told = cluster.settle(Duration::from_secs(5)).await.unwrap_err().to_string();
        assert_eq!(told, "not in 5 s: node 1 takes a write (node 1 down, node 2 at 1, node 3 at 1)");
    });
}
