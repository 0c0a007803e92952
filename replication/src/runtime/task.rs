//! Tasks and the handles by which they are waited for.

use super::sim;
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Waits for the end of a task. Dropping it leaves the task alone.
#[derive(Debug)]
pub struct JoinHandle<T>(Kind<T>);

#[derive(Debug)]
enum Kind<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Simulated(sim::JoinHandle<T>),
}

/// A task has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It was aborted, or its runtime or its simulated machine is no more.
    #[error("the task was stopped")]
    Cancelled,
    /// It panicked. A bug.
    #[error("the task panicked: {0}")]
    Panicked(String),
}

impl JoinError {
    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }
}

impl<T> JoinHandle<T> {
    /// Drops the task at its next chance, without waiting for that.
    pub fn abort(&self) {
        match &self.0 {
            Kind::Tokio(task) => task.abort(),
            Kind::Simulated(task) => task.abort(),
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        match &self.0 {
            Kind::Tokio(task) => task.is_finished(),
            Kind::Simulated(task) => task.is_finished(),
        }
    }

    /// Binds the life of the task to the returned value.
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop(self)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Kind::Tokio(task) => Poll::Ready(ready!(Pin::new(task).poll(context)).map_err(from_tokio)),
            Kind::Simulated(task) => Pin::new(task).poll(context),
        }
    }
}

fn from_tokio(error: tokio::task::JoinError) -> JoinError {
    match error.try_into_panic() {
        Ok(panic) => JoinError::Panicked(panic_message(panic.as_ref())),
        Err(_cancelled) => JoinError::Cancelled,
    }
}

/// The words of a panic.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
    words.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".to_owned())
}

/// A task that ends with this value.
#[derive(Debug)]
pub struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

#[track_caller]
pub(super) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    JoinHandle(match sim::is_running() {
        true => Kind::Simulated(sim::spawn(future)),
        false => Kind::Tokio(tokio::spawn(future)),
    })
}

pub(super) fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    JoinHandle(match sim::is_running() {
        true => Kind::Simulated(sim::spawn(async move { work() })),
        false => Kind::Tokio(tokio::task::spawn_blocking(work)),
    })
}

impl<T> JoinHandle<T> {
    /// That of a simulated task.
    pub(super) fn simulated(task: sim::JoinHandle<T>) -> Self {
        Self(Kind::Simulated(task))
    }
}
