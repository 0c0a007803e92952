//! Parts out of tables that hold a hundred databases: what is read, what is written, and what is noticed.

use super::world::{Rows, State, TestResult, World, rows_at};
use crate::catalog::{self, Content};
use crate::checkpoint::Table;
use crate::job::{Job, JobKind};
use crate::restore::{Destination, Plan, PlanError, Point, Restored, Scope, Wanted, plan, restore, run};
use crate::store::ObjectStore;
use crate::store::counted::Counted;
use crate::store::sim::Sim;
use crate::store::statistics::Call;
use crate::{Archive, Error};
use bytes::Bytes;
use engine::fs::sim::{Faults, Unsynced};
use engine::fs::{Fs, read_file};
use engine::{Engine, Options, Random, Record, Versionstamp, WriteBatch};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DATABASES: u64 = 100;

/// Tables that are worth reading in part.
fn options() -> Options {
    Options {
        memtable_bytes_max: 192 << 10,
        segment_bytes_max: 64 << 10,
        level1_bytes: 512 << 10,
        table_bytes: 256 << 10,
        block_bytes: 1 << 10,
        disk_reserve_bytes: Some(0),
        ..Options::default()
    }
}

fn job() -> Job {
    Job::unwatched(JobKind::Restore)
}

fn prefix(database: u64) -> Vec<u8> {
    format!("db{database:02}/").into_bytes()
}

fn marker(database: u64) -> Vec<u8> {
    format!("<secret of {database:02}>").into_bytes()
}

/// One record that changes some databases.
fn commit(world: &mut World, changes: u64) -> TestResult {
    world.clock.advance(10);
    let applied = world.engine.applied();
    let (version, time_ms) = (world.engine.next_version(), world.env.clock.now_ms().max(applied.time_ms));
    let stamp = Versionstamp::new(version, 0);
    let (mut batch, mut erased) = (WriteBatch::new(), None);
    let mut rows = world.states.pop().map(|state| state.rows).unwrap_or_default();
    for _ in 0..changes {
        let database = world.random.below(DATABASES);
        let key = [prefix(database), format!("{:02}", world.random.below(40)).into_bytes()].concat();
        if world.random.below(8) == 0 {
            batch.delete(&key)?;
            rows.remove(&key);
            continue;
        }
        let mut value = vec![0; usize::try_from(150 + world.random.below(300))?];
        world.random.fill(&mut value);
        value[..14].copy_from_slice(&marker(database));
        batch.put(&key, &value, None)?;
        rows.insert(key, (stamp, value, None));
    }
    if world.random.below(4) == 0 {
        erased = Some(prefix(world.random.below(DATABASES)));
    }
    if let Some(prefix) = erased {
        batch.delete_prefix(&prefix)?;
        // What the same batch puts stays.
        rows.retain(|key, (at, ..)| !key.starts_with(&prefix) || *at == stamp);
    }
    let batches = vec![(0, batch)];
    let mut record = Record { version, term: 0, time_ms, hash: applied.hash, batches, marks: Vec::new() };
    record.hash = record.hash_after(applied.hash);
    world.engine.append(&record)?;
    let hash = record.hash;
    world.states.push(State { stamp, time_ms, hash, rows });
    let version = world.engine.sync()?;
    world.engine.publish(version);
    while world.engine.maintain()? == engine::Progress::Worked {}
    world.engine.compact()?;
    Ok(())
}

/// An archive with checkpoints, and the states at some of its points. It ends with a checkpoint, or with a log after one.
async fn world_of(seed: u64, log: bool) -> Result<World, Box<dyn std::error::Error>> {
    let mut world = World::with(seed, options())?;
    world.settings.object_bytes_max = 64 << 10;
    world.reopen()?;
    let mut kept = Vec::new();
    for round in 0..160u64 {
        commit(&mut world, 40)?;
        if round % 20 == 19 {
            kept.push(world.last()?.clone());
        }
        if round == 80 || round == if log { 130 } else { 159 } {
            world.clock.advance(world.settings.checkpoint_interval_ms);
            world.ship().await?;
        }
    }
    world.ship().await?;
    world.states = kept;
    Ok(world)
}

fn aside(seed: u64) -> (engine::fs::sim::Sim, Destination) {
    let (env, disk, _clock) = engine::env::sim::env(seed);
    (disk, Destination { env, dir: PathBuf::from("/data"), options: options(), threads: false })
}

fn wanted(prefixes: &[Vec<u8>], point: Point) -> Wanted {
    Wanted { scope: Scope::Prefixes(prefixes.to_vec()), ..Wanted::at(point) }
}

fn below(rows: &Rows, prefixes: &[Vec<u8>]) -> Rows {
    let ours = |key: &Vec<u8>| prefixes.iter().any(|prefix| key.starts_with(prefix));
    rows.iter().filter(|(key, _)| ours(key)).map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// All bytes of all files, so that what is there can be looked for.
fn files(disk: &engine::fs::sim::Sim, dir: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for name in disk.read_dir(dir)? {
        let path = dir.join(name);
        match read_file(disk, &path, 1 << 30) {
            Ok(file) => files.push(file),
            Err(_) => files.extend(self::files(disk, &path)?),
        }
    }
    Ok(files)
}

fn holds(files: &[Vec<u8>], marker: &[u8]) -> bool {
    files.iter().any(|file| file.windows(marker.len()).any(|bytes| bytes == marker))
}

/// Whether a directory holds these databases as they were at the state, and no byte of any other.
fn check(
    world: &World,
    (disk, to): (&engine::fs::sim::Sim, &Destination),
    restored: &Restored,
    state: &State,
    databases: &[u64],
) -> TestResult {
    assert_eq!((restored.stamp, restored.hash, restored.time_ms), (state.stamp, state.hash, state.time_ms));
    assert_eq!(disk.read_dir(&to.dir)?, ["groups"], "nothing of the restore is left");
    let files = files(disk, &to.dir)?;
    for database in 0..DATABASES {
        let is_ours = databases.contains(&database);
        assert!(!holds(&files, &marker(database)) || is_ours, "{database} is in a part of {databases:?}");
    }
    let prefixes: Vec<Vec<u8>> = databases.iter().copied().map(prefix).collect();
    let (engine, _) = Engine::open(to.env.clone(), &to.dir.join("groups/1"), to.options.clone())?;
    assert!(engine.applied().stamp > state.stamp, "it begins with a commit of its own");
    assert_eq!(rows_at(&engine, None)?, below(&state.rows, &prefixes), "{databases:?} at {}", state.stamp);
    for earlier in world.states.iter().filter(|it| (engine.horizon()..=state.stamp).contains(&it.stamp)) {
        let found = rows_at(&engine, Some(earlier.stamp))?;
        assert_eq!(found, below(&earlier.rows, &prefixes), "{databases:?} in the past, at {}", earlier.stamp);
    }
    Ok(engine.close()?)
}

#[tokio::test]
async fn a_part_of_many_databases_is_the_model_at_every_point_and_has_no_byte_of_another() -> TestResult {
    for (seed, log) in [(71, true), (72, false)] {
        let world = world_of(seed, log).await?;
        for (number, state) in world.states.iter().enumerate() {
            let at = u64::try_from(number)?;
            for databases in [vec![7 * at], vec![99, at], vec![3, 4, 50 + at]] {
                let prefixes: Vec<Vec<u8>> = databases.iter().copied().map(prefix).collect();
                let (disk, to) = aside(at);
                let wanted = wanted(&prefixes, Point::Stamp(state.stamp));
                let restored = restore(&world.archive(), 1, &wanted, &to, &job()).await?;
                check(&world, (&disk, &to), &restored, state, &databases)?;
            }
        }
        // The markers would have been seen, and all of it is what its parts are.
        let (disk, to) = aside(9);
        let last = world.last()?;
        restore(&world.archive(), 1, &Wanted::at(Point::Latest), &to, &job()).await?;
        let files = files(&disk, &to.dir)?;
        let seen = (0..DATABASES).filter(|database| holds(&files, &marker(*database))).count();
        assert!(seen > 90, "{seen}");
        let (engine, _) = Engine::open(to.env.clone(), &to.dir.join("groups/1"), options())?;
        assert_eq!(rows_at(&engine, None)?, last.rows);
    }
    Ok(())
}

async fn planned(world: &World, databases: &[u64]) -> Result<Plan, Box<dyn std::error::Error>> {
    let prefixes: Vec<Vec<u8>> = databases.iter().copied().map(prefix).collect();
    let catalog = catalog::read(&world.archive(), 1).await?;
    Ok(plan(&catalog, &wanted(&prefixes, Point::Latest))?)
}

/// Restores the end of some databases from a store; what was read of tables and log, and what the job says.
async fn counted(
    store: &Sim,
    databases: &[u64],
    to: &Destination,
) -> Result<(Restored, u64, crate::job::JobStatus), Error> {
    let prefixes: Vec<Vec<u8>> = databases.iter().copied().map(prefix).collect();
    let counted = Arc::new(Counted::new(Arc::new(store.clone())));
    let archive = Archive::new(counted.clone(), crate::seal::tests::identities());
    let bytes = || {
        let found = counted.statistics().unwrap_or_default();
        found.of(Call::Get).bytes + found.of(Call::GetRange).bytes
    };
    catalog::read(&archive, 1).await?;
    let of_catalog = bytes();
    let job = job();
    let restored = restore(&archive, 1, &wanted(&prefixes, Point::Latest), to, &job).await?;
    Ok((restored, bytes() - 2 * of_catalog, job.status()))
}

#[tokio::test]
async fn what_is_read_for_one_database_of_a_hundred_is_bounded_by_what_it_holds() -> TestResult {
    let world = world_of(73, false).await?;
    let last = world.last()?;
    let planned = planned(&world, &[42]).await?;
    assert!(planned.segments.is_empty() && planned.tables.len() > 2, "{} tables", planned.tables.len());
    let (disk, to) = aside(1);
    let (restored, read, status) = counted(&world.store, &[42], &to).await?;
    check(&world, (&disk, &to), &restored, last, &[42])?;
    let own: usize = below(&last.rows, &[prefix(42)]).iter().map(|(key, row)| key.len() + row.1.len()).sum();
    // Two versions of a row on average, the blocks at both ends, one index block and the ends of the file.
    let bound = 4 * own as u64 + planned.tables.len() as u64 * (24 << 10);
    assert!(read < bound && 4 * read < planned.bytes(), "{read} read of {}, bound {bound}", planned.bytes());
    assert_eq!((status.bytes, status.bytes_total), (read, Some(read)), "the job says what was read");
    Ok(())
}

#[tokio::test]
async fn a_checkpoint_that_does_not_list_what_its_manifest_names_is_no_start_for_a_part() -> TestResult {
    let world = world_of(78, false).await?;
    let mut catalog = catalog::read(&world.archive(), 1).await?;
    let wanted = wanted(&[prefix(42)], Point::Latest);
    let sound = plan(&catalog, &wanted)?;
    let (_, checkpoint) = sound.checkpoint.clone().ok_or("a checkpoint")?;
    let harms: [fn(&mut Vec<Table>, usize); 2] = [
        |tables, at| *tables = [&tables[..at], &tables[at + 1..]].concat(),
        |tables, at| tables[at].bytes += 1,
    ];
    for harm in harms {
        let mut harmed = checkpoint.clone();
        let is_first = |table: &Table| table.digest == sound.tables[0].digest;
        let at = harmed.tables.iter().position(is_first).ok_or("a table of the part")?;
        harm(&mut harmed.tables, at);
        let entries = &mut catalog.lineages[0].checkpoints;
        entries.last_mut().ok_or("an entry")?.content = Content::Whole(harmed);
        let refused = plan(&catalog, &wanted);
        assert!(
            matches!(refused, Err(PlanError::Damaged { .. })),
            "table {at} is not what the manifest names"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_store_without_ranges_and_an_encrypted_archive_give_the_same_part() -> TestResult {
    let world = world_of(74, true).await?;
    let mut sealed = World::with(75, options())?;
    sealed.encrypt()?;
    for _ in 0..60 {
        commit(&mut sealed, 40)?;
    }
    sealed.clock.advance(sealed.settings.checkpoint_interval_ms);
    sealed.ship().await?;
    sealed.states = vec![sealed.last()?.clone()];
    world.store.set_without_ranges();
    for world in [&world, &sealed] {
        let whole = planned(world, &[5, 60]).await?.bytes();
        let (disk, to) = aside(2);
        let (restored, read, status) = counted(&world.store, &[5, 60], &to).await?;
        check(world, (&disk, &to), &restored, world.last()?, &[5, 60])?;
        assert_eq!((read, status.bytes, status.bytes_total), (whole, whole, Some(whole)));
    }
    Ok(())
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_named_wherever_it_is_used() -> TestResult {
    let world = world_of(76, false).await?;
    let databases = [20, 21, 22];
    let planned = planned(&world, &databases).await?;
    let last = world.last()?;
    let (mut found, mut unused) = (0, 0);
    for table in &planned.tables {
        let object = planned.history.object(crate::layout::Kind::Table(1, table.name()));
        for _ in 0..40 {
            let store = world.store.fork();
            let mut bytes = store.get(&object, 1 << 30).await?.to_vec();
            let at = world.random.below(table.bytes);
            bytes[usize::try_from(at)?] ^= 1 << world.random.below(8);
            store.tamper(&object, Some(Bytes::from(bytes)));
            let (disk, to) = aside(at);
            match counted(&store, &databases, &to).await {
                Ok((restored, ..)) => {
                    unused += 1;
                    check(&world, (&disk, &to), &restored, last, &databases)?;
                }
                Err(Error::Damaged { object: named, offset, .. }) => {
                    found += 1;
                    assert!(named == object && offset <= at, "{named} at {offset}, not {object} at {at}");
                    assert!(disk.read_dir(&to.dir)?.contains(&crate::restore::MARKER.to_owned()));
                }
                Err(other) => return Err(other.into()),
            }
        }
        // Gone, or shorter, since the catalog was read.
        let store = world.store.fork();
        let bytes = store.get(&object, 1 << 30).await?;
        let cut = bytes.slice(..bytes.len() - 1);
        for harm in [None, Some(cut)] {
            store.tamper(&object, harm);
            let (_disk, to) = aside(3);
            match run(&world.archive_of(&store), &[(1, planned.clone())], &to, &job()).await {
                Err(Error::Missing { object: named } | Error::Damaged { object: named, .. }) => {
                    assert_eq!(named, object);
                }
                other => return Err(format!("{other:?}").into()),
            }
        }
    }
    assert!(found > 5 && unused > 20, "{found} found, {unused} in what nobody used");
    Ok(())
}

#[tokio::test]
async fn a_part_whose_restore_is_killed_anywhere_never_opens_half_and_is_done_again() -> TestResult {
    let world = world_of(77, true).await?;
    let last = world.last()?.clone();
    let wanted = wanted(&[prefix(11), prefix(80)], Point::Latest);
    let (disk, to) = aside(1);
    restore(&world.archive(), 1, &wanted, &to, &job()).await?;
    let ops = disk.counts().ops;
    let mut killed = 0;
    for stop in (1..=ops).step_by(3).chain(ops - 6..=ops) {
        let (disk, to) = aside(stop);
        disk.set_faults(Faults { stop_at_op: Some(stop), ..Faults::default() });
        let failed = restore(&world.archive(), 1, &wanted, &to, &job()).await;
        disk.crash(if stop % 2 == 0 { Unsynced::Torn(stop) } else { Unsynced::Reordered(stop) });
        disk.set_faults(Faults::default());
        let names = disk.read_dir(&to.dir).unwrap_or_default();
        if names != ["groups"] {
            assert!(failed.is_err(), "{stop}: {names:?}");
            killed += 1;
            let restored = restore(&world.archive(), 1, &wanted, &to, &job()).await;
            let restored = restored.map_err(|error| format!("stopped at {stop}: {error}"))?;
            check(&world, (&disk, &to), &restored, &last, &[11, 80])?;
            continue;
        }
        // The marker went last: it is whole.
        let (engine, _) = Engine::open(to.env.clone(), Path::new("/data/groups/1"), options())?;
        assert_eq!(rows_at(&engine, None)?, below(&last.rows, &[prefix(11), prefix(80)]));
    }
    assert!(killed > 10, "{killed} of {ops}");
    Ok(())
}
