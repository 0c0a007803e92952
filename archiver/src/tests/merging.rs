//! Merging small segments, on whole lives.

use super::crashes::crash_after;
use super::world::{TestResult, World};
use crate::job::{Job, JobKind};
use crate::merge::{Merged, Rules, merge};
use crate::restore::Point;
use crate::seal::Recipients;
use crate::store::sim::{Fault, Sim};
use crate::verify::verify;

const RULES: Rules = Rules {
    age_ms: 0,
    grace_ms: 1_000,
    object_bytes_max: 1 << 20,
    segments_min: 4,
    segments_max: 100,
    sealed: false,
};

async fn world_of_segments(seed: u64, encrypted: bool) -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::new(seed)?;
    if encrypted {
        world.encrypt()?;
    }
    for round in 0..24 {
        world.commit(2)?;
        world.ship().await?;
        if round == 9 {
            world.clock.advance(world.settings.checkpoint_interval_ms);
            world.commit(1)?;
            world.ship().await?;
        }
    }
    Ok(world)
}

fn segments(store: &Sim) -> usize {
    store.names().iter().filter(|name| name.contains("/segments/")).count()
}

async fn run(world: &World, store: &Sim, rules: &Rules) -> Result<Merged, crate::Error> {
    let now_ms = world.env.clock.now_ms();
    store.set_now_ms(now_ms);
    let recipients = if rules.sealed { crate::seal::tests::recipients() } else { Recipients::nobody() };
    let archive = world.archive_of(store);
    merge(&archive, 1, now_ms, rules, &recipients, &Job::unwatched(JobKind::Merge)).await
}

/// Whether every state can be restored and everything verifies.
async fn check(world: &mut World, store: &Sim, step: usize) -> TestResult {
    let report = verify(&world.archive_of(store), 1, &Job::unwatched(JobKind::Verify)).await?;
    assert_eq!(report.problems, []);
    let own = std::mem::replace(&mut world.store, store.clone());
    for state in world.states.clone().iter().step_by(step) {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, state)?;
    }
    world.store = own;
    Ok(())
}

#[tokio::test]
async fn every_point_is_the_same_before_during_and_after() -> TestResult {
    for encrypted in [false, true] {
        let mut world = world_of_segments(41, encrypted).await?;
        let (store, rules) = (world.store.clone(), Rules { sealed: encrypted, ..RULES });
        let many = segments(&store);
        let merged = run(&world, &store, &rules).await?;
        assert!(merged.made > 0 && merged.removed == 0, "{merged:?}");
        check(&mut world, &store, 3).await?;
        assert_eq!(run(&world, &store, &rules).await?, Merged::default(), "nothing is due yet");
        world.clock.advance(rules.grace_ms);
        let merged = run(&world, &store, &rules).await?;
        assert!(merged.removed > 10 && merged.disputed.is_empty(), "{merged:?}");
        assert!(segments(&store) * 4 < many, "{} of {many}", segments(&store));
        check(&mut world, &store, 1).await?;
        // Shipping goes on as if nothing had happened.
        world.commit(2)?;
        world.ship().await?;
        check(&mut world, &store, 5).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_crash_after_any_request_loses_no_point_and_the_next_run_finishes() -> TestResult {
    let mut world = world_of_segments(42, false).await?;
    let whole = world.store.fork();
    for phase in 0..2 {
        let base = whole.fork();
        if phase == 1 {
            run(&world, &base, &RULES).await?;
            world.clock.advance(RULES.grace_ms);
        }
        for requests in 0.. {
            let store = base.fork();
            store.set_now_ms(world.env.clock.now_ms());
            store.fail_in_order(&crash_after(requests));
            let done = run(&world, &store, &RULES).await;
            store.fail_in_order(&[]);
            check(&mut world, &store, 11).await?;
            if done.is_ok() {
                break;
            }
            run(&world, &store, &RULES).await?;
            check(&mut world, &store, 17).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_fork_is_never_removed_and_is_said() -> TestResult {
    let world = world_of_segments(43, false).await?;
    let store = world.store.clone();
    run(&world, &store, &RULES).await?;
    // A segment that begins and ends where another one does, with another hash.
    let name = store.names().into_iter().find(|name| name.contains("/segments/")).ok_or("a segment")?;
    let bytes = store.tamper(&name, None).ok_or("it was listed")?;
    let mut parts: Vec<&str> = name.split('.').collect();
    let other = format!("{}-{}", "0".repeat(16), "f".repeat(16));
    parts[2] = &other;
    let forked = parts.join(".");
    store.tamper(&forked, Some(bytes));
    world.clock.advance(RULES.grace_ms);
    let merged = run(&world, &store, &RULES).await?;
    assert!(store.names().contains(&forked));
    assert_eq!(merged.disputed.len(), 1, "{merged:?}");
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_lets_nothing_go_is_no_failure() -> TestResult {
    let world = world_of_segments(44, false).await?;
    let store = world.store.clone();
    run(&world, &store, &RULES).await?;
    world.clock.advance(RULES.grace_ms);
    store.refuse_removals(true);
    let merged = run(&world, &store, &RULES).await?;
    assert!(merged.refused > 10 && merged.removed == 0, "{merged:?}");
    store.refuse_removals(false);
    store.fail_next(Fault::Unreachable, 1);
    assert!(run(&world, &store, &RULES).await.is_err(), "a store that does not answer is one");
    Ok(())
}
