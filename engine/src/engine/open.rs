//! Opening: manifest, tables, log, in that order; each must agree with the one before.

use super::pressure::Pressure;
use super::{Appender, Core, append};
use crate::Applied;
use crate::budget::{Account, Budget};
use crate::cache::Cache;
use crate::commit::CommitQueue;
use crate::erasure::{self, Erasures};
use crate::fs::Fs;
use crate::history::Rules;
use crate::levels::Levels;
use crate::lineage::{Lineage, LineageId};
use crate::manifest::{self, Manifest, State, set_mark};
use crate::memtable::Memtable;
use crate::table;
use crate::times::Point;
use crate::view::{SealedMemtable, View};
use crate::wal::{self, Sealing};
use crate::{Env, Error, Options, Record, Result};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

const LOCK_FILE: &str = "LOCK";
pub(super) const TABLES_DIR: &str = "tables";
pub(super) const WAL_DIR: &str = "wal";

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the engine is new.
    pub created: bool,
    /// Records replayed from the log.
    pub records: u64,
    /// A tail that was never durable and was cut: file, offset, bytes.
    pub torn: Option<(PathBuf, u64, u64)>,
}

/// Opens `dir`. With a lineage it must be new, and its history starts as that lineage.
pub(super) fn open(
    env: Env,
    dir: &Path,
    options: Options,
    lineage: Option<Lineage>,
    budget: Arc<Budget>,
) -> Result<(Core, Recovery)> {
    options.check()?;
    let fs = Arc::clone(&env.fs);
    let lock = prepare(&*fs, dir)?;
    let state = manifest::read(&*fs, dir)?;
    let created = state.is_none();
    let state = match (state, lineage) {
        (None, lineage) => fresh_state(&env, dir, lineage)?,
        (Some(state), None) => state,
        (Some(_), Some(_)) => {
            let reason = "it holds an engine already".to_owned();
            return Err(Error::NotADataDirectory { path: dir.to_path_buf(), reason });
        }
    };
    let cache = Arc::clone(budget.cache());
    let levels = open_tables(&fs, dir, &state, &cache)?;
    let mut replay = Replay::new(&state, options.memtable_bytes_max);
    let wal_dir = dir.join(WAL_DIR);
    let found = wal::recover(&*fs, &wal_dir, state.first_segment, state.flushed.version, &mut |record| {
        replay.record(record)
    })?;
    covers_tables(&wal_dir, &found, &state.flushed)?;
    let number = found.next_number.max(state.first_segment + 1);
    let sealing = Sealing { lineage: state.lineage.id, salt: append::salt(&env) };
    let base = (replay.applied.version, replay.applied.hash);
    let log = wal::Log::start(
        Arc::clone(&fs),
        &wal_dir,
        found.sealed,
        number,
        base,
        sealing,
        options.segment_bytes_max,
    )?;
    let lineage = state.lineage;
    let horizons = Arc::new(state.horizons.clone());
    let manifest = Manifest::create(fs, dir, State { first_segment: number, ..state }, append::salt(&env))?;
    remove_strays(&*env.fs, dir, manifest.state())?;
    let recovery = Recovery { created, records: replay.records, torn: found.torn };
    let Replay { active, sealed, applied, marks, times, erasures, .. } = replay;
    let memtable = Arc::clone(&active);
    let rules = Rules::new(options.history());
    let view = View {
        active,
        sealed,
        levels: Arc::new(levels),
        highest: horizons.highest(),
        horizons,
        erasures: Arc::new(erasures),
    };
    let disk = super::statistics::DiskSpace::new(options.disk_reserve_bytes);
    disk.refresh(&*env.fs, dir)?;
    let account = Account::new(Arc::clone(budget.memory()));
    account.change(|amounts| {
        amounts.active = view.active.bytes() as u64;
        amounts.sealed = view.sealed.iter().map(|sealed| sealed.memtable.bytes() as u64).sum();
    });
    let core = Core {
        env,
        budget,
        account,
        pressure: Pressure::default(),
        dir: dir.to_path_buf(),
        options,
        cache,
        view: ArcSwap::from_pointee(view),
        view_change: Mutex::new(()),
        appender: Mutex::new(Appender { log, memtable, memtable_counted: 0, applied, marks, lineage }),
        replaced_views: Mutex::new(VecDeque::new()),
        published: RwLock::new(applied),
        unpublished: Mutex::new(VecDeque::new()),
        times: RwLock::new(times),
        rules: RwLock::new(rules),
        erasing: Mutex::default(),
        manifest: Mutex::new(manifest),
        flush: Mutex::new(None),
        last_upkeep_ms: AtomicU64::new(0),
        compaction: Mutex::new(None),
        commits: CommitQueue::default(),
        durable: AtomicU64::new(applied.version),
        keep_after: Mutex::new(None),
        stopped: OnceLock::new(),
        damaged: AtomicBool::new(false),
        next_file: Arc::new(AtomicU64::new(0)),
        disk,
        counters: super::statistics::Counters::default(),
        _lock: lock,
    };
    Ok((core, recovery))
}

fn prepare(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn crate::fs::DirLock>> {
    for dir in [dir, &dir.join(WAL_DIR), &dir.join(TABLES_DIR)] {
        fs.create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    let path = dir.join(LOCK_FILE);
    fs.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Error::InUse { path: dir.to_path_buf() },
        _ => Error::io("lock", &path)(error),
    })
}

/// Starts a new engine; refused where an engine lost its manifest. The manifest comes first, so that a
/// crash right after leaves no log without one.
fn fresh_state(env: &Env, dir: &Path, lineage: Option<Lineage>) -> Result<State> {
    for (below, suffix) in [(WAL_DIR, ".wal"), (TABLES_DIR, ".tbl")] {
        let below = dir.join(below);
        let names = env.fs.read_dir(&below).map_err(Error::io("list", &below))?;
        if names.iter().any(|name| name.ends_with(suffix)) {
            return Err(Error::Missing { path: dir.join("manifest"), needed_by: "the log or a table" });
        }
    }
    let lineage = lineage.unwrap_or_else(|| {
        let mut id = [0; 16];
        env.random.fill(&mut id);
        Lineage { id: LineageId(id), epoch: 0, parent: None }
    });
    let state = State { lineage, ..State::default() };
    Manifest::create(Arc::clone(&env.fs), dir, state.clone(), append::salt(env))?;
    Ok(state)
}

fn open_tables(fs: &Arc<dyn Fs>, dir: &Path, state: &State, cache: &Arc<Cache>) -> Result<Levels> {
    let tables_dir = dir.join(TABLES_DIR);
    let open = |(level, meta): &(u8, table::Meta)| {
        let table = table::Reader::open(fs, &tables_dir, meta.clone(), Arc::clone(cache))?;
        Ok((*level, Arc::new(table)))
    };
    // From the top down: where there is no room for all filters, the upper ones are worth more.
    let mut tables: Vec<_> = state.tables.iter().collect();
    tables.sort_by_key(|(level, _)| *level);
    let tables = tables.into_iter().map(open).collect::<Result<Vec<_>>>()?;
    Levels::of(tables).map_err(|disorder| Error::Damaged {
        path: dir.join("manifest"),
        offset: 0,
        expected: format!("tables that make up levels: {disorder}"),
    })
}

/// The log must reach as far as the tables: it was synced before each flush.
fn covers_tables(wal_dir: &Path, found: &wal::Recovered, flushed: &Applied) -> Result<()> {
    let Some((version, hash)) = found.end else {
        return Ok(());
    };
    if version < flushed.version || (version == flushed.version && hash != flushed.hash) {
        let last = found.sealed.last();
        return Err(Error::Damaged {
            path: last.map_or_else(|| wal_dir.to_path_buf(), |segment| segment.path.clone()),
            offset: last.map_or(0, |segment| segment.bytes),
            expected: format!("the records up to {}, which the manifest covers", flushed.version),
        });
    }
    Ok(())
}

/// Removes tables that no manifest names: what a crash left of a flush, compaction or removal.
fn remove_strays(fs: &dyn Fs, dir: &Path, state: &State) -> Result<()> {
    let live: BTreeSet<String> = state.tables.iter().map(|(_, meta)| meta.digest.file_name()).collect();
    let tables_dir = dir.join(TABLES_DIR);
    let names = fs.read_dir(&tables_dir).map_err(Error::io("list", &tables_dir))?;
    for name in names.into_iter().filter(|name| !live.contains(name)) {
        let path = tables_dir.join(name);
        fs.remove(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

/// Rebuilds the memtables from the log.
struct Replay {
    active: Arc<Memtable>,
    sealed: Vec<Arc<SealedMemtable>>,
    applied: Applied,
    marks: crate::view::Marks,
    times: crate::times::Times,
    erasures: Erasures,
    records: u64,
    memtable_bytes_max: usize,
}

impl Replay {
    fn new(state: &State, memtable_bytes_max: usize) -> Self {
        Self {
            active: Arc::new(Memtable::new()),
            sealed: Vec::new(),
            applied: state.flushed,
            marks: state.marks.clone(),
            times: state.times.clone(),
            erasures: state.erasures.clone(),
            records: 0,
            memtable_bytes_max,
        }
    }

    fn record(&mut self, record: Record) -> Result<()> {
        if record.version <= self.applied.version {
            return Ok(());
        }
        append::insert(&self.active, &record);
        self.erasures.extend(erasure::of_record(&record));
        self.applied = self.applied.after(&record);
        self.times.push(Point { version: record.version, time_ms: record.time_ms });
        self.records += 1;
        for mark in record.marks {
            set_mark(&mut self.marks, mark.name, mark.value);
        }
        if self.active.bytes() >= self.memtable_bytes_max {
            let memtable = std::mem::replace(&mut self.active, Arc::new(Memtable::new()));
            let (end, marks) = (self.applied, self.marks.clone());
            self.sealed.push(Arc::new(SealedMemtable { memtable, end, marks }));
        }
        Ok(())
    }
}
