//! The network as replication sees it: one request and its answer, or an ordered stream each way.
//!
//! - Bytes only: what they mean is between the two ends. An answer to a request of ours is given by the other node's
//!   [`Service`]; whatever goes wrong on the way is a [`TransportError`], which says whether the other side may have
//!   seen the request ([`TransportError::is_unseen`]).
//! - Nothing is retried here, and nothing is delivered twice.
//! - Each pair of nodes has one connection a [`Channel`], so that a snapshot never stands in the way of a heartbeat.
//! - A stream keeps its order and pushes back: a sender waits while the other side does not read.

#[doc(hidden)]
pub mod conformance;
pub mod tcp;

use crate::NodeId;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;
use tokio::sync::mpsc;

/// The longest message, in bytes, inclusive: a log entry of the largest batch and its envelope.
pub const MESSAGE_LEN_MAX: usize = 16 << 20;
/// Messages that wait in each direction of a stream whose other side does not read, at most; they may be fewer.
pub const STREAM_MESSAGES_MAX: usize = 4_096;

/// Which of the connections of a pair of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Entries, forwarded writes, reads and membership.
    Log,
    /// Heartbeats and votes.
    Heartbeat,
    /// Raft snapshots and repairs.
    Snapshot,
}

impl Channel {
    /// All of them.
    pub const ALL: [Channel; 3] = [Channel::Log, Channel::Heartbeat, Channel::Snapshot];
}

/// Why a message did not get there, or its answer not back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Nobody knows where it is. Tell the transport its address.
    #[error("the address of node {0} is not known")]
    NoAddress(NodeId),
    /// It cannot be reached: it has not seen the request. Try again later.
    #[error("cannot reach node {node}: {reason}")]
    Unreachable {
        /// Which node.
        node: NodeId,
        /// What the network said.
        reason: String,
    },
    /// The connection broke before the answer came. The request may have been seen.
    #[error("the connection with node {node} broke: {reason}")]
    Broken {
        /// Which node.
        node: NodeId,
        /// What the network, or the other side, said.
        reason: String,
    },
    /// No answer in time. The request may have been seen.
    #[error("node {node} did not answer in {within_ms} ms")]
    TimedOut {
        /// Which node.
        node: NodeId,
        /// How long it was waited for, in milliseconds.
        within_ms: u64,
    },
    /// This node and that one do not go together: another cluster or format, a certificate, or one was removed. A
    /// person must look.
    #[error("no connection with node {node}: {reason}")]
    Refused {
        /// Which node.
        node: NodeId,
        /// What does not fit, in words of the one or the other.
        reason: String,
    },
    /// The message is over [`MESSAGE_LEN_MAX`] bytes. Send less.
    #[error("a message of {0} bytes is too long to send")]
    TooLong(usize),
}

impl TransportError {
    /// Whether the other side certainly has not seen the request.
    pub fn is_unseen(&self) -> bool {
        match self {
            TransportError::Broken { .. } | TransportError::TimedOut { .. } => false,
            TransportError::NoAddress(_)
            | TransportError::Unreachable { .. }
            | TransportError::Refused { .. }
            | TransportError::TooLong(_) => true,
        }
    }
}

/// Two ordered streams of messages between two nodes. Dropping the sender ends that direction; when the connection
/// breaks, or a message of over [`MESSAGE_LEN_MAX`] bytes is sent, both end.
#[derive(Debug)]
pub struct Duplex {
    /// To the other side; waits while it does not read.
    pub sender: mpsc::Sender<Bytes>,
    /// From the other side; `None` when it has ended or the connection broke.
    pub receiver: mpsc::Receiver<Bytes>,
}

/// Reaches other nodes.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Says where a node is, as host and port; replaces what was said before, also that it was to be forgotten.
    fn set_address(&self, node: NodeId, address: String);

    /// Forgets a node and ends what is open to it. It is not answered any more either.
    fn forget(&self, node: NodeId);

    /// Sends one request and waits for its answer, at most for `within`.
    ///
    /// # Errors
    ///
    /// See [`TransportError`].
    async fn call(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError>;

    /// Opens a stream; `header` tells the other side what it is for.
    ///
    /// # Errors
    ///
    /// See [`TransportError`].
    async fn open(&self, to: NodeId, channel: Channel, header: Bytes) -> Result<Duplex, TransportError>;
}

/// The transport of a node that no other one can reach.
#[derive(Debug, Clone, Copy)]
pub struct Alone;

#[async_trait]
impl Transport for Alone {
    fn set_address(&self, _node: NodeId, _address: String) {}

    fn forget(&self, _node: NodeId) {}

    async fn call(
        &self,
        to: NodeId,
        _channel: Channel,
        _request: Bytes,
        _within: Duration,
    ) -> Result<Bytes, TransportError> {
        Err(TransportError::NoAddress(to))
    }

    async fn open(&self, to: NodeId, _channel: Channel, _header: Bytes) -> Result<Duplex, TransportError> {
        Err(TransportError::NoAddress(to))
    }
}

/// What a node does for others.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Answers one request.
    async fn answer(&self, from: NodeId, request: Bytes) -> Bytes;

    /// Serves a stream until it ends.
    async fn stream(&self, from: NodeId, header: Bytes, duplex: Duplex);
}
