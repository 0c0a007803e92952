//! When things are shipped.

use super::world::{TestResult, World};
use crate::restore::Point;
use crate::ship::Step;
use engine::fs::Fs;
use std::path::{Path, PathBuf};

/// The files below a directory.
fn files(fs: &dyn Fs, dir: &Path) -> Vec<PathBuf> {
    let Ok(names) = fs.read_dir(dir) else { return vec![dir.to_path_buf()] };
    names.iter().flat_map(|name| files(fs, &dir.join(name))).collect()
}

#[tokio::test]
async fn the_interval_bounds_how_often_something_is_put() -> TestResult {
    let mut world = World::new(61)?;
    world.settings.interval_ms = 1_000;
    world.settings.object_bytes_max = 1 << 20;
    world.reopen()?;
    let mut segments = 0;
    for _ in 0..40 {
        world.commit(1)?;
        world.clock.advance(100);
        segments += usize::from(matches!(world.shipper.turn().await?, Step::Segment(_)));
    }
    assert!((3..=6).contains(&segments), "{segments} in four to six seconds");
    world.clock.advance(1_000);
    world.shipper.turn().await?;
    let requests = world.store.requests();
    for _ in 0..40 {
        world.clock.advance(1_000);
        assert_eq!(world.shipper.turn().await?, Step::Idle);
    }
    assert_eq!(world.store.requests(), requests, "nothing was committed");
    for state in world.states.clone() {
        let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
        world.check(&dir, &restored, &state)?;
    }
    Ok(())
}

/// A world in which the tables of a checkpoint wait to be uploaded.
async fn with_a_checkpoint_begun(seed: u64) -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::new(seed)?;
    for _ in 0..40 {
        world.commit(2)?;
    }
    world.ship().await?;
    world.clock.advance(world.settings.checkpoint_interval_ms);
    world.commit(1)?;
    while world.shipper.turn().await? != Step::CheckpointBegun {
        world.clock.advance(world.settings.interval_ms);
    }
    Ok(world)
}

#[tokio::test]
async fn a_checkpoint_that_fails_holds_up_no_segment() -> TestResult {
    let mut world = with_a_checkpoint_begun(62).await?;
    for path in files(&*world.env.fs, Path::new("/scratch")) {
        world.env.fs.remove(&path)?;
    }
    for _ in 0..10 {
        world.commit(1)?;
        world.clock.advance(world.settings.interval_ms);
        let last = world.last()?.stamp;
        // The attempt at a checkpoint fails beside it.
        assert_eq!(world.shipper.turn().await?, Step::Segment(last));
        world.shipper.turn().await?;
        let status = world.shipper.status().borrow().clone();
        assert!(status.error.is_none() && status.checkpoint_error.is_some(), "{status:?}");
        assert!(status.is_failing() && status.backlog_since_ms.is_none(), "{status:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_table_that_changed_on_the_disk_is_not_shipped() -> TestResult {
    let mut world = with_a_checkpoint_begun(63).await?;
    let path = files(&*world.env.fs, Path::new("/scratch"))
        .into_iter()
        .find(|path| path.to_string_lossy().contains("/tables/"))
        .ok_or("a table waits")?;
    world.disk.flip_bit(&path, 100, 3)?;
    let mut said = None;
    for _ in 0..100 {
        world.shipper.turn().await?;
        said = said.or(world.shipper.status().borrow().checkpoint_error.clone());
        world.clock.advance(world.settings.interval_ms);
    }
    let said = said.ok_or("the damage is noticed")?;
    let name = path.file_name().ok_or("it has a name")?.to_string_lossy().into_owned();
    assert!(said.contains(&name), "{said}");
    assert!(!world.store.names().iter().any(|object| object.contains(&name)), "{:?}", world.store.names());
    Ok(())
}
