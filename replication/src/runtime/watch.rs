//! A value that is watched: one side sets it, the other waits for it to be set again.
//!
//! - Whoever waits is woken in the order in which it began to wait. That is what `tokio::sync::watch` does not promise, and why this
//!   exists: two runs of a simulation must be the same. Real threads use it as well.
//! - No wake-up is lost: a waiter reads the version and joins the line under one lock; a sender raises the version before
//!   it takes that lock and empties the line.
//! - The version is raised under the lock of the value, so who reads both under it knows which value it has seen.
//! - Nothing foreign runs under a lock: wakers are woken and dropped, and old values dropped, after it was given back.

#[cfg(test)]
mod tests;

use openraft_rt::{OptionalSend, OptionalSync, watch};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

pub use openraft_rt::watch::{RecvError, SendError};

/// This module as a type, for openraft.
#[derive(Debug)]
pub struct Watch;

/// A reference to the value. While it is held, setting the value waits: hold it briefly, never across an `await`.
pub type Ref<'a, T> = RwLockReadGuard<'a, T>;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    /// How often the value was set; raised under the lock of the value.
    version: AtomicU64,
    line: Mutex<Line>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
}

/// Who waits, by when it began.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
    /// No sender is left; set under the lock of the line.
    closed: bool,
}

impl<T> Shared<T> {
    fn wake_all(&self) {
        let wakers = mem::take(&mut self.line.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    fn read(&self) -> Ref<'_, T> {
        // Recursive: a thread that holds one reference may take another while a sender waits.
        self.value.read_recursive()
    }
}

/// Sets the value.
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the value, and waits for the next.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The newest version that was seen.
    seen: u64,
}

/// A value that is watched. The receiver has seen the first value.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        value: RwLock::new(value),
        version: AtomicU64::new(0),
        line: Mutex::default(),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
    });
    (Sender(shared.clone()), Receiver { shared, seen: 0 })
}

impl<T> Sender<T> {
    /// Sets the value and wakes those who wait.
    ///
    /// # Errors
    ///
    /// The value again, when nobody watches; it is not set then.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError(value));
        }
        drop(self.send_replace(value));
        Ok(())
    }

    /// Sets the value, whether anybody watches or not, wakes those who wait, and returns the one before.
    pub fn send_replace(&self, mut value: T) -> T {
        self.send_if_modified(|current| {
            mem::swap(current, &mut value);
            true
        });
        value
    }

    /// Changes the value in place; wakes those who wait if `modify` says that it did. Returns what it said.
    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        {
            let mut value = self.0.value.write();
            if !modify(&mut value) {
                return false;
            }
            self.0.version.fetch_add(1, Ordering::AcqRel);
        }
        self.0.wake_all();
        true
    }

    /// The value.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.read()
    }

    /// Another receiver, that has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, Ordering::AcqRel);
        let value = self.0.read();
        let seen = self.0.version.load(Ordering::Acquire);
        drop(value);
        Receiver { shared: self.0.clone(), seen }
    }
}

impl<T> Receiver<T> {
    /// The value, without counting it as seen.
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.read()
    }

    /// The value, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.version.load(Ordering::Acquire);
        value
    }

    /// Waits until a value was set that was not seen, which counts as seen then. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// If no sender is left, and the last value was seen.
    pub fn changed(&mut self) -> Changed<'_, T> {
        Changed { receiver: self, place: None }
    }

    /// Waits until the value is such that `condition` holds, and returns a copy of it.
    ///
    /// # Errors
    ///
    /// If no sender is left, and the last value was seen.
    pub async fn wait_for(&mut self, mut condition: impl FnMut(&T) -> bool) -> Result<T, RecvError>
    where
        T: Clone,
    {
        loop {
            {
                let value = self.borrow_and_update();
                if condition(&value) {
                    return Ok(value.clone());
                }
            }
            self.changed().await?;
        }
    }
}

/// See [`Receiver::changed`].
#[must_use = "futures do nothing unless polled"]
pub struct Changed<'a, T> {
    receiver: &'a mut Receiver<T>,
    /// The place in the line, once it waits.
    place: Option<u64>,
}

impl<T> Changed<'_, T> {
    /// The answer, or a place in the line. Returns a waker that is to be dropped once no lock is held.
    fn step(&mut self, waker: &Waker) -> (Poll<Result<(), RecvError>>, Option<Waker>) {
        let shared = &self.receiver.shared;
        let mut line = shared.line.lock();
        let version = shared.version.load(Ordering::Acquire);
        if version != self.receiver.seen {
            self.receiver.seen = version;
            return (Poll::Ready(Ok(())), self.place.take().and_then(|place| line.wakers.remove(&place)));
        }
        if line.closed {
            return (Poll::Ready(Err(RecvError(()))), None);
        }
        let place = *self.place.get_or_insert_with(|| {
            line.next += 1;
            line.next
        });
        (Poll::Pending, line.wakers.insert(place, waker.clone()))
    }
}

impl<T> Future for Changed<'_, T> {
    type Output = Result<(), RecvError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, before) = self.get_mut().step(context.waker());
        drop(before);
        answer
    }
}

impl<T> Drop for Changed<'_, T> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let before = self.receiver.shared.line.lock().wakers.remove(&place);
            drop(before);
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.line.lock().closed = true;
            self.0.wake_all();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, Ordering::AcqRel);
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Changed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changed").field("place", &self.place).finish_non_exhaustive()
    }
}

impl watch::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        channel(init)
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.send(value)
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        self.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        self.subscribe()
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        self.changed().await
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.borrow_and_update()
    }
}
