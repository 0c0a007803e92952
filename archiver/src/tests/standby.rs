//! A standby that follows what is shipped, through everything that goes wrong on the way.

use super::world::{State, TestResult, World, options, rows_of};
use crate::job::{Job, JobKind};
use crate::restore::{Destination, Point, STANDBY_MARKER, Wanted};
use crate::standby::{self, Followed, Follower};
use crate::store::sim::Fault;
use crate::verify::{Depth, Fork, verify_all};
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
    let child = follower.new_lineage();
    let lineage = follower.promote(child)?;
    assert_eq!(lineage.id, child);
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

#[tokio::test]
async fn a_lineage_that_another_goes_on_from_is_shipped_no_more_after_a_start_or_a_failure() -> TestResult {
    let (mut world, _destination, _disk, mut follower) = pair(75).await?;
    while follower.step().await? != Followed::Nothing {}
    let (left, child) = (follower.engine().applied().stamp, follower.new_lineage());
    follower.end_what_it_follows(child).await?;
    // Who is shipping and hears of nothing goes on, for that needs the right to put alone.
    world.commit(2)?;
    world.ship().await?;
    let forked = world.last()?.stamp;
    world.commit(2)?;
    world.store.fail_next(Fault::Unreachable, 1);
    assert!(world.ship().await.is_err(), "it cannot reach the archive for a moment");
    let before = world.store.names();
    for _ in 0..2 {
        let refused = world.ship().await;
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(
            said.contains(&format!("ended at versionstamp {left}")) && said.contains(&child.to_string()),
            "{said}"
        );
        assert!(world.shipper.status().borrow().ended);
        world.reopen()?;
    }
    assert_eq!(world.store.names(), before, "nothing more was shipped");

    let report = verify_all(&world.archive(), Depth::Deep, &[], &job()).await?;
    assert_eq!(report.problems, [], "a fork is no damage");
    let lineage = world.engine.lineage().id;
    assert_eq!(report.forks, [Fork { group: 1, lineage, child, after: left, last: forked }]);

    // The fork is there for who names it, and is not chosen.
    let (dir, restored) = world.restore(Point::Latest).await?;
    let end = world.states.iter().find(|state| state.stamp == left).ok_or("the state is known")?.clone();
    world.check(&dir, &restored, &end)?;
    assert!(world.restore(Point::Stamp(forked)).await.is_err(), "it is in no window");
    let named = Wanted { lineage: Some(lineage), ..Wanted::at(Point::Stamp(forked)) };
    let catalog = crate::catalog::read(&world.archive(), 1).await?;
    assert!(crate::restore::plan(&catalog, &named).is_ok());
    Ok(())
}

#[tokio::test]
async fn an_archive_that_may_only_be_written_to_is_shipped_to_without_asking() -> TestResult {
    let mut world = World::new(76)?;
    world.store.refuse_reads(true);
    for _ in 0..3 {
        world.commit(2)?;
        world.ship().await?;
        world.reopen()?;
    }
    assert!(!world.shipper.status().borrow().ended);
    Ok(())
}

#[tokio::test]
async fn an_end_that_is_not_what_its_name_says_is_damage_and_ends_nothing() -> TestResult {
    let (world, _destination, _disk, mut follower) = pair(77).await?;
    while follower.step().await? != Followed::Nothing {}
    follower.end_what_it_follows(follower.new_lineage()).await?;
    let name = world.store.names().into_iter().find(|name| name.ends_with(".end")).ok_or("an end")?;
    let mut bytes = world.store.tamper(&name, None).ok_or("it is there")?.to_vec();
    bytes[45] ^= 1;
    world.store.tamper(&name, Some(bytes.into()));
    let catalog = crate::catalog::read(&world.archive(), 1).await?;
    assert!(catalog.lineages.iter().all(|history| history.end().is_none()));
    let report = verify_all(&world.archive(), Depth::Fast, &[], &job()).await?;
    assert_eq!(report.problems.iter().map(|problem| &problem.object).collect::<Vec<_>>(), [&name]);
    Ok(())
}
