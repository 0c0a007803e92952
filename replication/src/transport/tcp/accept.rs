//! Lets other nodes in.
//!
//! - Who does not say in time who it is, is dropped; so many may be about to say it.
//! - Who is refused is told why, and so is our log.

use super::connection::{Connection, Halves};
use super::exchange::{self, HandshakeError};
use super::handshake::{Hello, judge};
use super::tls::PeerTls;
use super::{Shared, plain, tune};
use crate::transport::Service;
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

/// How long the handshake may take, in milliseconds.
const HANDSHAKE_MS_MAX: u64 = 5_000;
/// Pause after the system refused a connection, such as for want of file descriptors, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// The certificate that was shown, and what it is to be checked with.
type Proof = (Arc<PeerTls>, CertificateDer<'static>);

/// Accepts until it is aborted.
pub(crate) async fn accept_all(shared: Arc<Shared>, listener: TcpListener, service: Arc<dyn Service>) {
    loop {
        let Ok(slot) = shared.inbound.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                tokio::spawn(admit(shared.clone(), stream, address, service.clone(), slot));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of a peer");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

async fn admit(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    service: Arc<dyn Service>,
    slot: OwnedSemaphorePermit,
) {
    let bound = Duration::from_millis(HANDSHAKE_MS_MAX);
    let admitted = tokio::select! {
        () = shared.closed() => return,
        admitted = tokio::time::timeout(bound, shake_hands(&shared, stream, address, service, slot)) => admitted,
    };
    match admitted {
        Ok(Ok(())) => {}
        // Whoever only looked whether something listens here, or went away.
        Ok(Err(error @ HandshakeError::Io(_))) => tracing::debug!(%address, %error, "a connection ended"),
        Ok(Err(error)) => tracing::warn!(%address, %error, "a connection is no peer's"),
        Err(_elapsed) => tracing::debug!(%address, "a connection did not say in time who it is"),
    }
}

async fn shake_hands(
    shared: &Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    service: Arc<dyn Service>,
    slot: OwnedSemaphorePermit,
) -> Result<(), HandshakeError> {
    tune(&stream);
    let ((mut source, mut sink), proof) = secure(shared, stream).await?;
    let hello = exchange::listen(&mut source).await?;
    let from = hello.identity.node;
    match check(shared, &hello, proof) {
        Ok(protocol) => {
            exchange::welcome(&mut sink, shared.identity.node, protocol).await?;
            shared.complaints.settle(from);
            let connection = Connection::start((source, sink), from, Some(service), slot);
            shared.peers.let_in(hello.channel, connection);
        }
        Err(reason) => {
            if shared.complaints.is_new(from, &reason) {
                tracing::warn!(node = %from, %address, reason, "a node that dials is refused");
            }
            exchange::refuse(&mut sink, shared.identity.node, &reason).await?;
        }
    }
    Ok(())
}

async fn secure(shared: &Shared, stream: TcpStream) -> Result<(Halves, Option<Proof>), HandshakeError> {
    let Some(tls) = shared.tls() else { return Ok((plain(stream), None)) };
    let (halves, shown) = tls.accept(stream).await?;
    Ok((halves, Some((tls, shown))))
}

fn check(shared: &Shared, hello: &Hello, proof: Option<Proof>) -> Result<u16, String> {
    let (protocol, from) = (judge(&shared.identity, hello)?, hello.identity.node);
    if let Some(reason) = shared.peers.refusal(from) {
        return Err(reason);
    }
    if let (Some((tls, shown)), Some(address)) = (proof, shared.peers.address(from)) {
        let checked = tls.check(&shown, &address);
        checked.map_err(|error| format!("the certificate does not prove that node {from} dials: {error}"))?;
    }
    Ok(protocol)
}
