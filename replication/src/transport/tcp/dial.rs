//! Goes to other nodes.

use super::connection::Connection;
use super::exchange::{self, HandshakeError};
use super::handshake::{Hello, PROTOCOL};
use super::{Shared, plain, tune};
use crate::NodeId;
use crate::transport::{Channel, TransportError};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the network may take to connect, in milliseconds: a new attempt finds a network that comes back sooner than the
/// system's own repetitions, whose pauses double from 1 s.
const CONNECT_MS_MAX: u64 = 1_500;
/// How long a dial may take with its handshake, in milliseconds.
const DIAL_MS_MAX: u64 = 4_000;

/// Connects with a node and comes to terms with it.
pub(crate) async fn dial(
    shared: Arc<Shared>,
    to: NodeId,
    address: String,
    channel: Channel,
) -> Result<Arc<Connection>, TransportError> {
    let bound = Duration::from_millis(DIAL_MS_MAX);
    let dialled = tokio::select! {
        () = shared.closed() => Ok(Err(closed())),
        dialled = tokio::time::timeout(bound, shake_hands(&shared, to, &address, channel)) => dialled,
    };
    let error = match dialled {
        Ok(Ok(connection)) => {
            shared.complaints.settle(to);
            return Ok(connection);
        }
        Ok(Err(error @ (HandshakeError::Refused(_) | HandshakeError::Tls(_)))) => {
            TransportError::Refused { node: to, reason: format!("{address}: {error}") }
        }
        Ok(Err(error)) => TransportError::Unreachable { node: to, reason: format!("{address}: {error}") },
        Err(_elapsed) => {
            let reason = format!("{address}: no answer in {DIAL_MS_MAX} ms");
            TransportError::Unreachable { node: to, reason }
        }
    };
    if shared.complaints.is_new(to, &error.to_string()) {
        tracing::warn!(%error, "cannot connect with a peer");
    }
    Err(error)
}

async fn shake_hands(
    shared: &Shared,
    to: NodeId,
    address: &str,
    channel: Channel,
) -> Result<Arc<Connection>, HandshakeError> {
    let slot = shared.outbound.clone().acquire_owned().await.map_err(|_closed| closed())?;
    let bound = Duration::from_millis(CONNECT_MS_MAX);
    let connected = tokio::time::timeout(bound, TcpStream::connect(address)).await;
    let connected = connected.unwrap_or_else(|_elapsed| Err(std::io::ErrorKind::TimedOut.into()));
    let stream = connected.map_err(HandshakeError::Connect)?;
    tune(&stream);
    let (mut source, mut sink) = match shared.tls() {
        Some(tls) => tls.connect(stream, address).await?,
        None => plain(stream),
    };
    let hello = Hello { protocol: PROTOCOL, identity: shared.identity, to, channel };
    exchange::greet(&mut source, &mut sink, &hello).await?;
    Ok(Connection::start((source, sink), to, None, slot))
}

fn closed() -> HandshakeError {
    HandshakeError::Refused("this node stops".to_owned())
}
