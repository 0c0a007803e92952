//! The engine: owns the parts and connects them, and holds no algorithm.
//!
//! The way of a record: [`append`](Engine::append) writes it to the log and the memtable,
//! [`sync`](Engine::sync) makes it durable, [`publish`](Engine::publish) shows it to readers. A Raft
//! state machine appends and publishes, and leaves the sync to the sealing of segments; a single
//! node does all three per group of writes; [`commit`](Engine::commit) does them for embedded use.
//!
//! Locks, in the order in which they may be taken: flush or compaction, appender, manifest, view.

mod append;
mod checkpoint;
mod compact;
mod flush;
mod history;
mod open;
pub(crate) mod pressure;
mod scrub;
mod statistics;
mod sync;
mod upkeep;

use crate::budget::{Account, Budget};
use crate::bugs::{self, Bug};
use crate::cache::Cache;
use crate::commit::CommitQueue;
use crate::fs::DirLock;
use crate::history::Rules;
use crate::lineage::Lineage;
use crate::manifest::Manifest;
use crate::memtable::Memtable;
use crate::record::check_batch;
use crate::times::Times;
use crate::versionstamp::{epoch_of, version_of};
use crate::view::{Marks, View};
use crate::wal::{self, Segment};
use crate::{
    Applied, Env, Error, History, LineageId, Options, Record, Result, Snapshot, Versionstamp, WriteBatch,
};
use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

pub use checkpoint::Checkpoint;
pub use open::Recovery;
pub use scrub::{Scrub, Scrubbed};
pub use statistics::{LevelStatistics, MemoryUse, Statistics};
pub use upkeep::Progress;

/// A log-structured store with versionstamped MVCC in one directory. Clones share it.
#[derive(Clone, Debug)]
pub struct Engine {
    core: Arc<Core>,
}

#[derive(Debug)]
pub(crate) struct Core {
    env: Env,
    pub(crate) budget: Arc<Budget>,
    account: Account,
    pub(crate) pressure: pressure::Pressure,
    dir: PathBuf,
    options: Options,
    cache: Arc<Cache>,
    view: ArcSwap<View>,
    /// Held while the view is read, changed and stored.
    view_change: Mutex<()>,
    appender: Mutex<Appender>,
    /// Views that were replaced, oldest first, and when.
    replaced_views: Mutex<VecDeque<(Weak<View>, u64)>>,
    published: RwLock<Applied>,
    unpublished: Mutex<VecDeque<Applied>>,
    times: RwLock<Times>,
    rules: RwLock<Rules>,
    /// Deletions of prefixes in commits that are under way: how many, and the bytes of their prefixes.
    erasing: Mutex<(usize, usize)>,
    manifest: Mutex<Manifest>,
    flush: Mutex<Option<flush::Flush>>,
    last_upkeep_ms: AtomicU64,
    compaction: Mutex<Option<compact::Compaction>>,
    commits: CommitQueue,
    /// Records up to this version are durable.
    durable: AtomicU64,
    /// Segments with records above this version stay for the archive.
    keep_after: Mutex<Option<u64>>,
    /// The first failure of a write or sync.
    stopped: OnceLock<String>,
    /// Whether that was damage.
    damaged: AtomicBool,
    /// Names the temporary files of tables.
    next_file: Arc<AtomicU64>,
    disk: statistics::DiskSpace,
    counters: statistics::Counters,
    _lock: Box<dyn DirLock>,
}

/// What an append changes, in log order.
#[derive(Debug)]
struct Appender {
    log: wal::Log,
    /// The memtable of the view that takes writes.
    memtable: Arc<Memtable>,
    /// Bytes of it that the budget knows of.
    memtable_counted: u64,
    applied: Applied,
    marks: Marks,
    lineage: Lineage,
}

impl Engine {
    /// Opens the engine in `dir`, creating it when the directory is empty or absent.
    ///
    /// A new engine starts a lineage of epoch 0. An existing one is recovered: the log is replayed, and a
    /// tail that was never durable is cut.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when it is open elsewhere; [`Error::Damaged`] or [`Error::Missing`] when durable bytes are
    /// not intact; [`Error::Option`]; [`Error::Io`].
    pub fn open(env: Env, dir: &Path, options: Options) -> Result<(Engine, Recovery)> {
        let budget = Budget::alone(&options);
        Self::open_with_budget(env, dir, options, &budget)
    }

    /// Opens the engine in `dir` as [`open`](Self::open) does, as one of those that share `budget`: its block cache and
    /// memory take the place of what `options` say of them.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with_budget(
        env: Env,
        dir: &Path,
        options: Options,
        budget: &Arc<Budget>,
    ) -> Result<(Engine, Recovery)> {
        let (core, recovery) = open::open(env, dir, options, None, Arc::clone(budget))?;
        Ok((Self::joined(core), recovery))
    }

    fn joined(core: Core) -> Engine {
        let core = Arc::new(core);
        core.levels_changed();
        core.budget.join(&core);
        Engine { core }
    }

    pub(crate) fn of(core: Arc<Core>) -> Engine {
        Engine { core }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// What it shares with other engines.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.core.budget
    }

    /// Creates an engine that takes the records of an existing lineage from its start, as a restore does.
    ///
    /// # Errors
    ///
    /// [`Error::NotADataDirectory`] when there is an engine already; as [`open`](Self::open).
    pub fn create(env: Env, dir: &Path, options: Options, lineage: Lineage) -> Result<Engine> {
        let budget = Budget::alone(&options);
        let (core, _) = open::open(env, dir, options, Some(lineage), budget)?;
        Ok(Self::joined(core))
    }

    /// Makes everything durable and takes no more writes. Reads go on.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub fn close(&self) -> Result<()> {
        self.core.close()
    }

    /// Where the log stands, published or not.
    pub fn applied(&self) -> Applied {
        self.core.appender.lock().applied
    }

    /// Where readers stand.
    pub fn published(&self) -> Applied {
        *self.core.published.read()
    }

    /// The history that is being written.
    pub fn lineage(&self) -> Lineage {
        self.core.appender.lock().lineage
    }

    /// Durably starts a child of the current lineage: epoch one above, parent at the last commit.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], or when the disk fails, which stops the engine.
    pub fn begin_lineage(&self, id: LineageId) -> Result<Lineage> {
        self.core.begin_lineage(id)
    }

    /// The version of the next record on a single node, where every record has the index after the last.
    pub fn next_version(&self) -> u64 {
        let appender = self.core.appender.lock();
        let (applied, epoch) = (appender.applied.version, appender.lineage.epoch);
        if applied == 0 || epoch_of(applied) < epoch { version_of(epoch, 1) } else { applied + 1 }
    }

    /// The newest value of a mark, published or not.
    pub fn mark(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.core.appender.lock().marks.get(name).cloned()
    }

    /// Writes a record to the log and the memtable. It is not durable before a [`sync`](Self::sync), and
    /// not read by [`snapshot`](Self::snapshot) before [`publish`](Self::publish).
    ///
    /// Flushes or compacts first when too much waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] when it does not follow the record before; [`Error::Record`] and [`Error::RecordLen`] when the
    /// log cannot hold it; [`Error::DiskFull`]; [`Error::ErasuresFull`]: they change nothing.
    /// [`Error::Stopped`] after an earlier failure; [`Error::Io`], which stops the engine.
    pub fn append(&self, record: &Record) -> Result<()> {
        self.core.append(record)
    }

    /// Appends a record as [`append`](Self::append) does, into the reserve of the disk as well: a group has agreed on it, so
    /// it cannot be refused any more. Only a disk without any room refuses it, or deletions of prefixes that are too many
    /// until a compaction has been; neither changes anything, and the call can be made again.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn append_agreed(&self, record: &Record) -> Result<()> {
        self.core.append_agreed(record)
    }

    /// Whether a record may be appended as far as the room on the disk goes.
    ///
    /// # Errors
    ///
    /// [`Error::DiskFull`] when the disk is full up to its reserve; [`Error::Stopped`].
    pub fn check_room(&self) -> Result<()> {
        self.core.check_room()
    }

    /// Makes everything durable that was appended before the call; returns the last version that is.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] after an earlier failure; [`Error::Io`], which stops the engine: what is durable
    /// is unknown then.
    pub fn sync(&self) -> Result<u64> {
        self.core.sync()
    }

    /// Lets readers see the records up to `version`.
    pub fn publish(&self, version: u64) {
        self.core.publish(version);
    }

    /// Commits a batch durably, together with what other threads commit at the same time: one record, one sync.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyBatch`], [`Error::RecordLen`], [`Error::DiskFull`] and [`Error::ErasuresFull`], which change nothing, and
    /// all but a full disk fail no other batch; [`Error::Stopped`] when the engine stopped before or during it: whether the
    /// batch is durable shows when the engine is opened again.
    pub fn commit(&self, batch: WriteBatch) -> Result<Versionstamp> {
        check_batch(&batch)?;
        let commit = |batch| self.core.commits.commit(batch, |batches| self.core.commit_group(batches));
        self.core.with_room_for(batch, commit)
    }

    /// Commits a batch without making it durable: readers see it at once, a crash may lose it and what
    /// followed it, and the next [`sync`](Self::sync) or [`commit`](Self::commit) makes it durable.
    ///
    /// Shows readers everything that was appended before it as well.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub fn commit_unsynced(&self, batch: WriteBatch) -> Result<Versionstamp> {
        check_batch(&batch)?;
        let version = self.core.with_room_for(batch, |batch| self.core.commit_unsynced(batch))?;
        Ok(Versionstamp::new(version, 0))
    }

    /// Everything appended, published or not, at the clock of the last record: what apply reads.
    pub fn newest(&self) -> Snapshot {
        self.core.newest()
    }

    /// Everything published, at the clock of the last published record.
    pub fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }

    /// The data as of `at`, from the lowest horizon to the newest published stamp, at the clock of that stamp.
    /// A read of a key whose own horizon is higher is refused.
    ///
    /// # Errors
    ///
    /// [`Error::BelowHorizon`] or [`Error::AboveNewest`], with the bound.
    pub fn snapshot_at(&self, at: Versionstamp) -> Result<Snapshot> {
        self.core.snapshot_at(at)
    }

    /// The oldest stamp at which keys can be read that no rule names.
    pub fn horizon(&self) -> Versionstamp {
        self.core.view.load().horizons.of_rest().stamp
    }

    /// The oldest stamp at which `key` can be read.
    pub fn horizon_of(&self, key: &[u8]) -> Versionstamp {
        self.core.horizon_of(key).stamp
    }

    /// Sets how much of the past is kept of the keys that begin with each of these prefixes; the longest counts.
    /// For all others it is what the [`Options`] say. Replaces the rules set before.
    ///
    /// Rules are configuration: set them each time after opening. The horizons reached are kept in the directory;
    /// until rules are set, those of prefixes stay where they are.
    ///
    /// Horizons follow in the next flushes and compactions, and never fall. A longer window starts from where the
    /// horizon is; a shorter one raises it; keys of a prefix whose rule is gone follow the rule that is left, from
    /// their own horizon on.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] when there are over 1,024 rules or a prefix is empty, too long or there twice: the old rules
    /// stay. [`Error::Stopped`], or when the disk fails, which stops the engine.
    pub fn set_histories(&self, rules: Vec<(Vec<u8>, History)>) -> Result<()> {
        self.core.set_histories(rules)
    }

    /// The replicated clock at a version, Unix milliseconds; `None` below the horizon.
    pub fn time_at(&self, version: u64) -> Option<u64> {
        self.core.times.read().at(version)
    }

    /// One bounded step of everything but compaction: seals by age, flushes, removes what is not needed.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`], or when the disk fails, which stops the engine. A full disk is not an error: the
    /// step is tried again at the next call.
    pub fn maintain(&self) -> Result<Progress> {
        self.core.maintain()
    }

    /// One step of a compaction, if one is under way or due.
    ///
    /// # Errors
    ///
    /// As [`maintain`](Self::maintain).
    pub fn compact(&self) -> Result<Progress> {
        self.core.compact()
    }

    /// Writes the memtable to a table now.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn flush(&self) -> Result<()> {
        self.core.flush_all().map(drop)
    }

    /// Seals the active segment now if it holds records.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn seal_segment(&self) -> Result<()> {
        self.core.seal_segment()
    }

    /// Sealed segments still on disk, oldest first.
    pub fn sealed_segments(&self) -> Vec<Segment> {
        self.core.appender.lock().log.sealed().to_vec()
    }

    /// Keeps every segment that holds a record above `version`, flushed or not; `None` keeps none.
    pub fn keep_segments_after(&self, version: Option<u64>) {
        *self.core.keep_after.lock() = version;
    }

    /// Makes a self-contained copy in `to`, which must be absent or empty: tables as hard links, and a
    /// manifest. It holds every commit that was appended before the call, and opens with [`Engine::open`].
    ///
    /// # Errors
    ///
    /// [`Error::NotADataDirectory`] when `to` is not empty; as [`append`](Self::append).
    pub fn checkpoint(&self, to: &Path) -> Result<Checkpoint> {
        self.core.checkpoint(to)
    }

    /// Reads every byte of every live table and checks it.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] with file and offset, or when the disk fails.
    pub fn verify(&self) -> Result<()> {
        let view = self.core.view.load_full();
        view.levels.tables().try_for_each(|(_, table)| table.verify())
    }

    /// Numbers that say what it does and why it is slow.
    pub fn statistics(&self) -> Statistics {
        self.core.statistics()
    }

    /// The directory it lives in.
    pub fn dir(&self) -> &Path {
        &self.core.dir
    }

    /// What it takes from outside.
    pub fn env(&self) -> &Env {
        &self.core.env
    }

    /// Why it takes no more writes; `None` while it does.
    pub fn stopped(&self) -> Option<&str> {
        self.core.stopped.get().map(String::as_str)
    }
}

impl Core {
    fn running(&self) -> Result<()> {
        match self.stopped.get() {
            Some(reason) => Err(Error::Stopped { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    /// Takes no more writes after `error`, unless it says that nothing was written.
    fn stop_on(&self, error: Error) -> Error {
        if matches!(error, Error::Damaged { .. } | Error::Missing { .. }) {
            self.damaged.store(true, Ordering::Relaxed);
        }
        if !error.changed_nothing() {
            let reason = match &error {
                Error::Io { source, .. } => format!("{error}: {source}"),
                other => other.to_string(),
            };
            if self.stopped.set(reason).is_ok() {
                tracing::error!(error = &error as &dyn std::error::Error, "the engine stops");
            }
            self.account.write_off(true);
            self.budget.moved.happened();
        }
        error
    }

    /// Remembers, without holding it, a view that snapshots may still hold.
    fn note_replaced(&self, view: &Arc<View>) {
        let mut replaced = self.replaced_views.lock();
        replaced.retain(|(view, _)| view.strong_count() > 0);
        replaced.push_back((Arc::downgrade(view), self.env.clock.now_ms()));
    }

    /// Replaces the view by what `change` makes of it.
    fn change_view(&self, change: impl FnOnce(&mut View)) {
        let _changing = self.view_change.lock();
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        let before = self.view.swap(Arc::new(view));
        self.note_replaced(&before);
    }

    fn newest(&self) -> Snapshot {
        let appender = self.appender.lock();
        let applied = appender.applied;
        let at = Versionstamp::last_of(applied.version);
        Snapshot::new(self.view.load_full(), at, applied.stamp, applied.time_ms)
    }

    fn snapshot(&self) -> Snapshot {
        loop {
            let published = *self.published.read();
            let at = Versionstamp::last_of(published.version);
            let view = self.view.load_full();
            // A compaction that ran in between may have dropped what this older stamp reads.
            if view.highest.stamp <= at {
                return Snapshot::new(view, at, published.stamp, published.time_ms);
            }
        }
    }

    fn snapshot_at(&self, at: Versionstamp) -> Result<Snapshot> {
        let before = |at: Versionstamp| Versionstamp::last_of(at.version().saturating_sub(1));
        let at = if bugs::seeded(Bug::StampOffByOne) { before(at) } else { at };
        let published = *self.published.read();
        let newest = Versionstamp::last_of(published.version);
        if at > newest {
            return Err(Error::AboveNewest { stamp: at, newest });
        }
        // The time first: it is forgotten only after the view says so.
        let time_ms = self.times.read().at(at.version());
        let view = self.view.load_full();
        let (lowest, highest) = (view.horizons.lowest(), view.highest);
        if at < highest.stamp && at >= published.stamp && newest >= highest.stamp {
            // Records without commits lie between the last commit and the horizon: nothing changed there.
            let time_ms = time_ms.unwrap_or(0).max(highest.time_ms);
            return Ok(Snapshot::new(view, newest, at, time_ms));
        }
        if at < lowest.stamp {
            return Err(Error::BelowHorizon { stamp: at, horizon: lowest.stamp });
        }
        Ok(Snapshot::new(view, at, at, time_ms.unwrap_or(lowest.time_ms)))
    }
}
