//! Certificates from files, read again when these change.
//!
//! - What cannot be used when the server starts stops it. Later the certificates before stay in use, and it is
//!   said once for each content of the files.
//! - Files that change one after the other are given until the next look to fit together.
//! - Connections that are open stay as they are.

pub mod trust;

use crate::config::ConfigError;
use crate::config::tls::{CertFiles, PeerCertFiles};
use arc_swap::ArcSwap;
use replication::transport::tcp::PeerTls;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsAcceptor;

/// How often files are looked at, in milliseconds.
const LOOK_MS: u64 = 10_000;
/// The longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// What a client may ask to speak inside, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate that clients see. Clones are the same.
#[derive(Clone)]
pub struct ClientTls(Arc<ArcSwap<ServerConfig>>);

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads certificate and key; what is watched keeps them fresh.
    ///
    /// # Errors
    ///
    /// When one of them cannot be used.
    pub fn open(files: &CertFiles) -> Result<(ClientTls, Watched), ConfigError> {
        let mut watched = Watched::new([("tls-cert", files.cert.clone()), ("tls-key", files.key.clone())]);
        let read = watched.read()?;
        let current = ClientTls(Arc::new(ArcSwap::from_pointee(server_config(&read)?)));
        let renewed = current.clone();
        watched.begin(read, move |read| {
            renewed.0.store(Arc::new(server_config(read)?));
            Ok(())
        });
        Ok((current, watched))
    }

    /// For the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.0.load_full().into()
    }
}

/// Reads what this node has and believes among its peers. It must prove that it is at `advertised`, if that is said.
///
/// # Errors
///
/// When it cannot be used, or others would not believe it.
pub fn open_peers(files: &PeerCertFiles, advertised: Option<&str>) -> Result<PeerTls, ConfigError> {
    let tls = peer_tls(&Watched::of_peers(files).read()?, files.name.as_deref())?;
    if let Some(address) = advertised {
        tls.check_own(address).map_err(value("peer-cert"))?;
    }
    Ok(tls)
}

/// Has `renew` called with what changed files hold, such as with `Tcp::replace_tls`.
///
/// # Errors
///
/// When they cannot be used now.
pub fn watch_peers(
    files: &PeerCertFiles,
    renew: impl Fn(PeerTls) + Send + 'static,
) -> Result<Watched, ConfigError> {
    let (mut watched, name) = (Watched::of_peers(files), files.name.clone());
    let read = watched.read()?;
    watched.begin(read, move |read| {
        renew(peer_tls(read, name.as_deref())?);
        Ok(())
    });
    Ok(watched)
}

/// Looks at the files from time to time and on SIGHUP, for as long as it is polled.
///
/// # Errors
///
/// When the system gives no signals.
pub async fn keep_fresh(mut watched: Vec<Watched>) -> std::io::Result<()> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut look = tokio::time::interval(Duration::from_millis(LOOK_MS));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            Some(()) = hang_up.recv() => true,
            _tick = look.tick() => false,
        };
        let looked = tokio::task::spawn_blocking(move || {
            watched.iter_mut().for_each(|files| files.look(asked));
            watched
        });
        watched = looked.await.map_err(std::io::Error::other)?;
    }
}

type Renew = Box<dyn Fn(&[Vec<u8>]) -> Result<(), ConfigError> + Send>;

/// Files, and what is done when they change.
pub struct Watched {
    /// Each with its setting.
    files: Vec<(&'static str, PathBuf)>,
    /// What was in them last.
    seen: Vec<Vec<u8>>,
    /// Whether that is in use, still to be tried again, or given up.
    state: State,
    renew: Renew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InUse,
    Unsettled,
    Rejected,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("files", &self.files)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Watched {
    fn new(files: impl Into<Vec<(&'static str, PathBuf)>>) -> Watched {
        Watched {
            files: files.into(),
            seen: Vec::new(),
            state: State::InUse,
            renew: Box::new(|_read| Ok(())),
        }
    }

    fn of_peers(files: &PeerCertFiles) -> Watched {
        let PeerCertFiles { own, ca, name: _ } = files;
        Watched::new([
            ("peer-cert", own.cert.clone()),
            ("peer-key", own.key.clone()),
            ("peer-ca", ca.clone()),
        ])
    }

    fn begin(
        &mut self,
        seen: Vec<Vec<u8>>,
        renew: impl Fn(&[Vec<u8>]) -> Result<(), ConfigError> + Send + 'static,
    ) {
        (self.seen, self.renew) = (seen, Box::new(renew));
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, ConfigError> {
        self.files.iter().map(|(name, path)| read_file(path).map_err(value(name))).collect()
    }

    /// Puts into use what is new. Who `asked` for it is told at once what is wrong.
    fn look(&mut self, asked: bool) {
        let changed = match self.read() {
            Ok(read) if read == self.seen && (self.state != State::Unsettled) => return,
            Ok(read) => {
                let renewed = (self.renew)(&read);
                let again = read == self.seen;
                self.seen = read;
                renewed.map_err(|error| (error, again))
            }
            Err(error) => {
                let again = self.seen.is_empty();
                self.seen.clear();
                if again && self.state == State::Rejected {
                    return;
                }
                Err((error, again))
            }
        };
        match changed {
            Ok(()) => {
                tracing::info!(files = %self, "certificates were renewed");
                self.state = State::InUse;
            }
            Err((error, again)) if asked || again => {
                tracing::warn!(%error, "certificates have changed and cannot be used; those before stay in use");
                self.state = State::Rejected;
            }
            Err(_may_fit_soon) => self.state = State::Unsettled,
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.files.iter().enumerate();
        paths.into_iter().try_for_each(|(at, (_name, path))| {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, path.display())
        })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > FILE_LEN_MAX {
        return Err(format!("{} is too long for a certificate or key", path.display()));
    }
    std::fs::read(path).map_err(failed)
}

fn server_config(read: &[Vec<u8>]) -> Result<ServerConfig, ConfigError> {
    let [cert, key] = read else { unreachable!("certificate and key are read") };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(value("tls-cert"))?;
    if chain.is_empty() {
        return Err(value("tls-cert")("no certificate in the file"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(value("tls-key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(value("tls-cert"))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(value("tls-cert"))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.ticketer = ring::Ticketer::new().map_err(value("tls-cert"))?;
    Ok(config)
}

fn peer_tls(read: &[Vec<u8>], name: Option<&str>) -> Result<PeerTls, ConfigError> {
    let [cert, key, ca] = read else { unreachable!("certificate, key and CA are read") };
    PeerTls::from_pem(cert, key, ca, name).map_err(value("peer-cert"))
}

fn value<E: ToString>(name: &'static str) -> impl FnOnce(E) -> ConfigError {
    move |error| ConfigError::Value { name, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
