//! Sockets: accepts connections, speaks HTTP/1.1 and HTTP/2 on one port, and drains at the end.
//!
//! - HTTP/2 without TLS starts with prior knowledge, as Deno does it; both are told apart by their
//!   first bytes.
//! - With a certificate the port speaks TLS alone; which HTTP is spoken inside is agreed on in the handshake.
//! - Draining: no new connection, watches end, HTTP/2 clients get GOAWAY, requests that run are answered;
//!   what is still open after [`DRAIN_MS_MAX`] is dropped.

mod secure;

use crate::connect::Connect;
use crate::connect::wire::Body;
use crate::metrics::Metrics;
use crate::tls::ClientTls;
use async_trait::async_trait;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections at once, at most; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 16_384;
/// How long an HTTP/1.1 client may take to send the head of a request, in milliseconds.
const HEAD_MS_MAX: u64 = 30_000;
/// How long a connection may take to say its first bytes, in milliseconds.
const FIRST_BYTES_MS_MAX: u64 = 30_000;
/// Silence after which an HTTP/2 client is asked whether it is there, in milliseconds.
const PROBE_AFTER_MS: u64 = 30_000;
/// How long it may take to answer that, in milliseconds.
const PROBE_ANSWER_MS_MAX: u64 = 20_000;
/// Requests at once on one HTTP/2 connection, at most; a client holds back more by itself.
const STREAMS_MAX: u32 = 1_024;
/// Bytes that a client may send before it waits for us, on one request and on one connection. The
/// largest write is sent without a wait.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Pause after the system refused a connection, such as for want of file descriptors.
const ACCEPT_PAUSE_MS: u64 = 100;
/// How long requests that run may take to end when the server stops, in milliseconds.
pub const DRAIN_MS_MAX: u64 = 30_000;

/// What answers requests.
#[async_trait]
pub trait Answers: Send + Sync + 'static {
    /// Answers one request.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body>;
}

#[async_trait]
impl Answers for Connect {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        Connect::answer(self, request).await
    }
}

/// Whether every connection ended by itself when the server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All did.
    Fully,
    /// Some were dropped.
    Partly,
}

/// Awaits connections at `addr`.
///
/// # Errors
///
/// When the address cannot be had, such as when it is in use.
pub async fn bind(addr: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(addr).await
}

/// Serves until `stopping` is true, then drains. With `tls` it speaks that alone.
pub async fn serve(
    listener: TcpListener,
    tls: Option<ClientTls>,
    connect: Arc<dyn Answers>,
    metrics: Metrics,
    mut stopping: watch::Receiver<bool>,
) -> Drained {
    let builder = builder();
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            _stopped = stopping.wait_for(|stopping| *stopping) => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let Some((stream, slot)) = accepted else { continue };
        let client =
            Client { builder: builder.clone(), connect: connect.clone(), watcher: graceful.watcher() };
        let (connections, stopping, tls) = (metrics.connections.clone(), stopping.clone(), tls.clone());
        connections.inc();
        tokio::spawn(async move {
            match (first_byte(&stream, stopping.clone()).await, tls) {
                (None, _) => {}
                (Some(_), None) => client.serve(stream).await,
                (Some(first), Some(tls)) => {
                    if let Some(stream) = secure::accept(stream, first, &tls, stopping).await {
                        client.serve(stream).await;
                    }
                }
            }
            connections.dec();
            drop(slot);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), graceful.shutdown()).await;
    if drained.is_ok() { Drained::Fully } else { Drained::Partly }
}

/// What one connection needs.
struct Client {
    builder: auto::Builder<TokioExecutor>,
    connect: Arc<dyn Answers>,
    watcher: Watcher,
}

impl Client {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let Client { builder, connect, watcher } = self;
        let service = service_fn(move |request| answer(connect.clone(), request));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(error, "a connection broke");
        }
    }
}

async fn answer(connect: Arc<dyn Answers>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    Ok(connect.answer(request).await)
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.expect("the slots are never closed");
    match listener.accept().await {
        Ok((stream, _peer)) => {
            tune(&stream);
            Some((stream, slot))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            None
        }
    }
}

/// Answers leave at once, and so does the acknowledgement of the first bytes: Deno's connector waits
/// for it, about 40 ms otherwise.
fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let tuned = stream.set_nodelay(true).and_then(|()| socket.set_tcp_quickack(true));
    if let Err(error) = tuned {
        tracing::debug!(%error, "cannot tune a connection");
    }
}

/// Waits for the first byte, so that a silent connection stays neither for ever nor past the end.
async fn first_byte(stream: &TcpStream, mut stopping: watch::Receiver<bool>) -> Option<u8> {
    let bound = Duration::from_millis(FIRST_BYTES_MS_MAX);
    let mut byte = [0];
    tokio::select! {
        _stopped = stopping.wait_for(|stopping| *stopping) => None,
        peeked = tokio::time::timeout(bound, stream.peek(&mut byte)) => {
            matches!(peeked, Ok(Ok(1))).then_some(byte[0])
        }
    }
}

/// Lets this process have as many connections as the system allows it: many systems start a process
/// with 1,024 although it may have far more.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Keeps huge pages away from this process: each thread that touches a corner of one would hold 2 MiB, and the
/// memory that is configured would not be the memory that is used.
pub fn keep_memory_small() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "cannot do without huge pages");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_millis(PROBE_AFTER_MS))
        .keep_alive_timeout(Duration::from_millis(PROBE_ANSWER_MS_MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    builder
}
