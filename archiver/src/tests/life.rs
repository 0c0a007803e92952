use super::world::{TestResult, World};
use crate::Archive;
use crate::catalog;
use crate::checkpoint::Before;
use crate::job::{Job, JobKind};
use crate::restore::{PlanError, Point, Wanted};
use crate::ship::Step;
use crate::store::sim::Fault;
use crate::verify::verify;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn every_commit_can_be_restored() -> TestResult {
    for seed in 0..3 {
        let mut world = World::new(seed)?;
        for round in 0..12 {
            for count in [1, 3, 2] {
                world.commit(count)?;
            }
            world.ship().await?;
            if round == 5 {
                world.clock.advance(world.settings.checkpoint_interval_ms);
                world.commit(2)?;
                let steps = world.ship().await?;
                assert!(steps.iter().any(|step| matches!(step, Step::Checkpoint(_))), "{steps:?}");
            }
            if round % 4 == 3 {
                world.reopen()?;
            }
        }
        let states = world.states.clone();
        for state in &states {
            let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
            world.check(&dir, &restored, state)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_time_in_the_window_is_the_last_commit_before_it() -> TestResult {
    let mut world = World::new(7)?;
    for _ in 0..10 {
        world.commit(2)?;
        world.clock.advance(5);
        world.ship().await?;
    }
    let states = world.states.clone();
    let (first, last) = (states[0].time_ms, world.last()?.time_ms);
    for time_ms in (first..=last).step_by(7).chain([last]) {
        let expected = states.iter().rfind(|state| state.time_ms <= time_ms).ok_or("one is before")?;
        let (dir, restored) = world.restore(Point::TimeMs(time_ms)).await?;
        world.check(&dir, &restored, expected)?;
    }
    for outside in [first - 1, last + 1] {
        let result = world.restore(Point::TimeMs(outside)).await;
        assert!(matches!(result, Err(crate::Error::Plan(PlanError::Unreachable { .. }))), "{outside}");
    }
    Ok(())
}

#[tokio::test]
async fn a_restored_database_goes_on_in_a_lineage_of_its_own() -> TestResult {
    let mut world = World::new(1)?;
    for _ in 0..6 {
        world.commit(2)?;
    }
    world.ship().await?;
    let undone = world.last()?.clone();
    let back = world.states[5].clone();
    let (dir, restored) = world.restore(Point::Stamp(back.stamp)).await?;
    world.engine.close()?;
    let past = world.states.clone();
    world.open(&dir.join("groups/1"))?;
    world.states.truncate(6);
    world.clock.advance(1_000);
    let steps = world.ship().await?;
    assert_eq!(steps.last(), Some(&Step::Checkpoint(back.stamp)), "a child starts with a full checkpoint");
    for _ in 0..4 {
        world.commit(2)?;
    }
    world.ship().await?;
    assert!(world.states[6].stamp > undone.stamp, "no stamp is given twice");
    // Stamps of both lives are there, each in its own lineage.
    for state in past.iter().chain(&world.states.clone()) {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, state)?;
    }
    let result = world.restore(Point::Latest).await;
    assert!(matches!(result, Err(crate::Error::Plan(PlanError::Ambiguous { .. }))));
    let named = Wanted {
        point: Point::Latest,
        lineage: Some(restored.lineage.id),
        without: Vec::new(),
        scope: crate::restore::Scope::All,
    };
    let (dir, latest) = world.restore_from(&world.store.clone(), named).await?;
    let last = world.last()?.clone();
    world.check(&dir, &latest, &last)?;
    assert_eq!(latest.lineage.epoch, 2);
    Ok(())
}

#[tokio::test]
async fn nothing_is_requested_while_nothing_is_committed() -> TestResult {
    let mut world = World::new(2)?;
    world.ship().await?;
    assert_eq!(world.store.requests(), 0, "an empty database ships nothing");
    world.commit(1)?;
    world.ship().await?;
    let requests = world.store.requests();
    assert_eq!(requests, 3, "whether the lineage has ended, who it is, and one segment");
    world.clock.advance(10 * world.settings.checkpoint_interval_ms);
    let steps = world.ship().await?;
    assert!(matches!(steps.last(), Some(Step::Checkpoint(_))), "{steps:?}");
    let requests = world.store.requests();
    world.clock.advance(10 * world.settings.checkpoint_interval_ms);
    world.ship().await?;
    world.reopen()?;
    world.ship().await?;
    assert_eq!(world.store.requests(), requests, "records of progress ship nothing");
    Ok(())
}

#[tokio::test]
async fn failures_of_the_store_lose_nothing_and_duplicate_at_most() -> TestResult {
    for fault in [Fault::Unreachable, Fault::AnswerLost, Fault::Refused] {
        let mut world = World::new(3)?;
        for round in 0..20 {
            world.commit(2)?;
            world.clock.advance(world.settings.checkpoint_interval_ms / 5);
            world.store.fail_next(fault, round % 3);
            while let Err(error) = world.ship().await {
                assert!(matches!(error, crate::Error::Store(_)), "{error}");
            }
            if round % 7 == 6 {
                world.reopen()?;
            }
        }
        let states = world.states.clone();
        for state in states.iter().step_by(5) {
            let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
            world.check(&dir, &restored, state)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_crash_between_an_upload_and_its_record_is_no_fork() -> TestResult {
    let mut world = World::new(4)?;
    world.commit(2)?;
    world.commit(2)?;
    world.ship().await?;
    // The object arrives, its answer does not; then the process dies and more is committed.
    world.commit(2)?;
    world.store.fail_next(Fault::AnswerLost, 1);
    assert!(world.ship().await.is_err());
    world.commit(2)?;
    world.reopen()?;
    world.ship().await?;
    let history = catalog::read(&world.archive(), 1).await?.lineages.pop().ok_or("a lineage")?;
    assert!(history.segments.len() >= 3, "the second upload reaches further");
    assert_eq!(history.windows().len(), 1);
    for state in world.states.clone() {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, &state)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_backlog_over_its_bound_becomes_a_gap_that_is_recorded() -> TestResult {
    let mut world = World::new(5)?;
    world.settings.backlog_bytes_max = 8 << 10;
    world.reopen()?;
    world.commit(2)?;
    world.ship().await?;
    let before = world.last()?.clone();
    world.store.set_down(true);
    while world.shipper.status().borrow().gaps == 0 {
        world.commit(3)?;
        assert!(world.ship().await.is_err());
    }
    let lost = world.states[4].clone();
    world.store.set_down(false);
    world.ship().await?;
    let after = world.last()?.clone();
    world.commit(1)?;
    world.ship().await?;
    let history = catalog::read(&world.archive(), 1).await?.lineages.pop().ok_or("a lineage")?;
    let windows = history.windows();
    assert_eq!(windows.len(), 2, "{windows:?}");
    assert_eq!(windows[0].last.stamp, before.stamp);
    let mut recorded = history.checkpoints.iter().filter_map(|entry| entry.whole()).map(|c| c.before);
    assert!(recorded.any(|found| found == Before::Gap(before.stamp)));
    let result = world.restore(Point::Stamp(lost.stamp)).await;
    assert!(matches!(result, Err(crate::Error::Plan(PlanError::Unreachable { .. }))));
    for state in [before, after, world.last()?.clone()] {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, &state)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_engine_with_a_past_that_was_not_shipped_starts_with_a_checkpoint() -> TestResult {
    let mut world = World::new(6)?;
    // The shipper of another target keeps nothing for this one.
    for _ in 0..40 {
        world.commit(2)?;
    }
    world.ship().await?;
    world.store = crate::store::sim::Sim::new();
    let target_changed = world.states.len();
    world.engine.flush()?;
    world.engine.keep_segments_after(None);
    while world.engine.maintain()? == engine::Progress::Worked {}
    world.reopen()?;
    // The simulated stores have one name, so that the mark is trusted until the log shows otherwise.
    world.commit(2)?;
    world.clock.advance(world.settings.checkpoint_interval_ms);
    world.ship().await?;
    let result = world.restore(Point::Stamp(world.states[target_changed - 2].stamp)).await;
    assert!(result.is_err(), "what was shipped elsewhere is not here");
    let last = world.last()?.clone();
    let (dir, restored) = world.restore(Point::Stamp(last.stamp)).await?;
    world.check(&dir, &restored, &last)
}

#[tokio::test]
async fn a_checkpoint_puts_only_tables_that_the_last_one_did_not_name() -> TestResult {
    let mut world = World::new(8)?;
    let interval = world.settings.checkpoint_interval_ms;
    for _ in 0..60 {
        world.commit(2)?;
    }
    world.clock.advance(interval);
    world.ship().await?;
    for reopens in [false, true] {
        world.clock.advance(interval);
        world.commit(1)?;
        if reopens {
            world.reopen()?;
        }
        let steps = world.ship().await?;
        let tables = steps.iter().filter(|step| **step == Step::Table).count();
        let history = catalog::read(&world.archive(), 1).await?.lineages.pop().ok_or("a lineage")?;
        let last = history.checkpoints.last().and_then(|entry| entry.whole()).ok_or("a checkpoint")?;
        assert!(tables < last.tables.len(), "{tables} of {}", last.tables.len());
    }
    Ok(())
}

#[tokio::test]
async fn draining_ships_what_was_committed_last() -> TestResult {
    let mut world = World::new(9)?;
    world.commit(2)?;
    assert!(world.shipper.drain(Duration::from_secs(60)).await);
    let last = world.last()?.clone();
    let (dir, restored) = world.restore(Point::Stamp(last.stamp)).await?;
    world.check(&dir, &restored, &last)?;
    world.store.set_down(true);
    world.commit(1)?;
    assert!(!world.shipper.drain(Duration::from_secs(60)).await);
    Ok(())
}

#[tokio::test]
async fn draining_begins_an_archive_that_needs_a_checkpoint_first() -> TestResult {
    let mut world = World::new(14)?;
    for _ in 0..40 {
        world.commit(2)?;
    }
    // The log no longer holds the beginning.
    world.engine.flush()?;
    world.engine.seal_segment()?;
    world.engine.keep_segments_after(None);
    while world.engine.maintain()? == engine::Progress::Worked {}
    world.reopen()?;
    assert!(!world.shipper.status().borrow().rooted);
    world.commit(1)?;
    assert!(world.shipper.drain(Duration::from_secs(60)).await);
    let last = world.last()?.clone();
    let (dir, restored) = world.restore(Point::Stamp(last.stamp)).await?;
    world.check(&dir, &restored, &last)
}

#[tokio::test]
async fn an_archive_that_was_emptied_is_begun_again() -> TestResult {
    let mut world = World::new(13)?;
    world.commit(2)?;
    world.clock.advance(world.settings.checkpoint_interval_ms);
    world.ship().await?;
    for name in world.store.names() {
        world.store.tamper(&name, None);
    }
    world.reopen()?;
    world.commit(1)?;
    world.ship().await?;
    world.commit(1)?;
    world.ship().await?;
    let states = world.states.clone();
    for state in &states[states.len() - 2..] {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, state)?;
    }
    Ok(())
}

#[tokio::test]
async fn power_cuts_and_failing_requests_leave_every_acknowledged_commit_restorable() -> TestResult {
    for seed in 100..108 {
        let mut world = World::new(seed)?;
        for _ in 0..25 {
            world.commit(1 + seed % 3)?;
            world.clock.advance(world.random.below(world.settings.checkpoint_interval_ms / 3));
            let fault = if world.random.below(2) == 0 { Fault::AnswerLost } else { Fault::Unreachable };
            let faults = usize::try_from(world.random.below(3))?;
            world.store.fail_next(fault, faults);
            if let Err(error) = world.ship().await {
                assert!(error.is_transient(), "{error}");
            }
            if world.random.below(4) == 0 {
                let cut = world.random.next_u64();
                world.power_cut(cut)?;
            }
        }
        world.store.fail_next(Fault::Unreachable, 0);
        world.ship().await?;
        let states = world.states.clone();
        for state in states.iter().step_by(3).chain(states.last()) {
            let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
            world.check(&dir, &restored, state)?;
        }
        let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Restore)).await?;
        assert_eq!(report.problems, [], "seed {seed}");
    }
    Ok(())
}

#[tokio::test]
async fn an_encrypted_archive_restores_every_point_with_its_identity_and_none_without() -> TestResult {
    let mut world = World::new(15)?;
    world.commit(2)?;
    world.ship().await?;
    let plain = world.last()?.clone();
    // Recipients are named later: what is there stays as it is, and what comes is encrypted.
    world.encrypt()?;
    for _ in 0..6 {
        world.commit(2)?;
        world.clock.advance(world.settings.checkpoint_interval_ms / 2);
        world.ship().await?;
    }
    let states = world.states.clone();
    for state in &states {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, state)?;
    }
    let report = verify(&world.archive(), 1, &Job::unwatched(JobKind::Verify)).await?;
    assert_eq!(report.problems, []);
    assert!(world.store.names().iter().any(|name| name.ends_with(".tbl.age")));
    let without = Archive::plain(Arc::new(world.store.clone()));
    for (stamp, reachable) in [(plain.stamp, true), (world.last()?.stamp, false)] {
        let wanted = Wanted {
            point: Point::Stamp(stamp),
            lineage: None,
            without: Vec::new(),
            scope: crate::restore::Scope::All,
        };
        let catalog = catalog::read(&without, 1).await?;
        let planned = crate::restore::plan(&catalog, &wanted);
        assert_eq!(planned.is_ok(), reachable, "{stamp}: {planned:?}");
    }
    Ok(())
}

#[tokio::test]
async fn tables_encrypted_for_others_are_not_reused() -> TestResult {
    let mut world = World::new(16)?;
    for _ in 0..40 {
        world.commit(2)?;
    }
    world.clock.advance(world.settings.checkpoint_interval_ms);
    world.ship().await?;
    world.encrypt()?;
    world.commit(1)?;
    world.clock.advance(world.settings.checkpoint_interval_ms);
    let steps = world.ship().await?;
    let tables = steps.iter().filter(|step| **step == Step::Table).count();
    let history = catalog::read(&world.archive(), 1).await?.lineages.pop().ok_or("a lineage")?;
    let last = history.checkpoints.last().and_then(|entry| entry.whole()).ok_or("a checkpoint")?;
    assert_eq!(tables, last.tables.len());
    assert!(last.tables.iter().all(|table| table.sealed.is_some()));
    Ok(())
}

#[tokio::test]
async fn writing_needs_no_right_to_read() -> TestResult {
    let mut world = World::new(17)?;
    world.encrypt()?;
    world.store.refuse_reads(true);
    for round in 0..6 {
        world.commit(2)?;
        world.clock.advance(world.settings.checkpoint_interval_ms / 2);
        world.ship().await?;
        if round % 2 == 1 {
            world.reopen()?;
        }
    }
    world.store.refuse_reads(false);
    for state in world.states.clone() {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, &state)?;
    }
    Ok(())
}
