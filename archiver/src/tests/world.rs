//! A simulated engine that is being shipped, and a model that remembers every state it was in.

use crate::Archive;
use crate::job::{Job, JobKind};
use crate::restore::{Destination, Point, Restored, Wanted, restore};
use crate::seal;
use crate::ship::{Direct, Keep, Settings, Shipper, Source, Step};
use crate::store::sim::Sim;
use engine::env::sim::{SimClock, SimRandom, env};
use engine::{ContentHash, Direction, Engine, Env, Options, Record, Versionstamp, WriteBatch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) type TestResult = Result<(), Box<dyn std::error::Error>>;
pub(super) type Rows = BTreeMap<Vec<u8>, (Versionstamp, Vec<u8>, Option<u64>)>;

/// The data after one commit.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) stamp: Versionstamp,
    pub(super) time_ms: u64,
    pub(super) hash: ContentHash,
    pub(super) rows: Rows,
}

impl State {
    /// The rows that a reader at the state's own time sees.
    pub(super) fn visible(&self) -> Rows {
        let live = |row: &&(Versionstamp, Vec<u8>, Option<u64>)| row.2.is_none_or(|at| at > self.time_ms);
        self.rows.iter().filter(|(_, row)| live(row)).map(|(key, row)| (key.clone(), row.clone())).collect()
    }
}

pub(super) struct World {
    pub(super) env: Env,
    pub(super) disk: engine::fs::sim::Sim,
    pub(super) clock: SimClock,
    pub(super) random: SimRandom,
    pub(super) engine: Engine,
    pub(super) store: Sim,
    pub(super) shipper: Shipper,
    pub(super) settings: Settings,
    /// Every state, oldest first.
    pub(super) states: Vec<State>,
    dir: PathBuf,
    options: Options,
    restores: u64,
}

pub(super) fn options() -> Options {
    Options {
        memtable_bytes_max: 4 << 10,
        segment_bytes_max: 4 << 10,
        level1_bytes: 8 << 10,
        table_bytes: 2 << 10,
        block_bytes: 256,
        disk_reserve_bytes: Some(0),
        ..Options::default()
    }
}

impl World {
    pub(super) fn new(seed: u64) -> Result<Self, Box<dyn std::error::Error>> {
        Self::with(seed, options())
    }

    /// One whose engine has these options.
    pub(super) fn with(seed: u64, options: Options) -> Result<Self, Box<dyn std::error::Error>> {
        let settings = Settings { object_bytes_max: 2 << 10, ..Settings::new(PathBuf::from("/scratch")) };
        World::around(seed, env(seed), Sim::new(), settings, options)
    }

    /// Another group of the same cluster: on the same clock, shipped to the same store.
    pub(super) fn of_group(seed: u64, group: u64, other: &World) -> Result<Self, Box<dyn std::error::Error>> {
        let (env, disk, _clock) = env(seed);
        let env = Env { clock: other.env.clock.clone(), ..env };
        let settings = Settings { group, ..other.settings.clone() };
        World::around(seed, (env, disk, other.clock.clone()), other.store.clone(), settings, options())
    }

    fn around(
        seed: u64,
        (env, disk, clock): (Env, engine::fs::sim::Sim, SimClock),
        store: Sim,
        settings: Settings,
        options: Options,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let dir = PathBuf::from("/db");
        let (engine, _) = Engine::open(env.clone(), &dir, options.clone())?;
        let shipper = ship(&engine, &store, &settings)?;
        let random = SimRandom::new(seed);
        let states = Vec::new();
        Ok(Self {
            env,
            disk,
            clock,
            random,
            engine,
            store,
            shipper,
            settings,
            states,
            dir,
            options,
            restores: 0,
        })
    }

    /// The archive, and the identity that opens it if it is encrypted.
    pub(super) fn archive(&self) -> Archive {
        self.archive_of(&self.store)
    }

    pub(super) fn archive_of(&self, store: &Sim) -> Archive {
        Archive::new(Arc::new(store.clone()), seal::tests::identities())
    }

    /// Encrypts from now on.
    pub(super) fn encrypt(&mut self) -> TestResult {
        self.settings.recipients = seal::tests::recipients();
        self.reopen()
    }

    /// Closes the engine and opens it and its shipper again.
    pub(super) fn reopen(&mut self) -> TestResult {
        self.engine.close()?;
        let dir = self.dir.clone();
        self.open(&dir)
    }

    /// Cuts the power and opens what is left.
    pub(super) fn power_cut(&mut self, seed: u64) -> TestResult {
        self.disk.crash(engine::fs::sim::Unsynced::Torn(seed));
        let dir = self.dir.clone();
        self.open(&dir)
    }

    /// Goes on with the engine in another directory.
    pub(super) fn open(&mut self, dir: &Path) -> TestResult {
        // The old engine and its shipper let go of the directory first.
        let (aside, _, _) = env(0);
        let (idle, _) = Engine::open(aside, Path::new("/idle"), options())?;
        self.shipper = ship(&idle, &Sim::new(), &self.settings)?;
        self.engine = idle;
        self.engine = Engine::open(self.env.clone(), dir, self.options.clone())?.0;
        self.shipper = ship(&self.engine, &self.store, &self.settings)?;
        self.dir = dir.to_path_buf();
        Ok(())
    }

    /// Commits one record of `count` atomic writes, whose orders have holes.
    pub(super) fn commit(&mut self, count: u64) -> TestResult {
        self.clock.advance(self.random.below(50));
        let applied = self.engine.applied();
        let version = self.engine.next_version();
        let time_ms = self.env.clock.now_ms().max(applied.time_ms);
        let mut rows = self.states.last().map(|state| state.rows.clone()).unwrap_or_default();
        let mut record =
            Record { version, term: 0, time_ms, hash: applied.hash, batches: Vec::new(), marks: Vec::new() };
        let (mut order, mut hash) = (0, applied.hash);
        for _ in 0..count {
            order += 1 + u16::try_from(self.random.below(2))?;
            let stamp = Versionstamp::new(version, order);
            let batch = self.batch(stamp, time_ms, &mut rows)?;
            hash = hash.then(stamp, &batch);
            record.batches.push((order, batch));
            self.states.push(State { stamp, time_ms, hash, rows: rows.clone() });
        }
        record.hash = record.hash_after(applied.hash);
        self.engine.append(&record)?;
        let version = self.engine.sync()?;
        self.engine.publish(version);
        self.engine.maintain()?;
        self.engine.compact()?;
        Ok(())
    }

    fn batch(
        &self,
        stamp: Versionstamp,
        now_ms: u64,
        rows: &mut Rows,
    ) -> Result<WriteBatch, engine::OpError> {
        let mut batch = WriteBatch::new();
        for _ in 0..=self.random.below(3) {
            let key = format!("key{:02}", self.random.below(30)).into_bytes();
            if self.random.below(4) == 0 {
                batch.delete(&key)?;
                rows.remove(&key);
                continue;
            }
            let mut value = vec![0; usize::try_from(self.random.below(200)).unwrap_or(0)];
            engine::Random::fill(&self.random, &mut value);
            let expire_at_ms = (self.random.below(3) == 0).then(|| now_ms + self.random.below(300));
            batch.put(&key, &value, expire_at_ms)?;
            rows.insert(key, (stamp, value, expire_at_ms));
        }
        if self.random.below(20) == 0 {
            let prefix = format!("key{}", self.random.below(3)).into_bytes();
            batch.delete_prefix(&prefix)?;
            // What the same batch puts stays.
            rows.retain(|key, (put_at, ..)| !key.starts_with(&prefix) || *put_at == stamp);
        }
        Ok(batch)
    }

    /// Seals the log and ships all that is due.
    pub(super) async fn ship(&mut self) -> Result<Vec<Step>, crate::Error> {
        self.engine.seal_segment()?;
        let mut steps = Vec::new();
        loop {
            self.store.set_now_ms(self.env.clock.now_ms());
            match self.shipper.step().await? {
                Step::Idle => return Ok(steps),
                step => steps.push(step),
            }
        }
    }

    pub(super) fn last(&self) -> Result<&State, &'static str> {
        self.states.last().ok_or("something was committed")
    }

    /// Restores a point into a new directory.
    pub(super) async fn restore(&mut self, point: Point) -> Result<(PathBuf, Restored), crate::Error> {
        let store = self.store.clone();
        self.restore_from(&store, Wanted::at(point)).await
    }

    pub(super) async fn restore_from(
        &mut self,
        store: &Sim,
        wanted: Wanted,
    ) -> Result<(PathBuf, Restored), crate::Error> {
        self.restores += 1;
        let dir = PathBuf::from(format!("/restored/{}", self.restores));
        let destination =
            Destination { env: self.env.clone(), dir: dir.clone(), options: options(), threads: false };
        let restored =
            restore(&self.archive_of(store), 1, &wanted, &destination, &Job::unwatched(JobKind::Restore))
                .await?;
        Ok((dir, restored))
    }

    /// Whether a restored directory holds exactly this state.
    pub(super) fn check(&self, dir: &Path, restored: &Restored, state: &State) -> TestResult {
        assert_eq!((restored.stamp, restored.hash), (state.stamp, state.hash));
        assert_eq!(restored.time_ms, state.time_ms);
        let (engine, recovery) = Engine::open(self.env.clone(), &dir.join("groups/1"), options())?;
        assert_eq!(recovery.torn, None);
        assert_eq!(rows_of(&engine)?, state.visible(), "at {}", state.stamp);
        let lineage = engine.lineage();
        assert_eq!(lineage, restored.lineage);
        assert_eq!(lineage.parent.map(|(_, stamp)| stamp), Some(state.stamp));
        Ok(engine.close()?)
    }
}

fn ship(engine: &Engine, store: &Sim, settings: &Settings) -> Result<Shipper, crate::Error> {
    let progress = Arc::new(Direct(engine.clone()));
    let source = Source { engine: engine.clone(), progress, keep: Keep::new() };
    Shipper::new(source, Arc::new(store.clone()), settings.clone())
}

/// Every row that an engine shows.
pub(super) fn rows_of(engine: &Engine) -> Result<Rows, engine::Error> {
    rows_at(engine, None)
}

/// Every row that an engine shows, now or at a stamp.
pub(super) fn rows_at(engine: &Engine, at: Option<Versionstamp>) -> Result<Rows, engine::Error> {
    let snapshot = at.map_or_else(|| Ok(engine.snapshot()), |at| engine.snapshot_at(at))?;
    rows_in(snapshot)
}

/// Every row of a snapshot.
pub(super) fn rows_in(snapshot: engine::Snapshot) -> Result<Rows, engine::Error> {
    let mut rows = Rows::new();
    for row in snapshot.range(&[0], &[0xff], Direction::Forward)? {
        let row = row?;
        rows.insert(row.key.to_vec(), (row.value.stamp, row.value.bytes.to_vec(), row.value.expire_at_ms));
    }
    Ok(rows)
}
