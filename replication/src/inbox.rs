//! What other nodes ask of this one.
//!
//! - Made before the network and the groups, which need each other; until a group is there, it is said not to be.
//! - Bytes that make no sense are answered with what is wrong with them, and change nothing.

use crate::group::{ChangeError, Core, Role};
use crate::home::take_snapshot;
use crate::message::{Answer, Header, Request};
use crate::network::answer_of;
use crate::raft::Raft;
use crate::repair::give_copy;
use crate::transport::{Duplex, Service};
use crate::{GroupId, NodeId};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Answers other nodes.
#[derive(Debug, Default)]
pub struct Inbox {
    groups: RwLock<BTreeMap<GroupId, Arc<Core>>>,
}

impl Inbox {
    /// One without groups.
    pub fn new() -> Arc<Inbox> {
        Arc::default()
    }

    pub(crate) fn add(&self, core: Arc<Core>) {
        self.groups.write().insert(core.id, core);
    }

    /// Answers nobody any more.
    pub(crate) fn clear(&self) {
        self.groups.write().clear();
    }

    fn group(&self, id: GroupId) -> Option<Arc<Core>> {
        self.groups.read().get(&id).cloned()
    }

    async fn respond(&self, bytes: &Bytes) -> Answer {
        let (id, request) = match Request::decode(bytes) {
            Ok(decoded) => decoded,
            Err(malformed) => return Answer::Failed(malformed.to_string()),
        };
        match self.group(id) {
            Some(core) => answer(&core, request).await,
            None => Answer::Failed(format!("group {id} is not there")),
        }
    }
}

async fn answer(core: &Arc<Core>, request: Request) -> Answer {
    let raft = &core.raft;
    let failed = |error: &dyn std::error::Error| Answer::Failed(error.to_string());
    match request {
        Request::Append(append) => {
            raft.append_entries(append).await.map_or_else(|error| failed(&error), Answer::Append)
        }
        Request::Vote(vote) => raft.vote(vote).await.map_or_else(|error| failed(&error), Answer::voted),
        Request::PreVote(vote) => {
            raft.pre_vote(vote).await.map_or_else(|error| failed(&error), Answer::voted)
        }
        Request::TakeOver(request) => match raft.handle_transfer_leader(request).await {
            Ok(Ok(())) => Answer::Done,
            Ok(Err(refused)) => failed(&refused),
            Err(error) => failed(&error),
        },
        Request::ReadIndex => match core.read_index().await {
            Ok(index) => Answer::ReadIndex(index),
            Err(_reason) => Answer::NotTheLeader,
        },
        Request::Status => match core.status() {
            status if status.role == Role::Leader => Answer::Status(Box::new(status)),
            _ => Answer::NotTheLeader,
        },
        Request::Propose(proposals) => core.take(proposals).await,
        Request::Change(change) => match core.change(change).await {
            Ok(()) => Answer::Done,
            Err(ChangeError::Refused(reason)) => Answer::Failed(reason),
            Err(ChangeError::Unavailable(_)) => Answer::NotTheLeader,
        },
    }
}

/// Takes requests to append from a stream, in order, and answers them in order.
async fn append_all(raft: &Raft, duplex: Duplex) {
    let Duplex { sender, receiver } = duplex;
    let requests = stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        match Request::decode(&bytes) {
            Ok((_, Request::Append(append))) => Some((append, receiver)),
            _ => None,
        }
    });
    let mut results = Box::pin(raft.stream_append(requests));
    while let Some(result) = results.next().await {
        let answer = result.map_or_else(|error| Answer::Failed(error.to_string()), answer_of);
        if sender.send(answer.encode()).await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl Service for Inbox {
    async fn answer(&self, _from: NodeId, request: Bytes) -> Bytes {
        self.respond(&request).await.encode()
    }

    async fn stream(&self, from: NodeId, header: Bytes, duplex: Duplex) {
        match Header::decode(&header) {
            Ok(Header::Append(group)) => {
                if let Some(core) = self.group(group) {
                    append_all(&core.raft, duplex).await;
                }
            }
            Ok(Header::Snapshot(group, vote)) => {
                if let Some(core) = self.group(group) {
                    take_snapshot(&core, from, vote, duplex).await;
                }
            }
            Ok(Header::Copy(group)) => {
                if let Some(core) = self.group(group) {
                    give_copy(&core.home, &core.replica, from, duplex).await;
                }
            }
            Err(malformed) => tracing::warn!(%from, %malformed, "a node opened a stream that makes no sense"),
        }
    }
}
