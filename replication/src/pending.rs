//! Writes of this node that wait for their outcome, which the log tells.
//!
//! - A write waits under a number of its own, with the term in which it was handed to a leader (its fence). It can only be
//!   applied from an entry of that term. Handed over again, it gets another number.
//! - Numbers rise, and a number waits from the moment it is given: below the lowest that waits, none ever waits again.
//! - When this replica applies an entry of a later term, every write with an earlier fence that is still waiting is
//!   certain never to happen: all entries of its term that are in the log have been applied. It may be proposed again.
//! - When a Raft snapshot takes the place of entries that were never seen here, the outcome is lost.

use crate::bugs::{self, Bug};
use crate::{Outcome, WriteError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// What became of something that waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A write was applied.
    Outcome(Outcome),
    /// Something else was applied.
    Done,
    /// It was not applied and never will be.
    NotApplied,
    /// A snapshot hides whether it was applied.
    Hidden,
    /// The leader did not take it.
    Refused(WriteError),
}

#[derive(Debug)]
struct Waiting {
    fence: u64,
    reply: oneshot::Sender<Verdict>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// The term of the last entry applied.
    term: u64,
}

/// Everything that waits.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    state: Mutex<State>,
}

impl Pending {
    /// Waits for something that is about to be handed to the leader of the term `fence`; also returns its number.
    pub(crate) fn register(&self, fence: u64) -> (u64, oneshot::Receiver<Verdict>) {
        let (reply, verdict) = oneshot::channel();
        let mut state = self.state.lock();
        let counter = state.next;
        state.next += 1;
        if fence < state.term {
            // Nobody was handed anything yet: it is certain.
            tell(reply, Verdict::NotApplied);
        } else {
            state.waiting.insert(counter, Waiting { fence, reply });
        }
        (counter, verdict)
    }

    /// Stops waiting.
    pub(crate) fn forget(&self, counter: u64) {
        self.state.lock().waiting.remove(&counter);
    }

    /// Whether the request with this counter waits.
    pub(crate) fn waits(&self, counter: u64) -> bool {
        self.state.lock().waiting.contains_key(&counter)
    }

    /// A number below which nothing waits or ever will.
    pub(crate) fn floor(&self) -> u64 {
        let state = self.state.lock();
        state.waiting.first_key_value().map_or(state.next, |(counter, _)| *counter)
    }

    /// An entry with this request was applied, or came to nothing.
    pub(crate) fn resolve(&self, counter: u64, verdict: Verdict) {
        if let Some(waiting) = self.state.lock().waiting.remove(&counter) {
            tell(waiting.reply, verdict);
        }
    }

    /// An entry of this term is being applied.
    pub(crate) fn enter_term(&self, term: u64) {
        let mut state = self.state.lock();
        if term <= state.term {
            return;
        }
        state.term = term;
        for (_, waiting) in state.waiting.extract_if(.., |_, waiting| waiting.fence < term) {
            tell(waiting.reply, Verdict::NotApplied);
        }
    }

    /// A snapshot that ends in this term took the place of entries that were not seen.
    pub(crate) fn skip_to(&self, term: u64) {
        let mut state = self.state.lock();
        state.term = state.term.max(term);
        for (_, waiting) in std::mem::take(&mut state.waiting) {
            let hidden =
                if bugs::seeded(Bug::HiddenIsNotApplied) { Verdict::NotApplied } else { Verdict::Hidden };
            tell(waiting.reply, hidden);
        }
    }
}

/// Tells; who went away need not know.
fn tell(reply: oneshot::Sender<Verdict>, verdict: Verdict) {
    drop(reply.send(verdict));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entry_of_a_later_term_makes_it_certain_that_a_write_never_happens() {
        let pending = Pending::default();
        let (_, mut waiting) = pending.register(2);
        pending.enter_term(2);
        assert!(waiting.try_recv().is_err());
        pending.enter_term(3);
        assert_eq!(waiting.try_recv(), Ok(Verdict::NotApplied));
        assert_eq!(pending.register(2).1.try_recv(), Ok(Verdict::NotApplied));
        assert!(pending.register(3).1.try_recv().is_err());
    }

    #[test]
    fn what_was_applied_is_told_once_and_a_snapshot_hides_the_rest() {
        let pending = Pending::default();
        let ((one, mut first), (two, mut second)) = (pending.register(2), pending.register(2));
        assert_eq!(pending.floor(), one);
        pending.resolve(one, Verdict::Done);
        assert_eq!(first.try_recv(), Ok(Verdict::Done));
        assert_eq!(pending.floor(), two);
        pending.skip_to(4);
        assert_eq!(second.try_recv(), Ok(Verdict::Hidden));
        assert!(pending.floor() > two);
        assert_eq!(pending.register(3).1.try_recv(), Ok(Verdict::NotApplied));
    }
}
