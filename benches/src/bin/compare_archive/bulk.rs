//! A checkpoint goes up and comes back, beside a plain copy of the same bytes through the same store; and a log is replayed.

use crate::Args;
use crate::lag::{litestream_config, mix, open_sqlite};
use anyhow::Context;
use archiver::Archive;
use archiver::job::{JobKind, Jobs};
use archiver::restore::{Destination, Point, Scope, Wanted, restore};
use archiver::ship::{Direct, Keep, Settings, Shipper, Source, Step};
use archiver::store::{self, ObjectStore};
use bytes::Bytes;
use cairn_benches::s3::{CREDENTIALS, S3};
use engine::{Engine, Env, Options, WriteBatch};
use futures::{StreamExt, TryStreamExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of a value.
const VALUE_BYTES: usize = 1 << 10;
/// Rows in a commit while a database is filled.
const ROWS: u64 = 100;
/// Objects of the plain copy on their way at once.
const COPIES: usize = 8;

/// Bytes, and how long they took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
}

impl Moved {
    /// Megabytes (10^6) a second.
    #[expect(clippy::cast_precision_loss, reason = "far fewer bytes than 2^53")]
    pub(crate) fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }
}

/// What came of the checkpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bulk {
    pub(crate) upload: Moved,
    pub(crate) restore: Moved,
    pub(crate) copy_up: Moved,
    pub(crate) copy_down: Moved,
}

fn options() -> Options {
    Options { disk_reserve_bytes: Some(1 << 30), ..Options::default() }
}

fn source(engine: &Engine) -> Source {
    Source { engine: engine.clone(), progress: Arc::new(Direct(engine.clone())), keep: Keep::default() }
}

fn fill(engine: &Engine, bytes: u64, key: impl Fn(u64) -> Vec<u8>) -> anyhow::Result<()> {
    for commit in 0..bytes / (ROWS * VALUE_BYTES as u64) {
        let mut batch = WriteBatch::new();
        for row in 0..ROWS {
            let number = commit * ROWS + row;
            let value: Vec<u8> =
                (0..VALUE_BYTES as u64 / 8).flat_map(|word| mix(number << 8 | word).to_le_bytes()).collect();
            batch.put(&key(number), &value, None)?;
        }
        engine.commit_unsynced(batch)?;
        while engine.maintain()? == engine::Progress::Worked {}
    }
    engine.flush()?;
    while engine.maintain()? == engine::Progress::Worked {}
    Ok(())
}

/// Measures the checkpoint of a database of `args.gib` gibibytes.
pub(crate) fn checkpoint(args: &Args, s3: &S3, folder: &Path) -> anyhow::Result<Bulk> {
    std::fs::create_dir_all(folder)?;
    let (engine, _) = Engine::open(Env::real(), &folder.join("engine"), options())?;
    fill(&engine, args.gib << 30, |row| mix(row).to_be_bytes().to_vec())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = store::open(&s3.archive("bulk"))?;
    runtime.block_on(async {
        let settings = Settings { checkpoint_interval_ms: 0, ..Settings::new(folder.join("scratch")) };
        let begun = Instant::now();
        let mut shipper = Shipper::new(source(&engine), Arc::clone(&store), settings)?;
        while !matches!(shipper.step().await?, Step::Checkpoint(_)) {}
        let upload = Moved { bytes: shipper.status().borrow().bytes, took: begun.elapsed() };
        let plain = folder.join("plain");
        std::fs::create_dir(&plain)?;
        engine.checkpoint(&plain)?;
        let tables = tables(&plain.join("tables"))?;
        let copy_up = copy_up(&tables, &*store).await?;
        let copy_down = copy_down(&tables, &*store).await?;
        let to = folder.join("restored");
        let restore = bring_back(&store, &to, Scope::All).await?;
        std::fs::remove_dir_all(&to)?;
        anyhow::Ok(Bulk { upload, restore, copy_up, copy_down })
    })
}

fn tables(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn copy_name(path: &Path) -> String {
    format!("copy/{}", path.file_name().unwrap_or_default().to_string_lossy())
}

async fn copy_up(tables: &[PathBuf], store: &dyn ObjectStore) -> anyhow::Result<Moved> {
    let begun = Instant::now();
    let copies = tables.iter().map(|path| async move {
        let bytes = Bytes::from(tokio::fs::read(path).await?);
        let len = bytes.len() as u64;
        store.put(&copy_name(path), bytes).await?;
        anyhow::Ok(len)
    });
    let sizes: Vec<u64> = futures::stream::iter(copies).buffer_unordered(COPIES).try_collect().await?;
    Ok(Moved { bytes: sizes.iter().sum(), took: begun.elapsed() })
}

async fn copy_down(tables: &[PathBuf], store: &dyn ObjectStore) -> anyhow::Result<Moved> {
    let folder =
        tempfile::tempdir_in(tables.first().and_then(|path| path.parent()).context("there is a table")?)?;
    let (begun, to) = (Instant::now(), folder.path());
    let copies = tables.iter().enumerate().map(|(number, path)| async move {
        let bytes = store.get(&copy_name(path), 1 << 30).await?;
        let path = to.join(number.to_string());
        tokio::fs::write(&path, &bytes).await?;
        tokio::fs::File::open(&path).await?.sync_data().await?;
        store.delete(&copy_name(&tables[number])).await?;
        anyhow::Ok(bytes.len() as u64)
    });
    let sizes: Vec<u64> = futures::stream::iter(copies).buffer_unordered(COPIES).try_collect().await?;
    Ok(Moved { bytes: sizes.iter().sum(), took: begun.elapsed() })
}

/// One database of an archive of a hundred, beside all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneDatabase {
    pub(crate) one: Moved,
    pub(crate) all: Moved,
}

/// Databases that share the archive.
const DATABASES: u64 = 100;

/// Measures how long it takes to bring back one of [`DATABASES`] of one size.
pub(crate) fn one_database(args: &Args, s3: &S3, folder: &Path) -> anyhow::Result<OneDatabase> {
    std::fs::create_dir_all(folder)?;
    let (engine, _) = Engine::open(Env::real(), &folder.join("engine"), options())?;
    let database = |row: u64| u32::try_from(row % DATABASES).unwrap_or(0).to_be_bytes();
    fill(&engine, args.databases_mib << 20, |row| [&database(row)[..], &mix(row).to_be_bytes()].concat())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = store::open(&s3.archive("databases"))?;
    runtime.block_on(async {
        let settings = Settings { checkpoint_interval_ms: 0, ..Settings::new(folder.join("scratch")) };
        let mut shipper = Shipper::new(source(&engine), Arc::clone(&store), settings)?;
        while !matches!(shipper.step().await?, Step::Checkpoint(_)) {}
        let scope = Scope::Prefixes(vec![database(DATABASES / 2).to_vec()]);
        let one = bring_back(&store, &folder.join("one"), scope).await?;
        let all = bring_back(&store, &folder.join("all"), Scope::All).await?;
        Ok(OneDatabase { one, all })
    })
}

async fn bring_back(store: &Arc<dyn ObjectStore>, to: &Path, scope: Scope) -> anyhow::Result<Moved> {
    let begun = Instant::now();
    let wanted = Wanted { scope, ..Wanted::at(Point::Latest) };
    let destination =
        Destination { env: Env::real(), dir: to.to_path_buf(), options: options(), threads: true };
    let env = Env::real();
    let job = Jobs::new(env.clock, env.random).begin(JobKind::Restore, String::new());
    restore(&Archive::plain(Arc::clone(store)), 1, &wanted, &destination, &job).await?;
    Ok(Moved { bytes: job.status().bytes, took: begun.elapsed() })
}

/// Mutations a second that a restore replays from segments alone.
pub(crate) fn replay(args: &Args, s3: &S3, folder: &Path) -> anyhow::Result<f64> {
    std::fs::create_dir_all(folder)?;
    let (engine, _) = Engine::open(Env::real(), &folder.join("engine"), options())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = store::open(&s3.archive("replay"))?;
    runtime.block_on(async {
        let settings = Settings {
            checkpoint_interval_ms: u64::MAX,
            checkpoint_bytes: u64::MAX,
            ..Settings::new(folder.join("scratch"))
        };
        let mut shipper = Shipper::new(source(&engine), Arc::clone(&store), settings)?;
        let mut mutations = 0;
        while mutations < args.mutations {
            let mut batch = WriteBatch::new();
            for _ in 0..10 {
                mutations += 1;
                let value: Vec<u8> =
                    (0..13).flat_map(|word| mix(mutations ^ word << 50).to_le_bytes()).take(100).collect();
                batch.put(&mix(mutations % 1_000_000).to_be_bytes(), &value, None)?;
            }
            engine.commit_unsynced(batch)?;
            while engine.maintain()? == engine::Progress::Worked {}
        }
        anyhow::ensure!(shipper.drain(Duration::from_secs(600)).await, "the log was not shipped");
        let begun = Instant::now();
        bring_back(&store, &folder.join("restored"), Scope::All).await?;
        #[expect(clippy::cast_precision_loss, reason = "far fewer mutations than 2^53")]
        Ok(mutations as f64 / begun.elapsed().as_secs_f64())
    })
}

/// Litestream's snapshot of a SQLite database of `args.litestream_mib` mebibytes, and its restore.
pub(crate) fn litestream(args: &Args, s3: &S3, folder: &Path) -> anyhow::Result<(Moved, Moved)> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("bulk.sqlite");
    let mut database = open_sqlite(&path)?;
    // With row ids: values of this size fill the pages of such a table.
    database.execute_batch("drop table kv; create table kv (k blob primary key, v blob)")?;
    let rows = (args.litestream_mib << 20) / VALUE_BYTES as u64;
    let transaction = database.transaction()?;
    for number in 0..rows {
        let value: Vec<u8> =
            (0..VALUE_BYTES as u64 / 8).flat_map(|word| mix(number << 8 | word).to_le_bytes()).collect();
        transaction.execute("insert into kv values (?1, ?2)", (mix(number).to_be_bytes(), value))?;
    }
    transaction.commit()?;
    database.pragma_query(None, "wal_checkpoint", |_row| Ok(()))?;
    drop(database);
    let bytes = std::fs::metadata(&path)?.len();
    let config = folder.join("litestream.yml");
    std::fs::write(&config, litestream_config(s3, &path, "litestream-bulk"))?;
    let run = |arguments: &[&str]| -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let mut command = Command::new(&args.litestream);
        command.args(arguments).envs(CREDENTIALS).env_remove("AWS_CA_BUNDLE");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        anyhow::ensure!(command.status()?.success(), "litestream {} failed", arguments.join(" "));
        Ok(begun.elapsed())
    };
    let config = config.to_string_lossy();
    let upload = run(&["replicate", "-once", "-force-snapshot", "-log-level", "error", "-config", &config])?;
    let restored = folder.join("restored.sqlite");
    let restore =
        run(&["restore", "-config", &config, "-o", &restored.to_string_lossy(), &path.to_string_lossy()])?;
    // Litestream has tables of its own in the file: what is compared is the rows.
    let back = rusqlite::Connection::open(&restored)?;
    let back: i64 = back.query_row("select count(*) from kv", (), |row| row.get(0))?;
    anyhow::ensure!(u64::try_from(back)? == rows, "litestream restored {back} of {rows} rows");
    Ok((Moved { bytes, took: upload }, Moved { bytes, took: restore }))
}
