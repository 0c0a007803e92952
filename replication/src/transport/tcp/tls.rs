//! Proof of who a peer is, and secrecy: TLS 1.3 with certificates at both ends.
//!
//! - Both sides show a certificate that the cluster's CA has signed, for the usages client and server.
//! - Who dials checks that it is valid for the host that was dialled, who is dialled that it is valid for the host where the
//!   dialling node is known to be; for one configured name instead, where there is one. A node of which no
//!   address is known yet may come in with any certificate of the CA: it has to know the cluster's id as well.
//! - Sessions are not resumed: each connection proves it anew, with the certificates that count then.

use super::connection::Halves;
use rustls::client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What is spoken inside, so that no other server with a certificate of the same CA is taken for a peer.
const PROTOCOL: &[u8] = b"cairn-peer";

/// What is wrong with a certificate or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// Not what it should be. Give another file.
    #[error("the {what} of peers cannot be used: {reason}")]
    Unusable {
        /// Certificate, key or CA.
        what: &'static str,
        /// What is wrong. Never holds a secret.
        reason: String,
    },
    /// Others would not believe it. Have it signed anew.
    #[error("the certificate of this node does not prove that it is {host}: {reason}")]
    NoProof {
        /// For what it has to be valid.
        host: String,
        /// What is wrong.
        reason: String,
    },
    /// A handshake that did not succeed.
    #[error("{0}")]
    Handshake(String),
}

/// Certificate, key and CA of a node among its peers. Clones are cheap.
#[derive(Clone)]
pub struct PeerTls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
    verifier: Arc<WebPkiServerVerifier>,
    chain: Arc<[CertificateDer<'static>]>,
    name: Option<ServerName<'static>>,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PeerTls {
    /// From PEM. With a `name`, certificates have to be valid for it instead of the nodes' addresses.
    ///
    /// # Errors
    ///
    /// When one of them is not what it should be, or the key is not the certificate's.
    pub fn from_pem(cert: &[u8], key: &[u8], ca: &[u8], name: Option<&str>) -> Result<PeerTls, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (chain, roots) = (certificates("certificate", cert)?, certificates("CA", ca)?);
        let key = PrivateKeyDer::from_pem_slice(key).map_err(unusable("key"))?;
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).map_err(unusable("CA"))?;
        }
        let store = Arc::new(store);
        let verifier = WebPkiServerVerifier::builder_with_provider(store.clone(), provider.clone());
        let client_verifier = WebPkiClientVerifier::builder_with_provider(store.clone(), provider.clone());
        let client_verifier = client_verifier.build().map_err(unusable("CA"))?;
        let client = client_config(provider.clone(), store, chain.clone(), key.clone_key())?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable("certificate"))?
            .with_client_cert_verifier(client_verifier)
            .with_single_cert(chain.clone(), key)
            .map_err(unusable("certificate"))?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.send_tls13_tickets = 0;
        Ok(PeerTls {
            connector: Arc::new(client).into(),
            acceptor: Arc::new(server).into(),
            verifier: verifier.build().map_err(unusable("CA"))?,
            chain: chain.into(),
            name: name.map(server_name).transpose()?,
        })
    }

    /// Whether others will believe this node's certificate when they dial it at `address`, as host and port.
    ///
    /// # Errors
    ///
    /// When they will not.
    pub fn check_own(&self, address: &str) -> Result<(), TlsError> {
        let (host, name) = (host(address), self.name_at(address)?);
        let (own, intermediates) = self.chain.split_first().expect("a chain has its certificate");
        let checked = self.verifier.verify_server_cert(own, intermediates, &name, &[], UnixTime::now());
        let no_proof =
            |error: rustls::Error| TlsError::NoProof { host: host.to_owned(), reason: words(&error) };
        checked.map(drop).map_err(no_proof)
    }

    /// Encrypts a connection that was dialled, once the other side has proved that it is at `address`.
    pub(crate) async fn connect(&self, stream: TcpStream, address: &str) -> Result<Halves, TlsError> {
        let name = self.name_at(address)?;
        let stream = self.connector.connect(name, stream).await.map_err(|error| failed(&error))?;
        let (source, sink) = tokio::io::split(stream);
        Ok((Box::new(source), Box::new(sink)))
    }

    /// Encrypts a connection that was accepted; gives the certificate of who dialled.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(Halves, CertificateDer<'static>), TlsError> {
        let stream = self.acceptor.accept(stream).await.map_err(|error| failed(&error))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
        let shown = shown.ok_or_else(|| TlsError::Handshake("it shows no certificate".to_owned()))?;
        let (source, sink) = tokio::io::split(stream);
        Ok(((Box::new(source), Box::new(sink)), shown))
    }

    /// Whether a certificate that was shown is valid for a node at `address`.
    pub(crate) fn check(&self, shown: &CertificateDer<'_>, address: &str) -> Result<(), TlsError> {
        let name = self.name_at(address)?;
        let parsed = ParsedCertificate::try_from(shown);
        let checked = parsed.and_then(|parsed| rustls::client::verify_server_name(&parsed, &name));
        checked.map_err(|error| TlsError::Handshake(words(&error)))
    }

    fn name_at(&self, address: &str) -> Result<ServerName<'static>, TlsError> {
        self.name.clone().map_or_else(|| server_name(host(address)), Ok)
    }
}

fn client_config(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, TlsError> {
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable("certificate"))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(unusable("certificate"))?;
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    Ok(client)
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(unusable(what))?;
    if found.is_empty() { Err(unusable(what)("no certificate in the file")) } else { Ok(found) }
}

fn unusable<E: ToString>(what: &'static str) -> impl FnOnce(E) -> TlsError {
    move |error| TlsError::Unusable { what, reason: error.to_string() }
}

fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|error| TlsError::Handshake(format!("'{host}': {error}")))
}

/// The host of a host and port, without the brackets of an IPv6 address.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _port)| host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    // An address without a port, such as ::1, has colons of its own.
    if bare.parse::<IpAddr>().is_err() && address.parse::<IpAddr>().is_ok() { address } else { bare }
}

/// What went wrong in a handshake, and on which side.
fn failed(error: &io::Error) -> TlsError {
    let Some(cause) = rustls_error(error) else {
        return TlsError::Handshake(format!("the TLS handshake broke: {error}; does it speak TLS?"));
    };
    TlsError::Handshake(match cause {
        rustls::Error::AlertReceived(_) => refused_by_alert(error).unwrap_or_else(|| words(cause)),
        rustls::Error::InvalidMessage(_) => format!("{cause}: it does not speak TLS"),
        rustls::Error::InvalidCertificate(_) => format!("its certificate is not accepted: {}", words(cause)),
        _ => format!("the TLS handshake failed: {cause}"),
    })
}

/// What the other side thinks of our certificate, when it has ended the connection for that.
pub(crate) fn refused_by_alert(error: &io::Error) -> Option<String> {
    let Some(rustls::Error::AlertReceived(alert)) = rustls_error(error) else { return None };
    let reason = match alert {
        // The second one when the CAs have the same name.
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "another CA has signed it",
        AlertDescription::CertificateExpired => "it has expired there",
        AlertDescription::BadCertificate => "it is not valid there",
        AlertDescription::UnsupportedCertificate => "it is not for the usage client",
        AlertDescription::CertificateRequired => "it asks for one",
        AlertDescription::NoApplicationProtocol => return Some("it is no peer of CairnKV".to_owned()),
        other => {
            return Some(format!(
                "it ended the TLS handshake: {}",
                other.as_str().unwrap_or("unknown alert")
            ));
        }
    };
    Some(format!("it does not accept the certificate of this node: {reason}"))
}

fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// The short form of an error about a certificate.
fn words(error: &rustls::Error) -> String {
    use CertificateError as Reason;
    let rustls::Error::InvalidCertificate(reason) = error else { return error.to_string() };
    match reason {
        Reason::NotValidForNameContext { expected, presented } => {
            format!("it is not valid for {}, only for {}", expected.to_str(), list(presented))
        }
        Reason::UnknownIssuer | Reason::BadSignature => "another CA has signed it".to_owned(),
        Reason::Expired | Reason::ExpiredContext { .. } => "it has expired".to_owned(),
        Reason::NotValidYet | Reason::NotValidYetContext { .. } => "it is not valid yet".to_owned(),
        Reason::InvalidPurpose | Reason::InvalidPurposeContext { .. } => {
            "it is not for this usage".to_owned()
        }
        other => other.to_string(),
    }
}

/// Names as rustls shows them, such as `DnsName("db-1")`, without the dress.
fn list(names: &[String]) -> String {
    let bare = names.iter().map(|name| match name.split_once('(') {
        Some((_kind, name)) => name.trim_end_matches(')').trim_matches('"'),
        None => name,
    });
    let bare: Vec<_> = bare.collect();
    if bare.is_empty() { "no name at all".to_owned() } else { bare.join(", ") }
}

#[cfg(test)]
mod tests;
