//! openraft, bound to our types: the one configuration, its entry, and short names for what it makes of them.
//!
//! - Leader ids are openraft's standard ones: one leader a term, and a log id is (term, index).
//! - An entry carries a checksum chained to the entry before it (see [`crate::log::chain`]); the leader's log fills it in.

use crate::log::chain::Chain;
use crate::runtime::Rt;
use crate::{NodeId, Outcome};
use bytes::Bytes;
use openraft::entry::RaftPayload;
use openraft::vote::leader_id_std;
use std::fmt;

/// Where a node is, as every member of its cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Where its peers reach it: host and port.
    pub address: String,
    /// Where it stands; empty when nobody said.
    pub region: String,
}

/// What a log entry of ours holds, encoded (see [`crate::proposal`]).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposed(pub(crate) Bytes);

impl fmt::Debug for Proposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Proposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry came to, for whoever proposed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was no proposal of ours: a blank or membership entry.
    Nothing,
    /// It was appended in another term than it was proposed in, and did nothing.
    Fenced,
    /// One outcome for each write, in order.
    Applied(Vec<Outcome>),
}

/// The configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Proposed;
    type R = Answer;
    type NodeId = u64;
    type Node = Peer;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = Payload;
    type Entry = LogEntry;
    type AsyncRuntime = Rt;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = leader_id_std::CommittedLeaderId<u64>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::impls::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Proposed, u64, Peer>;
pub(crate) type Membership = openraft::Membership<u64, Peer>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, Peer>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::state_machine::StateMachine>;

/// A log id of ours.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId { term }, index)
}

/// One entry of a group's log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LogEntry {
    pub(crate) id: LogId,
    pub(crate) payload: Payload,
    /// `None` until the leader's log has taken the entry.
    pub(crate) chain: Option<Chain>,
}

impl LogEntry {
    pub(crate) const fn index(&self) -> u64 {
        self.id.index
    }

    /// Bytes that it takes, about.
    pub(crate) fn len(&self) -> usize {
        const OVERHEAD: usize = 64;
        OVERHEAD + if let Payload::Normal(proposed) = &self.payload { proposed.0.len() } else { 0 }
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.payload)
    }
}

impl openraft::entry::RaftEntry for LogEntry {
    type CommittedLeaderId = CommittedLeaderId;
    type Payload = Payload;

    fn new(id: LogId, payload: Payload) -> Self {
        Self { id, payload, chain: None }
    }

    fn log_id_parts(&self) -> (&CommittedLeaderId, u64) {
        (&self.id.leader_id, self.id.index)
    }

    fn set_log_id(&mut self, id: LogId) {
        self.id = id;
        self.chain = None;
    }

    fn get_membership(&self) -> Option<Membership> {
        self.payload.get_membership()
    }
}

/// A node of ours as openraft knows it.
impl From<NodeId> for u64 {
    fn from(node: NodeId) -> u64 {
        node.0
    }
}
