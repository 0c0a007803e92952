use super::suite::{self, Network};
use super::*;
use crate::ClusterId;
use engine::LineageId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Longer than any test takes.
const TEST_MS_MAX: u64 = 60_000;

pub(super) fn identity(node: u64) -> Identity {
    Identity {
        node: NodeId(node),
        cluster: ClusterId([1; 16]),
        lineage: LineageId([2; 16]),
        format: Range { oldest: 1, newest: 3 },
    }
}

/// Nodes of one process on the loopback interface.
#[derive(Default)]
struct Loopback {
    nodes: Mutex<BTreeMap<NodeId, (Tcp, SocketAddr)>>,
    /// Where nodes were that have stopped, to start there again.
    addresses: Mutex<BTreeMap<NodeId, SocketAddr>>,
}

#[async_trait]
impl Network for Loopback {
    async fn start(&self, node: NodeId, service: Arc<dyn Service>) -> Arc<dyn Transport> {
        let before = self.addresses.lock().get(&node).copied();
        let listener = listen(before).await;
        let address = listener.local_addr().expect("a listener has an address");
        let tcp = Tcp::start(Options { identity: identity(node.0) }, listener, service);
        let mut nodes = self.nodes.lock();
        for (other, (transport, other_address)) in &*nodes {
            transport.set_address(node, address.to_string());
            tcp.set_address(*other, other_address.to_string());
        }
        nodes.insert(node, (tcp.clone(), address));
        self.addresses.lock().insert(node, address);
        Arc::new(tcp)
    }

    async fn stop(&self, node: NodeId) {
        let (tcp, _address) = self.nodes.lock().remove(&node).expect("it runs");
        tcp.close().await;
    }

    async fn pause(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

pub(super) async fn listen(at: Option<SocketAddr>) -> TcpListener {
    let at = at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    TcpListener::bind(at).await.expect("the loopback interface has a free port")
}

async fn bounded(test: impl Future<Output = TestResult>) -> TestResult {
    tokio::time::timeout(Duration::from_millis(TEST_MS_MAX), test).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() -> TestResult {
    bounded(suite::all(|| Box::<Loopback>::default())).await
}

#[tokio::test]
async fn it_conforms_on_one_thread() -> TestResult {
    bounded(suite::all(|| Box::<Loopback>::default())).await
}
