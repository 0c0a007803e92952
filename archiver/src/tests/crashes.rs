//! Pruning that is killed after any request, and shippers that should not be there.

use super::world::{TestResult, World};
use crate::catalog;
use crate::job::{Job, JobKind};
use crate::prune::prune;
use crate::restore::{Point, Wanted};
use crate::retention::{Kept, Policy};
use crate::ship::{Direct, Keep, Shipper, Source, Step};
use crate::store::sim::{Fault, Sim};
use crate::verify::verify;
use std::sync::Arc;

const HOUR_MS: u64 = 3_600_000;

/// So many requests are answered, and then none.
pub(super) fn crash_after(requests: usize) -> Vec<Option<Fault>> {
    let dead = std::iter::repeat_n(Some(Fault::Unreachable), 1_000);
    std::iter::repeat_n(None, requests).chain(dead).collect()
}

async fn prune_at(world: &World, store: &Sim, policy: &Policy) -> crate::Result<crate::prune::Pruned> {
    let now_ms = world.env.clock.now_ms();
    prune(&world.archive_of(store), 1, now_ms, policy, &Job::unwatched(JobKind::Prune)).await
}

#[tokio::test]
async fn pruning_that_dies_after_any_request_keeps_every_promised_point() -> TestResult {
    let mut world = World::new(51)?;
    for _ in 0..70 {
        world.clock.advance(HOUR_MS / 2);
        world.commit(1)?;
        world.ship().await?;
    }
    let policy =
        Policy { window_ms: 3 * HOUR_MS, kept: Kept { daily: 2, ..Kept::default() }, grace_ms: HOUR_MS };
    let now_ms = world.env.clock.now_ms();
    let history = catalog::read(&world.archive(), 1).await?.lineages.pop().ok_or("a lineage")?;
    let points = crate::retention::points(&history, now_ms, &policy);
    assert_eq!(points.len(), 2);
    let promised = |time_ms: u64| time_ms + policy.window_ms >= now_ms;
    let (whole, mut crashes) = (world.store.clone(), 0);
    for requests in (0..).step_by(5) {
        let store = whole.fork();
        store.set_now_ms(now_ms);
        store.fail_in_order(&crash_after(requests));
        let done = prune_at(&world, &store, &policy).await;
        store.fail_in_order(&[]);
        let job = Job::unwatched(JobKind::Verify);
        assert_eq!(
            verify(&world.archive_of(&store), 1, &job).await?.problems,
            [],
            "after {requests} requests"
        );
        for state in world.states.clone() {
            let is_point = points.iter().any(|name| name.stamp == state.stamp);
            if is_point || promised(state.time_ms) {
                let wanted = Wanted::at(Point::Stamp(state.stamp));
                let (dir, restored) = world.restore_from(&store, wanted).await?;
                world.check(&dir, &restored, &state)?;
            }
        }
        if done.is_ok() {
            break;
        }
        crashes += 1;
        prune_at(&world, &store, &policy).await?;
        assert_eq!(prune_at(&world, &store, &policy).await?.objects, 0, "the next one finished");
    }
    assert!(crashes > 5, "{crashes}");
    Ok(())
}

#[tokio::test]
async fn a_locked_bucket_is_no_failure_and_gets_one_record() -> TestResult {
    let mut world = World::new(52)?;
    for _ in 0..20 {
        world.clock.advance(HOUR_MS / 2);
        world.commit(1)?;
        world.ship().await?;
    }
    let policy = Policy { window_ms: HOUR_MS, kept: Kept::default(), grace_ms: 0 };
    let store = world.store.clone();
    store.refuse_removals(true);
    for _ in 0..3 {
        let pruned = prune_at(&world, &store, &policy).await?;
        assert!(pruned.objects == 0 && pruned.refused > 5 && pruned.reason.is_some(), "{pruned:?}");
    }
    let records = store.names().iter().filter(|name| name.contains("/pruned/")).count();
    assert_eq!(records, 1, "one that cannot be removed is enough");
    Ok(())
}

#[tokio::test]
async fn two_clusters_on_one_prefix_do_each_other_no_harm() -> TestResult {
    let (mut one, mut other) = (World::new(53)?, World::new(54)?);
    other.store = one.store.clone();
    other.reopen()?;
    for _ in 0..6 {
        for world in [&mut one, &mut other] {
            world.commit(2)?;
            world.clock.advance(HOUR_MS);
            world.ship().await?;
        }
    }
    let policy = Policy { window_ms: HOUR_MS, kept: Kept::default(), grace_ms: 0 };
    prune_at(&one, &one.store.clone(), &policy).await?;
    for world in [&mut one, &mut other] {
        let store = world.store.clone();
        let last = world.last()?.clone();
        let lineage = Some(world.engine.lineage().id);
        let wanted = Wanted { lineage, ..Wanted::at(Point::Stamp(last.stamp)) };
        let (dir, restored) = world.restore_from(&store, wanted).await?;
        world.check(&dir, &restored, &last)?;
    }
    let report = verify(&one.archive(), 1, &Job::unwatched(JobKind::Verify)).await?;
    assert_eq!(report.problems, []);
    Ok(())
}

#[tokio::test]
async fn a_deposed_leader_that_goes_on_shipping_makes_duplicates_and_no_fork() -> TestResult {
    let mut world = World::new(55)?;
    world.commit(2)?;
    world.ship().await?;
    let deposed = |node| {
        let progress = Arc::new(Direct(world.engine.clone()));
        let source = Source { engine: world.engine.clone(), progress, keep: Keep::new() };
        let settings = crate::ship::Settings { node, object_bytes_max: 3 << 10, ..world.settings.clone() };
        Shipper::new(source, Arc::new(world.store.clone()), settings)
    };
    let mut deposed = deposed(7)?;
    for round in 0..12 {
        for _ in 0..=round % 3 {
            world.commit(2)?;
        }
        if round % 2 == 0 {
            world.ship().await?;
        }
        world.engine.seal_segment()?;
        while deposed.step().await? != Step::Idle {}
        world.ship().await?;
    }
    let history = catalog::read(&world.archive(), 1).await?.lineages.pop().ok_or("a lineage")?;
    assert_eq!(history.windows().len(), 1);
    let nodes: std::collections::BTreeSet<u64> = history.segments.iter().map(|s| s.name.node).collect();
    assert_eq!(nodes.len(), 2, "both shipped");
    for state in world.states.clone() {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, &state)?;
    }
    let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Verify)).await?;
    assert_eq!(report.problems, []);
    Ok(())
}
