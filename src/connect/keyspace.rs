//! A database as requests meet it: where it is held, its number there, and who may talk to it.

use super::Consistency;
use super::auth::Auth;
use super::errors::Error;
use crate::catalog::DatabasePlace;
use crate::database::Database;
use async_trait::async_trait;
use hyper::HeaderMap;
use replication::{DatabaseNumber, Subscription};
use std::fmt;
use uuid::Uuid;

/// One database.
#[derive(Debug, Clone)]
pub struct Keyspace {
    /// The group that holds it.
    pub database: Database,
    /// Its number in the group.
    pub number: DatabaseNumber,
    /// Its tokens.
    pub auth: Auth,
}

/// Knows every database.
#[async_trait]
pub trait Keyspaces: Send + Sync + fmt::Debug {
    /// The default database.
    ///
    /// # Errors
    ///
    /// When it cannot be known where it is.
    fn default(&self) -> Result<Keyspace, Error>;

    /// Any other database, by its id; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When this cannot be known now.
    async fn find(&self, id: Uuid) -> Result<Option<Keyspace>, Error>;

    /// Wakes when a database may have moved or ended; `None` when too many wait already.
    fn moves(&self, id: Uuid) -> Option<Subscription>;

    /// Where a database is now; `None` when it is nowhere, or that cannot be known.
    fn place(&self, id: Uuid) -> Option<DatabasePlace>;
}

impl Keyspace {
    /// Where it is.
    pub fn place(&self) -> DatabasePlace {
        DatabasePlace { group: self.database.group().id(), number: self.number }
    }

    /// Checks version, token and database of a data path request.
    ///
    /// # Errors
    ///
    /// 401 for the token, 400 for the others.
    pub fn check_data_path(&self, headers: &HeaderMap) -> Result<(), Error> {
        check_data_path(&self.auth, self.database.clock().now_ms(), headers)
    }

    /// Waits until the newest state here is what a read of this consistency may show.
    ///
    /// # Errors
    ///
    /// 503 when no majority of the cluster can be reached in time.
    pub async fn wait_for(&self, consistency: Consistency) -> Result<(), Error> {
        match consistency {
            Consistency::Strong => Ok(self.database.barrier().await?),
            Consistency::Eventual => Ok(()),
        }
    }
}

/// Checks version, token and database of a data path request.
pub(super) fn check_data_path(auth: &Auth, now_ms: u64, headers: &HeaderMap) -> Result<(), Error> {
    let version = headers.get("x-denokv-version").map(|version| version.as_bytes());
    let id = match version {
        Some(b"2" | b"3") => headers.get("x-denokv-database-id"),
        Some(b"1") | None => headers.get("x-transaction-domain-id"),
        Some(_) => return Err(Error::InvalidProtocolVersion),
    };
    if version.is_none() && id.is_none() {
        return Err(Error::InvalidProtocolVersion);
    }
    auth.check_data_path(headers, now_ms)?;
    let id = id.and_then(|id| Uuid::try_parse_ascii(id.as_bytes()).ok());
    if id == Some(auth.database_id()) { Ok(()) } else { Err(Error::InvalidDatabaseId) }
}
