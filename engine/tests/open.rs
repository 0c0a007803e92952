//! Opening what is not as it was left: damage is named, a torn tail is cut, and nothing is guessed.

use crate::TestResult;
use crate::support::{Model, check, small};
use engine::env::sim::{self, SimClock};
use engine::fs::sim::{Sim, Unsynced};
use engine::fs::{File, Fs, read_file};
use engine::{Engine, Env, Error, LineageId, Options, WriteBatch};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/data";

fn open(env: &Env) -> engine::Result<Engine> {
    Engine::open(env.clone(), Path::new(DIR), small()).map(|(engine, _)| engine)
}

fn put(engine: &Engine, model: &mut Model, key: &[u8], value: &[u8]) -> TestResult {
    let mut batch = WriteBatch::new();
    batch.put(key, value, None)?;
    let stamp = engine.commit(batch.clone())?;
    model.commit(stamp, engine.applied().time_ms, &batch);
    Ok(())
}

/// A closed database with tables in two levels and a log.
fn database() -> Result<(Env, Sim, SimClock, Model), Box<dyn std::error::Error>> {
    let (env, disk, clock) = sim::env(5);
    let engine = open(&env)?;
    let mut model = Model::default();
    for round in 0..6u8 {
        for n in 0..12u8 {
            put(&engine, &mut model, &[n], &[round; 90])?;
        }
        engine.flush()?;
        if round == 3 {
            while engine.compact()? == engine::Progress::Worked {}
        }
    }
    put(&engine, &mut model, b"in the log", b"alone")?;
    engine.close()?;
    Ok((env, disk, clock, model))
}

#[test]
fn a_second_engine_on_the_same_directory_is_refused() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let first = open(&env)?;
    assert!(matches!(open(&env), Err(Error::InUse { .. })));
    drop(first);
    open(&env)?;
    let dir = tempfile::tempdir()?;
    let (_first, _) = Engine::open(Env::real(), dir.path(), Options::default())?;
    assert!(matches!(Engine::open(Env::real(), dir.path(), Options::default()), Err(Error::InUse { .. })));
    Ok(())
}

#[test]
fn every_missing_file_is_reported() -> TestResult {
    let (_, disk, _, _) = database()?;
    for (path, _) in disk.files() {
        let (env, disk, _, _) = database()?;
        disk.remove(&path)?;
        if path.ends_with("LOCK") {
            open(&env)?;
            continue;
        }
        let error = open(&env).err().ok_or_else(|| format!("{} was not missed", path.display()))?;
        assert!(matches!(error, Error::Missing { .. }), "{}: {error}", path.display());
    }
    Ok(())
}

fn wal_files(disk: &Sim) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.extension().is_some_and(|suffix| suffix == "wal")).collect()
}

#[test]
fn a_torn_tail_is_cut_and_reported() -> TestResult {
    let (env, disk, _clock) = sim::env(1);
    let mut model = Model::default();
    let engine = open(&env)?;
    put(&engine, &mut model, b"kept", b"1")?;
    drop(engine);
    disk.crash(Unsynced::Lost);
    let path = wal_files(&disk).pop().ok_or("a segment")?;
    let bytes = read_file(&disk, &path, 1 << 30)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).ok_or("records")?.next_multiple_of(8) as u64;
    let file: Arc<dyn File> = disk.open_rw(&path)?;
    file.write_at(b"half a record", end)?;
    let (engine, recovery) = Engine::open(env.clone(), Path::new(DIR), small())?;
    let (torn, offset, len) = recovery.torn.ok_or("a torn tail")?;
    assert_eq!((torn, len), (path, 13));
    assert!(offset <= end && offset + 8 > end);
    check(&engine.snapshot(), &model)?;
    put(&engine, &mut model, b"after", b"2")?;
    drop(engine);
    check(&open(&env)?.snapshot(), &model)
}

#[test]
fn a_directory_that_lost_its_manifest_is_not_taken_for_a_new_one() -> TestResult {
    let (env, disk, _, _) = database()?;
    disk.remove(&Path::new(DIR).join("manifest"))?;
    let error = open(&env).err().ok_or("refused")?;
    assert_eq!(error.to_string(), "missing file /data/manifest: the log or a table names it");
    Ok(())
}

#[test]
fn an_engine_can_be_created_in_a_lineage_and_only_once() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let create = |lineage| Engine::create(env.clone(), Path::new(DIR), small(), lineage);
    let lineage = engine::Lineage { id: LineageId([7; 16]), epoch: 3, parent: None };
    let engine = create(lineage)?;
    assert_eq!(engine::versionstamp::epoch_of(engine.next_version()), 3);
    drop(engine);
    assert!(matches!(create(lineage), Err(Error::NotADataDirectory { .. })));
    assert_eq!(open(&env)?.lineage(), lineage);
    Ok(())
}

#[test]
fn a_child_lineage_has_greater_stamps_and_survives_reopening() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let engine = open(&env)?;
    let mut model = Model::default();
    put(&engine, &mut model, b"k", b"parent")?;
    let (parent, fork) = (engine.lineage(), engine.applied().stamp);
    let child = engine.begin_lineage(LineageId([9; 16]))?;
    assert_eq!((child.epoch, child.parent), (1, Some((parent.id, fork))));
    drop(engine);
    let engine = open(&env)?;
    assert_eq!(engine.lineage(), child);
    put(&engine, &mut model, b"k", b"child")?;
    let stamp = engine.applied().stamp;
    assert!(stamp > fork);
    assert_eq!(engine::versionstamp::epoch_of(stamp.version()), 1);
    engine.seal_segment()?;
    let segments = engine.sealed_segments();
    let lineages: Vec<_> =
        segments.iter().filter(|segment| segment.commits > 0).map(|segment| segment.lineage).collect();
    assert_eq!(lineages, [parent.id, child.id]);
    check(&engine.snapshot(), &model)
}

#[test]
fn a_segment_is_listed_as_sealed_on_return_whoever_else_seals_it() -> TestResult {
    let (env, _disk, _clock) = sim::env(1);
    let (engine, _) = Engine::open(env, Path::new(DIR), small())?;
    engine.keep_segments_after(Some(0));
    let background = engine::background::start(&engine);
    for n in 0..500u64 {
        let mut batch = WriteBatch::new();
        batch.put(&n.to_be_bytes(), b"v", None)?;
        engine.commit(batch)?;
        engine.seal_segment()?;
        let last = engine.sealed_segments().last().map(|segment| segment.last);
        assert_eq!(last, Some(engine.applied().version), "commit {n}");
    }
    drop(background);
    Ok(())
}
