//! The KV Connect endpoints, and those that tell how the server stands.
//!
//! - Every request gets exactly one answer; what is refused changes nothing.
//! - The metadata exchange and token checks need nothing but memory.
//! - [`errors`] is the one table from errors to statuses.

pub mod auth;
pub mod catalog;
pub mod errors;
pub mod exchange;
pub mod fuzzing;
pub mod keyspace;
pub mod limits;
pub mod read;
mod route;
pub mod standby;
pub mod watch;
pub mod wire;
pub mod write;

use crate::admin::Admin;
use crate::database::{Database, ReadError, WriteError};
use crate::metrics::{Endpoint, Metrics};
use auth::Auth;
use bytes::Bytes;
use errors::Error;
use hyper::body::Body as HttpBody;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use keyspace::{Keyspace, Keyspaces};
use replication::DEFAULT_DATABASE;
use route::{Data, Route, Target};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;
use wire::Body;

/// What a read promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// It shows every write that was acknowledged before it began, whoever acknowledged it.
    Strong,
    /// It shows what this node has, and says how old that may be.
    Eventual,
}

/// The id of the default database, the same on every server: a client may be handed from one to
/// another. Its token says whether it may.
pub const DEFAULT_DATABASE_ID: Uuid = Uuid::from_u128(0x00000000_0000_8000_8000_000000000001);

/// What answers requests. One per server.
#[derive(Debug)]
pub struct Connect {
    default: Keyspace,
    others: Option<Arc<dyn Keyspaces>>,
    admin: Option<Admin>,
    metrics: Metrics,
    stopping: tokio::sync::watch::Receiver<bool>,
}

/// What a request asks for, if there is such a thing and its method is one that it takes.
fn permitted(target: Option<Target>, method: &Method) -> Result<Target, Error> {
    match target {
        None => Err(Error::NotFound),
        Some(target) if !target.route.allows(method) => Err(Error::MethodNotAllowed),
        Some(target) => Ok(target),
    }
}

/// What is sent, counted; a refusal says why.
fn concluded(
    metrics: &Metrics,
    head: &Parts,
    target: Option<Target>,
    started: Instant,
    answered: Result<Response<Body>, Error>,
) -> Response<Body> {
    let route = target.map(|target| target.route);
    let response = answered.unwrap_or_else(|error| {
        tracing::debug!(path = head.uri.path(), status = error.status().as_u16(), %error, "refused");
        wire::refusal(&error, route.map(Route::allow))
    });
    let endpoint = route.map_or(Endpoint::Other, Route::endpoint);
    metrics.request(endpoint, response.status().as_u16(), started.elapsed());
    response
}

impl Connect {
    /// Serves `database` to those who hold the access token, until `stopping` is true.
    pub const fn new(
        database: Database,
        auth: Auth,
        metrics: Metrics,
        stopping: tokio::sync::watch::Receiver<bool>,
    ) -> Self {
        let default = Keyspace { database, number: DEFAULT_DATABASE, auth };
        Self { default, others: None, admin: None, metrics, stopping }
    }

    /// Also serves these, each under its own path, and the default one where they say that it is.
    #[must_use]
    pub fn with_databases(mut self, others: Arc<dyn Keyspaces>) -> Self {
        self.others = Some(others);
        self
    }

    /// Also serves the admin API.
    #[must_use]
    pub fn with_admin(mut self, admin: Admin) -> Self {
        self.admin = Some(admin);
        self
    }

    /// Answers one request.
    pub async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let target = Target::of(head.uri.path());
        let answered = match permitted(target, &head.method) {
            Ok(target) => self.dispatch(target, &head, body).await,
            Err(error) => Err(error),
        };
        concluded(&self.metrics, &head, target, started, answered)
    }

    async fn dispatch<B>(&self, target: Target, head: &Parts, body: B) -> Result<Response<Body>, Error>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let data = match target.route {
            Route::Exchange => {
                let keyspace = self.keyspace(target.database).await?;
                let body = wire::read_body(body).await?;
                return exchange_with(&keyspace, target.database, head, &body);
            }
            Route::Admin => return self.administer(head, body).await,
            Route::Health => return Ok(wire::text(StatusCode::OK, "ok\n".to_owned())),
            Route::Ready => return Ok(self.ready()),
            Route::Metrics => return Ok(self.metrics_text()),
            Route::Data(data) => data,
        };
        let keyspace = self.keyspace(target.database).await?;
        keyspace.check_data_path(&head.headers)?;
        let body = wire::read_body(body).await?;
        match data {
            Data::SnapshotRead(consistency) => snapshot_read(&keyspace, consistency, &body).await,
            Data::AtomicWrite => atomic_write(&keyspace, &body).await,
            Data::Watch(consistency) => self.watch(&keyspace, consistency, &body).await,
        }
    }

    async fn administer<B>(&self, head: &Parts, body: B) -> Result<Response<Body>, Error>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let rest = route::after_admin(head.uri.path()).ok_or(Error::NotFound)?;
        let admin = self.admin.as_ref().ok_or(Error::NotFound)?;
        self.default.auth.check_access(&head.headers)?;
        let body = wire::read_body(body).await?;
        Ok(admin.answer(&head.method, rest, head.uri.query(), &body).await)
    }

    /// The database that a path names.
    async fn keyspace(&self, id: Option<Uuid>) -> Result<Cow<'_, Keyspace>, Error> {
        match (id, &self.others) {
            (None, others) => self.default_of(others.as_deref()),
            (Some(id), others) if id == self.default.auth.database_id() => self.default_of(others.as_deref()),
            (Some(_), None) => Err(Error::NotFound),
            (Some(id), Some(others)) => others.find(id).await?.map(Cow::Owned).ok_or(Error::NotFound),
        }
    }

    /// The default database, which may have been moved.
    fn default_of(&self, others: Option<&dyn Keyspaces>) -> Result<Cow<'_, Keyspace>, Error> {
        others.map_or(Ok(Cow::Borrowed(&self.default)), |others| others.default().map(Cow::Owned))
    }

    async fn watch(
        &self,
        keyspace: &Keyspace,
        consistency: Consistency,
        body: &[u8],
    ) -> Result<Response<Body>, Error> {
        let keys = watch::decode(body)?;
        let Keyspace { database, number, .. } = keyspace;
        // Subscribed before the barrier, so that nothing written after it is missed.
        let mut watch = watch::Watch::new(database.clone(), *number, keys, self.stopping.clone())?;
        if let Some(others) = &self.others {
            let id = keyspace.auth.database_id();
            watch = watch.until_moved(watch::Place::new(Arc::clone(others), id, keyspace.place())?);
        }
        keyspace.wait_for(consistency).await?;
        Ok(wire::stream(watch.frames()))
    }

    fn ready(&self) -> Response<Body> {
        let reason = if *self.stopping.borrow() {
            Some("the server is stopping".to_owned())
        } else {
            let ended = || self.admin.as_ref().and_then(Admin::ended);
            self.default.database.refuses_writes().or_else(ended)
        };
        match reason {
            None => wire::text(StatusCode::OK, "ready\n".to_owned()),
            Some(reason) => wire::text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    }

    fn metrics_text(&self) -> Response<Body> {
        match self.metrics.text() {
            Ok(text) => wire::metrics(text),
            Err(error) => wire::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

fn exchange_with(
    keyspace: &Keyspace,
    id: Option<Uuid>,
    head: &Parts,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let now_ms = keyspace.database.clock().now_ms();
    let path = route::data_path(id);
    let authority = head.uri.authority();
    exchange::exchange(&keyspace.auth, now_ms, &head.headers, authority, &path, body).map(wire::json)
}

async fn snapshot_read(
    keyspace: &Keyspace,
    consistency: Consistency,
    body: &[u8],
) -> Result<Response<Body>, Error> {
    let read = read::Read::decode(body)?;
    keyspace.wait_for(consistency).await?;
    // Told before the snapshot is taken: it may be less stale than said, and never more.
    let staleness_ms = keyspace.database.staleness_ms();
    let (snapshot, number) = (keyspace.database.snapshot(), keyspace.number);
    let inline = read.entries_max() <= limits::INLINE_ENTRIES_MAX;
    let run = move || read.run(&snapshot, number, consistency).map(|output| wire::protobuf(&output));
    let answer = if inline {
        run()?
    } else {
        tokio::task::spawn_blocking(run).await.unwrap_or(Err(Error::StorageFailed))?
    };
    Ok(match consistency {
        Consistency::Strong => answer,
        Consistency::Eventual => wire::with_staleness(answer, staleness_ms),
    })
}

async fn atomic_write(keyspace: &Keyspace, body: &[u8]) -> Result<Response<Body>, Error> {
    let write = write::decode(body, keyspace.number, keyspace.database.request_id())?;
    if let Some(seal) = keyspace.database.sealed() {
        return Err(Error::Sealed(seal.reason));
    }
    let outcome = keyspace.database.write(write, body.len()).await?;
    if keyspace.database.sealed().is_some() {
        // Another cluster may go on without it.
        return Err(Error::SealedMeanwhile);
    }
    Ok(wire::protobuf(&write::encode(outcome)?))
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Stopping => Error::Stopping,
            ReadError::Unavailable(reason) => Error::Unavailable(reason),
        }
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::DiskFull { reason, .. } => Error::DiskFull(reason),
            WriteError::Storage(_) => Error::StorageFailed,
            WriteError::Unknown(_) => Error::OutcomeUnknown,
            WriteError::Unavailable(reason) => Error::Unavailable(reason),
            WriteError::Stopping => Error::Stopping,
        }
    }
}
