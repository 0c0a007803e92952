//! Whom this process believes when it asks a server over https: the CA that it is told, else those of the system.

use crate::config::ConfigError;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// See the module. Clones are cheap.
#[derive(Clone)]
pub struct Trust(TlsConnector);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

impl Trust {
    /// In the CA whose certificates, in PEM, are in this file; in those of the system when there is none.
    ///
    /// # Errors
    ///
    /// When the file cannot be used.
    pub fn of(ca: Option<&Path>) -> Result<Trust, ConfigError> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(path) => {
                let pem = super::read_file(path).map_err(super::value("tls-ca"))?;
                for root in CertificateDer::pem_slice_iter(&pem) {
                    let added = roots.add(root.map_err(super::value("tls-ca"))?);
                    added.map_err(super::value("tls-ca"))?;
                }
                if roots.is_empty() {
                    return Err(super::value("tls-ca")("no certificate in the file"));
                }
            }
            // What the system has and cannot be used is left out: others may be enough.
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(super::value("tls-ca"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Trust(Arc::new(config).into()))
    }

    /// Encrypts a connection, once the server has proved that it is `host`.
    ///
    /// # Errors
    ///
    /// In words: when it has not.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| format!("'{host}': {error}"))?;
        self.0.connect(name, stream).await.map_err(|error| error.to_string())
    }
}
