//! The nodes that this one knows, the connections with them, and the nodes that it will not know again.

use super::connection::Connection;
use super::link::Link;
use crate::NodeId;
use crate::transport::{Channel, TransportError};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const CLOSING: &str = "the node stops";

/// A node and what we dialled to it.
#[derive(Debug)]
pub(crate) struct Peer {
    address: Mutex<String>,
    links: [Arc<Link>; Channel::ALL.len()],
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Peers(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    known: BTreeMap<NodeId, Arc<Peer>>,
    /// Connections that others dialled.
    inbound: BTreeMap<(NodeId, Channel), Arc<Connection>>,
    forgotten: BTreeSet<NodeId>,
    closed: bool,
}

fn removed(node: NodeId) -> String {
    format!("node {node} was removed from the cluster")
}

impl Peer {
    pub(crate) fn address(&self) -> String {
        self.address.lock().clone()
    }

    pub(crate) fn link(&self, channel: Channel) -> &Arc<Link> {
        match channel {
            Channel::Log => &self.links[0],
            Channel::Heartbeat => &self.links[1],
            Channel::Snapshot => &self.links[2],
        }
    }
}

impl Peers {
    /// A node that can be dialled.
    pub(crate) fn get(&self, node: NodeId) -> Result<Arc<Peer>, TransportError> {
        self.0.read().known.get(&node).cloned().ok_or(TransportError::NoAddress(node))
    }

    /// Host and port of a node, when they are known.
    pub(crate) fn address(&self, node: NodeId) -> Option<String> {
        self.0.read().known.get(&node).map(|peer| peer.address())
    }

    /// Says where a node is. One that was forgotten is known again.
    pub(crate) fn set_address(&self, node: NodeId, address: String) {
        let mut inner = self.0.write();
        if inner.closed {
            return;
        }
        inner.forgotten.remove(&node);
        let peer = inner.known.entry(node).or_insert_with(|| {
            let links = std::array::from_fn(|_channel| Arc::new(Link::default()));
            Arc::new(Peer { address: Mutex::default(), links })
        });
        let before = std::mem::replace(&mut *peer.address.lock(), address.clone());
        if before != address {
            peer.links.iter().for_each(|link| link.wake());
        }
    }

    /// Whether a node may not come in.
    pub(crate) fn refusal(&self, node: NodeId) -> Option<String> {
        let inner = self.0.read();
        match () {
            () if inner.closed => Some(CLOSING.to_owned()),
            () if inner.forgotten.contains(&node) => Some(removed(node)),
            () => None,
        }
    }

    /// A node has dialled. It replaces what it dialled before on this channel, and shows that it is there.
    pub(crate) fn let_in(&self, channel: Channel, connection: Arc<Connection>) {
        let (mut inner, node) = (self.0.write(), connection.peer);
        if inner.closed || inner.forgotten.contains(&node) {
            return connection.end(&if inner.closed { CLOSING.to_owned() } else { removed(node) });
        }
        inner.inbound.retain(|_from, connection| !connection.has_ended());
        if let Some(before) = inner.inbound.insert((node, channel), connection) {
            before.end("a newer connection replaces it");
        }
        if let Some(peer) = inner.known.get(&node) {
            peer.links.iter().for_each(|link| link.wake());
        }
    }

    /// Ends what is open with a node, and neither dials it nor lets it in.
    pub(crate) fn forget(&self, node: NodeId) {
        let mut inner = self.0.write();
        inner.forgotten.insert(node);
        if let Some(peer) = inner.known.remove(&node) {
            peer.links.iter().for_each(|link| link.forget(&removed(node)));
        }
        for channel in Channel::ALL {
            if let Some(connection) = inner.inbound.remove(&(node, channel)) {
                connection.end(&removed(node));
            }
        }
    }

    /// Ends everything.
    pub(crate) fn close(&self) {
        let mut inner = self.0.write();
        inner.closed = true;
        for peer in std::mem::take(&mut inner.known).into_values() {
            peer.links.iter().for_each(|link| link.forget(CLOSING));
        }
        std::mem::take(&mut inner.inbound).into_values().for_each(|connection| connection.end(CLOSING));
    }
}
