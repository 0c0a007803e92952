//! The KV Connect endpoints, and those that tell how the server stands.
//!
//! - Every request gets exactly one answer; what is refused changes nothing.
//! - The metadata exchange and token checks need nothing but memory.
//! - [`errors`] is the one table from errors to statuses.

pub mod auth;
pub mod errors;
pub mod exchange;
pub mod fuzzing;
pub mod limits;
pub mod read;
pub mod watch;
pub mod wire;
pub mod write;

use crate::database::Database;
use crate::metrics::{Endpoint, Metrics};
use crate::sequencer::WriteError;
use auth::Auth;
use bytes::Bytes;
use errors::Error;
use hyper::body::Body as HttpBody;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;
use wire::Body;

/// The id of the default database, the same on every server: a client may be handed from one to
/// another. Its token says whether it may.
pub const DEFAULT_DATABASE_ID: Uuid = Uuid::from_u128(0x00000000_0000_8000_8000_000000000001);

/// What answers requests. One per server.
#[derive(Debug)]
pub struct Connect {
    database: Database,
    auth: Auth,
    metrics: Metrics,
    stopping: tokio::sync::watch::Receiver<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Exchange,
    SnapshotRead,
    AtomicWrite,
    Watch,
    Health,
    Ready,
    Metrics,
}

impl Route {
    fn of(path: &str) -> Option<Route> {
        match path {
            "/" | "" => Some(Route::Exchange),
            "/v2/snapshot_read" => Some(Route::SnapshotRead),
            "/v2/atomic_write" => Some(Route::AtomicWrite),
            "/v2/watch" => Some(Route::Watch),
            "/healthz" => Some(Route::Health),
            "/readyz" => Some(Route::Ready),
            "/metrics" => Some(Route::Metrics),
            _ => None,
        }
    }

    const fn allow(self) -> &'static str {
        match self {
            Route::Exchange | Route::SnapshotRead | Route::AtomicWrite | Route::Watch => "POST",
            Route::Health | Route::Ready | Route::Metrics => "GET",
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.allow() == method.as_str()
    }

    const fn endpoint(self) -> Endpoint {
        match self {
            Route::Exchange => Endpoint::Exchange,
            Route::SnapshotRead => Endpoint::SnapshotRead,
            Route::AtomicWrite => Endpoint::AtomicWrite,
            Route::Watch => Endpoint::Watch,
            Route::Health | Route::Ready | Route::Metrics => Endpoint::Other,
        }
    }
}

impl Connect {
    /// Serves `database` to those who hold the access token, until `stopping` is true.
    pub const fn new(
        database: Database,
        auth: Auth,
        metrics: Metrics,
        stopping: tokio::sync::watch::Receiver<bool>,
    ) -> Self {
        Self { database, auth, metrics, stopping }
    }

    /// Answers one request.
    pub async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let route = Route::of(head.uri.path());
        let answered = match route {
            None => Err(Error::NotFound),
            Some(route) if !route.allows(&head.method) => Err(Error::MethodNotAllowed),
            Some(route) => self.dispatch(route, &head, body).await,
        };
        let response = answered.unwrap_or_else(|error| {
            tracing::debug!(path = head.uri.path(), status = error.status().as_u16(), %error, "refused");
            wire::refusal(&error, route.map(Route::allow))
        });
        let endpoint = route.map_or(Endpoint::Other, Route::endpoint);
        self.metrics.request(endpoint, response.status().as_u16(), started.elapsed());
        response
    }

    async fn dispatch<B>(&self, route: Route, head: &Parts, body: B) -> Result<Response<Body>, Error>
    where
        B: HttpBody<Data = Bytes> + Unpin,
    {
        match route {
            Route::Exchange => self.exchange(head, &wire::read_body(body).await?),
            Route::SnapshotRead => {
                self.check_data_path(&head.headers)?;
                self.snapshot_read(&wire::read_body(body).await?).await
            }
            Route::AtomicWrite => {
                self.check_data_path(&head.headers)?;
                self.atomic_write(&wire::read_body(body).await?).await
            }
            Route::Watch => {
                self.check_data_path(&head.headers)?;
                self.watch(&wire::read_body(body).await?)
            }
            Route::Health => Ok(wire::text(StatusCode::OK, "ok\n".to_owned())),
            Route::Ready => Ok(self.ready()),
            Route::Metrics => Ok(self.metrics_text()),
        }
    }

    fn exchange(&self, head: &Parts, body: &[u8]) -> Result<Response<Body>, Error> {
        let now_ms = self.database.clock().now_ms();
        let authority = head.uri.authority();
        exchange::exchange(&self.auth, now_ms, &head.headers, authority, body).map(wire::json)
    }

    async fn snapshot_read(&self, body: &[u8]) -> Result<Response<Body>, Error> {
        let read = read::Read::decode(body)?;
        let snapshot = self.database.snapshot();
        if read.entries_max() <= limits::INLINE_ENTRIES_MAX {
            return read.run(&snapshot).map(|output| wire::protobuf(&output));
        }
        let run = move || read.run(&snapshot).map(|output| wire::protobuf(&output));
        tokio::task::spawn_blocking(run).await.unwrap_or(Err(Error::StorageFailed))
    }

    async fn atomic_write(&self, body: &[u8]) -> Result<Response<Body>, Error> {
        let write = write::decode(body, self.database.request_id())?;
        let outcome = self.database.write(write, body.len()).await?;
        Ok(wire::protobuf(&write::encode(outcome)?))
    }

    fn watch(&self, body: &[u8]) -> Result<Response<Body>, Error> {
        let keys = watch::decode(body)?;
        let watch = watch::Watch::new(self.database.clone(), keys, self.stopping.clone())?;
        Ok(wire::stream(watch.frames()))
    }

    /// Checks version, token and database of a data path request.
    fn check_data_path(&self, headers: &HeaderMap) -> Result<(), Error> {
        let version = headers.get("x-denokv-version").map(|version| version.as_bytes());
        let id = match version {
            Some(b"2" | b"3") => headers.get("x-denokv-database-id"),
            Some(b"1") | None => headers.get("x-transaction-domain-id"),
            Some(_) => return Err(Error::InvalidProtocolVersion),
        };
        if version.is_none() && id.is_none() {
            return Err(Error::InvalidProtocolVersion);
        }
        self.auth.check_data_path(headers, self.database.clock().now_ms())?;
        let id = id.and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
        if id == Some(self.auth.database_id()) { Ok(()) } else { Err(Error::InvalidDatabaseId) }
    }

    fn ready(&self) -> Response<Body> {
        let reason = if *self.stopping.borrow() {
            Some("the server is stopping".to_owned())
        } else {
            self.database.refuses_writes()
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

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::DiskFull { reason, .. } => Error::DiskFull(reason),
            WriteError::Storage(_) => Error::StorageFailed,
            WriteError::Unknown(_) => Error::OutcomeUnknown,
            WriteError::Stopping => Error::Stopping,
        }
    }
}
