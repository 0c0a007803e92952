//! The real network: TCP between nodes, one connection for each channel and each direction of dialling.
//!
//! - A node's requests and streams travel on connections that it dialled itself, when it first needed them.
//! - Whoever connects says first which cluster, lineage, format and node it is, and which node it wants; with whom that
//!   does not fit there is no word more than why.
//! - Everything that waits has a bound: requests, streams, bytes to write, connections.
//!
//! | module | what it does |
//! |---|---|
//! | `frame`, `handshake` | bytes |
//! | `outbox`, `streams`, `connection` | one connection |
//! | `exchange`, `tls`, `dial`, `accept` | how it begins |
//! | `link`, `peers` | which connections there are |

mod accept;
mod complaints;
mod connection;
mod dial;
mod exchange;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod link;
mod outbox;
mod peers;
mod streams;
mod tls;

use crate::NodeId;
use crate::transport::{Channel, Duplex, MESSAGE_LEN_MAX, Service, Transport, TransportError};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use complaints::Complaints;
use connection::{Connection, Halves};
pub use handshake::{Identity, Range};
use peers::Peers;
use socket2::SockRef;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
pub use tls::{PeerTls, TlsError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Connections of each direction, at most.
const CONNECTIONS_MAX: u32 = 512;
/// How long connections may take to end when the transport is closed, in milliseconds.
const CLOSE_MS_MAX: u64 = 2_000;

/// What a transport needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this node is.
    pub identity: Identity,
    /// With which it proves that; without, nothing is proved and nothing is secret.
    pub tls: Option<PeerTls>,
}

/// Reaches other nodes over TCP. Clones are the same transport.
#[derive(Clone)]
pub struct Tcp {
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    identity: Identity,
    tls: ArcSwapOption<PeerTls>,
    peers: Peers,
    /// One for each connection that this node dialled.
    outbound: Arc<Semaphore>,
    /// One for each that others dialled, whoever they are.
    inbound: Arc<Semaphore>,
    /// Has no permits; it is closed when the transport is.
    closing: Semaphore,
    complaints: Complaints,
}

impl Tcp {
    /// Begins to let other nodes in; `service` answers them. Runs on the current runtime of tokio until it is closed.
    pub fn start(options: Options, listener: TcpListener, service: Arc<dyn Service>) -> Tcp {
        let shared = Arc::new(Shared {
            identity: options.identity,
            tls: ArcSwapOption::from_pointee(options.tls),
            peers: Peers::default(),
            outbound: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
            inbound: Arc::new(Semaphore::new(CONNECTIONS_MAX as usize)),
            closing: Semaphore::new(0),
            complaints: Complaints::default(),
        });
        let accepting = tokio::spawn(accept::accept_all(shared.clone(), listener, service)).abort_handle();
        Tcp { shared, accepting }
    }

    /// Uses other certificates from now on. Connections that are open stay.
    pub fn replace_tls(&self, tls: PeerTls) {
        self.shared.tls.store(Some(Arc::new(tls)));
    }

    /// Lets nobody in any more, ends all connections, and waits until they have ended.
    pub async fn close(&self) {
        self.accepting.abort();
        self.shared.closing.close();
        self.shared.peers.close();
        let bound = Duration::from_millis(CLOSE_MS_MAX);
        for slots in [&self.shared.inbound, &self.shared.outbound] {
            let ended = slots.acquire_many(CONNECTIONS_MAX);
            if tokio::time::timeout(bound, ended).await.is_err() {
                tracing::warn!("connections of peers did not end in time");
            }
            slots.close();
        }
    }

    async fn connection(&self, to: NodeId, channel: Channel) -> Result<Arc<Connection>, TransportError> {
        let peer = self.shared.peers.get(to)?;
        let dial = || dial::dial(self.shared.clone(), to, peer.address(), channel);
        peer.link(channel).connection(TransportError::NoAddress(to), dial).await
    }
}

impl Shared {
    fn tls(&self) -> Option<Arc<PeerTls>> {
        self.tls.load_full()
    }

    /// Returns when the transport is closed.
    async fn closed(&self) {
        // Only the end of the semaphore gives an answer.
        drop(self.closing.acquire().await);
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp").field("node", &self.shared.identity.node).finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for Tcp {
    fn set_address(&self, node: NodeId, address: String) {
        self.shared.peers.set_address(node, address);
    }

    fn forget(&self, node: NodeId) {
        self.shared.peers.forget(node);
    }

    async fn call(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        if request.len() > MESSAGE_LEN_MAX {
            return Err(TransportError::TooLong(request.len()));
        }
        let answer = async { self.connection(to, channel).await?.call(request).await };
        tokio::time::timeout(within, answer).await.unwrap_or_else(|_elapsed| {
            let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            Err(TransportError::TimedOut { node: to, within_ms })
        })
    }

    async fn open(&self, to: NodeId, channel: Channel, header: Bytes) -> Result<Duplex, TransportError> {
        if header.len() > MESSAGE_LEN_MAX {
            return Err(TransportError::TooLong(header.len()));
        }
        self.connection(to, channel).await?.open(header).await
    }
}

fn plain(stream: TcpStream) -> Halves {
    let (source, sink) = stream.into_split();
    (Box::new(source), Box::new(sink))
}

/// Messages leave at once, and so does the acknowledgement of the first ones.
fn tune(stream: &TcpStream) {
    let tuned = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_quickack(true));
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot tune a connection of a peer");
    }
}

#[cfg(test)]
mod strangers;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
