//! Every database but the default one, as the catalog knows it.

use super::auth::Auth;
use super::errors::{Chain, Error};
use super::keyspace::{Keyspace, Keyspaces};
use crate::catalog::{CatalogError, DatabaseRow, DatabaseState, View};
use crate::database::Database;
use async_trait::async_trait;
use replication::GroupId;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Looks databases up in this node's replica of the catalog; one that is not there may be newer, so it then asks a majority.
#[derive(Debug)]
pub struct CatalogKeyspaces {
    catalog: Database,
    groups: BTreeMap<GroupId, Database>,
    auth: Auth,
}

impl CatalogKeyspaces {
    /// Databases in these data groups. `auth` is that of the default database.
    pub const fn new(catalog: Database, groups: BTreeMap<GroupId, Database>, auth: Auth) -> Self {
        Self { catalog, groups, auth }
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
}

fn unreadable(error: CatalogError) -> Error {
    tracing::error!(error = %Chain(&error), "cannot read the catalog");
    Error::StorageFailed
}

#[async_trait]
impl Keyspaces for CatalogKeyspaces {
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
}
