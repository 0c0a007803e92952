//! Damage on the disk of one node: it is found, said, and mended from another replica.

use super::*;
use engine::fs::sim::Unsynced;
use engine::{Checkpoint, Direction};

/// A world whose nodes read all tables every second.
fn watchful() -> Result<World, String> {
    let tune = |options: &mut NodeOptions| options.group.scrub_every = Duration::from_secs(1);
    let world = World::new().map_err(|error| error.to_string())?;
    Ok(World { tune, ..world })
}

/// Writes some, and has every node write it to a table.
async fn fill(nodes: &[Node], from: u8) -> Result<(), String> {
    for key in from..from + 40 {
        let group = data(&nodes[0])?;
        let write = set(group.request_id(), &[b'k', key], &[key; 200]);
        on(1, async move { group.write(write, 300, SOON).await.map_err(|error| error.to_string()) }).await?;
    }
    sleep(Duration::from_millis(500)).await;
    for node in nodes {
        data(node)?.engine().flush().map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Flips a bit of some table of an engine; returns its file.
fn damage(disk: &Disk, engine: &Engine) -> Result<PathBuf, String> {
    let tables = engine.dir().join(Checkpoint::TABLES);
    let flipped = disk.flip_bit(&tables.to_string_lossy(), &mut sim::fork_random());
    flipped.map(|(path, _)| path).ok_or_else(|| "no table".to_owned())
}

/// Writes through every node until `done`, for a while at most; how many writes.
async fn write_until(nodes: &[Node], done: impl Fn() -> bool) -> Result<u64, String> {
    let mut writes = 0;
    for _ in 0..200 {
        for (id, node) in (1..).zip(nodes) {
            count(node, id).await?;
            writes += 1;
        }
        if done() {
            return Ok(writes);
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err("it did not happen".to_owned())
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn rows(engine: &Engine) -> Result<Rows, String> {
    let rows = engine.newest().all(Direction::Forward);
    let rows = rows.map(|row| row.map(|row| (row.key.to_vec(), row.value.bytes.to_vec())));
    rows.collect::<engine::Result<_>>().map_err(|error| error.to_string())
}

/// All replicas hold the same, and every table of theirs is whole.
async fn check_alike(nodes: &[Node]) -> Result<(), String> {
    sleep(Duration::from_secs(1)).await;
    let first = data(&nodes[0])?.engine();
    for node in nodes {
        let engine = data(node)?.engine();
        engine.verify().map_err(|error| error.to_string())?;
        assert_eq!(engine.applied(), first.applied());
        assert_eq!(rows(&engine)?, rows(&first)?);
    }
    Ok(())
}

async fn restart_after_power_loss(world: &World, id: u64) -> Result<Node, String> {
    let disk = &world.disks[usize::try_from(id).map_err(|error| error.to_string())?];
    disk.take_away();
    sim::kill(Machine(id));
    world.network.down(Machine(id));
    disk.crash(Unsynced::Lost);
    world.start(id, false).await
}

#[test]
fn a_damaged_table_is_mended_from_another_replica_while_everything_goes_on() -> TestResult {
    // A follower, and the leader.
    for damaged in [2, 1] {
        simulate(damaged, async move {
            let world = watchful()?;
            let mut nodes = world.three().await?;
            fill(&nodes, 0).await?;
            let place = usize::try_from(damaged).map_err(|error| error.to_string())?;
            let group = data(&nodes[place - 1])?;
            let file = damage(&world.disks[place], &group.engine())?;
            let before = group.engine().dir().to_path_buf();
            let mut writes = write_until(&nodes, || group.scrub_status().mended == 1).await?;
            let status = group.scrub_status();
            assert_eq!((status.damaged, status.damage), (1, None));
            assert_ne!(group.engine().dir(), before);
            assert!(!world.disks[place].files().iter().any(|(path, _)| *path == file));
            check_alike(&nodes).await?;
            // It is durable, and the log goes on from it.
            drop((nodes.remove(place - 1), group));
            nodes.insert(place - 1, restart_after_power_loss(&world, damaged).await?);
            writes += write_until(&nodes, || true).await?;
            assert_eq!(read(&nodes[place - 1], damaged).await?, writes);
            check_alike(&nodes).await
        })?;
    }
    Ok(())
}

#[test]
fn damage_on_a_node_alone_is_said_and_what_is_whole_is_served() -> TestResult {
    simulate(4, async {
        let world = watchful()?;
        let nodes = vec![world.start(1, false).await?];
        fill(&nodes, 0).await?;
        let group = data(&nodes[0])?;
        let file = damage(&world.disks[1], &group.engine())?;
        write_until(&nodes, || group.scrub_status().damage.is_some()).await?;
        let status = group.scrub_status();
        let said = status.damage.unwrap_or_default();
        assert!(said.contains(&file.display().to_string()), "{said}");
        assert_eq!(status.mended, 0);
        count(&nodes[0], 1).await?;
        Ok(())
    })
}

/// What a disk is done to between two starts of its node.
type Spoil = fn(&Disk);

#[test]
fn a_replica_that_cannot_be_opened_is_rebuilt_under_the_same_id_and_the_damaged_one_is_kept() -> TestResult {
    let in_tables: Spoil = |disk| {
        // Somewhere in what is read at once.
        for _ in 0..400 {
            disk.flip_bit("groups/1.r1/tables/", &mut sim::fork_random());
        }
    };
    let in_manifest: Spoil = |disk| {
        // One flip may be in what the last crash tore, which is no damage.
        for _ in 0..200 {
            disk.flip_bit("groups/1.r1/manifest", &mut sim::fork_random());
        }
    };
    for (seed, spoil) in (5..).zip([in_tables, in_manifest]) {
        simulate(seed, async move {
            let world = World::new().map_err(|error| error.to_string())?;
            let mut nodes = world.three().await?;
            fill(&nodes, 0).await?;
            write_until(&nodes, || true).await?;
            drop(nodes.remove(1));
            world.disks[2].take_away();
            sim::kill(Machine(2));
            world.network.down(Machine(2));
            world.disks[2].crash(Unsynced::Lost);
            spoil(&world.disks[2]);
            count(&nodes[1], 3).await?;
            nodes.insert(1, world.start(2, false).await?);
            let dir = data(&nodes[1])?.engine().dir().to_path_buf();
            assert_ne!(dir, Path::new("/data/groups/1.r1"));
            let kept = |path: &PathBuf| path.starts_with("/data/groups/1.r1/");
            assert!(world.disks[2].files().iter().any(|(path, _)| kept(path)), "what is damaged is kept");
            write_until(&nodes, || true).await?;
            assert_eq!(read(&nodes[1], 2).await?, 7);
            check_alike(&nodes).await?;
            // It votes and leads as before.
            drop(nodes.remove(0));
            world.disks[1].take_away();
            sim::kill(Machine(1));
            world.network.down(Machine(1));
            count(&nodes[0], 2).await?;
            assert_eq!(read(&nodes[1], 3).await?, 8);
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_node_alone_that_cannot_be_opened_is_refused_and_nothing_is_moved() -> TestResult {
    simulate(7, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let nodes = vec![world.start(1, false).await?];
        fill(&nodes, 0).await?;
        drop(nodes);
        world.disks[1].take_away();
        sim::kill(Machine(1));
        world.network.down(Machine(1));
        world.disks[1].crash(Unsynced::Lost);
        for _ in 0..400 {
            world.disks[1].flip_bit("groups/1/tables/", &mut sim::fork_random());
        }
        let before = world.disks[1].files();
        let refused = world.start(1, false).await.err().ok_or("it was opened")?;
        assert!(refused.contains("cannot open the engine of group 1"), "{refused}");
        let in_groups = |files: Vec<(PathBuf, u64)>| -> Vec<_> {
            files.into_iter().filter(|(path, _)| path.starts_with("/data/groups/1")).collect()
        };
        assert_eq!(in_groups(world.disks[1].files()), in_groups(before));
        Ok(())
    })
}

#[test]
fn a_replica_that_met_damage_while_it_applied_stops_and_is_rebuilt_at_its_next_start() -> TestResult {
    simulate(8, async {
        let world = World::new().map_err(|error| error.to_string())?;
        let mut nodes = world.three().await?;
        write_until(&nodes, || true).await?;
        fill(&nodes, 0).await?;
        let before = data(&nodes[1])?.engine().dir().to_path_buf();
        for _ in 0..3_000 {
            damage(&world.disks[2], &data(&nodes[1])?.engine())?;
        }
        // Adding to a counter reads it.
        let failed = nodes[1].clone();
        let failure = spawn_on(Machine(2), async move { failed.failure().await });
        count(&nodes[0], 1).await?;
        let reason = timeout(SOON, failure).await.map_err(|_late| "it went on")?;
        let reason = reason.map_err(|error| error.to_string())?;
        assert!(reason.contains("group 1"), "{reason}");
        drop(nodes.remove(1));
        nodes.insert(1, restart_after_power_loss(&world, 2).await?);
        assert_ne!(data(&nodes[1])?.engine().dir(), before);
        write_until(&nodes, || true).await?;
        assert_eq!(read(&nodes[1], 2).await?, 7);
        check_alike(&nodes).await
    })
}
