//! A small TCP load balancer, as `deploy/` puts one before a cluster: one address for clients, whatever node lives.
//!
//! - A new connection goes to a node that said to be ready when it was last asked; of several, to each in turn.
//! - A node that is not ready gets no new connection; what is open stays open until either side ends it.

use super::{TestResult, http};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Between two questions to a node whether it is ready; also the pause when none is.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A running balancer; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Balancer {
    /// Where clients connect, as a URL.
    pub(crate) url: String,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Node {
    address: String,
    ready: AtomicBool,
}

impl Balancer {
    /// Balances over nodes at `host:port`.
    pub(crate) async fn start(addresses: Vec<String>) -> TestResult<Balancer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let nodes: Arc<[Node]> =
            addresses.into_iter().map(|address| Node { address, ready: AtomicBool::new(true) }).collect();
        let mut tasks = JoinSet::new();
        for number in 0..nodes.len() {
            tasks.spawn(ask(nodes.clone(), number));
        }
        tasks.spawn(accept(listener, nodes));
        Ok(Balancer { url, _tasks: tasks })
    }
}

/// Asks one node again and again whether it is ready.
async fn ask(nodes: Arc<[Node]>, number: usize) {
    loop {
        let address = nodes[number].address.clone();
        let asked = tokio::task::spawn_blocking(move || http::get(&address, "/readyz"));
        let ready = matches!(asked.await, Ok(Ok(answer)) if answer.status == 200);
        nodes[number].ready.store(ready, Ordering::Relaxed);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn accept(listener: TcpListener, nodes: Arc<[Node]>) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(forward(client, nodes.clone(), next.clone()));
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Copies between a client and a node until either ends.
async fn forward(mut client: TcpStream, nodes: Arc<[Node]>, next: Arc<AtomicUsize>) {
    let mut server = loop {
        let number = next.fetch_add(1, Ordering::Relaxed) % nodes.len();
        if nodes[number].ready.load(Ordering::Relaxed) {
            match TcpStream::connect(&nodes[number].address).await {
                Ok(server) => break server,
                Err(_) => nodes[number].ready.store(false, Ordering::Relaxed),
            }
        }
        if nodes.iter().all(|node| !node.ready.load(Ordering::Relaxed)) {
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
    }
    // Either side may end it as it likes; the other is told by the end of its own connection.
    tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
}
