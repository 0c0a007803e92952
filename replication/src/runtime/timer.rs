//! Waiting for a time, and for something until a time.

use super::{Instant, sim};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The time was up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time was up")]
pub struct Elapsed;

pin_project! {
    /// Waits for a time.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Sleep {
        #[pin]
        kind: SleepKind,
    }
}

pin_project! {
    #[project = SleepProjection]
    #[derive(Debug)]
    enum SleepKind {
        Tokio { #[pin] sleep: tokio::time::Sleep },
        Simulated { sleep: sim::Sleep },
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.project().kind.project() {
            SleepProjection::Tokio { sleep } => sleep.poll(context),
            SleepProjection::Simulated { sleep } => Pin::new(sleep).poll(context),
        }
    }
}

pin_project! {
    /// Waits for a future until a time.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        kind: TimeoutKind<F>,
    }
}

pin_project! {
    #[project = TimeoutProjection]
    #[derive(Debug)]
    enum TimeoutKind<F> {
        Tokio { #[pin] timeout: tokio::time::Timeout<F> },
        Simulated { #[pin] future: F, sleep: sim::Sleep },
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            TimeoutProjection::Tokio { timeout } => {
                Poll::Ready(ready!(timeout.poll(context)).map_err(|_elapsed| Elapsed))
            }
            TimeoutProjection::Simulated { future, sleep } => match future.poll(context) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => Pin::new(sleep).poll(context).map(|()| Err(Elapsed)),
            },
        }
    }
}

#[track_caller]
pub(super) fn sleep(duration: Duration) -> Sleep {
    Sleep {
        kind: match sim::is_running() {
            true => SleepKind::Simulated { sleep: sim::Sleep::until(super::now() + duration) },
            false => SleepKind::Tokio { sleep: tokio::time::sleep(duration) },
        },
    }
}

#[track_caller]
pub(super) fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        kind: match sim::is_running() {
            true => SleepKind::Simulated { sleep: sim::Sleep::until(deadline) },
            false => SleepKind::Tokio { sleep: tokio::time::sleep_until(deadline.to_tokio()) },
        },
    }
}

#[track_caller]
pub(super) fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout {
        kind: match sim::is_running() {
            true => TimeoutKind::Simulated { future, sleep: sim::Sleep::until(super::now() + duration) },
            false => TimeoutKind::Tokio { timeout: tokio::time::timeout(duration, future) },
        },
    }
}

#[track_caller]
pub(super) fn timeout_at<F: Future>(deadline: Instant, future: F) -> Timeout<F> {
    Timeout {
        kind: match sim::is_running() {
            true => TimeoutKind::Simulated { future, sleep: sim::Sleep::until(deadline) },
            false => TimeoutKind::Tokio { timeout: tokio::time::timeout_at(deadline.to_tokio(), future) },
        },
    }
}
