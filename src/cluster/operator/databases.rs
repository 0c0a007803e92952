//! Commands about databases.

use super::{Operator, Result};
use crate::catalog::{self, DatabaseRow, DatabaseState, NewDatabase};
use crate::connect::DEFAULT_DATABASE_ID;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Random bytes in a token that is made here.
const TOKEN_BYTES: usize = 24;

/// A database that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedDatabase {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The group that holds it.
    pub group: u64,
    /// Where it is served; relative to any node.
    pub path: String,
    /// Its access token. It is kept nowhere, and never shown again.
    pub token: String,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The group that holds it.
    pub group: u64,
    /// Where it is served; relative to any node.
    pub path: String,
    /// When it was made, Unix milliseconds; absent for the default one.
    pub created_ms: Option<u64>,
}

/// Where a database is served.
fn path(id: Uuid) -> String {
    format!("/databases/{id}/connect")
}

/// A database as it is shown.
pub(super) fn status_of(id: Uuid, row: DatabaseRow) -> DatabaseStatus {
    let (group, created_ms) = (row.group.0, Some(row.created_ms));
    DatabaseStatus { id: id.to_string(), name: row.name, group, path: path(id), created_ms }
}

impl CreatedDatabase {
    pub(super) fn new(id: Uuid, row: DatabaseRow, token: String) -> Self {
        Self { id: id.to_string(), name: row.name, group: row.group.0, path: path(id), token }
    }
}

impl Operator {
    /// Makes a database, with a token of its own.
    ///
    /// # Errors
    ///
    /// When the name cannot be used or is taken, there are too many, or the cluster cannot answer.
    pub async fn create_database(&self, name: &str) -> Result<CreatedDatabase> {
        let (id, token) = self.new_secrets();
        let token_digest = *blake3::hash(token.as_bytes()).as_bytes();
        let new = NewDatabase { id, name: name.to_owned(), token_digest };
        let (groups, now_ms) = (self.identity.groups, self.clock.now_ms());
        let row = self
            .change(|view| {
                let (row, change) = catalog::create_database(view, &new, groups, now_ms)?;
                Ok((row, Some(change)))
            })
            .await?;
        Ok(CreatedDatabase::new(id, row, token))
    }

    /// An id and an access token.
    pub(super) fn new_secrets(&self) -> (Uuid, String) {
        let (mut secret, mut id) = ([0; TOKEN_BYTES], [0; 16]);
        self.random.fill(&mut secret);
        self.random.fill(&mut id);
        let token = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        (uuid::Builder::from_random_bytes(id).into_uuid(), token)
    }

    /// All databases, the default one first.
    ///
    /// # Errors
    ///
    /// When the cluster cannot answer.
    pub async fn databases(&self) -> Result<Vec<DatabaseStatus>> {
        let (place, rows) = self.look(|view| Ok((view.default_place()?, view.databases()?))).await?;
        let default = DatabaseStatus {
            id: DEFAULT_DATABASE_ID.to_string(),
            name: catalog::DEFAULT_NAME.to_owned(),
            group: place.group.0,
            path: "/".to_owned(),
            created_ms: None,
        };
        let mut others: Vec<_> = rows
            .into_iter()
            .filter(|(_, found)| found.row.state == DatabaseState::Active)
            .map(|(id, found)| status_of(id, found.row))
            .collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        Ok([vec![default], others].concat())
    }

    /// Deletes a database, by id or name, with everything in it.
    ///
    /// # Errors
    ///
    /// When there is no such database, it is the default one, or the cluster cannot answer.
    pub async fn delete_database(&self, id_or_name: &str) -> Result<DatabaseStatus> {
        let now_ms = self.clock.now_ms();
        let (id, row) = self
            .change(|view| {
                let (id, row, change) = catalog::end_database(view, id_or_name, now_ms)?;
                Ok(((id, row), Some(change)))
            })
            .await?;
        // From here on nobody can use it. Its data is removed once more by the steward, when no write can be under way.
        self.cluster.delete_database(row.group, row.number).await?;
        Ok(status_of(id, row))
    }
}
