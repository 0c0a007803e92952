//! Carries a request there and its answer back, or opens a stream.

use super::endpoint::{Listener, Route};
use super::stream;
use crate::runtime::sim::{Machine, spawn_on};
use crate::runtime::{sleep, timeout};
use crate::transport::{Duplex, MESSAGE_LEN_MAX, TransportError};
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a dialler waits for the other side.
const DIAL_MAX: Duration = Duration::from_secs(3);

/// What comes back; `None` if nothing ever does.
type Carried<T> = Option<Result<T, TransportError>>;

pub(super) async fn call(route: Route, request: Bytes, within: Duration) -> Result<Bytes, TransportError> {
    let on_the_way = route.clone();
    wait(route, within, async move { on_the_way.carry(request).await }).await
}

pub(super) async fn open(route: Route, header: Bytes) -> Result<Duplex, TransportError> {
    let on_the_way = route.clone();
    wait(route, DIAL_MAX, async move { on_the_way.carry_opening(header).await }).await
}

/// Has the world carry something, and waits for what comes back.
async fn wait<T: Send + 'static>(
    route: Route,
    within: Duration,
    carried: impl Future<Output = Carried<T>> + Send + 'static,
) -> Result<T, TransportError> {
    let (mut reply, answer) = oneshot::channel();
    spawn_on(Machine::WORLD, async move {
        match carried.await {
            // Who waits for it may be gone.
            Some(result) => drop(reply.send(result)),
            None => reply.closed().await,
        }
    });
    match timeout(within, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_dropped)) => Err(route.broken("it ended before it answered")),
        Err(_elapsed) => {
            let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            Err(TransportError::TimedOut { node: route.to, within_ms })
        }
    }
}

impl Route {
    async fn carry(self, request: Bytes) -> Carried<Bytes> {
        let (there, listener) = match self.arrive().await? {
            Ok(arrived) => arrived,
            Err(error) => return Some(Err(error)),
        };
        let answer = self.deliver(&listener, request.clone());
        if self.network.doubles() {
            let (again, listener) = (self.clone(), listener.clone());
            spawn_on(Machine::WORLD, async move {
                sleep(again.network.delay(again.machine, there)).await;
                if again.network.hears(&again.address, &listener) {
                    drop(again.deliver(&listener, request));
                }
            });
        }
        let answer = match answer.await {
            Ok(answer) if answer.len() > MESSAGE_LEN_MAX => Err(self.broken("its answer is too long")),
            Ok(answer) => Ok(answer),
            Err(_killed) => Err(self.broken("it ended before it answered")),
        };
        self.network.passes(there, self.machine).await.then_some(answer)
    }

    /// Has the other side's service answer, as a task of its machine.
    fn deliver(&self, listener: &Listener, request: Bytes) -> oneshot::Receiver<Bytes> {
        let (sender, answer) = oneshot::channel();
        let (service, from) = (listener.service.clone(), self.from);
        spawn_on(listener.machine, async move {
            // Nobody may wait for it any more.
            drop(sender.send(service.answer(from, request).await));
        });
        answer
    }

    async fn carry_opening(self, header: Bytes) -> Carried<Duplex> {
        let (there, listener) = match self.arrive().await? {
            Ok(arrived) => arrived,
            Err(error) => return Some(Err(error)),
        };
        let (near, far) = stream::begin(&self, there);
        let (service, from) = (listener.service, self.from);
        spawn_on(there, async move { service.stream(from, header, far).await });
        self.network.passes(there, self.machine).await.then_some(Ok(near))
    }

    /// Goes there. An error is one that has come back.
    async fn arrive(&self) -> Carried<(Machine, Listener)> {
        let there = self.network.place(&self.address);
        if !self.network.passes(self.machine, there).await {
            return None;
        }
        let error = match self.network.listener(&self.address) {
            None => self.unreachable("nobody listens there"),
            Some(listener) => match listener.refuses(self.from, self.to) {
                None => return Some(Ok((there, listener))),
                Some(reason) => TransportError::Refused { node: self.to, reason },
            },
        };
        self.network.passes(there, self.machine).await.then_some(Err(error))
    }
}
