//! Speaks the handshake over a pair of byte streams.

use super::connection::{Sink, Source};
use super::handshake::{self, HEADER_LEN, Hello, PROTOCOL, Reply};
use super::tls::{TlsError, refused_by_alert};
use crate::NodeId;
use engine::codec::Malformed;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The first bytes of each record of TLS 1.x that can come here: a handshake or an alert.
const TLS_RECORDS: [[u8; 2]; 2] = [[0x16, 3], [0x15, 3]];

/// Why two nodes do not come together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// Nobody is there.
    #[error("{0}")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke in the handshake: {0}")]
    Io(#[from] io::Error),
    /// Something else answers there.
    #[error("it does not speak as a peer of CairnKV: {0}")]
    Malformed(#[from] Malformed),
    /// It encrypts, and we do not.
    #[error("it speaks TLS, and this node has no certificate for peers")]
    Encrypted,
    /// It, or this node, does not want to.
    #[error("{0}")]
    Refused(String),
    /// It does not prove who it is, or we do not.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

/// Says who we are and waits for a welcome.
pub(crate) async fn greet(source: &mut Source, sink: &mut Sink, hello: &Hello) -> Result<(), HandshakeError> {
    write(sink, &hello.encode()).await?;
    let reply = read(source).await.map_err(|error| match &error {
        // With TLS 1.3 who dials learns here what is thought of its certificate.
        HandshakeError::Io(broken) => refused_by_alert(broken).map_or(error, HandshakeError::Refused),
        _ => error,
    })?;
    match Reply::decode(&reply)? {
        Reply::Refused { reason, .. } => Err(HandshakeError::Refused(reason)),
        Reply::Welcome { node, .. } if node != hello.to => {
            Err(HandshakeError::Refused(format!("node {node} answers there")))
        }
        Reply::Welcome { protocol, .. } if !(PROTOCOL.oldest..=PROTOCOL.newest).contains(&protocol) => {
            Err(HandshakeError::Refused(format!(
                "it wants peer protocol {protocol}, which this node does not speak"
            )))
        }
        Reply::Welcome { .. } => Ok(()),
    }
}

/// Waits for who dials to say who it is.
pub(crate) async fn listen(source: &mut Source) -> Result<Hello, HandshakeError> {
    Ok(Hello::decode(&read(source).await?)?)
}

/// Lets it in.
pub(crate) async fn welcome(sink: &mut Sink, node: NodeId, protocol: u16) -> Result<(), HandshakeError> {
    write(sink, &Reply::Welcome { node, protocol }.encode()).await
}

/// Tells it why not.
pub(crate) async fn refuse(sink: &mut Sink, node: NodeId, reason: &str) -> Result<(), HandshakeError> {
    write(sink, &Reply::Refused { node, reason: reason.to_owned() }.encode()).await?;
    Ok(sink.shutdown().await?)
}

async fn write(sink: &mut Sink, bytes: &[u8]) -> Result<(), HandshakeError> {
    sink.write_all(bytes).await?;
    Ok(sink.flush().await?)
}

async fn read(source: &mut Source) -> Result<Vec<u8>, HandshakeError> {
    let mut header = [0; HEADER_LEN];
    let mut filled = 0;
    while filled < HEADER_LEN {
        let count = source.read(&mut header[filled..]).await?;
        if filled + count >= 2 && TLS_RECORDS.iter().any(|record| header.starts_with(record)) {
            return Err(HandshakeError::Encrypted);
        }
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        filled += count;
    }
    let (len, checksum) = handshake::decode_header(&header)?;
    let mut body = vec![0; len];
    source.read_exact(&mut body).await?;
    handshake::check_body(&body, checksum)?;
    Ok(body)
}
