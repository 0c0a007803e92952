use super::*;
use crate::raft::{Answer, LogEntry, LogId, Payload, Proposed, StoredMembership, TypeConfig, Vote, log_id};
use crate::runtime::sim::{self, Machine, SimClock, SimRandom, spawn_on};
use crate::sim::disk::Disk;
use crate::{GroupId, OpenError};
use bytes::Bytes;
use engine::Env;
use engine::fs::sim::Unsynced;
use futures::{Stream, TryStreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{
    EntryResponder, IOFlushed, RaftLogReader, RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder,
    RaftStateMachine, Snapshot,
};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;

type Failed = Box<dyn std::error::Error + Send + Sync>;
type TestResult = Result<(), Failed>;

/// A state machine that remembers where it stands: the suite asks no more of one.
#[derive(Debug, Clone, Default)]
struct Toy {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Arc<Mutex<Option<SnapshotMetaOf<TypeConfig>>>>,
}

impl RaftSnapshotBuilder<TypeConfig> for Toy {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, ()>, io::Error> {
        let (last_log_id, last_membership) = (self.applied, self.membership.clone());
        let meta = SnapshotMetaOf::<TypeConfig> { last_log_id, last_membership };
        *self.snapshot.lock() = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Toy {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied = Some(entry.id);
            if let Some(members) = entry.get_membership() {
                self.membership = StoredMembership::new(Some(entry.id), members);
            }
            if let Some(responder) = responder {
                responder.send(Answer::Nothing);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<TypeConfig>, (): ()) -> Result<(), io::Error> {
        (self.applied, self.membership) = (meta.last_log_id, meta.last_membership.clone());
        *self.snapshot.lock() = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<TypeConfig, ()>>, io::Error> {
        Ok(self.snapshot.lock().clone().map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Toy, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Toy), openraft::StorageError<TypeConfig>> {
        let failed = |error: &dyn std::error::Error| {
            openraft::StorageError::read_logs(openraft::AnyError::error(error.to_string()))
        };
        let dir = tempfile::tempdir().map_err(|error| failed(&error))?;
        let log =
            Log::open(&Env::real(), dir.path(), &LogOptions::default()).map_err(|error| failed(&error))?;
        let store = LogStore::open(&log, GroupId(7)).map_err(|error| failed(&error))?;
        Ok((dir, store, Toy::default()))
    }
}

#[test]
fn the_log_passes_the_suite_of_openraft() {
    TypeConfig::run(async {
        Suite::test_all(Builder).await.expect("the log does what openraft asks of one");
    });
}

const MACHINE: Machine = Machine(1);

/// A disk that outlives the processes which open the log on it.
struct World {
    disk: Disk,
    mirror: tempfile::TempDir,
}

impl World {
    fn new() -> io::Result<Self> {
        Ok(Self { disk: Disk::default(), mirror: tempfile::tempdir()? })
    }

    /// Opens the log of a group in a process of its own.
    async fn open(&self) -> Result<LogStore, OpenError> {
        let fs = Arc::new(self.disk.boot());
        let mirror = Some(self.mirror.path().to_path_buf());
        let opened = spawn_on(MACHINE, async move {
            let env = Env { fs, clock: Arc::new(SimClock), random: Arc::new(SimRandom) };
            let log = Log::open(&env, Path::new("/data"), &LogOptions { mirror, ..LogOptions::default() })?;
            LogStore::open(&log, GroupId(1))
        });
        opened.await.expect("opening does not panic")
    }

    /// Ends the process with its machine's power.
    fn crash(&self, store: LogStore) {
        self.disk.take_away();
        drop(store);
        sim::kill(MACHINE);
        self.disk.crash(Unsynced::Lost);
    }
}

fn entry(term: u64, index: u64, byte: u8) -> LogEntry {
    let payload = Payload::Normal(Proposed(Bytes::from(vec![byte; 10])));
    LogEntry::new(log_id(term, index), payload)
}

fn payloads(entries: &[LogEntry]) -> Vec<(u64, u64, u8)> {
    let byte = |entry: &LogEntry| match &entry.payload {
        Payload::Normal(proposed) => proposed.0[0],
        _ => 0,
    };
    entries.iter().map(|entry| (entry.id.leader_id.term, entry.id.index, byte(entry))).collect()
}

async fn on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    spawn_on(MACHINE, work).await.expect("it does not panic")
}

#[test]
fn a_cut_tail_stays_cut_and_is_overwritten_across_crashes() -> TestResult {
    let world = World::new()?;
    sim::run(1, async {
        let mut store = world.open().await?;
        let mut first = store.clone();
        on(async move {
            first.blocking_append((1..=10).map(|index| entry(1, index, 1))).await?;
            first.truncate_after(Some(log_id(1, 4))).await?;
            Ok::<_, Failed>(())
        })
        .await?;
        assert_eq!(store.get_log_state().await?.last_log_id, Some(log_id(1, 4)));
        world.crash(store);
        let mut store = world.open().await?;
        assert_eq!(store.try_get_log_entries(0..).await?.len(), 4);
        let mut second = store.clone();
        on(async move { second.blocking_append([entry(2, 5, 2), entry(2, 6, 3)]).await }).await?;
        world.crash(store);
        let mut store = world.open().await?;
        let expected = [(1, 1, 1), (1, 2, 1), (1, 3, 1), (1, 4, 1), (2, 5, 2), (2, 6, 3)];
        assert_eq!(payloads(&store.try_get_log_entries(0..).await?), expected);
        world.crash(store);
        Ok(())
    })
}

#[test]
fn what_was_voted_and_purged_survives_a_crash() -> TestResult {
    let world = World::new()?;
    sim::run(2, async {
        let store = world.open().await?;
        let mut writer = store.clone();
        on(async move {
            writer.save_vote(&Vote::new(3, 2)).await?;
            writer.blocking_append((1..=9).map(|index| entry(2, index, 1))).await?;
            writer.purge(log_id(2, 6)).await?;
            // What a Raft snapshot brings further than the log reaches.
            writer.purge(log_id(3, 100)).await?;
            writer.blocking_append([entry(3, 101, 7)]).await?;
            Ok::<_, Failed>(())
        })
        .await?;
        world.crash(store);
        let mut store = world.open().await?;
        assert_eq!(store.read_vote().await?, Some(Vote::new(3, 2)));
        assert_eq!(payloads(&store.try_get_log_entries(0..).await?), [(3, 101, 7)]);
        let state = store.get_log_state().await?;
        assert_eq!(
            (state.last_purged_log_id, state.last_log_id),
            (Some(log_id(3, 100)), Some(log_id(3, 101)))
        );
        world.crash(store);
        Ok(())
    })
}

#[test]
fn an_entry_that_does_not_fit_the_one_before_is_refused() -> TestResult {
    let (one, other) = (World::new()?, World::new()?);
    sim::run(3, async {
        let (theirs, ours) = (other.open().await?, one.open().await?);
        let (mut their_writer, mut our_writer) = (theirs.clone(), ours.clone());
        let sent = on(async move {
            their_writer.blocking_append([entry(1, 1, 9), entry(1, 2, 2)]).await?;
            let entries = their_writer.try_get_log_entries(0..).await?;
            Ok::<_, Failed>(entries)
        })
        .await?;
        let second = sent.into_iter().next_back().expect("there are two entries");
        let refused = on(async move {
            our_writer.blocking_append([entry(1, 1, 1)]).await?;
            Ok::<_, Failed>(our_writer.append([second], IOFlushed::noop()).await)
        });
        assert_eq!(refused.await?.err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
        one.crash(ours);
        other.crash(theirs);
        Ok(())
    })
}

#[test]
fn a_log_that_lost_its_end_is_refused() -> TestResult {
    let world = World::new()?;
    sim::run(4, async {
        let store = world.open().await?;
        let mut writer = store.clone();
        on(async move {
            writer.blocking_append((1..=9).map(|index| entry(1, index, 1))).await?;
            // The watermark is written with a vote at the latest.
            writer.save_vote(&Vote::new(2, 1)).await?;
            Ok::<_, Failed>(())
        })
        .await?;
        world.crash(store);
        // One bit rots in the last batch that was durable: the library drops it, and says nothing.
        let files = world.disk.files();
        let (path, len) =
            files.iter().find(|(path, _)| path.ends_with("0000000000000001.raftlog")).expect("a log");
        for offset in (0..*len).rev() {
            // Opening cuts what was allocated ahead.
            if world.disk.flip(path, offset).is_err() {
                continue;
            }
            let opened = world.open().await;
            let is_refused = matches!(opened, Err(OpenError::LogBehind { .. } | OpenError::RaftLog { .. }));
            match opened {
                Ok(store) => world.crash(store),
                Err(_refused) => {
                    world.disk.take_away();
                    sim::kill(MACHINE);
                    world.disk.crash(Unsynced::Lost);
                }
            }
            if is_refused {
                return Ok(());
            }
            let _undone_if_still_there = world.disk.flip(path, offset);
        }
        Err("no bit of the log matters".into())
    })
}
