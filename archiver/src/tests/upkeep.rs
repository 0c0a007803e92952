//! Pruning and verifying.

use super::world::{TestResult, World};
use crate::catalog;
use crate::job::{Job, JobKind};
use crate::prune::prune;
use crate::restore::Point;
use crate::retention::{GRACE_MS, Kept, Policy};
use crate::ship::Step;
use crate::verify::{Hole, verify};
use bytes::Bytes;

const HOUR_MS: u64 = 3_600_000;

fn window(window_ms: u64) -> Policy {
    Policy { window_ms, kept: Kept::default(), grace_ms: 0 }
}

/// Two commits every half hour for a while, checkpoints every hour.
async fn days(seed: u64, half_hours: u64) -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::new(seed)?;
    for _ in 0..half_hours {
        world.clock.advance(HOUR_MS / 2);
        world.commit(2)?;
        world.ship().await?;
    }
    Ok(world)
}

#[tokio::test]
async fn pruning_keeps_every_point_of_the_window_and_says_what_it_removed() -> TestResult {
    let mut world = days(21, 60).await?;
    let now = world.env.clock.now_ms();
    let before = world.store.names().len();
    let pruned =
        prune(&world.archive(), 1, now, &window(5 * HOUR_MS), &Job::unwatched(JobKind::Prune)).await?;
    assert!(pruned.objects > 20 && world.store.names().len() < before, "{pruned:?}");
    let again =
        prune(&world.archive(), 1, now, &window(5 * HOUR_MS), &Job::unwatched(JobKind::Prune)).await?;
    assert_eq!(again.objects, 0, "what is left is needed");
    let states = world.states.clone();
    let kept = states.iter().filter(|state| state.time_ms >= now - 5 * HOUR_MS);
    for state in kept.step_by(3) {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, state)?;
    }
    let error = world.restore(Point::Stamp(states[2].stamp)).await.err().ok_or("it is gone")?;
    assert!(error.to_string().contains("the archive reaches"), "{error}");
    let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Restore)).await?;
    assert_eq!(report.problems, [], "pruned is not lost");
    Ok(())
}

#[tokio::test]
async fn shipping_goes_on_beside_pruning() -> TestResult {
    let mut world = days(22, 10).await?;
    for _ in 0..60 {
        world.clock.advance(HOUR_MS / 2);
        world.commit(1)?;
        world.ship().await?;
        prune(
            &world.archive(),
            1,
            world.env.clock.now_ms(),
            &window(HOUR_MS),
            &Job::unwatched(JobKind::Prune),
        )
        .await?;
        let catalog = catalog::read(&world.archive(), 1).await?;
        let whole = catalog.lineages[0].checkpoints.iter().all(|entry| entry.whole().is_some());
        assert!(whole, "no table of a remaining checkpoint is removed");
    }
    let last = world.last()?.clone();
    let (dir, restored) = world.restore(Point::Latest).await?;
    world.check(&dir, &restored, &last)?;
    assert!(world.store.names().len() < 60, "it stays bounded: {}", world.store.names().len());
    Ok(())
}

#[tokio::test]
async fn a_sound_archive_verifies_and_every_damaged_object_is_found() -> TestResult {
    let world = days(23, 8).await?;
    let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Restore)).await?;
    assert_eq!((report.problems.as_slice(), report.holes.as_slice()), (&[][..], &[][..]));
    assert_eq!(report.commits, world.states.len() as u64);
    let names = world.store.names();
    let tail = names.iter().rfind(|name| name.ends_with(".seg")).ok_or("a segment")?;
    for name in &names {
        for alter in [false, true] {
            let store = world.store.fork();
            let mut bytes = store.tamper(name, None).ok_or("it was listed")?.to_vec();
            // That the newest segment or a checkpoint is gone shows nowhere: nothing follows it.
            if !alter && (name == tail || name.ends_with(".ckpt")) {
                continue;
            }
            if alter {
                let at = bytes.len() - 1;
                bytes[at] ^= 0x80;
                store.tamper(name, Some(Bytes::from(bytes)));
            }
            let report = verify(&world.archive_of(&store), 1, &Job::unwatched(JobKind::Restore)).await?;
            assert!(!report.problems.is_empty(), "{name}, altered: {alter}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_recorded_gap_is_told_from_a_loss() -> TestResult {
    let mut world = days(24, 3).await?;
    let before = world.last()?.stamp;
    world.settings.backlog_bytes_max = 1;
    world.store.set_down(true);
    world.reopen()?;
    world.commit(2)?;
    assert!(world.ship().await.is_err());
    world.store.set_down(false);
    world.ship().await?;
    let after = world.last()?.stamp;
    let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Restore)).await?;
    assert_eq!(report.problems, []);
    assert_eq!(report.holes, [Hole { group: 1, after: before, before: after, pruned: false }]);
    Ok(())
}

#[tokio::test]
async fn what_was_shipped_beside_a_checkpoint_that_never_arrived_is_in_the_gap() -> TestResult {
    let mut world = days(25, 3).await?;
    let after = world.last()?.stamp;
    let names = world.store.names();
    let last = names.iter().rfind(|name| name.ends_with(".ckpt")).ok_or("a checkpoint")?;
    world.store.tamper(last, None);
    world.reopen()?;
    world.commit(2)?;
    world.engine.seal_segment()?;
    assert_eq!(world.shipper.step().await?, Step::CheckpointBegun);
    world.commit(2)?;
    world.engine.seal_segment()?;
    assert!(matches!(world.shipper.step().await?, Step::Segment(_)), "segments do not wait for it");
    // It dies before the checkpoint is there, and the next one stands later.
    world.reopen()?;
    world.commit(2)?;
    world.ship().await?;
    let before = world.last()?.stamp;
    let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Verify)).await?;
    assert_eq!(report.problems, []);
    assert_eq!(report.holes, [Hole { group: 1, after, before, pruned: false }]);
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_that_takes_days_finds_the_tables_that_it_put() -> TestResult {
    let mut world = days(26, 8).await?;
    world.clock.advance(world.settings.checkpoint_interval_ms);
    world.commit(2)?;
    world.engine.seal_segment()?;
    world.store.set_now_ms(world.env.clock.now_ms());
    while world.shipper.step().await? != Step::Table {}
    // Nothing gets through for longer than a table that nothing names stays.
    world.clock.advance(GRACE_MS + HOUR_MS);
    let now_ms = world.env.clock.now_ms();
    let policy = window(100 * HOUR_MS);
    prune(&world.archive(), 1, now_ms, &policy, &Job::unwatched(JobKind::Prune)).await?;
    assert!(matches!(world.ship().await?.last(), Some(Step::Checkpoint(_))));
    let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Verify)).await?;
    assert_eq!(report.problems, []);
    let last = world.last()?.clone();
    let (dir, restored) = world.restore(Point::Latest).await?;
    world.check(&dir, &restored, &last)
}
