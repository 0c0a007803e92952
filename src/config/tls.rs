//! Where the certificates are: of the port of clients, and of this node among its peers.

use super::{ConfigError, invalid};
use std::path::PathBuf;

/// The flags about certificates, each with its environment variable.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsFlags {
    /// Certificate chain in PEM for clients: the port then speaks https alone; read again when it changes and on SIGHUP
    #[arg(long, env = "CAIRN_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Key of that certificate, in PEM
    #[arg(long, env = "CAIRN_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Certificates in PEM of the CA to believe when a cluster is joined over https [default: those of the system]
    #[arg(long, env = "CAIRN_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Certificate chain in PEM with which this node proves to other nodes who it is, for the usages client and server
    #[arg(long, env = "CAIRN_PEER_CERT", value_name = "FILE")]
    pub peer_cert: Option<PathBuf>,

    /// Key of that certificate, in PEM
    #[arg(long, env = "CAIRN_PEER_KEY", value_name = "FILE")]
    pub peer_key: Option<PathBuf>,

    /// Certificates in PEM of the CA that has signed those of all nodes
    #[arg(long, env = "CAIRN_PEER_CA", value_name = "FILE")]
    pub peer_ca: Option<PathBuf>,

    /// Name for which the certificates of all nodes are valid [default: the host of each node's peer address]
    #[arg(long, env = "CAIRN_PEER_NAME", value_name = "NAME")]
    pub peer_name: Option<String>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertFiles {
    /// The chain, in PEM.
    pub cert: PathBuf,
    /// The key, in PEM.
    pub key: PathBuf,
}

/// What a node proves itself with, and what it believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertFiles {
    /// Its own.
    pub own: CertFiles,
    /// The CA's certificates, in PEM.
    pub ca: PathBuf,
    /// For which name certificates have to be valid; `None` is the host of each node.
    pub name: Option<String>,
}

/// Which certificates there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Of the port of clients; `None` when it speaks http.
    pub clients: Option<CertFiles>,
    /// The CA to believe when a cluster is joined over https; `None` is those of the system.
    pub ca: Option<PathBuf>,
    /// Of this node among its peers; `None` when they talk in the open.
    pub peers: Option<PeerCertFiles>,
}

impl TlsFlags {
    /// What was said here, and where nothing was, what `file` says.
    pub(super) fn or(self, file: TlsFlags) -> TlsFlags {
        TlsFlags {
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            tls_ca: self.tls_ca.or(file.tls_ca),
            peer_cert: self.peer_cert.or(file.peer_cert),
            peer_key: self.peer_key.or(file.peer_key),
            peer_ca: self.peer_ca.or(file.peer_ca),
            peer_name: self.peer_name.or(file.peer_name),
        }
    }
}

impl TlsSettings {
    /// Checks that what was said belongs together.
    ///
    /// # Errors
    ///
    /// When a part is missing.
    pub(super) fn resolve(flags: TlsFlags) -> Result<TlsSettings, ConfigError> {
        let clients = pair(("tls-cert", flags.tls_cert), ("tls-key", flags.tls_key))?;
        let own = pair(("peer-cert", flags.peer_cert), ("peer-key", flags.peer_key))?;
        let peers = match (own, flags.peer_ca) {
            (Some(own), Some(ca)) => Some(PeerCertFiles { own, ca, name: flags.peer_name }),
            (None, None) if flags.peer_name.is_some() => return Err(missing("peer-name", "peer-cert")),
            (None, None) => None,
            (Some(_), None) => return Err(missing("peer-cert", "peer-ca")),
            (None, Some(_)) => return Err(missing("peer-ca", "peer-cert")),
        };
        Ok(TlsSettings { clients, ca: flags.tls_ca, peers })
    }
}

type Named = (&'static str, Option<PathBuf>);

fn pair((cert_name, cert): Named, (key_name, key): Named) -> Result<Option<CertFiles>, ConfigError> {
    match (cert, key) {
        (Some(cert), Some(key)) => Ok(Some(CertFiles { cert, key })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(missing(cert_name, key_name)),
        (None, Some(_)) => Err(missing(key_name, cert_name)),
    }
}

fn missing(said: &'static str, other: &str) -> ConfigError {
    invalid(said)(format!("say --{other} too"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> Option<PathBuf> {
        Some(PathBuf::from(name))
    }

    #[test]
    fn what_belongs_together_is_taken() -> Result<(), ConfigError> {
        assert_eq!(TlsSettings::resolve(TlsFlags::default())?, TlsSettings::default());
        let flags = TlsFlags { tls_cert: path("a"), peer_cert: path("c"), ..TlsFlags::default() };
        let file = TlsFlags {
            tls_cert: path("not this"),
            tls_key: path("b"),
            peer_key: path("d"),
            peer_ca: path("e"),
            ..TlsFlags::default()
        };
        let settings = TlsSettings::resolve(flags.or(file))?;
        assert_eq!(settings.clients, Some(CertFiles { cert: "a".into(), key: "b".into() }));
        let own = CertFiles { cert: "c".into(), key: "d".into() };
        assert_eq!(settings.peers, Some(PeerCertFiles { own, ca: "e".into(), name: None }));
        Ok(())
    }

    #[test]
    fn a_part_alone_is_refused_with_what_is_missing() {
        type Set = fn(&mut TlsFlags);
        let cases: &[(Set, &str)] = &[
            (|f| f.tls_cert = path("x"), "tls-cert: say --tls-key too"),
            (|f| f.tls_key = path("x"), "tls-key: say --tls-cert too"),
            (|f| f.peer_cert = path("x"), "peer-cert: say --peer-key too"),
            (|f| (f.peer_cert, f.peer_key) = (path("x"), path("y")), "peer-cert: say --peer-ca too"),
            (|f| f.peer_ca = path("x"), "peer-ca: say --peer-cert too"),
            (|f| f.peer_name = Some("db".to_owned()), "peer-name: say --peer-cert too"),
        ];
        for (set, expected) in cases {
            let mut flags = TlsFlags::default();
            set(&mut flags);
            let error = TlsSettings::resolve(flags).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
