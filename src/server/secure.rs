//! TLS at the port of clients.
//!
//! - Whether a client speaks HTTP/1.1 or HTTP/2 inside is agreed on in its handshake (ALPN).
//! - One that speaks plain HTTP is told so in plain HTTP, rather than with bytes that it cannot read.

use crate::tls::ClientTls;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take, in milliseconds.
const HANDSHAKE_MS_MAX: u64 = 10_000;
/// How long a client that speaks plain HTTP may take to hear that, in milliseconds.
const FAREWELL_MS_MAX: u64 = 1_000;
/// The first byte of TLS: a record of its handshake.
const HANDSHAKE_RECORD: u8 = 0x16;
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 43\r\n\
    connection: close\r\n\r\nthis port speaks TLS: say https, not http.\n";

/// Does the handshake with a client whose first byte is known. `None` when that fails or the server stops.
pub(super) async fn accept(
    stream: TcpStream,
    first: u8,
    tls: &ClientTls,
    mut stopping: watch::Receiver<bool>,
) -> Option<TlsStream<TcpStream>> {
    if first != HANDSHAKE_RECORD {
        tracing::debug!("a client does not speak TLS");
        let bound = Duration::from_millis(FAREWELL_MS_MAX);
        // Whoever does not listen is dropped all the same.
        let _told = tokio::time::timeout(bound, say_so(stream)).await;
        return None;
    }
    let bound = Duration::from_millis(HANDSHAKE_MS_MAX);
    let accepted = tokio::select! {
        _stopped = stopping.wait_for(|stopping| *stopping) => return None,
        accepted = tokio::time::timeout(bound, tls.acceptor().accept(stream)) => accepted,
    };
    match accepted {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_elapsed) => tracing::debug!("a TLS handshake took too long"),
    }
    None
}

/// Answers, and reads what is still to come: a connection closed with unread bytes would take the answer along.
async fn say_so(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(PLAIN_ANSWER).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4_096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
