//! Nodes that do not belong together, and things that are no nodes.

use super::tests::{identity, listen};
use super::*;
use crate::ClusterId;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(10);

/// Counts what it was asked.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Service for Counting {
    async fn answer(&self, _from: NodeId, request: Bytes) -> Bytes {
        self.0.fetch_add(1, Ordering::Relaxed);
        request
    }

    async fn stream(&self, _from: NodeId, _header: Bytes, _duplex: Duplex) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Node {
    tcp: Tcp,
    address: SocketAddr,
    asked: Arc<Counting>,
}

async fn start(identity: Identity) -> Result<Node, Box<dyn std::error::Error>> {
    let listener = listen(None).await;
    let (address, asked) = (listener.local_addr()?, Arc::new(Counting::default()));
    let tcp = Tcp::start(Options { identity, tls: None }, listener, asked.clone());
    Ok(Node { tcp, address, asked })
}

/// What the first node hears when it calls the second one as `to`.
async fn refusal(first: Identity, second: Identity, to: u64) -> Result<String, Box<dyn std::error::Error>> {
    let (first, second) = (start(first).await?, start(second).await?);
    first.tcp.set_address(NodeId(to), second.address.to_string());
    let called = first.tcp.call(NodeId(to), Channel::Log, Bytes::from_static(b"?"), PATIENCE).await;
    assert_eq!(second.asked.0.load(Ordering::Relaxed), 0, "the request did not get through");
    match called {
        Err(TransportError::Refused { node, reason }) if node == NodeId(to) => Ok(reason),
        other => Err(format!("a refusal, not {other:?}").into()),
    }
}

#[tokio::test]
async fn a_node_that_does_not_belong_here_is_told_why() -> TestResult {
    let other_cluster = Identity { cluster: ClusterId([7; 16]), ..identity(1) };
    assert!(refusal(other_cluster, identity(2), 2).await?.contains("node 1 of cluster 0707"));
    let other_lineage = Identity { lineage: engine::LineageId([7; 16]), ..identity(1) };
    assert!(refusal(other_lineage, identity(2), 2).await?.contains("node 1 of lineage 0707"));
    let too_new = Identity { format: Range { oldest: 8, newest: 9 }, ..identity(1) };
    assert!(refusal(too_new, identity(2), 2).await?.contains("upgrade the older one"));
    assert!(refusal(identity(1), identity(2), 3).await?.contains("node 2 is at the address of node 3"));
    assert!(refusal(identity(2), identity(2), 2).await?.contains("two nodes have the id 2"));
    Ok(())
}

#[tokio::test]
async fn a_node_that_was_removed_is_told_so() -> TestResult {
    let (first, second) = (start(identity(1)).await?, start(identity(2)).await?);
    first.tcp.set_address(NodeId(2), second.address.to_string());
    let call = || first.tcp.call(NodeId(2), Channel::Log, Bytes::from_static(b"?"), PATIENCE);
    call().await?;
    second.tcp.forget(NodeId(1));
    let reason = loop {
        match call().await {
            Err(TransportError::Refused { reason, .. }) => break reason,
            Err(TransportError::Broken { .. } | TransportError::Unreachable { .. }) => {}
            other => return Err(format!("an end and then a refusal, not {other:?}").into()),
        }
    };
    assert!(reason.contains("node 1 was removed from the cluster"), "{reason}");
    assert_eq!(second.asked.0.load(Ordering::Relaxed), 1);
    Ok(())
}

#[tokio::test]
async fn a_server_of_another_kind_is_no_peer() -> TestResult {
    let listener = listen(None).await;
    let address = listener.local_addr()?;
    let other = tokio::spawn(async move {
        let (mut stream, _address) = listener.accept().await?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        stream.read_to_end(&mut Vec::new()).await
    });
    let first = start(identity(1)).await?;
    first.tcp.set_address(NodeId(2), address.to_string());
    let called = first.tcp.call(NodeId(2), Channel::Log, Bytes::new(), PATIENCE).await;
    let error = called.expect_err("nobody answers").to_string();
    assert!(error.contains("does not speak as a peer of CairnKV"), "{error}");
    other.await??;
    Ok(())
}

#[tokio::test]
async fn a_client_of_another_kind_is_dropped_and_hurts_nobody() -> TestResult {
    let (first, second) = (start(identity(1)).await?, start(identity(2)).await?);
    let long = [b'x'; 100_000];
    for words in [&b"GET / HTTP/1.1\r\nhost: cairn\r\n\r\n"[..], b"\x16\x03\x01", b"", b"CAIRNPER", &long] {
        let mut stream = TcpStream::connect(second.address).await?;
        // It may be dropped while it still speaks.
        let _written = stream.write_all(words).await;
        let _ended = stream.shutdown().await;
        let mut answer = Vec::new();
        let _dropped = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "it gets no word");
    }
    first.tcp.set_address(NodeId(2), second.address.to_string());
    first.tcp.call(NodeId(2), Channel::Log, Bytes::new(), PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn an_address_where_nobody_is_fails_at_once_and_again_after_a_pause() -> TestResult {
    let listener = listen(None).await;
    let address = listener.local_addr()?;
    drop(listener);
    let first = start(identity(1)).await?;
    first.tcp.set_address(NodeId(2), address.to_string());
    for channel in Channel::ALL {
        let called = first.tcp.call(NodeId(2), channel, Bytes::new(), PATIENCE).await;
        let error = called.expect_err("nobody is there");
        assert!(error.is_unseen() && error.to_string().contains(&address.to_string()), "{error}");
    }
    let (listener, asked) = (listen(Some(address)).await, Arc::new(Counting::default()));
    let _second = Tcp::start(Options { identity: identity(2), tls: None }, listener, asked);
    while first.tcp.call(NodeId(2), Channel::Log, Bytes::new(), PATIENCE).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[tokio::test]
async fn who_stops_has_no_connection_left() -> TestResult {
    let (first, second) = (start(identity(1)).await?, start(identity(2)).await?);
    first.tcp.set_address(NodeId(2), second.address.to_string());
    second.tcp.set_address(NodeId(1), first.address.to_string());
    first.tcp.call(NodeId(2), Channel::Log, Bytes::new(), PATIENCE).await?;
    second.tcp.call(NodeId(1), Channel::Heartbeat, Bytes::new(), PATIENCE).await?;
    let _says_nothing = TcpStream::connect(second.address).await?;
    let inbound = second.tcp.shared.inbound.clone();
    // The first node's, that of who says nothing, and one for whoever comes next.
    tokio::time::timeout(PATIENCE, async {
        while inbound.available_permits() > CONNECTIONS_MAX as usize - 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await?;
    second.tcp.close().await;
    for slots in [&inbound, &second.tcp.shared.outbound] {
        assert_eq!(slots.available_permits(), CONNECTIONS_MAX as usize, "all ended in time");
    }
    let called = second.tcp.call(NodeId(1), Channel::Log, Bytes::new(), PATIENCE).await;
    assert_eq!(called, Err(TransportError::NoAddress(NodeId(1))));
    assert!(TcpStream::connect(second.address).await.is_err(), "nobody is let in");
    Ok(())
}
