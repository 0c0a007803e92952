//! Where a replica lives, and how a Raft snapshot leaves it and takes its place.
//!
//! - A snapshot is sent as a checkpoint that is made for it, so it stands at or after the position that openraft had in mind.
//! - One snapshot is received at a time for each group. It is whole, checked and durable before openraft is asked whether it
//!   still wants it; then one rename makes it the replica.
//! - The engine that was replaced is closed; readers that still hold it go on reading the past.

use crate::group::Core;
use crate::log::LogStore;
use crate::membership;
use crate::message::{Answer, Header};
use crate::raft::{StoredMembership, TypeConfig, Vote, log_id};
use crate::raft_snapshot::{Destination, Outgoing, Progress, Rate, Received, receive, send};
use crate::replica::{Replica, index_of};
use crate::replica_dir::ReplicaDir;
use crate::runtime;
use crate::state_machine::SnapshotData;
use crate::transport::{Channel, Duplex, Transport};
use crate::{GroupId, NodeId};
use engine::{Budget, Checkpoint, Engine, Env, Options};
use openraft::storage::Snapshot;
use openraft::type_config::alias::SnapshotMetaOf;
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes of snapshots a second that a node sends for one group, at most.
pub(crate) const SEND_BYTES_PER_S_MAX: u64 = 256 << 20;

/// Where the engine of a group lives.
#[derive(Debug)]
pub(crate) struct Home {
    env: Env,
    options: Options,
    budget: Arc<Budget>,
    dir: Mutex<ReplicaDir>,
    receiving: tokio::sync::Mutex<()>,
    giving: tokio::sync::Mutex<()>,
    /// Whether the log has to stay for a copy that is on its way.
    keeps_log: AtomicBool,
    sent: AtomicU64,
    rate: Rate,
}

impl Home {
    pub(crate) fn new(env: Env, options: Options, budget: Arc<Budget>, dir: ReplicaDir) -> Self {
        Self {
            env,
            options,
            budget,
            dir: Mutex::new(dir),
            receiving: tokio::sync::Mutex::new(()),
            giving: tokio::sync::Mutex::new(()),
            keeps_log: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            rate: Rate::new(SEND_BYTES_PER_S_MAX),
        }
    }

    /// Opens an engine in a directory.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened.
    pub(crate) fn open_engine(&self, dir: &Path) -> engine::Result<Engine> {
        let opened = Engine::open_with_budget(self.env.clone(), dir, self.options.clone(), &self.budget);
        opened.map(|(engine, _)| engine)
    }

    /// Makes a checkpoint of a replica, to be sent.
    ///
    /// # Errors
    ///
    /// Why it cannot be made.
    pub(crate) async fn prepare(&self, replica: &Replica) -> Result<Outgoing, String> {
        let (engine, dir) = (replica.engine(), self.outgoing());
        let prepared = runtime::spawn_blocking(move || Outgoing::prepare(&engine, &dir)).await;
        prepared.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Where a snapshot is received, for as long as nobody else receives one.
    pub(crate) async fn receiving(&self) -> (tokio::sync::MutexGuard<'_, ()>, PathBuf) {
        let receiving = self.receiving.lock().await;
        let incoming = self.dir.lock().incoming();
        (receiving, incoming)
    }

    /// One copy is given at a time; `None` while another one is.
    pub(crate) fn giving(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.giving.try_lock().ok()
    }

    /// Sets the engine aside, for the next start to rebuild the replica.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, crate::replica_dir::Error> {
        self.dir.lock().set_aside()
    }

    /// The rate at which snapshots are sent.
    pub(crate) const fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Whether the Raft log must stay as it is.
    pub(crate) fn keeps_log(&self) -> bool {
        self.keeps_log.load(Ordering::Relaxed)
    }

    /// Keeps the Raft log as it is until the guard is dropped.
    pub(crate) fn keep_log(&self) -> KeepsLog<'_> {
        self.keeps_log.store(true, Ordering::Relaxed);
        KeepsLog(self)
    }

    /// Makes a received copy the replica, brought by the log to where it stands.
    ///
    /// # Errors
    ///
    /// See [`Replica::exchange`].
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        replica: &Replica,
        log: &LogStore,
        received: &Received,
    ) -> io::Result<()> {
        let (home, dir) = (Arc::clone(self), received.dir.clone());
        let opened = runtime::spawn_blocking(move || home.open_engine(&dir)).await;
        let fresh = opened.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let switch = |fresh: &Engine| self.dir.lock().switch_to(fresh).map_err(io::Error::other);
        let replaced = match replica.exchange(fresh.clone(), log, switch).await {
            Ok(replaced) => replaced,
            Err(error) => {
                close(&fresh);
                return Err(error);
            }
        };
        close(&replaced);
        self.dir.lock().remove_replaced().map_err(io::Error::other)
    }

    fn outgoing(&self) -> PathBuf {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        self.dir.lock().outgoing(number)
    }

    /// Makes a received snapshot the replica.
    ///
    /// # Errors
    ///
    /// When the disk fails: the group has to be started again.
    pub(crate) async fn install(
        self: &Arc<Self>,
        replica: &Replica,
        log: &LogStore,
        received: Received,
    ) -> io::Result<()> {
        let home = Arc::clone(self);
        let installed = runtime::spawn_blocking(move || {
            let open = |dir: &Path| home.open_engine(dir);
            home.dir.lock().install(&received, open)
        });
        let engine = installed.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        // Only a replica that held nothing can have been of another lineage.
        log.belong_to(engine.lineage()).await?;
        let replaced = replica.engine();
        replica.replace(engine);
        runtime::sim::note("raft snapshot", 0, 0);
        close(&replaced);
        self.dir.lock().remove_replaced().map_err(io::Error::other)
    }
}

/// Bytes that stay free on the disk that holds `dir`.
///
/// # Errors
///
/// What the disk says.
pub(crate) fn reserve_bytes(env: &Env, options: &Options, dir: &Path) -> io::Result<u64> {
    let above = dir.parent().unwrap_or(dir);
    Ok(options.reserve_bytes(env.fs.space(above)?.total))
}

/// See [`Home::keep_log`].
#[derive(Debug)]
pub(crate) struct KeepsLog<'a>(&'a Home);

impl Drop for KeepsLog<'_> {
    fn drop(&mut self) {
        self.0.keeps_log.store(false, Ordering::Relaxed);
    }
}

fn close(engine: &Engine) {
    if let Err(error) = engine.close() {
        tracing::debug!(%error, "an engine that is not needed does not close");
    }
}

/// Sends a checkpoint of a replica to another node; returns that node's vote once it has installed it.
///
/// # Errors
///
/// What went wrong, for the log of openraft.
pub(crate) async fn send_snapshot(
    home: &Arc<Home>,
    replica: &Arc<Replica>,
    transport: &Arc<dyn Transport>,
    (to, group): (NodeId, GroupId),
    vote: Vote,
) -> Result<Vote, String> {
    let outgoing = home.prepare(replica).await?;
    let header = Header::Snapshot(group, vote).encode();
    let opened = transport.open(to, Channel::Snapshot, header).await;
    let mut duplex = opened.map_err(|error| error.to_string())?;
    let progress = Progress::default();
    send(&outgoing, &mut duplex, &home.rate, &progress).await.map_err(|error| error.to_string())?;
    drop(outgoing);
    let last =
        duplex.receiver.recv().await.ok_or("it received the snapshot, and did not say that it took it")?;
    match Answer::decode(&last).map_err(|malformed| malformed.to_string())? {
        Answer::Voted { vote, .. } => {
            tracing::info!(%group, node = %to, bytes = progress.get().moved, "sent a Raft snapshot");
            Ok(vote)
        }
        Answer::Failed(reason) => Err(reason),
        other => Err(format!("it answered {other:?} to a snapshot")),
    }
}

/// Takes a snapshot that a leader with this vote sends.
pub(crate) async fn take_snapshot(core: &Arc<Core>, from: NodeId, vote: Vote, mut duplex: Duplex) {
    let group = core.id;
    let Ok(_one_at_a_time) = core.home.receiving.try_lock() else {
        tracing::debug!(%group, %from, "a snapshot is being received already");
        return;
    };
    let engine = core.replica.engine();
    let incoming = core.home.dir.lock().incoming();
    let destination = Destination::in_place_of(&engine, &incoming);
    let received = match receive(&destination, &mut duplex, &Progress::default()).await {
        Ok(received) => received,
        Err(error) => {
            tracing::info!(%group, %from, error = &error as &dyn std::error::Error, "did not receive a Raft snapshot");
            return;
        }
    };
    let answer = match offer_to_raft(core, vote, received).await {
        Ok(vote) => Answer::Voted { vote, granted: true, last: None },
        Err(reason) => Answer::Failed(reason),
    };
    if duplex.sender.send(answer.encode()).await.is_err() {
        tracing::debug!(%group, %from, "the sender of a Raft snapshot has gone");
    }
}

async fn offer_to_raft(core: &Arc<Core>, vote: Vote, received: Received) -> Result<Vote, String> {
    let meta = meta_of(&received.checkpoint).ok_or("the snapshot has no membership")?;
    tracing::info!(group = %core.id, version = received.checkpoint.applied.version, "received a Raft snapshot");
    let snapshot = Snapshot { meta, snapshot: SnapshotData::Received(Box::new(received)) };
    let installed = core.raft.install_full_snapshot(vote, snapshot).await;
    installed.map(|response| response.vote).map_err(|fatal| fatal.to_string())
}

/// What openraft has to know of a checkpoint.
fn meta_of(checkpoint: &Checkpoint) -> Option<SnapshotMetaOf<TypeConfig>> {
    let applied = checkpoint.applied;
    let mark = checkpoint.marks.get(membership::MARK)?;
    let stored: StoredMembership =
        membership::decode_stored(mark.strip_prefix(&checkpoint.lineage.id.0)?).ok()?;
    let last_log_id = Some(log_id(applied.term, index_of(applied.version)));
    Some(SnapshotMetaOf::<TypeConfig> { last_log_id, last_membership: stored })
}
