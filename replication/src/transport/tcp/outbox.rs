//! Frames that wait to be written to a connection.
//!
//! - What waits has a bound in bytes: who sends messages waits for room. Short frames that answer the other side, such as
//!   credits, never wait; when too many of them lie here it does not read, and the connection ends.
//! - Everything that waits is taken at once, so that many small frames are one write. Short payloads are copied together;
//!   long ones are not copied.

use super::frame::{self, HEADER_LEN, Kind};
use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::IoSlice;
use tokio::sync::{Notify, Semaphore};

/// Bytes of messages that wait, at most. The longest message has room.
const WAITING_BYTES_MAX: usize = 32 << 20;
/// Bytes of frames that do not wait for room, at most.
const URGENT_BYTES_MAX: usize = 1 << 20;
/// Payloads up to this many bytes are copied together.
const COPY_LEN_MAX: usize = 16 << 10;

/// The connection has ended: nothing more is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// A permit is a byte.
    room: Semaphore,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    parts: VecDeque<Bytes>,
    short: BytesMut,
    len: usize,
    urgent_len: usize,
    ended: bool,
}

/// Frames to write, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    parts: VecDeque<Bytes>,
    remaining: usize,
    /// Bytes of room that it takes until it is written.
    room: usize,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Outbox { queue: Mutex::default(), room: Semaphore::new(WAITING_BYTES_MAX), filled: Notify::new() }
    }

    /// Sends a frame, once there is room for it. When this is dropped early, nothing was sent.
    pub(crate) async fn send(&self, kind: Kind, id: u64, payload: Bytes) -> Result<(), Ended> {
        let room = u32::try_from(HEADER_LEN + payload.len()).unwrap_or(u32::MAX);
        let room = self.room.acquire_many(room).await.map_err(|_closed| Ended)?;
        self.queue.lock().push(kind, id, payload)?;
        room.forget();
        self.filled.notify_one();
        Ok(())
    }

    /// Sends a short frame without waiting.
    pub(crate) fn send_now(&self, kind: Kind, id: u64, payload: &[u8]) -> Result<(), Ended> {
        let mut queue = self.queue.lock();
        let urgent_len = queue.urgent_len + HEADER_LEN + payload.len();
        if urgent_len > URGENT_BYTES_MAX {
            return Err(Ended);
        }
        queue.push(kind, id, Bytes::copy_from_slice(payload))?;
        queue.urgent_len = urgent_len;
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits until there is something to take.
    ///
    /// # Errors
    ///
    /// When the connection has ended and all was taken.
    pub(crate) async fn filled(&self) -> Result<(), Ended> {
        loop {
            let filled = self.filled.notified();
            {
                let queue = self.queue.lock();
                if queue.len > 0 {
                    return Ok(());
                }
                if queue.ended {
                    return Err(Ended);
                }
            }
            filled.await;
        }
    }

    /// Everything that waits.
    pub(crate) fn take(&self) -> Batch {
        self.queue.lock().take()
    }

    /// Gives back the room of what was written.
    pub(crate) fn written(&self, batch: &Batch) {
        self.room.add_permits(batch.room);
    }

    /// Nothing more is sent after this; what waits can still be taken.
    pub(crate) fn end(&self) {
        self.queue.lock().ended = true;
        self.room.close();
        self.filled.notify_one();
    }
}

impl Queue {
    fn push(&mut self, kind: Kind, id: u64, payload: Bytes) -> Result<(), Ended> {
        if self.ended {
            return Err(Ended);
        }
        self.len += HEADER_LEN + payload.len();
        self.short.extend_from_slice(&frame::header(kind, id, &payload));
        if payload.len() <= COPY_LEN_MAX {
            self.short.extend_from_slice(&payload);
        } else {
            self.parts.push_back(self.short.split().freeze());
            self.parts.push_back(payload);
        }
        Ok(())
    }

    fn take(&mut self) -> Batch {
        if !self.short.is_empty() {
            self.parts.push_back(self.short.split().freeze());
        }
        let remaining = std::mem::take(&mut self.len);
        let room = remaining - std::mem::take(&mut self.urgent_len);
        Batch { parts: std::mem::take(&mut self.parts), remaining, room }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.parts);
        filled.map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "no more is written than there is");
        self.remaining -= count;
        while let Some(part) = self.parts.front_mut() {
            if count < part.len() {
                part.advance(count);
                return;
            }
            count -= part.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::MESSAGE_LEN_MAX;
    use futures::FutureExt;

    fn frames(mut batch: Batch) -> Vec<(Kind, u64, usize)> {
        let mut bytes = BytesMut::from(&batch.copy_to_bytes(batch.remaining())[..]);
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = frame::take(&mut bytes) {
            frames.push((frame.kind, frame.id, frame.payload.len()));
        }
        assert!(bytes.is_empty(), "whole frames alone");
        frames
    }

    #[test]
    fn what_waits_is_taken_at_once_and_in_order() {
        let outbox = Outbox::new();
        assert_eq!(outbox.filled().now_or_never(), None);
        let sizes = [3, COPY_LEN_MAX + 1, 0, COPY_LEN_MAX, MESSAGE_LEN_MAX];
        for (id, len) in (0..).zip(sizes) {
            let sent = outbox.send(Kind::Data, id, vec![7; len].into()).now_or_never();
            assert_eq!(sent, Some(Ok(())));
        }
        assert_eq!(outbox.filled().now_or_never(), Some(Ok(())));
        let batch = outbox.take();
        assert_eq!(batch.parts.len(), 4, "short ones are copied together, long ones are not copied");
        let expected: Vec<_> = (0..).zip(sizes).map(|(id, len)| (Kind::Data, id, len)).collect();
        assert_eq!(frames(batch), expected);
    }

    #[test]
    fn messages_wait_for_room_and_credits_do_not() {
        let outbox = Outbox::new();
        let long = Bytes::from(vec![0; MESSAGE_LEN_MAX]);
        assert_eq!(outbox.send(Kind::Data, 1, long.clone()).now_or_never(), Some(Ok(())));
        let mut second = Box::pin(outbox.send(Kind::Data, 2, long));
        assert_eq!(second.as_mut().now_or_never(), None, "there is no room for two of the longest");
        assert_eq!(outbox.send_now(Kind::Credit, 3, &[0; 4]), Ok(()));
        assert_eq!(outbox.filled().now_or_never(), Some(Ok(())));
        let batch = outbox.take();
        assert_eq!(second.as_mut().now_or_never(), None, "it is not written yet");
        outbox.written(&batch);
        assert_eq!(second.as_mut().now_or_never(), Some(Ok(())));
        assert_eq!(frames(batch), [(Kind::Data, 1, MESSAGE_LEN_MAX), (Kind::Credit, 3, 4)]);
    }

    #[test]
    fn who_does_not_read_cannot_pile_up_credits() {
        let outbox = Outbox::new();
        let sent = (0..1 << 20).take_while(|id| outbox.send_now(Kind::Pong, *id, &[]) == Ok(())).count();
        assert!(sent * HEADER_LEN <= URGENT_BYTES_MAX, "{sent}");
    }

    #[test]
    fn after_the_end_what_waits_can_be_taken_and_nothing_is_added() {
        let outbox = Outbox::new();
        assert_eq!(outbox.send_now(Kind::Bye, 0, b"over"), Ok(()));
        outbox.end();
        assert_eq!(outbox.send(Kind::Request, 1, Bytes::new()).now_or_never(), Some(Err(Ended)));
        assert_eq!(outbox.send_now(Kind::Ping, 1, &[]), Err(Ended));
        assert_eq!(outbox.filled().now_or_never(), Some(Ok(())));
        assert_eq!(frames(outbox.take()), [(Kind::Bye, 0, 4)]);
        assert_eq!(outbox.filled().now_or_never(), Some(Err(Ended)));
    }
}
