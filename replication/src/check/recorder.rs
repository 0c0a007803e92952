//! Takes down what clients do, from any thread.
//!
//! - A write is there from when it begins, without an answer until it has one, so that a client that dies leaves no gap.

use super::{Action, Event, Message, Moment, Written};
use crate::AtomicWrite;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Recorder {
    next: AtomicU64,
    events: Mutex<Vec<Event>>,
}

/// An event that has begun.
#[derive(Debug)]
#[must_use = "an event that is not ended looks as if nobody answered"]
pub struct Open(usize);

impl Recorder {
    /// The next moment, `at_ns` nanoseconds after the test began.
    pub fn moment(&self, at_ns: u64) -> Moment {
        Moment { order: self.next.fetch_add(1, Ordering::SeqCst), at_ns }
    }

    /// A write begins.
    pub fn write(&self, client: u64, node: u64, at_ns: u64, id: u64, write: AtomicWrite) -> Open {
        let outcome = Written::Unknown;
        self.open(client, node, at_ns, Action::Write { id, write, outcome })
    }

    /// A watch begins.
    pub fn watch(&self, client: u64, node: u64, at_ns: u64, keys: Vec<Vec<u8>>) -> Open {
        self.open(client, node, at_ns, Action::Watch { keys, messages: Vec::new(), drained: false })
    }

    fn open(&self, client: u64, node: u64, at_ns: u64, action: Action) -> Open {
        let mut events = self.events.lock();
        let invoked = self.moment(at_ns);
        events.push(Event { client, node, invoked, completed: None, action });
        Open(events.len() - 1)
    }

    /// A write is answered.
    pub fn answered(&self, open: &Open, at_ns: u64, answer: Written) {
        let mut events = self.events.lock();
        let event = &mut events[open.0];
        event.completed = Some(self.moment(at_ns));
        if let Action::Write { outcome, .. } = &mut event.action {
            *outcome = answer;
        }
    }

    /// A watch says something; `at` is a [`moment`](Self::moment) after it was there.
    pub fn said(&self, open: &Open, message: Message) {
        if let Action::Watch { messages, .. } = &mut self.events.lock()[open.0].action {
            messages.push(message);
        }
    }

    /// A watch was open, with time to say all, after the last write.
    pub fn drained(&self, open: &Open) {
        if let Action::Watch { drained, .. } = &mut self.events.lock()[open.0].action {
            *drained = true;
        }
    }

    /// A read that began at `invoked` has succeeded.
    pub fn read(&self, client: u64, node: u64, invoked: Moment, at_ns: u64, action: Action) {
        let mut events = self.events.lock();
        let completed = Some(self.moment(at_ns));
        events.push(Event { client, node, invoked, completed, action });
    }

    /// All of it.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }
}
