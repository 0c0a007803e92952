//! What a standby answers: reads of what it has, and how far it is behind.
//!
//! - Every answer to a read says that it is not strongly consistent, also where that was asked for, and how old it may be.
//! - Writes and watches are refused with a 4xx, so that no client repeats them.
//! - Databases and their tokens are those of the catalog as it was followed.

use super::auth::Auth;
use super::errors::{Chain, Error};
use super::keyspace::check_data_path;
use super::route::{self, Data, Route, Target};
use super::wire::{self, Body};
use super::{Consistency, concluded, exchange, permitted, read};
use crate::catalog::{CatalogError, DatabasePlace, DatabaseState, View};
use crate::metrics::Metrics;
use crate::server::Answers;
use async_trait::async_trait;
use engine::{Clock, Engine};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use replication::{DatabaseNumber, GroupId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use uuid::Uuid;

/// When the archive was last known to hold nothing that is not here, per group, Unix milliseconds.
#[derive(Debug, Default)]
pub struct Caught(AtomicU64);

impl Caught {
    /// At this time everything that was there was here.
    pub fn up_at(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    /// How long ago that was.
    pub fn behind_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.0.load(Ordering::Relaxed))
    }
}

/// A group as it is followed.
#[derive(Debug, Clone)]
pub struct Followed {
    /// What is here of it.
    pub engine: Engine,
    /// Since when it may be behind.
    pub caught: Arc<Caught>,
}

/// Answers requests to a standby.
#[derive(Debug)]
pub struct Standby {
    groups: BTreeMap<GroupId, Followed>,
    auth: Auth,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// One database here.
struct Place<'a> {
    group: &'a Followed,
    number: DatabaseNumber,
    auth: Auth,
}

fn unreadable(error: &CatalogError) -> Error {
    tracing::error!(error = %Chain(error), "cannot read the catalog");
    Error::StorageFailed
}

impl Standby {
    /// Serves these groups to those who hold the access token.
    pub const fn new(
        groups: BTreeMap<GroupId, Followed>,
        auth: Auth,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Standby {
        Standby { groups, auth, clock, metrics }
    }

    /// How long ago every group had everything, in milliseconds.
    pub fn behind_ms(&self) -> u64 {
        let now_ms = self.clock.now_ms();
        self.groups.values().map(|group| group.caught.behind_ms(now_ms)).max().unwrap_or(0)
    }

    fn place(&self, id: Option<Uuid>) -> Result<Place<'_>, Error> {
        let Some(id) = id.filter(|id| *id != self.auth.database_id()) else {
            let place = match self.groups.get(&GroupId::CATALOG) {
                Some(catalog) => View::new(&catalog.engine.snapshot())
                    .default_place()
                    .map_err(|error| unreadable(&error))?,
                None => DatabasePlace::DEFAULT,
            };
            let group = self.groups.get(&place.group).ok_or(Error::NotFound)?;
            return Ok(Place { group, number: place.number, auth: self.auth.clone() });
        };
        let catalog = self.groups.get(&GroupId::CATALOG).ok_or(Error::NotFound)?;
        let found = View::new(&catalog.engine.snapshot()).database(id).map_err(|error| unreadable(&error))?;
        let row = found.map(|found| found.row).filter(|row| row.state == DatabaseState::Active);
        let row = row.ok_or(Error::NotFound)?;
        let group = self.groups.get(&row.group).ok_or(Error::NotFound)?;
        Ok(Place { group, number: row.number, auth: self.auth.of_database(row.token_digest, id) })
    }

    async fn dispatch(&self, target: Target, head: &Parts, body: Incoming) -> Result<Response<Body>, Error> {
        let now_ms = self.clock.now_ms();
        match target.route {
            Route::Health => Ok(wire::text(StatusCode::OK, "ok\n".to_owned())),
            Route::Ready => {
                Ok(wire::text(StatusCode::OK, format!("standby, behind {} ms\n", self.behind_ms())))
            }
            Route::Metrics => Ok(match self.metrics.text() {
                Ok(text) => wire::metrics(text),
                Err(error) => wire::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            }),
            Route::Admin => Err(Error::Standby),
            Route::Exchange => {
                let auth = self.place(target.database)?.auth;
                let body = wire::read_body(body).await?;
                let path = route::data_path(target.database);
                let authority = head.uri.authority();
                exchange::exchange(&auth, now_ms, &head.headers, authority, &path, &body).map(wire::json)
            }
            Route::Data(data) => {
                let place = self.place(target.database)?;
                check_data_path(&place.auth, now_ms, &head.headers)?;
                let Data::SnapshotRead(_) = data else { return Err(Error::Standby) };
                let body = wire::read_body(body).await?;
                self.read(&place, now_ms, &body).await
            }
        }
    }

    async fn read(&self, place: &Place<'_>, now_ms: u64, body: &[u8]) -> Result<Response<Body>, Error> {
        let read = read::Read::decode(body)?;
        // Told before the snapshot is taken: it may be less old than said, and never more.
        let behind_ms = place.group.caught.behind_ms(now_ms);
        let snapshot = place.group.engine.snapshot();
        let time_ms = now_ms.max(snapshot.time_ms());
        let (snapshot, number) = (snapshot.at_time(time_ms), place.number);
        let run = move || read.run(&snapshot, number, Consistency::Eventual);
        let output = tokio::task::spawn_blocking(run).await.unwrap_or(Err(Error::StorageFailed))?;
        Ok(wire::with_staleness(wire::protobuf(&output), Some(behind_ms)))
    }
}

#[async_trait]
impl Answers for Standby {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let (head, body) = request.into_parts();
        let target = Target::of(head.uri.path());
        let answered = match permitted(target, &head.method) {
            Ok(target) => self.dispatch(target, &head, body).await,
            Err(error) => Err(error),
        };
        concluded(&self.metrics, &head, target, started, answered)
    }
}
