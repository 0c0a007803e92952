//! Restores that are interrupted, of a part, and of all groups.

use super::world::{Rows, State, TestResult, World, options, rows_in, rows_of};
use crate::job::{Job, JobKind};
use crate::restore::{Ask, Destination, PlanError, Point, Restored, Scope, Wanted, restore, restore_cluster};
use crate::{Error, catalog};
use engine::Engine;
use engine::fs::Fs;
use engine::fs::sim::{Faults, Unsynced};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn job() -> Job {
    Job::unwatched(JobKind::Restore)
}

fn to(world: &World, dir: &str) -> Destination {
    let (env, dir) = (world.env.clone(), PathBuf::from(dir));
    Destination { env, dir, options: options(), threads: false }
}

/// A checkpoint with several tables, and a log after it.
async fn world_with_log(seed: u64) -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::new(seed)?;
    for round in 0..60 {
        world.commit(2)?;
        if round == 30 {
            world.clock.advance(world.settings.checkpoint_interval_ms);
        }
        world.ship().await?;
    }
    Ok(world)
}

/// A disk of its own to restore to, and a directory on it.
fn aside(seed: u64) -> (engine::fs::sim::Sim, Destination) {
    let (env, disk, _clock) = engine::env::sim::env(seed);
    (disk, Destination { env, dir: PathBuf::from("/data"), options: options(), threads: false })
}

fn check(destination: &Destination, restored: &Restored, state: &State) -> TestResult {
    assert_eq!((restored.stamp, restored.hash, restored.time_ms), (state.stamp, state.hash, state.time_ms));
    let dir = destination.dir.join("groups/1");
    let (engine, _) = Engine::open(destination.env.clone(), &dir, options())?;
    assert_eq!(rows_of(&engine)?, state.visible());
    assert_eq!(engine.lineage(), restored.lineage);
    assert_eq!(destination.env.fs.read_dir(&destination.dir)?, ["groups"], "nothing of the restore is left");
    Ok(engine.close()?)
}

#[tokio::test]
async fn a_restore_that_is_killed_anywhere_never_opens_and_goes_on() -> TestResult {
    let world = world_with_log(31).await?;
    let last = world.last()?.clone();
    let wanted = Wanted::at(Point::Stamp(last.stamp));
    let (disk, destination) = aside(1);
    let before = world.store.requests();
    restore(&world.archive(), 1, &wanted, &destination, &job()).await?;
    let (requests, ops) = (world.store.requests() - before, disk.counts().ops);
    let (mut went_on, mut fewer) = (0, 0);
    for stop in (1..=ops).step_by(7).chain(ops - 12..=ops) {
        let (disk, destination) = aside(stop);
        disk.set_faults(Faults { stop_at_op: Some(stop), ..Faults::default() });
        let failed = restore(&world.archive(), 1, &wanted, &destination, &job()).await;
        if stop == ops {
            // The last one is the end of a directory that is whole.
            assert!(failed.is_err(), "{stop}");
        }
        disk.crash(if stop % 2 == 0 { Unsynced::Torn(stop) } else { Unsynced::Reordered(stop) });
        disk.set_faults(Faults::default());
        let names = disk.read_dir(&destination.dir).unwrap_or_default();
        if names == ["groups"] {
            // The marker went last: it is whole.
            let (engine, _) = Engine::open(destination.env.clone(), Path::new("/data/groups/1"), options())?;
            assert_eq!(rows_of(&engine)?, last.visible());
            continue;
        }
        went_on += 1;
        let before = world.store.requests();
        let restored = restore(&world.archive(), 1, &wanted, &destination, &job()).await;
        let restored = restored.map_err(|error| format!("stopped at {stop}: {error}"))?;
        check(&destination, &restored, &last)?;
        fewer += u64::from(world.store.requests() - before < requests);
    }
    assert!(went_on > 10 && fewer > went_on / 3, "{went_on} went on, {fewer} with fewer requests");
    Ok(())
}

#[tokio::test]
async fn another_restore_into_an_unfinished_one_takes_over_nothing_that_is_wrong() -> TestResult {
    let world = world_with_log(32).await?;
    let states = world.states.clone();
    let (early, late) = (&states[states.len() - 9], &states[states.len() - 1]);
    for (first, second) in [(early, late), (late, early)] {
        let first = Wanted::at(Point::Stamp(first.stamp));
        let (disk, destination) = aside(1);
        restore(&world.archive(), 1, &first, &destination, &job()).await?;
        let ops = disk.counts().ops;
        for stop in (5..ops).step_by(29) {
            let (disk, destination) = aside(stop);
            disk.set_faults(Faults { fail_op: Some(stop), ..Faults::default() });
            let failed = restore(&world.archive(), 1, &first, &destination, &job()).await;
            disk.set_faults(Faults::default());
            if failed.is_ok() {
                continue;
            }
            let tables = Path::new("/data/groups/1/tables");
            if let Some(name) = disk.read_dir(tables).unwrap_or_default().first() {
                disk.open_rw(&tables.join(name))?.write_at(b"not what it was", 7)?;
            }
            let wanted = Wanted::at(Point::Stamp(second.stamp));
            let restored = restore(&world.archive(), 1, &wanted, &destination, &job()).await?;
            check(&destination, &restored, second)?;
        }
    }
    Ok(())
}

fn below(rows: &Rows, prefixes: &[Vec<u8>]) -> Rows {
    let ours = |key: &&Vec<u8>| prefixes.iter().any(|prefix| key.starts_with(prefix));
    rows.iter().filter(|(key, _)| ours(key)).map(|(key, row)| (key.clone(), row.clone())).collect()
}

#[tokio::test]
async fn a_part_has_its_rows_at_every_point_and_nothing_else_at_any_stamp() -> TestResult {
    let world = world_with_log(33).await?;
    let states = world.states.clone();
    let texts: [&[&str]; 4] = [&["key0"], &["key1", "key27"], &["key"], &["none"]];
    for (number, state) in states.iter().enumerate().step_by(11).chain(states.iter().enumerate().next_back())
    {
        for prefixes in texts {
            let prefixes: Vec<Vec<u8>> = prefixes.iter().map(|text| text.as_bytes().to_vec()).collect();
            let dir = format!("/part/{number}/{}", String::from_utf8_lossy(&prefixes[0]));
            let scope = Scope::Prefixes(prefixes.clone());
            let wanted = Wanted { scope, ..Wanted::at(Point::Stamp(state.stamp)) };
            let restored = restore(&world.archive(), 1, &wanted, &to(&world, &dir), &job()).await?;
            assert_eq!((restored.stamp, restored.hash), (state.stamp, state.hash));
            let engine_dir = Path::new(&dir).join("groups/1");
            let (engine, _) = Engine::open(world.env.clone(), &engine_dir, options())?;
            assert!(engine.applied().stamp > state.stamp, "it begins with a commit of its own");
            let mut found = rows_of(&engine)?;
            // The clock of the new commit is later than the state's.
            found.retain(|_, row| row.2.is_none_or(|at| at > engine.applied().time_ms));
            let mut expected = below(&state.rows, &prefixes);
            expected.retain(|_, row| row.2.is_none_or(|at| at > engine.applied().time_ms));
            assert_eq!(found, expected, "{prefixes:?} at {}", state.stamp);
            for earlier in states.iter().take(number).filter(|it| it.stamp >= engine.horizon()).step_by(5) {
                let past = engine.snapshot_at(earlier.stamp)?.at_time(earlier.time_ms);
                assert_eq!(rows_in(past)?, below(&earlier.visible(), &prefixes), "{prefixes:?} in the past");
            }
            engine.close()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_part_is_fetched_with_the_tables_that_may_hold_it() -> TestResult {
    let world = world_with_log(34).await?;
    let catalog = catalog::read(&world.archive(), 1).await?;
    let wanted = Wanted::at(Point::Latest);
    let all = crate::restore::plan(&catalog, &wanted)?;
    for (prefix, holds) in [(&b"key1"[..], true), (b"a", false), (b"zzz", false)] {
        let scope = Scope::Prefixes(vec![prefix.to_vec()]);
        let part = crate::restore::plan(&catalog, &Wanted { scope, ..wanted.clone() })?;
        assert_eq!(part.segments, all.segments, "what comes after the checkpoint may hold anything");
        assert_eq!((!part.tables.is_empty(), part.bytes() == all.bytes()), (holds, holds), "{prefix:?}");
    }
    Ok(())
}

#[tokio::test]
async fn groups_are_restored_to_one_time_and_a_stamp_names_one_of_them() -> TestResult {
    let mut first = World::new(35)?;
    let mut second = World::of_group(36, 2, &first)?;
    for round in 0..20 {
        first.commit(2)?;
        // The second group is quiet from half way on.
        if round < 10 {
            second.commit(1)?;
        }
        first.ship().await?;
        second.ship().await?;
    }
    let times: Vec<u64> = first.states.iter().map(|state| state.time_ms).collect();
    let begun = first.states[0].time_ms.max(second.states[0].time_ms);
    for (number, time_ms) in times.iter().filter(|time| **time >= begun).enumerate() {
        let dir = format!("/cluster/{number}");
        let ask = Ask::all_at(Point::TimeMs(*time_ms));
        let restored = restore_cluster(&first.archive(), &ask, &to(&first, &dir), &job()).await?;
        assert_eq!(restored.iter().map(|(group, _)| *group).collect::<Vec<_>>(), [1, 2]);
        for ((group, restored), world) in restored.iter().zip([&first, &second]) {
            let state =
                world.states.iter().rfind(|state| state.time_ms <= *time_ms).ok_or("one is before")?;
            assert_eq!((restored.stamp, restored.hash), (state.stamp, state.hash));
            let engine_dir = Path::new(&dir).join(format!("groups/{group}"));
            let (engine, _) = Engine::open(first.env.clone(), &engine_dir, options())?;
            assert_eq!(rows_of(&engine)?, state.visible());
        }
    }
    let destination = to(&first, "/refused");
    let last = first.last()?.clone();
    for point in [
        Point::TimeMs(last.time_ms + 1),
        Point::TimeMs(first.states[0].time_ms.min(second.states[0].time_ms) - 1),
    ] {
        let refused = restore_cluster(&first.archive(), &Ask::all_at(point), &destination, &job()).await;
        assert!(matches!(refused, Err(Error::Plan(PlanError::Unreachable { .. }))), "{refused:?}");
    }
    // One of them begins first: then the other one did not exist.
    let early = first.states[0].time_ms.min(second.states[0].time_ms);
    let ask = Ask::all_at(Point::TimeMs(early));
    let restored = restore_cluster(&first.archive(), &ask, &to(&first, "/early"), &job()).await?;
    let existed = [&first, &second].map(|world| world.states[0].time_ms <= early);
    assert_eq!(restored.len(), existed.iter().filter(|existed| **existed).count());
    let ask = Ask::all_at(Point::Stamp(last.stamp));
    let refused = restore_cluster(&first.archive(), &ask, &destination, &job()).await;
    assert!(matches!(refused, Err(Error::Plan(PlanError::OfOneGroup { .. }))), "{refused:?}");
    let named = Ask { scopes: BTreeMap::from([(1, Scope::All)]), ..ask };
    let restored = restore_cluster(&first.archive(), &named, &destination, &job()).await?;
    first.check(&destination.dir, &restored[0].1, &last)
}

#[tokio::test]
async fn a_disk_without_room_is_refused_before_anything_is_fetched() -> TestResult {
    let world = world_with_log(37).await?;
    let (disk, destination) = aside(1);
    disk.set_faults(Faults { capacity: Some(4 << 10), ..Faults::default() });
    let before = world.store.requests();
    let refused = restore(&world.archive(), 1, &Wanted::at(Point::Latest), &destination, &job()).await;
    assert!(matches!(refused, Err(Error::NoRoom { .. })), "{refused:?}");
    assert!(world.store.requests() - before < 6, "only the catalog was read");
    assert_eq!(disk.read_dir(&destination.dir)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_stamp_of_the_only_data_group_brings_the_catalog_to_its_time() -> TestResult {
    let mut data = World::new(38)?;
    let mut catalog = World::of_group(39, 0, &data)?;
    catalog.commit(1)?;
    catalog.ship().await?;
    // Nothing of the data has arrived: the same stamp of the catalog is not meant.
    let stamp = catalog.last()?.stamp;
    let refused =
        restore_cluster(&data.archive(), &Ask::all_at(Point::Stamp(stamp)), &to(&data, "/early"), &job())
            .await;
    assert!(matches!(refused, Err(Error::Plan(PlanError::NoGroup { .. }))), "{refused:?}");
    for _ in 0..12 {
        catalog.commit(1)?;
        catalog.ship().await?;
        data.commit(2)?;
        data.ship().await?;
    }
    for state in data.states.clone().iter().step_by(5) {
        let dir = format!("/stamp/{}", state.stamp);
        let ask = Ask::all_at(Point::Stamp(state.stamp));
        let restored = restore_cluster(&data.archive(), &ask, &to(&data, &dir), &job()).await?;
        let [(0, of_catalog), (1, of_data)] = restored.as_slice() else { return Err("two groups".into()) };
        assert_eq!((of_data.stamp, of_data.hash), (state.stamp, state.hash));
        let expected =
            catalog.states.iter().rfind(|known| known.time_ms <= state.time_ms).ok_or("one before")?;
        assert_eq!((of_catalog.stamp, of_catalog.hash), (expected.stamp, expected.hash));
    }
    Ok(())
}
