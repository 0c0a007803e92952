//! One connection between two nodes that know each other: calls and streams over one pair of byte streams.
//!
//! - Who dialled sends requests and opens streams, the other side answers; either side asks whether the other is there.
//! - Reading never waits for what runs here, so that no answer stands behind a request: what comes for a stream has a
//!   window, and requests above [`REQUESTS_MAX`] are turned away.
//! - A call ends with its answer, or when the connection does. An answer goes straight to who waits for it.
//! - A frame that cannot be read, or that the other side must not send, ends the connection.
//! - Requests that run are not stopped when the connection ends: their answers are dropped.

use super::frame::{self, Frame, Kind};
use super::handshake::printable;
use super::outbox::{Batch, Ended, Outbox};
use super::streams::{BeginError, Streams};
use crate::NodeId;
use crate::transport::{Duplex, MESSAGE_LEN_MAX, Service, TransportError};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::time::MissedTickBehavior;

/// Calls that wait for their answers on one connection, at most.
const CALLS_MAX: usize = 8_192;
/// Requests that run here for one connection, at most: as many, and those that the other side no longer waits for.
const REQUESTS_MAX: usize = 2 * CALLS_MAX;
/// Silence after which the other side is asked whether it is there, in milliseconds.
const PROBE_AFTER_MS: u64 = 500;
/// Spans of silence after which it is given up: a network that comes back is found sooner by a new connection than by
/// an old one, whose pauses between attempts have doubled.
const SILENT_SPANS_MAX: u32 = 3;
/// Calls and requests under way from which on the writer lets others send first.
const BUSY_MIN: usize = 5;
/// How long the last words may take to be written, in milliseconds.
const LAST_WORDS_MS_MAX: u64 = 500;
/// Bytes that are read at once, when there are as many.
const READ_LEN: usize = 64 << 10;

/// What is read from.
pub(crate) type Source = Box<dyn AsyncRead + Send + Unpin>;
/// What is written to.
pub(crate) type Sink = Box<dyn AsyncWrite + Send + Unpin>;
/// Both.
pub(crate) type Halves = (Source, Sink);
type Waiting = oneshot::Sender<Result<Bytes, TransportError>>;

/// See the module.
pub(crate) struct Connection {
    /// Who is at the other end.
    pub(crate) peer: NodeId,
    pub(super) outbox: Outbox,
    pub(super) streams: Streams,
    /// Answers requests; `None` at the end that dialled.
    service: Option<Arc<dyn Service>>,
    calls: Mutex<BTreeMap<u64, Waiting>>,
    requests: AtomicUsize,
    last_id: AtomicU64,
    heard: AtomicBool,
    /// Why it ended, or is to end.
    reason: OnceLock<String>,
    ending: Notify,
}

/// A call that is under way; it is forgotten when nobody waits for it any more.
struct Pending<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.connection.calls.lock().remove(&self.id);
    }
}

/// A stream of which the other side does not know yet; it is forgotten when it is never told.
struct Unsaid<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Unsaid<'_> {
    fn drop(&mut self) {
        self.connection.streams.forget(self.id);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Begins to read and write. It goes on until either side ends it; `slot` is held as long.
    pub(crate) fn start(
        (source, sink): Halves,
        peer: NodeId,
        service: Option<Arc<dyn Service>>,
        slot: OwnedSemaphorePermit,
    ) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            peer,
            outbox: Outbox::new(),
            streams: Streams::default(),
            service,
            calls: Mutex::default(),
            requests: AtomicUsize::new(0),
            last_id: AtomicU64::new(0),
            heard: AtomicBool::new(true),
            reason: OnceLock::new(),
            ending: Notify::new(),
        });
        tokio::spawn(connection.clone().run(source, sink, slot));
        connection
    }

    /// Sends a request and waits for its answer; the caller bounds the time.
    pub(crate) async fn call(&self, request: Bytes) -> Result<Bytes, TransportError> {
        let (waiting, answer) = oneshot::channel();
        let id = self.next_id();
        {
            let mut calls = self.calls.lock();
            if calls.len() >= CALLS_MAX {
                return Err(self.unreachable(format!("{CALLS_MAX} calls wait for its answers")));
            }
            calls.insert(id, waiting);
        }
        let _pending = Pending { connection: self, id };
        if self.outbox.send(Kind::Request, id, request).await == Err(Ended) {
            return Err(self.unreachable(self.why()));
        }
        answer.await.unwrap_or_else(|_dropped| Err(self.broken(self.why())))
    }

    /// Opens a stream.
    pub(crate) async fn open(self: &Arc<Self>, header: Bytes) -> Result<Duplex, TransportError> {
        let id = self.next_id();
        // The header goes first; nothing comes for the stream before it has.
        let duplex = match Streams::begin(self, id) {
            Ok(Some(duplex)) => duplex,
            Ok(None) => return Err(self.unreachable("too many streams are open".to_owned())),
            Err(_ended) => return Err(self.unreachable(self.why())),
        };
        let unsaid = Unsaid { connection: self, id };
        if self.outbox.send(Kind::Open, id, header).await == Err(Ended) {
            return Err(self.unreachable(self.why()));
        }
        std::mem::forget(unsaid);
        Ok(duplex)
    }

    /// Ends it, and tells the other side why.
    pub(crate) fn end(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_ok() {
            self.send_now(Kind::Bye, 0, reason.as_bytes());
            self.ending.notify_one();
        }
    }

    /// Whether it is of no use any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.reason.get().is_some()
    }

    /// Sends a short frame; when the other side does not read, the connection ends.
    pub(super) fn send_now(&self, kind: Kind, id: u64, payload: &[u8]) {
        if self.outbox.send_now(kind, id, payload) == Err(Ended)
            && self.reason.set("it does not read".to_owned()).is_ok()
        {
            self.ending.notify_one();
        }
    }

    fn is_busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) >= BUSY_MIN || self.calls.lock().len() >= BUSY_MIN
    }

    fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn why(&self) -> String {
        self.reason.get().cloned().unwrap_or_else(|| "the connection broke".to_owned())
    }

    fn unreachable(&self, reason: String) -> TransportError {
        TransportError::Unreachable { node: self.peer, reason }
    }

    fn broken(&self, reason: String) -> TransportError {
        TransportError::Broken { node: self.peer, reason }
    }

    async fn run(self: Arc<Self>, source: Source, sink: Sink, slot: OwnedSemaphorePermit) {
        let mut reading = tokio::spawn(self.clone().read(source));
        let mut writing = tokio::spawn(self.clone().write(sink));
        let reason = tokio::select! {
            () = self.ending.notified() => None,
            read = &mut reading => Some(read.unwrap_or_else(|error| error.to_string())),
            written = &mut writing => Some(written.unwrap_or_else(|error| error.to_string())),
            reason = self.probe() => Some(reason),
        };
        if let Some(reason) = reason {
            tracing::debug!(node = %self.peer, reason, "a connection ended");
            // Whoever was first has said why.
            let _first = self.reason.set(reason);
        }
        reading.abort();
        self.outbox.end();
        self.streams.end();
        let calls = std::mem::take(&mut *self.calls.lock());
        for waiting in calls.into_values() {
            // Who does not wait any more needs no answer.
            let _unheard = waiting.send(Err(self.broken(self.why())));
        }
        if !writing.is_finished() {
            let bound = Duration::from_millis(LAST_WORDS_MS_MAX);
            let _late = tokio::time::timeout(bound, &mut writing).await;
        }
        writing.abort();
        drop(slot);
    }

    /// Writes what waits; gives the reason why it cannot go on.
    async fn write(self: Arc<Self>, mut sink: Sink) -> String {
        while self.outbox.filled().await == Ok(()) {
            if self.is_busy() {
                // Who is about to send something comes first: with 64 calls at once, a seventh of the writes.
                tokio::task::yield_now().await;
            }
            let mut batch = self.outbox.take();
            if let Err(error) = write_out(&mut sink, &mut batch).await {
                return error.to_string();
            }
            self.outbox.written(&batch);
        }
        match sink.shutdown().await {
            Ok(()) => "the connection was closed".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    /// Reads frames; gives the reason why it cannot go on.
    async fn read(self: Arc<Self>, mut source: Source) -> String {
        let mut buffer = BytesMut::with_capacity(READ_LEN);
        loop {
            buffer.reserve(READ_LEN / 2);
            match source.read_buf(&mut buffer).await {
                Ok(0) => return "the other side closed the connection".to_owned(),
                Ok(_some) => self.heard.store(true, Ordering::Relaxed),
                Err(error) => return error.to_string(),
            }
            loop {
                let handled = match frame::take(&mut buffer) {
                    Ok(None) => break,
                    Ok(Some(frame)) => self.receive(frame),
                    Err(malformed) => Err(malformed.to_string()),
                };
                if let Err(reason) = handled {
                    return reason;
                }
            }
        }
    }

    fn receive(self: &Arc<Self>, Frame { kind, id, payload }: Frame) -> Result<(), String> {
        match (kind, &self.service) {
            (Kind::Request, Some(service)) => self.serve(service.clone(), id, payload),
            (Kind::Open, Some(service)) => self.accept(service.clone(), id, payload)?,
            (Kind::Request | Kind::Open, None) => {
                return Err("a request came from the side that answers".to_owned());
            }
            (Kind::Answer | Kind::Failed, _) => self.answered(kind, id, payload),
            (Kind::Data, _) => self.streams.data(id, payload).map_err(|violation| violation.to_string())?,
            (Kind::Credit, _) => {
                let bytes =
                    payload[..].try_into().map_err(|_other| "a credit is not of 4 bytes".to_owned())?;
                let given = self.streams.credit(id, u32::from_le_bytes(bytes) as usize);
                given.map_err(|violation| violation.to_string())?;
            }
            (Kind::End, _) => self.streams.they_end(id),
            (Kind::Stop, _) => {
                if self.streams.stop(id) {
                    self.send_now(Kind::End, id, &[]);
                }
            }
            (Kind::Ping, _) => self.send_now(Kind::Pong, id, &[]),
            (Kind::Pong, _) => {}
            (Kind::Bye, _) => return Err(format!("node {} ended it: {}", self.peer, printable(&payload))),
        }
        Ok(())
    }

    fn answered(&self, kind: Kind, id: u64, payload: Bytes) {
        let Some(waiting) = self.calls.lock().remove(&id) else { return };
        let answer = match kind {
            Kind::Answer => Ok(payload),
            _ => Err(self.broken(printable(&payload))),
        };
        // Who does not wait any more needs no answer.
        let _unheard = waiting.send(answer);
    }

    fn serve(self: &Arc<Self>, service: Arc<dyn Service>, id: u64, request: Bytes) {
        if self.requests.fetch_add(1, Ordering::Relaxed) >= REQUESTS_MAX {
            self.requests.fetch_sub(1, Ordering::Relaxed);
            return self.send_now(Kind::Failed, id, b"too many requests run there");
        }
        let connection = self.clone();
        tokio::spawn(async move {
            let answer = service.answer(connection.peer, request).await;
            connection.requests.fetch_sub(1, Ordering::Relaxed);
            if answer.len() > MESSAGE_LEN_MAX {
                tracing::error!(bytes = answer.len(), node = %connection.peer, "an answer is too long to send");
                connection.send_now(Kind::Failed, id, b"the answer is too long to send");
            } else {
                // Nobody is there to be told when the connection has ended.
                let _ended = connection.outbox.send(Kind::Answer, id, answer).await;
            }
        });
    }

    fn accept(self: &Arc<Self>, service: Arc<dyn Service>, id: u64, header: Bytes) -> Result<(), String> {
        match Streams::begin(self, id) {
            Ok(Some(duplex)) => {
                let peer = self.peer;
                tokio::spawn(async move { service.stream(peer, header, duplex).await });
            }
            Ok(None) => {
                self.send_now(Kind::Stop, id, &[]);
                self.send_now(Kind::End, id, &[]);
            }
            Err(BeginError::Ended) => {}
            Err(BeginError::Violation(violation)) => return Err(violation.to_string()),
        }
        Ok(())
    }

    /// Asks whether the other side is there when it is silent; ends when it stays so.
    async fn probe(&self) -> String {
        let mut span = tokio::time::interval(Duration::from_millis(PROBE_AFTER_MS));
        span.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = 0;
        loop {
            span.tick().await;
            if self.heard.swap(false, Ordering::Relaxed) {
                silent = 0;
                continue;
            }
            silent += 1;
            if silent > SILENT_SPANS_MAX {
                return format!("silent for {} ms", PROBE_AFTER_MS * u64::from(silent));
            }
            self.send_now(Kind::Ping, 0, &[]);
        }
    }
}

async fn write_out(sink: &mut Sink, batch: &mut Batch) -> std::io::Result<()> {
    sink.write_all_buf(batch).await?;
    sink.flush().await
}

#[cfg(test)]
mod tests;
