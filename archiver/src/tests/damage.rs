use super::world::{TestResult, World, options, rows_of};
use crate::layout::{Kind, Name};
use crate::restore::{Destination, MARKER, Point, Wanted, restore};
use crate::{
    Error,
    job::{Job, JobKind},
};
use bytes::Bytes;
use engine::Engine;
use engine::fs::{Fs, sim::Unsynced};
use std::path::PathBuf;

async fn world_with_everything() -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::new(11)?;
    for round in 0..10 {
        world.commit(2)?;
        world.commit(1)?;
        if round == 5 {
            world.clock.advance(world.settings.checkpoint_interval_ms);
        }
        world.ship().await?;
    }
    Ok(world)
}

fn wanted(point: Point) -> Wanted {
    Wanted::at(point)
}

#[tokio::test]
async fn a_missing_or_altered_object_never_leads_to_wrong_data() -> TestResult {
    let mut world = world_with_everything().await?;
    let states = world.states.clone();
    let targets = [&states[3], &states[states.len() / 2], &states[states.len() - 1]];
    let (mut refused, mut unaffected) = (0, 0);
    for name in world.store.names() {
        for alter in [false, true] {
            let store = world.store.fork();
            let mut bytes = store.tamper(&name, None).ok_or("it was listed")?.to_vec();
            if alter {
                let at = bytes.len() / 2;
                bytes[at] ^= 1;
                store.tamper(&name, Some(Bytes::from(bytes)));
            }
            for state in targets {
                match world.restore_from(&store, wanted(Point::Stamp(state.stamp))).await {
                    Ok((dir, restored)) => {
                        world.check(&dir, &restored, state)?;
                        unaffected += 1;
                    }
                    Err(error) => {
                        let said = error.to_string();
                        assert!(!said.contains('\n'), "{said}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 10 && unaffected > 10, "{refused} refused, {unaffected} unaffected");
    Ok(())
}

#[tokio::test]
async fn the_damaged_object_is_named() -> TestResult {
    let mut world = world_with_everything().await?;
    let last = world.last()?.clone();
    for name in world.store.names() {
        let kind = Name::parse(&name).ok_or("one of ours")?.kind;
        if !matches!(kind, Kind::Table(..) | Kind::Checkpoint(..)) {
            continue;
        }
        let store = world.store.fork();
        store.tamper(&name, Some(Bytes::from_static(b"x")));
        let error =
            world.restore_from(&store, wanted(Point::Stamp(last.stamp))).await.err().ok_or("refused")?;
        assert!(error.to_string().contains(&name), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_restore_leaves_nothing_that_looks_like_data() -> TestResult {
    let world = world_with_everything().await?;
    let last = world.last()?.clone();
    let store = world.store.fork();
    let tail = store.names().into_iter().rfind(|name| name.ends_with(".seg")).ok_or("a segment")?;
    let old = store.tamper(&tail, Some(Bytes::from_static(b"x"))).ok_or("it was there")?;
    let dir = PathBuf::from("/restored/again");
    let destination =
        Destination { env: world.env.clone(), dir: dir.clone(), options: options(), threads: false };
    let point = wanted(Point::Stamp(last.stamp));
    assert!(
        restore(&world.archive_of(&store), 1, &point, &destination, &Job::unwatched(JobKind::Restore))
            .await
            .is_err()
    );
    assert!(world.env.fs.exists(&dir.join(MARKER))?, "what is unfinished says so");
    // The object is brought back, and the same command works.
    store.tamper(&tail, Some(old));
    let restored =
        restore(&world.archive_of(&store), 1, &point, &destination, &Job::unwatched(JobKind::Restore))
            .await?;
    world.check(&dir, &restored, &last)
}

#[tokio::test]
async fn an_interrupted_restore_is_done_again_and_other_directories_are_refused() -> TestResult {
    let world = world_with_everything().await?;
    let last = world.last()?.clone();
    let dir = PathBuf::from("/restored/interrupted");
    let fs = world.env.fs.clone();
    fs.create_dir_all(&dir.join("groups/1/tables"))?;
    fs.create(&dir.join("groups/1/manifest"))?.write_at(b"half", 0)?;
    let destination =
        Destination { env: world.env.clone(), dir: dir.clone(), options: options(), threads: false };
    let point = wanted(Point::Stamp(last.stamp));
    let result = restore(&world.archive(), 1, &point, &destination, &Job::unwatched(JobKind::Restore)).await;
    assert!(matches!(result, Err(Error::Target { .. })), "somebody's data stays");
    assert!(fs.exists(&dir.join("groups/1/manifest"))?);
    fs.create(&dir.join(MARKER))?;
    let restored =
        restore(&world.archive(), 1, &point, &destination, &Job::unwatched(JobKind::Restore)).await?;
    world.check(&dir, &restored, &last)?;
    assert!(!fs.exists(&dir.join(MARKER))?);
    Ok(())
}

#[tokio::test]
async fn two_histories_under_one_lineage_are_told_and_none_is_chosen() -> TestResult {
    let mut world = World::new(12)?;
    world.commit(2)?;
    world.ship().await?;
    let common = world.last()?.clone();
    world.engine.close()?;
    // A copy of the directory lives on, and both ship.
    copy(&*world.env.fs, "/db", "/copy")?;
    world.open(&PathBuf::from("/db"))?;
    world.commit(2)?;
    world.ship().await?;
    let ours = world.last()?.clone();
    world.engine.close()?;
    world.open(&PathBuf::from("/copy"))?;
    world.states.truncate(2);
    world.clock.advance(50);
    world.commit(3)?;
    assert_ne!(rows_of(&world.engine)?, ours.visible());
    world.ship().await?;
    let (dir, restored) = world.restore(Point::Stamp(common.stamp)).await?;
    world.check(&dir, &restored, &common)?;
    for point in [Point::Stamp(ours.stamp), Point::Latest] {
        let result = world.restore(point).await;
        assert!(matches!(result, Err(Error::Fork { .. })), "{point}: {result:?}");
    }
    Ok(())
}

fn copy(fs: &dyn Fs, from: &str, to: &str) -> std::io::Result<()> {
    for below in ["", "tables", "wal"] {
        let (from, to) = (PathBuf::from(from).join(below), PathBuf::from(to).join(below));
        fs.create_dir_all(&to)?;
        for name in fs.read_dir(&from)? {
            let Ok(bytes) = engine::fs::read_file(fs, &from.join(&name), 1 << 30) else { continue };
            let file = fs.create(&to.join(&name))?;
            file.write_at(&bytes, 0)?;
            file.sync()?;
        }
        fs.sync_dir(&to)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_restored_directory_survives_a_power_cut() -> TestResult {
    let mut world = world_with_everything().await?;
    let last = world.last()?.clone();
    let (dir, restored) = world.restore(Point::Stamp(last.stamp)).await?;
    world.disk.crash(Unsynced::Lost);
    let (engine, recovery) = Engine::open(world.env.clone(), &dir.join("groups/1"), options())?;
    assert_eq!(recovery.torn, None);
    assert_eq!(rows_of(&engine)?, last.visible());
    assert_eq!(engine.lineage(), restored.lineage);
    Ok(())
}
