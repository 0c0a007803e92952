use super::*;
use crate::runtime::{self, JoinError, watch};
use engine::{Clock, Random};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, mpsc};

/// Tasks that race, sleep, draw, talk and get killed.
fn busy_world(seed: u64) -> (Trace, Vec<u64>) {
    run(seed, async {
        let (sender, mut receiver) = mpsc::channel(4);
        let (set, watched) = watch::channel(0);
        for machine in 1..=3 {
            clock::set_drift(Machine(machine), machine as i64 * 1000);
            for task in 0..10 {
                let (sender, mut watched) = (sender.clone(), watched.clone());
                spawn_on(Machine(machine), async move {
                    for _ in 0..20 {
                        runtime::sleep(Duration::from_micros(below(500))).await;
                        let heard =
                            runtime::timeout(Duration::from_micros(below(2_000)), watched.changed()).await;
                        sender.send(machine * 100 + task + u64::from(heard.is_ok()) * 1000).await.unwrap();
                    }
                });
            }
        }
        drop((sender, watched));
        let mut heard = Vec::new();
        while let Some(word) = receiver.recv().await {
            heard.push(word);
            set.send_replace(word);
            match heard.len() {
                100 => kill(Machine(2)),
                200 => pause(Machine(3), Duration::from_millis(20)),
                _ => {}
            }
        }
        (trace(), heard)
    })
}

#[test]
fn two_runs_of_a_seed_are_the_same_and_seeds_differ() {
    let runs: Vec<_> = (0..20).map(busy_world).collect();
    for (seed, first) in runs.iter().enumerate() {
        assert_eq!(*first, busy_world(seed as u64), "seed {seed}");
        assert!(first.1.len() > 400, "most words are heard");
    }
    let hashes: std::collections::BTreeSet<_> = runs.iter().map(|(trace, _)| trace.hash).collect();
    assert_eq!(hashes.len(), runs.len());
}

#[test]
fn tasks_that_can_run_at_once_run_in_every_order() {
    let orders: std::collections::BTreeSet<_> = (0..100)
        .map(|seed| {
            run(seed, async {
                let (sender, mut receiver) = mpsc::channel(3);
                for name in 0..3 {
                    let sender = sender.clone();
                    runtime::spawn(async move { sender.send(name).await });
                }
                drop(sender);
                let mut order = Vec::new();
                while let Some(name) = receiver.recv().await {
                    order.push(name);
                }
                order
            })
        })
        .collect();
    assert_eq!(orders.len(), 6);
}

#[test]
fn a_year_passes_at_once_and_to_the_nanosecond() {
    run(1, async {
        let year = Duration::from_secs(365 * 24 * 3600);
        let before = runtime::now();
        runtime::sleep(year).await;
        assert_eq!(before.elapsed(), year);
        assert_eq!(elapsed(), year);
    });
}

#[test]
fn a_killed_machine_drops_its_tasks_and_those_that_they_start_then() {
    struct StartsAnother(mpsc::Sender<()>);
    impl Drop for StartsAnother {
        fn drop(&mut self) {
            let sender = self.0.clone();
            runtime::spawn(async move { sender.send(()).await });
        }
    }
    run(2, async {
        let (sender, mut receiver) = mpsc::channel(1);
        let task = spawn_on(Machine(1), async move {
            let inner = runtime::spawn(async move {
                let _held = StartsAnother(sender);
                std::future::pending::<()>().await;
            });
            inner.await
        });
        runtime::sleep(Duration::from_millis(1)).await;
        kill(Machine(1));
        assert_eq!(task.await, Err(JoinError::Cancelled));
        assert_eq!(receiver.recv().await, None, "nothing of the machine is left that could send");
    });
}

#[test]
fn a_paused_machine_stands_still_and_its_clock_goes_on() {
    run(3, async {
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        let task = spawn_on(Machine(1), async move {
            let began = runtime::now();
            for _ in 0..10 {
                runtime::sleep(Duration::from_millis(1)).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            began.elapsed()
        });
        runtime::sleep(Duration::from_micros(4_500)).await;
        pause(Machine(1), Duration::from_secs(1));
        runtime::sleep(Duration::from_millis(900)).await;
        assert_eq!(steps.load(Ordering::Relaxed), 4);
        let took = task.await.unwrap();
        assert_eq!(took, Duration::from_micros(1_004_500 + 5_000));
    });
}

#[test]
fn a_pause_is_ended_early_or_made_longer() {
    run(13, async {
        let nap = || {
            spawn_on(Machine(1), async {
                runtime::sleep(Duration::from_millis(1)).await;
                elapsed()
            })
        };
        pause(Machine(1), Duration::from_secs(1));
        let task = nap();
        runtime::sleep(Duration::from_millis(500)).await;
        resume(Machine(1));
        assert_eq!(task.await, Ok(Duration::from_millis(501)));
        pause(Machine(1), Duration::from_millis(100));
        pause(Machine(1), Duration::from_secs(2));
        pause(Machine(1), Duration::from_millis(10));
        assert_eq!(nap().await, Ok(Duration::from_millis(2_502)));
    });
}

#[test]
fn a_clock_drifts_and_sleeps_go_by_it() {
    run(4, async {
        let on = |machine, ppm| {
            clock::set_drift(Machine(machine), ppm);
            spawn_on(Machine(machine), async { runtime::sleep(Duration::from_secs(100)).await })
        };
        let (fast, slow) = (on(1, 100_000), on(2, -100_000));
        let began = runtime::now();
        fast.await.unwrap();
        let fast = began.elapsed();
        slow.await.unwrap();
        let slow = began.elapsed();
        assert_eq!(fast.as_millis(), 90_909);
        assert_eq!(slow.as_millis(), 111_111);
    });
}

#[test]
fn a_clock_that_becomes_slower_makes_a_sleeper_sleep_on() {
    run(5, async {
        let task = spawn_on(Machine(1), async {
            let began = runtime::now();
            runtime::sleep(Duration::from_secs(10)).await;
            began.elapsed()
        });
        runtime::sleep(Duration::from_secs(5)).await;
        clock::set_drift(Machine(1), -500_000);
        let slept = task.await.unwrap();
        assert!(slept >= Duration::from_secs(10), "it slept for {slept:?} of its own time");
        assert_eq!(elapsed(), Duration::from_secs(15));
    });
}

#[test]
fn a_wall_clock_jumps_and_the_monotonic_one_does_not() {
    run(6, async {
        let task = spawn_on(Machine(1), async {
            let (wall, elapsed, began) = (SimClock.now_ms(), SimClock.elapsed_ns(), runtime::now());
            clock::jump(Machine(1), -60_000);
            runtime::sleep(Duration::from_secs(1)).await;
            (SimClock.now_ms() as i64 - wall as i64, SimClock.elapsed_ns() - elapsed, began.elapsed())
        });
        assert_eq!(task.await.unwrap(), (-59_000, 1_000_000_000, Duration::from_secs(1)));
        assert_eq!(SimClock.now_ms(), WALL_START_MS + 1_000);
    });
}

#[test]
fn random_bytes_follow_from_the_seed() {
    let draw = |seed| {
        run(seed, async {
            let mut bytes = [0; 13];
            SimRandom.fill(&mut bytes);
            (bytes, runtime::random_u64())
        })
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn a_supervised_panic_kills_its_machine_only() {
    run(7, async {
        let (died, mut deaths) = mpsc::channel(1);
        let notify = Arc::new(Notify::new());
        let other = notify.clone();
        let bystander = spawn_on(Machine(1), async { std::future::pending::<()>().await });
        let witness = spawn_on(Machine(2), async move { other.notified().await });
        supervise(Machine(1), move |words| {
            kill(Machine(1));
            died.try_send(words).unwrap();
        });
        let culprit = spawn_on(Machine(1), async { panic!("the disk said no") });
        assert_eq!(deaths.recv().await.as_deref(), Some("the disk said no"));
        assert_eq!(bystander.await, Err(JoinError::Cancelled));
        assert_eq!(culprit.await, Err::<(), _>(JoinError::Cancelled));
        notify.notify_one();
        assert_eq!(witness.await, Ok(()));
    });
}

#[test]
#[should_panic(expected = "the disk said no")]
fn a_panic_that_nobody_expects_ends_the_simulation() {
    run(8, async {
        spawn_on(Machine(1), async { panic!("the disk said no") });
        runtime::sleep(Duration::from_secs(1)).await;
    });
}

#[test]
fn after_a_panic_the_thread_can_simulate_again() {
    let failed = std::panic::catch_unwind(|| {
        run(9, async {
            runtime::spawn(std::future::pending::<()>());
            panic!("the test fails");
        })
    });
    assert!(failed.is_err());
    assert!(!is_running());
    assert_eq!(run(9, async { 1 }), 1);
}

#[test]
#[should_panic(expected = "nothing is left that could happen")]
fn a_world_in_which_nothing_can_happen_is_refused() {
    run(10, std::future::pending::<()>());
}

#[test]
#[should_panic(expected = "without ever waiting")]
fn a_task_that_never_waits_is_found() {
    run(11, async {
        loop {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_the_tasks_of_the_world_hold_is_dropped_with_it() {
    let held = Arc::new(());
    run(12, async {
        let held = held.clone();
        runtime::spawn(async move {
            runtime::sleep(Duration::from_secs(1)).await;
            drop(held);
        });
        runtime::sleep(Duration::from_millis(1)).await;
    });
    assert_eq!(Arc::strong_count(&held), 1);
}
