//! Several targets at once.

use super::world::{TestResult, World};
use crate::restore::Point;
use crate::ship::{Direct, Keep, Settings, Shipper, Source, Step};
use crate::store::prefixed::Prefixed;
use crate::store::sim::Sim;
use std::path::PathBuf;
use std::sync::Arc;

/// Ships the engine of a world to two stores, which are told apart by their prefixes.
async fn two(world: &World) -> Result<[(Sim, Shipper); 2], crate::Error> {
    let keep = Keep::new();
    let shipper = |prefix: &str| {
        let store = Sim::new();
        let at = Arc::new(Prefixed::new(Arc::new(store.clone()), prefix.to_owned()));
        let progress = Arc::new(Direct(world.engine.clone()));
        let source = Source { engine: world.engine.clone(), progress, keep: keep.clone() };
        let settings = Settings { object_bytes_max: 2 << 10, ..Settings::new(PathBuf::from("/both")) };
        Shipper::new(source, at, settings).map(|shipper| (store, shipper))
    };
    Ok([shipper("a/")?, shipper("b/")?])
}

async fn ship(world: &World, shipper: &mut Shipper) -> Result<(), crate::Error> {
    world.engine.seal_segment()?;
    while shipper.step().await? != Step::Idle {}
    Ok(())
}

#[tokio::test]
async fn a_target_that_is_down_loses_nothing_and_delays_no_other() -> TestResult {
    let mut world = World::new(31)?;
    let [(one, mut first), (two, mut second)] = two(&world).await?;
    two.set_down(true);
    for _ in 0..20 {
        world.commit(2)?;
        ship(&world, &mut first).await?;
        assert!(ship(&world, &mut second).await.is_err());
        assert_eq!(first.status().borrow().shipped, world.last()?.stamp);
        world.engine.flush()?;
    }
    two.set_down(false);
    ship(&world, &mut second).await?;
    for (store, prefix) in [(one, "a/"), (two, "b/")] {
        let names = store.names();
        assert!(names.iter().all(|name| name.starts_with(prefix)), "{names:?}");
        let plain = Sim::new();
        for name in names {
            let bytes = store.tamper(&name, None).ok_or("it was listed")?;
            plain.tamper(&name[prefix.len()..], Some(bytes));
        }
        world.store = plain;
        for state in world.states.clone() {
            let (dir, restored) = world.restore(Point::Stamp(state.stamp)).await?;
            world.check(&dir, &restored, &state)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_target_has_a_backlog_of_its_own() -> TestResult {
    let mut world = World::new(32)?;
    let [(_one, mut first), (two, mut second)] = two(&world).await?;
    two.set_down(true);
    for _ in 0..3 {
        world.commit(2)?;
        ship(&world, &mut first).await?;
        assert!(ship(&world, &mut second).await.is_err());
    }
    assert_eq!(first.status().borrow().backlog_bytes, 0);
    assert!(second.status().borrow().backlog_bytes > 0);
    assert!(second.status().borrow().committed > second.status().borrow().shipped);
    Ok(())
}
