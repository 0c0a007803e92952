//! The files of each release stay readable: `testdata/<version>/` holds a small database as that release wrote it, and
//! `content.txt` says what is in it.
//!
//! This writes the files of the version that is being built, over those that are there:
//!
//! ```text
//! cargo test -p cairn-engine --test main release:: -- --ignored
//! ```
//!
//! Once a version is released its files are not written again: an engine that cannot read them cannot be released.

use crate::TestResult;
use crate::support::{Model, check, small};
use engine::env::sim;
use engine::fs::disk::Disk;
use engine::fs::sim::Sim;
use engine::fs::{File, Fs, read_file};
use engine::{Engine, Env, LineageId, Mark, Op, Options, Progress, Record, Versionstamp, WriteBatch};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/data";
const CONTENT: &str = "content.txt";
const MARK: &[u8] = b"archive";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Every file below a directory, as paths below it, sorted.
fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in Disk.read_dir(dir)? {
        match Disk.read_dir(&dir.join(&name)) {
            Ok(_) => {
                files.extend(files_below(&dir.join(&name))?.iter().map(|path| Path::new(&name).join(path)))
            }
            Err(_not_a_directory) => files.push(PathBuf::from(name)),
        }
    }
    Ok(files)
}

/// The releases whose files are kept.
fn versions() -> Result<Vec<String>> {
    Ok(Disk
        .read_dir(&testdata())?
        .into_iter()
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect())
}

/// A copy on a simulated disk.
fn load(version: &str) -> Result<(Env, Sim)> {
    let (env, disk, _clock) = sim::env(1);
    let from = testdata().join(version);
    for path in files_below(&from)?.into_iter().filter(|path| !path.ends_with(CONTENT)) {
        let to = Path::new(DIR).join(&path);
        disk.create_dir_all(to.parent().ok_or("a directory")?)?;
        disk.create(&to)?.write_at(&read_file(&Disk, &from.join(&path), 1 << 30)?, 0)?;
    }
    Ok((env, disk))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let pair =
        |at: usize| Ok(u8::from_str_radix(text.get(at..at + 2).ok_or("an even number of digits")?, 16)?);
    (0..text.len()).step_by(2).map(pair).collect()
}

/// One line per commit (stamp, clock) and one per operation of it.
fn write_content(out: &mut String, stamp: Versionstamp, time_ms: u64, batch: &WriteBatch) -> TestResult {
    writeln!(out, "commit {stamp} {time_ms}")?;
    for op in batch.ops() {
        match op {
            Op::Put { key, value, expire_at_ms: None } => writeln!(out, "put {} {}", hex(key), hex(value))?,
            Op::Put { key, value, expire_at_ms: Some(at) } => {
                writeln!(out, "put {} {} {at}", hex(key), hex(value))?;
            }
            Op::Delete { key } => writeln!(out, "delete {}", hex(key))?,
            Op::DeletePrefix { prefix } => writeln!(out, "delete-prefix {}", hex(prefix))?,
        }
    }
    Ok(())
}

fn read_content(text: &str) -> Result<Model> {
    let (mut model, mut open) = (Model::default(), None);
    let mut close = |open: &mut Option<(Versionstamp, u64, WriteBatch)>| {
        if let Some((stamp, time_ms, batch)) = open.take() {
            model.commit(stamp, time_ms, &batch);
        }
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["commit", stamp, time_ms] = words[..] {
            close(&mut open);
            open = Some((stamp.parse()?, time_ms.parse()?, WriteBatch::new()));
            continue;
        }
        let (_, _, batch) = open.as_mut().ok_or("a commit comes first")?;
        match words[..] {
            ["put", key, value] => batch.put(&unhex(key)?, &unhex(value)?, None)?,
            ["put", key, value, at] => batch.put(&unhex(key)?, &unhex(value)?, Some(at.parse()?))?,
            ["delete-prefix", prefix] => batch.delete_prefix(&unhex(prefix)?)?,
            ["delete", key] => batch.delete(&unhex(key)?)?,
            _ => return Err(format!("{line}: not understood").into()),
        }
    }
    close(&mut open);
    Ok(model)
}

#[test]
fn the_files_of_every_release_are_read_at_every_stamp() -> TestResult {
    let versions = versions()?;
    assert!(versions.contains(&env!("CARGO_PKG_VERSION").to_owned()), "this version has files: {versions:?}");
    for version in versions {
        read(&version).map_err(|error| format!("testdata/{version}: {error}"))?;
    }
    Ok(())
}

fn read(version: &str) -> TestResult {
    let (env, disk) = load(version)?;
    check_kinds(&disk)?;
    let text = read_file(&Disk, &testdata().join(version).join(CONTENT), 1 << 30)?;
    let model = read_content(std::str::from_utf8(&text)?)?;
    let (engine, recovery) = Engine::open(env, Path::new(DIR), options())?;
    assert!(!recovery.created && recovery.records > 0, "{recovery:?}");
    check(&engine.snapshot(), &model)?;
    let (below, above): (Vec<_>, Vec<_>) =
        model.commits.iter().map(|(stamp, _)| *stamp).partition(|stamp| *stamp < engine.horizon());
    assert!(
        !below.is_empty() && above.len() > 20,
        "{} below the horizon, {} above",
        below.len(),
        above.len()
    );
    for stamp in above {
        check(&engine.snapshot_at(stamp)?, &model)?;
    }
    assert!(engine.snapshot_at(below[0]).is_err());
    assert_eq!(engine.mark(MARK).as_deref(), Some(&b"shipped"[..]));
    assert_eq!(engine.lineage().id, LineageId([9; 16]));
    Ok(engine.verify()?)
}

/// There is something of each kind: a manifest, tables of both codecs, sealed segments and an active one.
fn check_kinds(disk: &Sim) -> TestResult {
    const CODEC_AT: usize = 16 + 1;
    const SEAL: u8 = 3;
    let (mut codecs, mut sealed, mut active) = (BTreeSet::new(), 0, 0);
    for (path, _) in disk.files() {
        let bytes = read_file(disk, &path, 1 << 30)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("tbl") => drop(codecs.insert(bytes[CODEC_AT])),
            // A sealed segment ends with its seal, a frame of 48 bytes.
            Some("wal") if bytes[bytes.len() - 48 + 12] == SEAL => sealed += 1,
            Some("wal") => active += 1,
            _ => assert!(path.ends_with("manifest"), "{}", path.display()),
        }
    }
    assert!(codecs.is_superset(&BTreeSet::from([2, 3])), "LZ4 and Zstandard: {codecs:?}");
    assert!(sealed > 2 && active == 1, "{sealed} sealed segments and {active} active");
    Ok(())
}

fn options() -> Options {
    Options { history_ms: 4_000, ..small() }
}

/// A database that has been through everything, dropped in the middle of its work.
fn write_database(disk: &Sim, env: &Env, advance: &dyn Fn(u64)) -> Result<String> {
    let (engine, _) = Engine::open(env.clone(), Path::new(DIR), options())?;
    let mut content = String::new();
    let commit = |engine: &Engine, content: &mut String, n: u32| -> TestResult {
        let text = format!("{{\"name\":\"name {}\",\"city\":\"city\",\"visits\":{n}}}", n % 7).repeat(3);
        let mut batch = WriteBatch::new();
        batch.put(&(n % 23).to_be_bytes(), text.as_bytes(), None)?;
        match n % 5 {
            0 => batch.delete(&((n + 3) % 23).to_be_bytes())?,
            1 => batch.put(b"session", text.as_bytes(), Some(1_000_000 + u64::from(n) * 100 + 700))?,
            _ => batch.put(&[0xff, 0, 1], b"", None)?,
        }
        match n {
            40 => batch.delete_prefix(b"ses")?,
            110 => batch.delete_prefix(&[0xff])?,
            _ => {}
        }
        let stamp = engine.commit(batch.clone())?;
        write_content(content, stamp, engine.applied().time_ms, &batch)?;
        advance(100);
        Ok(engine.maintain().map(drop)?)
    };
    engine.keep_segments_after(Some(0));
    for n in 0..120 {
        if n == 60 {
            engine.begin_lineage(LineageId([9; 16]))?;
        }
        commit(&engine, &mut content, n)?;
        if n % 20 == 19 {
            engine.flush()?;
        }
        while n < 100 && engine.compact()? == Progress::Worked {}
    }
    mark(&engine)?;
    engine.keep_segments_after(Some(engine.applied().version - 40));
    engine.maintain()?;
    for n in 120..130 {
        commit(&engine, &mut content, n)?;
    }
    engine.seal_segment()?;
    (130..133).try_for_each(|n| commit(&engine, &mut content, n))?;
    disk.crash(engine::fs::sim::Unsynced::Kept);
    Ok(content)
}

fn mark(engine: &Engine) -> TestResult {
    let applied = engine.applied();
    let version = engine.next_version();
    let marks = vec![Mark { name: MARK.to_vec(), value: b"shipped".to_vec() }];
    let tick =
        Record { version, term: 0, time_ms: applied.time_ms, hash: applied.hash, batches: Vec::new(), marks };
    engine.append(&tick)?;
    engine.sync()?;
    engine.publish(version);
    Ok(())
}

#[test]
#[ignore = "writes the files of this version, see above"]
fn write_the_files_of_this_version() -> TestResult {
    let (env, disk, clock) = sim::env(1);
    let content = write_database(&disk, &env, &|by_ms| clock.advance(by_ms))?;
    let to = testdata().join(env!("CARGO_PKG_VERSION"));
    Disk.remove_dir_all(&to)?;
    let create = |path: &Path, bytes: &[u8]| -> TestResult {
        Disk.create_dir_all(path.parent().ok_or("a directory")?)?;
        let file: Arc<dyn File> = Disk.create(path)?;
        Ok(file.write_at(bytes, 0)?)
    };
    for (path, _) in disk.files() {
        create(&to.join(path.strip_prefix(DIR)?), &read_file(&disk, &path, 1 << 30)?)?;
    }
    create(&to.join(CONTENT), content.as_bytes())?;
    read(env!("CARGO_PKG_VERSION"))
}
