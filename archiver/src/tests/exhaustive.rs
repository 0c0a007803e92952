//! Every object of an archive of several groups, plain and encrypted, altered and removed, one at a time.

use super::world::{State, TestResult, World, options, rows_of};
use crate::job::{Job, JobKind};
use crate::layout::{Kind, Name};
use crate::restore::{Destination, Point, Wanted, restore};
use crate::store::sim::Sim;
use crate::verify::{Depth, Position, verify_all, verify_by_restoring};
use crate::{Archive, Error, catalog};
use bytes::Bytes;
use engine::Engine;
use std::path::{Path, PathBuf};

fn job() -> Job {
    Job::unwatched(JobKind::Verify)
}

/// Two groups, each with checkpoints and a log before and after them; half of it is encrypted when `mixed`.
async fn worlds(seed: u64, mixed: bool) -> Result<[World; 2], Box<dyn std::error::Error>> {
    let first = World::new(seed)?;
    let second = World::of_group(seed + 1, 2, &first)?;
    let mut worlds = [first, second];
    for round in 0..12 {
        if round == 6 && mixed {
            worlds.iter_mut().try_for_each(World::encrypt)?;
        }
        if round % 4 == 3 {
            worlds[0].clock.advance(worlds[0].settings.checkpoint_interval_ms);
        }
        for world in &mut worlds {
            world.commit(2)?;
            world.ship().await?;
        }
    }
    Ok(worlds)
}

/// What a cluster would have recorded: the end of each group.
async fn positions(worlds: &[World; 2]) -> Result<Vec<Position>, Box<dyn std::error::Error>> {
    let mut positions = Vec::new();
    for catalog in catalog::read_all(&worlds[0].archive()).await? {
        let world = worlds.iter().find(|world| world.settings.group == catalog.group).ok_or("a world")?;
        let checkpoints = catalog.lineages.iter().flat_map(|history| &history.checkpoints);
        let checkpoint = checkpoints.map(|entry| entry.name).max();
        positions.push(Position { group: catalog.group, stamp: world.last()?.stamp, checkpoint });
    }
    Ok(positions)
}

/// Every way of harming one object: a flipped bit in each of some bytes, and its removal.
fn harms(store: &Sim, name: &str) -> Result<Vec<(String, Sim)>, &'static str> {
    let whole = store.fork().tamper(name, None).ok_or("it was listed")?;
    let removed = store.fork();
    removed.tamper(name, None);
    let mut harms = vec![("removed".to_owned(), removed)];
    for at in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let (mut bytes, store) = (whole.to_vec(), store.fork());
        bytes[at] ^= 1 << (at % 8);
        store.tamper(name, Some(Bytes::from(bytes)));
        harms.push((format!("byte {at} altered"), store));
    }
    Ok(harms)
}

/// Whether each state of a world comes back as it was; a refusal is none of a wrong answer.
async fn restores(archive: &Archive, world: &World, states: &[State]) -> Result<Vec<bool>, String> {
    let mut came = Vec::new();
    for state in states {
        let (env, ..) = engine::env::sim::env(1);
        let dir = PathBuf::from("/data");
        let destination = Destination { env, dir, options: options(), threads: false };
        let wanted = Wanted::at(Point::Stamp(state.stamp));
        let group = world.settings.group;
        match restore(archive, group, &wanted, &destination, &job()).await {
            Ok(restored) => {
                let dir = Path::new("/data/groups").join(group.to_string());
                let opened = Engine::open(destination.env.clone(), &dir, options());
                let (engine, _) = opened.map_err(|error| error.to_string())?;
                let rows = rows_of(&engine).map_err(|error| error.to_string())?;
                if (restored.hash, &rows) != (state.hash, &state.visible()) {
                    return Err(format!("another state came back for {}", state.stamp));
                }
                came.push(true);
            }
            Err(error) => {
                if error.to_string().contains('\n') {
                    return Err(format!("more than a line: {error}"));
                }
                came.push(false);
            }
        }
    }
    Ok(came)
}

async fn every_harm_is_found(mixed: bool) -> TestResult {
    let worlds = worlds(if mixed { 52 } else { 51 }, mixed).await?;
    let positions = positions(&worlds).await?;
    let archive = worlds[0].archive();
    let sound = verify_all(&archive, Depth::Deep, &positions, &job()).await?;
    assert_eq!((sound.problems, sound.sealed), (Vec::new(), 0));
    let (mut refused, mut harmless, mut harmed_times) = (0, 0, 0);
    let names = worlds[0].store.names();
    for name in &names {
        let kind = Name::parse(name).ok_or("one of ours")?.kind;
        for (harm, store) in harms(&worlds[0].store, name)? {
            harmed_times += 1;
            let harmed = worlds[0].archive_of(&store);
            let report = verify_all(&harmed, Depth::Deep, &positions, &job()).await?;
            let mut all_came = true;
            for world in &worlds {
                let states: Vec<State> =
                    world.states.iter().step_by(9).chain(world.states.last()).cloned().collect();
                let came =
                    restores(&harmed, world, &states).await.map_err(|e| format!("{name} {harm}: {e}"))?;
                refused += came.iter().filter(|came| !**came).count();
                all_came &= came.iter().all(|came| *came);
            }
            // A checkpoint that is gone is not missed while what is left reaches every point.
            let may_be_unseen = harm == "removed" && matches!(kind, Kind::Checkpoint(..)) && all_came;
            assert!(!report.problems.is_empty() || may_be_unseen, "{name} {harm}: not found");
            if may_be_unseen && report.problems.is_empty() {
                harmless += 1;
            }
        }
    }
    assert!(refused > 50, "{refused} restores refused");
    assert!(harmless < 8, "{harmless} checkpoints not missed");
    println!(
        "archive damage: {} objects, {harmed_times} times one altered or removed: all found but {harmless} checkpoints without \
         which every point is reached; {refused} restores refused, the others equal the model",
        names.len()
    );
    Ok(())
}

#[tokio::test]
async fn every_harm_to_a_plain_archive_is_found_and_never_leads_to_wrong_data() -> TestResult {
    every_harm_is_found(false).await
}

#[tokio::test]
async fn every_harm_to_an_encrypted_archive_is_found_and_never_leads_to_wrong_data() -> TestResult {
    every_harm_is_found(true).await
}

#[tokio::test]
async fn a_fast_verification_finds_what_is_missing_and_reads_no_segment() -> TestResult {
    let worlds = worlds(53, false).await?;
    let positions = positions(&worlds).await?;
    for name in worlds[0].store.names() {
        let kind = Name::parse(&name).ok_or("one of ours")?.kind;
        let store = worlds[0].store.fork();
        store.tamper(&name, None);
        let before = store.requests();
        let report = verify_all(&worlds[0].archive_of(&store), Depth::Fast, &positions, &job()).await?;
        let requests = store.requests() - before;
        assert!(requests < 20, "{requests} requests");
        if !matches!(kind, Kind::Checkpoint(..)) {
            assert!(!report.problems.is_empty(), "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_archive_that_ends_before_what_was_recorded_is_found() -> TestResult {
    let mut worlds = worlds(54, false).await?;
    let before = worlds[0].store.fork();
    worlds[1].commit(1)?;
    worlds[1].ship().await?;
    let positions = positions(&worlds).await?;
    let now = verify_all(&worlds[0].archive(), Depth::Fast, &positions, &job()).await?;
    assert_eq!(now.problems, []);
    let report = verify_all(&worlds[0].archive_of(&before), Depth::Fast, &positions, &job()).await?;
    let [problem] = report.problems.as_slice() else { return Err(format!("{:?}", report.problems).into()) };
    assert_eq!(problem.object, "group 2");
    assert!(problem.reason.contains("was shipped, and the archive ends at"), "{}", problem.reason);
    Ok(())
}

#[tokio::test]
async fn a_full_verification_restores_both_ways_and_leaves_nothing() -> TestResult {
    let worlds = worlds(55, true).await?;
    let (env, disk, _clock) = engine::env::sim::env(1);
    let dir = PathBuf::from("/tmp/verify");
    let destination = Destination { env, dir: dir.clone(), options: options(), threads: false };
    let report = verify_by_restoring(&worlds[0].archive(), &destination, &[], &job()).await?;
    assert_eq!(report.problems, []);
    let left = disk.files();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test]
async fn without_the_key_nothing_is_restored_and_that_is_said() -> TestResult {
    let worlds = worlds(56, true).await?;
    let without = Archive::plain(std::sync::Arc::new(worlds[0].store.clone()));
    let (env, disk, _clock) = engine::env::sim::env(1);
    let destination = Destination { env, dir: PathBuf::from("/data"), options: options(), threads: false };
    let refused = restore(&without, 1, &Wanted::at(Point::Latest), &destination, &job()).await;
    let said = refused.err().ok_or("it cannot")?.to_string();
    assert!(said.starts_with("cannot open ") && !said.contains('\n'), "{said}");
    assert!(disk.files().is_empty(), "nothing was touched");
    let fast = verify_all(&without, Depth::Fast, &[], &job()).await?;
    assert!(fast.sealed > 0);
    assert_eq!(fast.problems, []);
    let deep = verify_all(&without, Depth::Deep, &[], &job()).await;
    assert!(matches!(deep, Err(Error::Sealed { .. })), "{deep:?}");
    Ok(())
}
