//! Stands between a client and a server of HTTP and tells what goes through: how many bytes a client sent, and which methods.

use super::TestResult;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running meter; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Host and port where clients connect.
    pub(crate) address: String,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    methods: Mutex<BTreeMap<String, u64>>,
}

impl Meter {
    /// Forwards to a server at `host:port`.
    pub(crate) async fn before(server: String) -> TestResult<Meter> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, Arc::clone(&counts)));
        Ok(Meter { address, counts, _tasks: tasks })
    }

    /// Bytes that clients sent so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::SeqCst)
    }

    /// Requests so far, by method.
    pub(crate) fn methods(&self) -> BTreeMap<String, u64> {
        self.counts.methods.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, server: String, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (server, counts) = (server.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            // Either side may end it.
            let _ended = forward(client, &server, &counts).await;
        });
    }
}

async fn forward(mut client: TcpStream, server: &str, counts: &Counts) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut from_server, mut to_server) = server.split();
    let (mut from_client, mut to_client) = client.split();
    let up = async {
        let mut chunk = vec![0; 64 << 10];
        loop {
            let len = from_client.read(&mut chunk).await?;
            if len == 0 {
                return to_server.shutdown().await;
            }
            counts.bytes.fetch_add(len as u64, Ordering::SeqCst);
            count_method(&chunk[..len], counts);
            to_server.write_all(&chunk[..len]).await?;
        }
    };
    let down = async {
        copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(up, down).map(drop)
}

/// A client writes the head of a request at once: a chunk that begins like one is one.
fn count_method(chunk: &[u8], counts: &Counts) {
    let line = chunk.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if !line.ends_with(b" HTTP/1.1") {
        return;
    }
    let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let method = String::from_utf8_lossy(method).into_owned();
    *counts.methods.lock().unwrap_or_else(PoisonError::into_inner).entry(method).or_default() += 1;
}
