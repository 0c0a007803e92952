//! The connection that this node dialled to another one, for one channel: made when it is needed, and made again.
//!
//! - At most one dial at a time; whoever needs the connection meanwhile waits for it. A dial goes on when its callers
//!   have given up, or a network that is slower than their patience would never be connected.
//! - After a dial that failed, callers get its error at once until the pause is over: it grows from
//!   [`PAUSE_MS_MIN`] to [`PAUSE_MS_MAX`]. A sign of life of the node, or another address, ends it.
//! - What is forgotten stays so, also when a dial succeeds after that.

use super::connection::Connection;
use crate::transport::TransportError;
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Pause after the first dial that failed, in milliseconds; it doubles with each.
const PAUSE_MS_MIN: u64 = 10;
/// The longest pause, in milliseconds: a node that comes back is found within this time.
const PAUSE_MS_MAX: u64 = 250;
/// Callers that wait for one dial, at most.
const CALLERS_MAX: usize = 8_192;

type Dialled = Result<Arc<Connection>, TransportError>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Link(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// Dials that failed, one after the other.
    failures: u32,
    forgotten: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Dialling(Vec<oneshot::Sender<Dialled>>),
    Open(Arc<Connection>),
    Pausing {
        until: Instant,
        error: TransportError,
    },
}

enum Next {
    Now(Dialled),
    Wait(oneshot::Receiver<Dialled>),
    Dial(oneshot::Receiver<Dialled>),
}

impl Link {
    /// The connection; `dial` makes it when there is none.
    pub(crate) async fn connection<D, F>(self: &Arc<Self>, gone: TransportError, dial: D) -> Dialled
    where
        D: FnOnce() -> F,
        F: Future<Output = Dialled> + Send + 'static,
    {
        let next = self.next(&gone);
        let waiting = match next {
            Next::Now(dialled) => return dialled,
            Next::Wait(waiting) => waiting,
            Next::Dial(waiting) => {
                let (link, dial) = (self.clone(), dial());
                tokio::spawn(async move { link.dialled(dial.await) });
                waiting
            }
        };
        waiting.await.unwrap_or(Err(gone))
    }

    fn next(&self, gone: &TransportError) -> Next {
        let mut inner = self.0.lock();
        if inner.forgotten {
            return Next::Now(Err(gone.clone()));
        }
        match &mut inner.state {
            State::Open(connection) if !connection.has_ended() => return Next::Now(Ok(connection.clone())),
            State::Pausing { until, error } if Instant::now() < *until => {
                return Next::Now(Err(error.clone()));
            }
            State::Dialling(waiting) if waiting.len() >= CALLERS_MAX => return Next::Now(Err(gone.clone())),
            State::Dialling(waiting) => {
                let (caller, dialled) = oneshot::channel();
                waiting.push(caller);
                return Next::Wait(dialled);
            }
            State::Idle | State::Open(_) | State::Pausing { .. } => {}
        }
        let (caller, dialled) = oneshot::channel();
        inner.state = State::Dialling(vec![caller]);
        Next::Dial(dialled)
    }

    fn dialled(&self, dialled: Dialled) {
        let mut inner = self.0.lock();
        if inner.forgotten {
            if let Ok(connection) = dialled {
                connection.end("it is not needed any more");
            }
            return;
        }
        let state = match &dialled {
            Ok(connection) => {
                inner.failures = 0;
                State::Open(connection.clone())
            }
            Err(error) => {
                let pause_ms = PAUSE_MS_MAX.min(PAUSE_MS_MIN << inner.failures.min(8));
                inner.failures = inner.failures.saturating_add(1);
                State::Pausing {
                    until: Instant::now() + Duration::from_millis(pause_ms),
                    error: error.clone(),
                }
            }
        };
        if let State::Dialling(waiting) = std::mem::replace(&mut inner.state, state) {
            // Who gave up is not told.
            waiting.into_iter().for_each(|caller| drop(caller.send(dialled.clone())));
        }
    }

    /// The node seems to be there: the next caller dials.
    pub(crate) fn wake(&self) {
        let mut inner = self.0.lock();
        if matches!(inner.state, State::Pausing { .. }) {
            inner.state = State::Idle;
        }
        inner.failures = 0;
    }

    /// Ends what is open, and stays without a connection.
    pub(crate) fn forget(&self, reason: &str) {
        let mut inner = self.0.lock();
        inner.forgotten = true;
        if let State::Open(connection) = std::mem::take(&mut inner.state) {
            connection.end(reason);
        }
    }
}

#[cfg(test)]
mod tests;
