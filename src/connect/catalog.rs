//! Every database, as the catalog knows it.
//!
//! - What this node's replica of the catalog says counts. A database that is not there may be newer: then a majority is asked.
//! - The default database is where it always was until its content is replaced. Where it is, is looked up once for each state of
//!   the catalog, which changes seldom.

use super::DEFAULT_DATABASE_ID;
use super::auth::Auth;
use super::errors::{Chain, Error};
use super::keyspace::{Keyspace, Keyspaces};
use crate::catalog::{self, CatalogError, DatabasePlace, DatabaseRow, DatabaseState, View};
use crate::database::Database;
use async_trait::async_trait;
use parking_lot::RwLock;
use replication::{GroupId, SYSTEM_DATABASE, Subscription, engine_key};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Looks databases up in this node's replica of the catalog.
#[derive(Debug)]
pub struct CatalogKeyspaces {
    catalog: Database,
    groups: BTreeMap<GroupId, Database>,
    auth: Auth,
    /// At which version of the catalog the default database was seen to be where.
    default: RwLock<Option<(u64, DatabasePlace)>>,
}

impl CatalogKeyspaces {
    /// Databases in these data groups. `auth` is that of the default database.
    pub const fn new(catalog: Database, groups: BTreeMap<GroupId, Database>, auth: Auth) -> Self {
        Self { catalog, groups, auth, default: RwLock::new(None) }
    }

    fn look(&self, id: Uuid) -> Result<Option<DatabaseRow>, Error> {
        let snapshot = self.catalog.snapshot();
        let found = View::new(&snapshot).database(id).map_err(unreadable)?;
        Ok(found.map(|found| found.row))
    }

    fn keyspace(&self, id: Uuid, row: &DatabaseRow) -> Option<Keyspace> {
        if row.state != DatabaseState::Active {
            return None;
        }
        let database = self.groups.get(&row.group)?.clone();
        Some(Keyspace { database, number: row.number, auth: self.auth.of_database(row.token_digest, id) })
    }

    /// Where the default database is.
    fn default_place(&self) -> Result<DatabasePlace, Error> {
        // Before it is looked: what is found may be newer than the version under which it is kept, and is looked up again then.
        let version = self.catalog.engine().published().version;
        if let Some((seen, place)) = *self.default.read()
            && seen == version
        {
            return Ok(place);
        }
        let snapshot = self.catalog.snapshot();
        let place = View::new(&snapshot).default_place().map_err(unreadable)?;
        *self.default.write() = Some((version, place));
        Ok(place)
    }
}

fn unreadable(error: CatalogError) -> Error {
    tracing::error!(error = %Chain(&error), "cannot read the catalog");
    Error::StorageFailed
}

#[async_trait]
impl Keyspaces for CatalogKeyspaces {
    fn default(&self) -> Result<Keyspace, Error> {
        let DatabasePlace { group, number } = self.default_place()?;
        let database = self.groups.get(&group).ok_or_else(|| {
            tracing::error!(%group, "the catalog says that the default database is in a group that is not here");
            Error::StorageFailed
        })?;
        Ok(Keyspace { database: database.clone(), number, auth: self.auth.clone() })
    }

    async fn find(&self, id: Uuid) -> Result<Option<Keyspace>, Error> {
        let row = match self.look(id)? {
            Some(row) => Some(row),
            None => {
                self.catalog.barrier().await?;
                self.look(id)?
            }
        };
        Ok(row.and_then(|row| self.keyspace(id, &row)))
    }

    fn moves(&self, id: Uuid) -> Option<Subscription> {
        self.catalog.subscribe(vec![engine_key(SYSTEM_DATABASE, &catalog::database_key(id))])
    }

    fn place(&self, id: Uuid) -> Option<DatabasePlace> {
        if id == DEFAULT_DATABASE_ID {
            return self.default_place().ok();
        }
        let row = self.look(id).ok()??;
        (row.state == DatabaseState::Active).then(|| DatabasePlace::of(&row))
    }
}
