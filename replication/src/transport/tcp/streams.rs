//! The streams of one connection: what is open, and who may send how much.
//!
//! - A message costs its length, at least [`COST_MIN`] and at most half a window. A sender has a window of
//!   [`WINDOW`]; what a message cost comes back once the receiver's program has taken it. So what lies in memory has
//!   a bound, and a reader that is slow stops its sender and nobody else.
//! - Costs come back before a quarter of a window is owed, so that a sender gets on with any message.
//! - Each direction ends alone: by the sender (`End`), or by the receiver (`Stop`), to which the sender says `End`. A stream
//!   is forgotten when both have ended.
//! - When the connection ends, all of them do, at both ends.

use super::connection::Connection;
use super::frame::Kind;
use super::outbox::Ended;
use crate::transport::{Duplex, MESSAGE_LEN_MAX};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

/// What a sender may have under way, in bytes of cost.
const WINDOW: usize = 2 << 20;
/// What the shortest message costs, in bytes: it bounds their number.
const COST_MIN: usize = 1 << 10;
/// What the longest message costs, in bytes.
const COST_MAX: usize = WINDOW / 2;
/// What is owed at most, in bytes of cost.
const OWED_MAX: usize = WINDOW / 4;
/// Streams at once on one connection.
const STREAMS_MAX: usize = 512;
/// Messages between a program and its end of a stream, each way, besides those in the window.
const HANDOVER_MESSAGES: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    streams: BTreeMap<u64, Stream>,
    ended: bool,
}

#[derive(Debug)]
struct Stream {
    /// To the program that reads; `None` once the other side has ended.
    inbound: Option<mpsc::UnboundedSender<Bytes>>,
    /// What we may still send; a permit is a byte of cost.
    credit: Arc<Semaphore>,
    /// Cost of what the other side sent and was not given back.
    under_way: Arc<AtomicUsize>,
    outgoing: AbortHandle,
    incoming: AbortHandle,
    we_ended: bool,
}

/// What the other side must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("it sent more than it has credit for")]
    Window,
    #[error("it gave more credit than there is")]
    Credit,
    #[error("it opened a stream twice")]
    Twice,
}

fn cost(message: &Bytes) -> usize {
    message.len().clamp(COST_MIN, COST_MAX)
}

fn permits(cost: usize) -> u32 {
    u32::try_from(cost).expect("a window fits in a u32")
}

impl Streams {
    /// Begins a stream and the two tasks that move its messages. `None` when there are too many.
    ///
    /// # Errors
    ///
    /// When the connection has ended, or this id is in use.
    pub(crate) fn begin(connection: &Arc<Connection>, id: u64) -> Result<Option<Duplex>, BeginError> {
        let mut open = connection.streams.0.lock();
        if open.ended {
            return Err(BeginError::Ended);
        }
        if open.streams.contains_key(&id) {
            return Err(BeginError::Violation(Violation::Twice));
        }
        if open.streams.len() >= STREAMS_MAX {
            return Ok(None);
        }
        let (sender, outbound) = mpsc::channel(HANDOVER_MESSAGES);
        let (to_program, receiver) = mpsc::channel(HANDOVER_MESSAGES);
        let (inbound, received) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(WINDOW));
        let under_way = Arc::new(AtomicUsize::new(0));
        let outgoing = tokio::spawn(send_all(connection.clone(), id, outbound, credit.clone()));
        let incoming =
            tokio::spawn(receive_all(connection.clone(), id, received, to_program, under_way.clone()));
        let stream = Stream {
            inbound: Some(inbound),
            credit,
            under_way,
            outgoing: outgoing.abort_handle(),
            incoming: incoming.abort_handle(),
            we_ended: false,
        };
        open.streams.insert(id, stream);
        Ok(Some(Duplex { sender, receiver }))
    }

    /// A message has come.
    pub(crate) fn data(&self, id: u64, message: Bytes) -> Result<(), Violation> {
        let open = self.0.lock();
        let Some(stream) = open.streams.get(&id) else { return Ok(()) };
        let Some(inbound) = &stream.inbound else { return Ok(()) };
        let cost = cost(&message);
        if stream.under_way.fetch_add(cost, Ordering::Relaxed) + cost > WINDOW {
            return Err(Violation::Window);
        }
        // Who reads no more has said so; what was under way is dropped.
        if inbound.send(message).is_err() {
            stream.under_way.fetch_sub(cost, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The other side gives back credit.
    pub(crate) fn credit(&self, id: u64, bytes: usize) -> Result<(), Violation> {
        let open = self.0.lock();
        let Some(stream) = open.streams.get(&id) else { return Ok(()) };
        if bytes > WINDOW - stream.credit.available_permits().min(WINDOW) {
            return Err(Violation::Credit);
        }
        stream.credit.add_permits(bytes);
        Ok(())
    }

    /// The other side says no more: who reads sees the end after what came before it.
    pub(crate) fn they_end(&self, id: u64) {
        let mut open = self.0.lock();
        let Some(stream) = open.streams.get_mut(&id) else { return };
        stream.inbound = None;
        if stream.we_ended {
            open.streams.remove(&id);
        }
    }

    /// We say no more. False when that was said already.
    fn we_end(&self, id: u64) -> bool {
        let mut open = self.0.lock();
        let Some(stream) = open.streams.get_mut(&id) else { return false };
        let first = !std::mem::replace(&mut stream.we_ended, true);
        if stream.inbound.is_none() {
            open.streams.remove(&id);
        }
        first
    }

    /// The other side reads no more: whoever sends is told. False when there is no need to say that we end.
    pub(crate) fn stop(&self, id: u64) -> bool {
        if let Some(stream) = self.0.lock().streams.get(&id) {
            stream.outgoing.abort();
        }
        self.we_end(id)
    }

    /// Drops a stream of which the other side knows nothing.
    pub(crate) fn forget(&self, id: u64) {
        if let Some(stream) = self.0.lock().streams.remove(&id) {
            stream.abort();
        }
    }

    /// Ends both directions at once.
    fn cut(&self, connection: &Connection, id: u64) {
        connection.send_now(Kind::Stop, id, &[]);
        connection.send_now(Kind::End, id, &[]);
        self.forget(id);
    }

    /// Ends all of them.
    pub(crate) fn end(&self) {
        let mut open = self.0.lock();
        open.ended = true;
        std::mem::take(&mut open.streams).into_values().for_each(|stream| stream.abort());
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().streams.len()
    }
}

impl Stream {
    fn abort(&self) {
        self.outgoing.abort();
        self.incoming.abort();
    }
}

/// Why a stream was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BeginError {
    /// The connection has ended.
    Ended,
    /// The other side misbehaves.
    Violation(Violation),
}

/// Moves what our program sends to the connection.
async fn send_all(
    connection: Arc<Connection>,
    id: u64,
    mut outbound: mpsc::Receiver<Bytes>,
    credit: Arc<Semaphore>,
) {
    while let Some(message) = outbound.recv().await {
        if message.len() > MESSAGE_LEN_MAX {
            tracing::error!(bytes = message.len(), "a message is too long for a stream, which ends");
            return connection.streams.cut(&connection, id);
        }
        let Ok(permit) = credit.acquire_many(permits(cost(&message))).await else { return };
        permit.forget();
        if connection.outbox.send(Kind::Data, id, message).await == Err(Ended) {
            return;
        }
    }
    if connection.streams.we_end(id) {
        connection.send_now(Kind::End, id, &[]);
    }
}

/// Moves what has come to our program, and gives back credit for it.
async fn receive_all(
    connection: Arc<Connection>,
    id: u64,
    mut received: mpsc::UnboundedReceiver<Bytes>,
    to_program: mpsc::Sender<Bytes>,
    under_way: Arc<AtomicUsize>,
) {
    let mut owed = 0;
    loop {
        let message = tokio::select! {
            message = received.recv() => message,
            () = to_program.closed() => break,
        };
        let Some(message) = message else { return };
        let cost = cost(&message);
        if to_program.send(message).await.is_err() {
            break;
        }
        owed += cost;
        if owed >= OWED_MAX {
            under_way.fetch_sub(owed, Ordering::Relaxed);
            connection.send_now(Kind::Credit, id, &permits(owed).to_le_bytes());
            owed = 0;
        }
    }
    connection.send_now(Kind::Stop, id, &[]);
}
