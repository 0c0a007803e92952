use super::testing::Ca;
use super::*;
use crate::ClusterId;
use crate::transport::conformance::{self, Fixture};
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

/// Nodes of one process on the loopback interface, each at a port that stays its own.
struct Loopback {
    tls: Option<PeerTls>,
    addresses: BTreeMap<NodeId, SocketAddr>,
    nodes: Mutex<BTreeMap<NodeId, Tcp>>,
}

impl Loopback {
    async fn new(tls: Option<PeerTls>) -> Result<Loopback, std::io::Error> {
        let mut addresses = BTreeMap::new();
        for node in [1, 2] {
            addresses.insert(NodeId(node), listen(None).await.local_addr()?);
        }
        Ok(Loopback { tls, addresses, nodes: Mutex::default() })
    }
}

#[async_trait]
impl Fixture for Loopback {
    async fn start(&self, node: NodeId, service: Arc<dyn Service>) -> Arc<dyn Transport> {
        let listener = listen(Some(self.addresses[&node])).await;
        let options = Options { identity: identity(node.0), tls: self.tls.clone() };
        let tcp = Tcp::start(options, listener, service);
        self.nodes.lock().insert(node, tcp.clone());
        Arc::new(tcp)
    }

    async fn kill(&self, node: NodeId) {
        let tcp = self.nodes.lock().remove(&node).expect("it runs");
        tcp.close().await;
    }

    fn address(&self, node: NodeId) -> String {
        self.addresses[&node].to_string()
    }
}

pub(super) async fn listen(at: Option<SocketAddr>) -> TcpListener {
    let at = at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
    TcpListener::bind(at).await.expect("the loopback interface has a free port")
}

async fn conforms(tls: Option<PeerTls>) -> TestResult {
    let fixture = Loopback::new(tls).await?;
    let suite = conformance::all(&fixture);
    Ok(tokio::time::timeout(Duration::from_millis(TEST_MS_MAX), suite).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() -> TestResult {
    conforms(None).await
}

#[tokio::test]
async fn it_conforms_on_one_thread() -> TestResult {
    conforms(None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_with_certificates() -> TestResult {
    let ca = Ca::new("the cluster")?;
    conforms(Some(ca.sign(&["127.0.0.1"])?.peer(&ca)?)).await
}
