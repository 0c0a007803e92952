//! The replica as openraft sees it.
//!
//! - Its state is durable by itself up to where the engine was synced; what is above comes back from the Raft log, which
//!   is never purged past that.
//! - Building a Raft snapshot only notes a position. The checkpoint is made when a follower is about to get it.

use crate::home::Home;
use crate::log::LogStore;
use crate::raft::{LogId, StoredMembership, TypeConfig};
use crate::raft_snapshot::Received;
use crate::replica::Replica;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use std::io;
use std::sync::Arc;

/// What a Raft snapshot is on this node.
#[derive(Debug)]
pub(crate) enum SnapshotData {
    /// Everything that is applied here.
    Here,
    /// What was received from the leader, checked, and not installed yet.
    Received(Box<Received>),
}

/// The state machine of one group. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct StateMachine {
    replica: Arc<Replica>,
    home: Arc<Home>,
    log: LogStore,
}

type Applied = (Option<LogId>, StoredMembership);

impl StateMachine {
    pub(crate) const fn new(replica: Arc<Replica>, home: Arc<Home>, log: LogStore) -> Self {
        Self { replica, home, log }
    }

    fn here(&self) -> SnapshotOf<TypeConfig, SnapshotData> {
        let meta = SnapshotMetaOf::<TypeConfig> {
            last_log_id: self.replica.position(),
            last_membership: self.replica.membership(),
        };
        Snapshot { meta, snapshot: SnapshotData::Here }
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<TypeConfig, SnapshotData>, io::Error> {
        Ok(self.here())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<Applied, io::Error> {
        Ok((self.replica.position(), self.replica.membership()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + Send,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let answer = self.replica.apply(entry).await.inspect_err(|error| {
                tracing::error!(%error, "this replica cannot go on");
            })?;
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMetaOf<TypeConfig>,
        data: SnapshotData,
    ) -> Result<(), io::Error> {
        match data {
            SnapshotData::Here => Ok(()),
            SnapshotData::Received(received) => self.home.install(&self.replica, &self.log, *received).await,
        }
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<SnapshotOf<TypeConfig, SnapshotData>>, io::Error> {
        Ok(self.replica.position().map(|_| self.here()))
    }
}
