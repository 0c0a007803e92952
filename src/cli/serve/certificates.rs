//! The certificates of a node: read before anything else is opened, and kept fresh while it serves.

use crate::config::{ConfigError, Settings};
use crate::tls::{self, ClientTls, Watched};
use replication::transport::tcp::{PeerTls, Tcp};

/// What this node shows to clients and to other nodes.
pub(super) struct Certificates {
    pub(super) clients: Option<ClientTls>,
    pub(super) peers: Option<PeerTls>,
    watched: Vec<Watched>,
}

impl Certificates {
    /// Reads all of them. That of peers must prove that this node is where it says that it is.
    ///
    /// # Errors
    ///
    /// When one cannot be used.
    pub(super) fn open(settings: &Settings) -> Result<Certificates, ConfigError> {
        let (clients, watched) = settings.tls.clients.as_ref().map(ClientTls::open).transpose()?.unzip();
        let address = settings.cluster.peer.as_ref().map(|peer| peer.advertised());
        let peers = settings.tls.peers.as_ref().map(|files| tls::open_peers(files, address.as_deref()));
        Ok(Certificates { clients, peers: peers.transpose()?, watched: watched.into_iter().collect() })
    }

    /// Begins to look for changes.
    ///
    /// # Errors
    ///
    /// When they have changed since, and cannot be used any more.
    pub(super) fn keep_fresh(mut self, settings: &Settings, tcp: Option<&Tcp>) -> Result<(), ConfigError> {
        if let (Some(files), Some(tcp)) = (&settings.tls.peers, tcp) {
            let tcp = tcp.clone();
            self.watched.push(tls::watch_peers(files, move |renewed| tcp.replace_tls(renewed))?);
        }
        if !self.watched.is_empty() {
            tokio::spawn(tls::keep_fresh(self.watched));
        }
        Ok(())
    }
}
