//! What runs tasks, runs what blocks, and waits: tokio, or a simulation.
//!
//! - Which of the two is asked at run time, as in the replication: a simulation [`install`]s itself on its thread, and
//!   everywhere else it is tokio. So the shipper that is tested is the one that serves.
//! - Shipping, pruning and merging start tasks and wait through this module alone. A restore hands records from thread to
//!   thread and always runs on tokio.
//! - A simulation runs what blocks in place, as a task of its own.

use futures::channel::oneshot;
use futures::future::{AbortHandle, BoxFuture, Either, abortable, select};
use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What a simulation offers instead of tokio.
pub trait Runtime: fmt::Debug {
    /// Starts a task.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Waits for `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

thread_local! {
    static INSTALLED: RefCell<Option<Rc<dyn Runtime>>> = const { RefCell::new(None) };
}

/// A runtime in the place of tokio on this thread, until this is dropped.
#[derive(Debug)]
#[must_use = "tokio is back when this is dropped"]
pub struct Installed(());

/// Puts a runtime in the place of tokio on this thread.
pub fn install(runtime: Rc<dyn Runtime>) -> Installed {
    INSTALLED.replace(Some(runtime));
    Installed(())
}

impl Drop for Installed {
    fn drop(&mut self) {
        INSTALLED.replace(None);
    }
}

fn installed() -> Option<Rc<dyn Runtime>> {
    INSTALLED.with_borrow(Clone::clone)
}

/// A task that has no result: it panicked, or the runtime ended.
#[derive(Debug)]
pub(crate) struct Ended(Option<tokio::task::JoinError>);

impl Ended {
    /// Goes on with the panic of the task, if it was one.
    pub(crate) fn resume_panic(self) {
        if let Some(Ok(panic)) = self.0.map(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A task and its result. Dropped, it ends the task where that waits, unless it is one that blocks.
#[derive(Debug)]
pub(crate) struct Task<T> {
    kind: Kind<T>,
    blocks: bool,
}

#[derive(Debug)]
enum Kind<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Installed(oneshot::Receiver<T>, AbortHandle),
}

impl<T> Future for Task<T> {
    type Output = Result<T, Ended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match &mut self.kind {
            Kind::Tokio(task) => ready!(Pin::new(task).poll(context)).map_err(|error| Ended(Some(error))),
            Kind::Installed(task, _) => ready!(Pin::new(task).poll(context)).map_err(|_canceled| Ended(None)),
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        match &self.kind {
            _ if self.blocks => {}
            Kind::Tokio(task) => task.abort(),
            Kind::Installed(_, task) => task.abort(),
        }
    }
}

/// Starts a task.
pub(crate) fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    let Some(runtime) = installed() else {
        return Task { kind: Kind::Tokio(tokio::spawn(future)), blocks: false };
    };
    let (tell, told) = oneshot::channel();
    let (task, handle) = abortable(async move {
        // Nobody may be left to be told.
        drop(tell.send(future.await));
    });
    runtime.spawn(Box::pin(async move {
        // Ended or aborted: its handle knows.
        task.await.unwrap_or_default();
    }));
    Task { kind: Kind::Installed(told, handle), blocks: false }
}

/// Runs what blocks where it holds up no task. It goes on to its end, whoever waits for it.
pub(crate) fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    match installed() {
        Some(_) => {
            let mut task = spawn(async move { work() });
            task.blocks = true;
            task
        }
        None => Task { kind: Kind::Tokio(tokio::task::spawn_blocking(work)), blocks: true },
    }
}

/// Waits for `duration`.
pub(crate) async fn sleep(duration: Duration) {
    // Not held while it waits: tasks move between threads.
    let sleep = installed().map(|runtime| runtime.sleep(duration));
    match sleep {
        Some(sleep) => sleep.await,
        None => tokio::time::sleep(duration).await,
    }
}

/// Waits for `future`, at most for `duration`; `None` when that was too short. Then it is dropped.
pub(crate) async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(sleep(duration))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(((), _)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::LocalPool;
    use futures::task::LocalSpawnExt;

    /// Runs tasks on one thread, and lets no time pass.
    #[derive(Debug)]
    struct Pool(futures::executor::LocalSpawner);

    impl Runtime for Pool {
        fn spawn(&self, task: BoxFuture<'static, ()>) {
            self.0.spawn_local(task).expect("the pool is there");
        }

        fn sleep(&self, _duration: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn an_installed_runtime_runs_everything_without_tokio() {
        let mut pool = LocalPool::new();
        let _installed = install(Rc::new(Pool(pool.spawner())));
        let done = pool.run_until(async {
            let task = spawn(async { 1 });
            let blocking = spawn_blocking(|| 2);
            sleep(Duration::from_secs(3_600)).await;
            (
                task.await.ok(),
                blocking.await.ok(),
                timeout(Duration::ZERO, std::future::pending::<()>()).await,
            )
        });
        assert_eq!(done, (Some(1), Some(2), None));
    }

    #[test]
    fn a_dropped_task_ends_where_it_waits() {
        let mut pool = LocalPool::new();
        let _installed = install(Rc::new(Pool(pool.spawner())));
        let (held, told) = oneshot::channel::<()>();
        let task = spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        pool.run_until_stalled();
        drop(task);
        assert!(pool.run_until(told).is_err(), "what the task held is let go");
    }

    #[tokio::test(start_paused = true)]
    async fn without_one_it_is_tokio() {
        assert_eq!(spawn_blocking(|| 2).await.ok(), Some(2));
        assert_eq!(timeout(Duration::from_secs(9), std::future::pending::<()>()).await, None);
        assert_eq!(timeout(Duration::from_secs(9), async { 1 }).await, Some(1));
    }
}
