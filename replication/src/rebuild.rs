//! Rebuilds a replica whose engine cannot be opened, from another replica, before its group is started.
//!
//! - The vote and the log of the group are intact, or this is not tried: [`crate::replica_dir`] says why the node may go on then,
//!   under its own id.
//! - The damaged engine is set aside, never removed. Its tables that are whole are used.
//! - Until a copy is there the group does not run on this node. It is asked for again and again, for [`PATIENCE`].
//! - Whom to ask is what the damaged engine and the log say of the members; both are as old as they are. A node that was
//!   the only member cannot be rebuilt.

use crate::home::reserve_bytes;
use crate::log::{Log, LogStore};
use crate::membership;
use crate::raft::{Peer, StoredMembership};
use crate::raft_snapshot::Destination;
use crate::repair::fetch_copy;
use crate::replica_dir::ReplicaDir;
use crate::transport::Transport;
use crate::{GroupId, NodeId, OpenError, runtime};
use engine::versionstamp::version_of;
use engine::{Checkpoint, Engine, Env, LineageId, Options};
use openraft::entry::RaftEntry;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a copy is asked for.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between the first two times that all others are asked. It doubles with each.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Between two times, at most.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// What rebuilding needs.
pub(crate) struct Rebuild<'a> {
    pub(crate) group: GroupId,
    pub(crate) node: NodeId,
    pub(crate) env: &'a Env,
    pub(crate) options: &'a Options,
    pub(crate) transport: &'a Arc<dyn Transport>,
    pub(crate) log: &'a Arc<Log>,
}

impl Rebuild<'_> {
    /// Sets the engine aside that cannot be opened because of `damage`, unless an earlier start did so, and puts a copy in
    /// its place, which is opened by `open`.
    ///
    /// # Errors
    ///
    /// The damage, when there is nobody to ask; [`OpenError::Rebuild`] when nobody gave a copy in time.
    pub(crate) async fn run(
        &self,
        dir: &mut ReplicaDir,
        damage: Option<engine::Error>,
        open: impl Fn(&Path) -> engine::Result<Engine>,
    ) -> Result<Engine, OpenError> {
        let group = self.group;
        let in_log = |source| OpenError::ReadLog { group, source };
        let replica = |source| OpenError::Replica { group, source };
        let lineage = self.log.lineage(group).map_err(in_log)?;
        let log = LogStore::open(self.log, group)?;
        let mut tables = dir.aside().map_err(replica)?;
        tables.extend(damage.is_some().then(|| dir.engine_dir()));
        let peers = self.peers(&tables, lineage, &log).map_err(in_log)?;
        let (Some((id, epoch)), false) = (lineage, peers.is_empty()) else {
            return Err(damage.map_or_else(
                || self.failed("no other member is known"),
                |source| OpenError::Engine { group, source },
            ));
        };
        if let Some(damage) = damage {
            tracing::error!(%group, %damage, "the engine cannot be opened: it is rebuilt from another replica");
            dir.set_aside().map_err(replica)?;
        }
        let at_least = version_of(epoch, log.purged().map_or(0, |id| id.index));
        let fs = Arc::clone(&self.env.fs);
        let incoming = dir.incoming();
        let reserve = reserve_bytes(self.env, self.options, &incoming).map_err(in_log)?;
        let into = Destination::in_place_of_nothing(fs, &incoming, Some(id), at_least, reserve);
        let into = tables.iter().fold(into, |into, dir| into.saving_from(dir));
        self.fetch(&peers, &into, dir, open).await
    }

    async fn fetch(
        &self,
        peers: &[NodeId],
        into: &Destination,
        dir: &mut ReplicaDir,
        open: impl Fn(&Path) -> engine::Result<Engine>,
    ) -> Result<Engine, OpenError> {
        let deadline = runtime::now() + PATIENCE;
        let mut pause = PAUSE_MIN;
        loop {
            match fetch_copy(self.transport, self.group, peers, into).await {
                Ok(received) => {
                    let installed = dir.install(&received, open);
                    return installed.map_err(|source| OpenError::Replica { group: self.group, source });
                }
                Err(reason) if runtime::now() >= deadline => return Err(self.failed(&reason)),
                Err(reason) => tracing::warn!(group = %self.group, reason, "cannot rebuild the replica yet"),
            }
            runtime::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn failed(&self, reason: &str) -> OpenError {
        OpenError::Rebuild { group: self.group, reason: reason.to_owned() }
    }

    /// The other members, and tells the network where they are.
    fn peers(
        &self,
        dirs: &[std::path::PathBuf],
        lineage: Option<(LineageId, u32)>,
        log: &LogStore,
    ) -> io::Result<Vec<NodeId>> {
        let mut peers: BTreeMap<u64, Peer> = BTreeMap::new();
        for dir in dirs {
            // A manifest that is damaged too says nothing.
            let manifest = Checkpoint::in_tables_of(&*self.env.fs, dir).ok().flatten();
            let stored = manifest.zip(lineage).and_then(|(held, (id, _))| stored_in(&held, id));
            peers.extend(stored.iter().flat_map(|stored| {
                stored.membership().nodes().map(|(id, peer)| (*id, peer.clone())).collect::<Vec<_>>()
            }));
        }
        let mut next = log.purged().map_or(0, |id| id.index + 1);
        let last = log.last().map_or(0, |id| id.index);
        while next <= last {
            let entries = log.applied_entries(next, last)?;
            let Some(reached) = entries.last().map(|entry| entry.index()) else { break };
            next = reached + 1;
            let members = entries.iter().filter_map(RaftEntry::get_membership);
            peers.extend(members.flat_map(|members| {
                members.nodes().map(|(id, peer)| (*id, peer.clone())).collect::<Vec<_>>()
            }));
        }
        peers.remove(&self.node.0);
        peers.iter().for_each(|(id, peer)| self.transport.set_address(NodeId(*id), peer.address.clone()));
        Ok(peers.into_keys().map(NodeId).collect())
    }
}

fn stored_in(held: &Checkpoint, lineage: LineageId) -> Option<StoredMembership> {
    let mark = held.marks.get(membership::MARK)?;
    membership::decode_stored(mark.strip_prefix(&lineage.0)?).ok()
}
