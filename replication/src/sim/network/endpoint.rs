//! The transport of one simulated node.

use super::{Network, carry};
use crate::NodeId;
use crate::runtime::sim::Machine;
use crate::transport::{Channel, Duplex, MESSAGE_LEN_MAX, Service, Transport, TransportError};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The transport of one simulated node, for as long as its process lives.
#[derive(Debug)]
pub struct Endpoint {
    network: Network,
    machine: Machine,
    node: NodeId,
    addresses: Mutex<BTreeMap<NodeId, String>>,
    forgotten: Arc<Mutex<BTreeSet<NodeId>>>,
}

/// Who is heard at an address.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) machine: Machine,
    pub(super) node: NodeId,
    pub(super) service: Arc<dyn Service>,
    forgotten: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl Listener {
    /// Why it does not talk to `from`, who wants to talk to `to`.
    pub(super) fn refuses(&self, from: NodeId, to: NodeId) -> Option<String> {
        if self.node != to {
            return Some(format!("it is node {}", self.node));
        }
        self.forgotten.lock().contains(&from).then(|| format!("node {from} was removed"))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("machine", &self.machine)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// From whom, to whom, and where that is.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) network: Network,
    pub(super) machine: Machine,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) address: String,
}

impl Route {
    pub(super) fn unreachable(&self, reason: &str) -> TransportError {
        TransportError::Unreachable { node: self.to, reason: reason.to_owned() }
    }

    pub(super) fn broken(&self, reason: &str) -> TransportError {
        TransportError::Broken { node: self.to, reason: reason.to_owned() }
    }
}

impl Endpoint {
    pub(super) fn new(network: Network, machine: Machine, node: NodeId) -> Self {
        Self { network, machine, node, addresses: Mutex::default(), forgotten: Arc::default() }
    }

    /// Has `service` answer whoever calls `address`, until the machine goes [down](Network::down).
    ///
    /// # Panics
    ///
    /// If somebody listens there.
    pub fn listen(&self, address: &str, service: Arc<dyn Service>) {
        let forgotten = self.forgotten.clone();
        let listener = Listener { machine: self.machine, node: self.node, service, forgotten };
        let mut state = self.network.state.lock();
        let before = state.listeners.insert(address.to_owned(), listener);
        assert!(before.is_none(), "two listen at {address}");
        state.places.insert(address.to_owned(), self.machine);
    }

    fn route(&self, to: NodeId, message: &Bytes) -> Result<Route, TransportError> {
        if message.len() > MESSAGE_LEN_MAX {
            return Err(TransportError::TooLong(message.len()));
        }
        let address = self.addresses.lock().get(&to).cloned().ok_or(TransportError::NoAddress(to))?;
        Ok(Route { network: self.network.clone(), machine: self.machine, from: self.node, to, address })
    }
}

#[async_trait]
impl Transport for Endpoint {
    fn set_address(&self, node: NodeId, address: String) {
        self.forgotten.lock().remove(&node);
        self.addresses.lock().insert(node, address);
    }

    fn forget(&self, node: NodeId) {
        self.addresses.lock().remove(&node);
        self.forgotten.lock().insert(node);
        self.network.break_between(self.node, node);
    }

    async fn call(
        &self,
        to: NodeId,
        _channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        carry::call(self.route(to, &request)?, request, within).await
    }

    async fn open(&self, to: NodeId, _channel: Channel, header: Bytes) -> Result<Duplex, TransportError> {
        carry::open(self.route(to, &header)?, header).await
    }
}
