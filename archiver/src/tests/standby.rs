//! A standby that follows what is shipped, through everything that goes wrong on the way.

use super::world::{State, TestResult, World, options, rows_of};
use crate::job::{Job, JobKind};
use crate::restore::{Destination, Point, STANDBY_MARKER};
use crate::standby::{self, Followed, Follower};
use crate::store::sim::Fault;
use engine::Engine;
use engine::fs::Fs;
use engine::fs::sim::Unsynced;
use std::path::{Path, PathBuf};

fn job() -> Job {
    Job::unwatched(JobKind::Restore)
}

/// An archive with something in it, and a standby beside it.
async fn pair(
    seed: u64,
) -> Result<(World, Destination, engine::fs::sim::Sim, Follower), Box<dyn std::error::Error>> {
    let mut world = World::new(seed)?;
    for _ in 0..5 {
        world.commit(2)?;
        world.ship().await?;
    }
    let (env, disk, _clock) = engine::env::sim::env(seed + 1);
    let destination = Destination { env, dir: PathBuf::from("/standby"), options: options(), threads: false };
    standby::begin(&world.archive(), Vec::new(), &destination, &job()).await?;
    assert_eq!(disk.read_dir(&destination.dir)?, [STANDBY_MARKER, "groups"]);
    let follower = open(&world, &destination)?;
    Ok((world, destination, disk, follower))
}

fn open(world: &World, destination: &Destination) -> Result<Follower, crate::Error> {
    let env = destination.env.clone();
    Follower::open(world.archive(), env, &destination.dir, 1, options())
}

fn shows(engine: &Engine, state: &State) -> TestResult {
    let applied = engine.published();
    assert_eq!((applied.stamp, applied.hash), (state.stamp, state.hash));
    assert_eq!(rows_of(engine)?, state.visible());
    Ok(())
}

#[tokio::test]
async fn a_standby_has_what_was_shipped_and_asks_little_when_nothing_is() -> TestResult {
    let (mut world, _destination, _disk, mut follower) = pair(71).await?;
    shows(follower.engine(), world.last()?)?;
    for _ in 0..20 {
        world.commit(3)?;
        world.ship().await?;
        assert!(matches!(follower.step().await?, Followed::Applied(1..)));
        shows(follower.engine(), world.last()?)?;
        let before = world.store.requests();
        assert_eq!(follower.step().await?, Followed::Nothing);
        assert_eq!(world.store.requests() - before, 1, "one listing");
    }
    assert_eq!(follower.engine().lineage(), world.engine.lineage(), "it is in the lineage that it follows");
    Ok(())
}

#[tokio::test]
async fn failures_and_power_cuts_lose_nothing_and_repeat_nothing() -> TestResult {
    let (mut world, destination, disk, mut follower) = pair(72).await?;
    for round in 0..30 {
        world.commit(2)?;
        if round % 3 == 0 {
            world.store.fail_next(Fault::AnswerLost, 1);
            assert!(world.ship().await.is_err());
            world.commit(1)?;
        }
        // Ships the same commits again, with other edges.
        if round % 6 == 0 {
            world.reopen()?;
        }
        world.ship().await?;
        world.store.fail_next(Fault::Unreachable, round % 3);
        while follower.step().await.is_err() {}
        if round % 4 == 3 {
            drop(follower);
            disk.crash(Unsynced::Torn(round as u64));
            follower = open(&world, &destination)?;
        }
        while follower.step().await? != Followed::Nothing {}
        shows(follower.engine(), world.last()?)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_or_foreign_segment_is_waited_for_and_never_skipped() -> TestResult {
    let (mut world, _destination, _disk, mut follower) = pair(73).await?;
    let known: std::collections::BTreeSet<String> = world.store.names().into_iter().collect();
    let before = world.last()?.clone();
    for _ in 0..3 {
        world.commit(2)?;
        world.ship().await?;
    }
    let new: Vec<String> = world.store.names().into_iter().filter(|name| !known.contains(name)).collect();
    let first = new.iter().find(|name| name.ends_with(".seg")).ok_or("a segment")?;
    let held = world.store.tamper(first, None).ok_or("it was there")?;
    assert_eq!(follower.step().await?, Followed::Waits);
    shows(follower.engine(), &before)?;
    let mut altered = held.to_vec();
    let at = altered.len() - 9;
    altered[at] ^= 1;
    world.store.tamper(first, Some(altered.into()));
    assert!(matches!(follower.step().await, Err(crate::Error::Damaged { .. })));
    shows(follower.engine(), &before)?;
    world.store.tamper(first, Some(held));
    while follower.step().await? != Followed::Nothing {}
    shows(follower.engine(), world.last()?)
}

#[tokio::test]
async fn a_promoted_standby_goes_on_in_a_lineage_of_its_own() -> TestResult {
    let (mut world, destination, disk, mut follower) = pair(74).await?;
    world.commit(2)?;
    world.ship().await?;
    while follower.step().await? != Followed::Nothing {}
    let last = world.last()?.clone();
    let lineage = follower.promote()?;
    standby::end(&destination.env, &destination.dir)?;
    assert_eq!(disk.read_dir(&destination.dir)?, ["groups"]);
    assert_eq!(lineage.parent, Some((world.engine.lineage().id, last.stamp)));
    let dir = Path::new("/standby/groups/1");
    let (engine, _) = Engine::open(destination.env.clone(), dir, options())?;
    assert_eq!(rows_of(&engine)?, last.visible());
    let mut batch = engine::WriteBatch::new();
    batch.put(b"after", b"1", None)?;
    assert!(engine.commit(batch)?.version() >> 44 > last.stamp.version() >> 44, "an epoch above");
    let (dir, restored) = world.restore(Point::Stamp(last.stamp)).await?;
    world.check(&dir, &restored, &last)
}
