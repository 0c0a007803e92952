//! Whole imports into a real engine.

use super::*;
use crate::import::import_sqlite;
use crate::import::testing::{Closed, Database};
use engine::{Env, Snapshot, Versionstamp};
use replication::{Encoding, engine_key, split_value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A value, its encoding and its expiry.
type Content = BTreeMap<Vec<u8>, (u8, Vec<u8>, Option<u64>)>;

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now_ms(&self) -> u64 {
        1_000
    }
}

fn open(dir: &Path) -> engine::Result<Engine> {
    let options = engine::Options { disk_reserve_bytes: Some(0), ..engine::Options::default() };
    Engine::open(Env::real(), dir, options).map(|(engine, _recovery)| engine)
}

fn merging() -> Options<'static> {
    Options { merge: true, ..Options::default() }
}

fn import(engine: &Engine, file: &Path, options: Options<'_>) -> Result<Imported, ImportError> {
    import_sqlite(engine, &FixedClock, file, options)
}

/// What a reader of the default database sees.
fn content(snapshot: &Snapshot) -> Result<Content, Box<dyn std::error::Error>> {
    let (start, end) = (engine_key(DEFAULT_DATABASE, b""), engine_key(DatabaseNumber(2), b""));
    let mut content = Content::new();
    for entry in snapshot.range(&start, &end, Direction::Forward)? {
        let entry = entry?;
        let (encoding, bytes) = split_value(&entry.value.bytes).ok_or("a value without encoding")?;
        let value = (encoding.as_byte(), bytes.to_vec(), entry.value.expire_at_ms);
        content.insert(entry.key[start.len()..].to_vec(), value);
    }
    Ok(content)
}

fn small_file() -> anyhow::Result<Closed> {
    let database = Database::new()?;
    database.put(b"v8", b"\xff\x0fT", 1, -1)?;
    database.put(b"u64", &[7; 8], 2, -1)?;
    database.put(b"bytes", b"", 3, 5_000)?;
    database.put(b"gone", b"x", 3, 1_000)?;
    database.close()
}

fn small_content() -> Content {
    Content::from([
        (b"v8".to_vec(), (Encoding::V8.as_byte(), b"\xff\x0fT".to_vec(), None)),
        (b"u64".to_vec(), (Encoding::Le64.as_byte(), vec![7; 8], None)),
        (b"bytes".to_vec(), (Encoding::Bytes.as_byte(), vec![], Some(5_000))),
    ])
}

#[test]
fn rows_come_in_with_their_bytes_and_expiry_and_are_there_after_a_restart() -> TestResult {
    let (file, dir) = (small_file()?, tempfile::tempdir()?);
    let engine = open(dir.path())?;
    let imported = import(&engine, &file, Options::default())?;
    assert_eq!(imported, Imported { rows: 3, skipped_expired: 1, queue_messages: 0 });
    assert_eq!(content(&engine.snapshot())?, small_content());
    assert_eq!(unfinished(&engine), None);
    let stamp = engine.applied().stamp;
    assert!(stamp > Versionstamp::ZERO);
    engine.close()?;
    drop(engine);
    let engine = open(dir.path())?;
    assert_eq!((content(&engine.snapshot())?, engine.applied().stamp), (small_content(), stamp));
    Ok(())
}

#[test]
fn a_large_file_comes_in_bounded_commits_and_says_how_far_it_is() -> TestResult {
    let database = Database::new()?;
    database.execute("begin")?;
    for key in 0..1_201u32 {
        database.put(&key.to_be_bytes(), b"small", 3, -1)?;
    }
    for key in 0..10u8 {
        database.put(&[b'x', key], &[key; 60_000], 3, -1)?;
    }
    database.execute("commit")?;
    let (file, dir) = (database.close()?, tempfile::tempdir()?);
    let engine = open(dir.path())?;
    let told = RefCell::new(Vec::new());
    let tell = |done, all| told.borrow_mut().push((done, all));
    let options = Options { progress: Some(&tell), ..Options::default() };
    assert_eq!(import(&engine, &file, options)?.rows, 1_211);
    assert_eq!(content(&engine.snapshot())?.len(), 1_211);
    assert_eq!(told.into_inner(), [(500, 1_211), (1_000, 1_211), (1_210, 1_211), (1_211, 1_211)]);
    assert_eq!(engine.statistics().commits, 4);
    Ok(())
}

#[test]
fn a_database_with_content_is_refused_unless_it_may_be_merged_into() -> TestResult {
    let dir = tempfile::tempdir()?;
    let engine = open(dir.path())?;
    import(&engine, &small_file()?, Options::default())?;
    let database = Database::new()?;
    database.put(b"u64", b"other", 3, -1)?;
    database.put(b"new", b"x", 3, -1)?;
    let file = database.close()?;
    let before = engine.applied();
    let refused = import(&engine, &file, Options::default());
    assert!(matches!(refused, Err(ImportError::NotEmpty)), "{refused:?}");
    assert_eq!(engine.applied(), before);
    assert_eq!(import(&engine, &file, merging())?.rows, 2);
    let mut expected = small_content();
    expected.insert(b"u64".to_vec(), (3, b"other".to_vec(), None));
    expected.insert(b"new".to_vec(), (3, b"x".to_vec(), None));
    assert_eq!(content(&engine.snapshot())?, expected);
    Ok(())
}

#[test]
fn an_import_that_stopped_half_way_is_told_and_only_merging_goes_on() -> TestResult {
    let (file, dir) = (small_file()?, tempfile::tempdir()?);
    let engine = open(dir.path())?;
    Target { engine: &engine, clock: &FixedClock, requests: 0 }.mark(b"kv.sqlite3")?;
    assert_eq!(unfinished(&engine).as_deref(), Some("kv.sqlite3"));
    let refused = import(&engine, &file, Options::default());
    assert!(matches!(refused, Err(ImportError::Unfinished { .. })), "{refused:?}");
    import(&engine, &file, merging())?;
    assert_eq!((unfinished(&engine), content(&engine.snapshot())?), (None, small_content()));
    Ok(())
}

#[test]
fn a_file_that_cannot_come_in_whole_changes_nothing() -> TestResult {
    let database = Database::new()?;
    for key in 0..600u32 {
        database.put(&key.to_be_bytes(), b"fine", 3, -1)?;
    }
    database.put(b"z", b"bad", 9, -1)?;
    let (file, dir) = (database.close()?, tempfile::tempdir()?);
    let engine = open(dir.path())?;
    let before = engine.applied();
    let refused = import(&engine, &file, Options::default());
    let Err(error @ ImportError::Row { .. }) = refused else { panic!("taken: {refused:?}") };
    assert!(error.changed_nothing());
    assert_eq!((engine.applied(), unfinished(&engine)), (before, None));
    Ok(())
}
