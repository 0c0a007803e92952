//! The catalog as one snapshot of group 0 shows it.

use super::loading::RecoveryPoint;
use super::rows::{DatabaseRow, NodeRow};
use super::{CatalogError, Result};
use crate::cluster::policy::Wanted;
use crate::connect::DEFAULT_DATABASE_ID;
use engine::codec::Malformed;
use engine::{Direction, LineageId, Snapshot, Value, Versionstamp};
use replication::{
    DEFAULT_DATABASE, DatabaseNumber, Encoding, GroupId, NodeId, SYSTEM_DATABASE, engine_key, split_value,
};
use uuid::Uuid;

pub(super) const PRIMARY_REGION: &[u8] = b"primary-region";
pub(super) const LINEAGE: &[u8] = b"lineage";
pub(super) const NEXT_NODE: &[u8] = b"next/node";
pub(super) const NEXT_DATABASE: &[u8] = b"next/database";
pub(super) const RECOVERY: &[u8] = b"recovery/";
const NODES: &[u8] = b"node/";
const DATABASES: &[u8] = b"db/";

/// Something that was found, and since which commit it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// It.
    pub row: T,
    /// The commit that wrote it.
    pub stamp: Versionstamp,
}

/// Where a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabasePlace {
    /// The group that holds it.
    pub group: GroupId,
    /// Its number there.
    pub number: DatabaseNumber,
}

impl DatabasePlace {
    /// Where the default database is until its content is replaced.
    pub const DEFAULT: DatabasePlace = DatabasePlace { group: GroupId::FIRST, number: DEFAULT_DATABASE };

    /// Where a row says that a database is.
    pub const fn of(row: &DatabaseRow) -> DatabasePlace {
        DatabasePlace { group: row.group, number: row.number }
    }
}

/// One snapshot of the catalog.
#[derive(Debug)]
pub struct View<'a> {
    snapshot: &'a Snapshot,
}

pub(super) fn node_key(id: NodeId) -> Vec<u8> {
    [NODES, &id.0.to_be_bytes()].concat()
}

pub(super) fn peer_key(address: &str) -> Vec<u8> {
    [b"peer/", address.as_bytes()].concat()
}

/// The row of a database.
pub(crate) fn database_key(id: Uuid) -> Vec<u8> {
    [DATABASES, id.as_bytes()].concat()
}

pub(super) fn name_key(name: &str) -> Vec<u8> {
    [b"name/", name.as_bytes()].concat()
}

impl<'a> View<'a> {
    /// What `snapshot`, of group 0, shows.
    pub const fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot }
    }

    /// A node.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn node(&self, id: NodeId) -> Result<Option<Found<NodeRow>>> {
        self.get(&node_key(id), NodeRow::decode)
    }

    /// All nodes, by id.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn nodes(&self) -> Result<Vec<(NodeId, Found<NodeRow>)>> {
        let id = |key: &[u8]| <[u8; 8]>::try_from(key).ok().map(|bytes| NodeId(u64::from_be_bytes(bytes)));
        self.list(NODES, id, NodeRow::decode)
    }

    /// The node at an address.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn node_at(&self, address: &str) -> Result<Option<Found<u64>>> {
        self.number(&peer_key(address))
    }

    /// A database.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn database(&self, id: Uuid) -> Result<Option<Found<DatabaseRow>>> {
        self.get(&database_key(id), DatabaseRow::decode)
    }

    /// All databases but the default one, by id.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn databases(&self) -> Result<Vec<(Uuid, Found<DatabaseRow>)>> {
        let mut rows = self.list(DATABASES, |key| Uuid::from_slice(key).ok(), DatabaseRow::decode)?;
        rows.retain(|(id, _)| *id != DEFAULT_DATABASE_ID);
        Ok(rows)
    }

    /// Where the default database is.
    ///
    /// # Errors
    ///
    /// When that cannot be read.
    pub fn default_place(&self) -> Result<DatabasePlace> {
        let row = self.database(DEFAULT_DATABASE_ID)?;
        Ok(row.map_or(DatabasePlace::DEFAULT, |found| DatabasePlace::of(&found.row)))
    }

    /// When the content of a database was replaced, Unix milliseconds, and where the archive holds what it was; oldest first.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn recovery_points(&self, id: Uuid) -> Result<Vec<(u64, RecoveryPoint)>> {
        let whose = |key: &[u8]| {
            let (id, ms) = key.split_at_checked(16)?;
            Some((Uuid::from_slice(id).ok()?, u64::from_be_bytes(ms.try_into().ok()?)))
        };
        let rows = self.list(RECOVERY, whose, RecoveryPoint::decode)?;
        let own = rows.into_iter().filter(|((of, _), _)| *of == id);
        Ok(own.map(|((_, ms), found)| (ms, found.row)).collect())
    }

    /// The id of the active database with this name.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn database_named(&self, name: &str) -> Result<Option<Found<Uuid>>> {
        let malformed = |_| Malformed { offset: 0, expected: "an id of 16 bytes" };
        self.get(&name_key(name), |bytes| Uuid::from_slice(bytes).map_err(malformed))
    }

    /// Where leaders are kept.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn primary_region(&self) -> Result<Option<Found<String>>> {
        let malformed = |_| Malformed { offset: 0, expected: "text" };
        self.get(PRIMARY_REGION, |bytes| String::from_utf8(bytes.to_vec()).map_err(malformed))
    }

    /// The lineage of the cluster that the nodes belong to.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn lineage(&self) -> Result<Option<Found<LineageId>>> {
        let malformed = |_| Malformed { offset: 0, expected: "16 bytes" };
        self.get(LINEAGE, |bytes| bytes.try_into().map(LineageId).map_err(malformed))
    }

    /// What is to become of the nodes.
    ///
    /// # Errors
    ///
    /// When that cannot be read.
    pub fn wanted(&self) -> Result<Wanted> {
        Ok(Wanted {
            nodes: self.nodes()?.into_iter().map(|(id, found)| (id, found.row)).collect(),
            last_id: self.number(NEXT_NODE)?.map_or(0, |found| found.row),
            primary_region: self.primary_region()?.map(|found| found.row),
        })
    }

    /// A number that was written.
    pub(super) fn number(&self, key: &[u8]) -> Result<Option<Found<u64>>> {
        let malformed = |_| Malformed { offset: 0, expected: "a u64" };
        self.get(key, |bytes| bytes.try_into().map(u64::from_le_bytes).map_err(malformed))
    }

    fn get<T>(
        &self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> std::result::Result<T, Malformed>,
    ) -> Result<Option<Found<T>>> {
        let value = self.snapshot.get(&engine_key(SYSTEM_DATABASE, key))?;
        value.map(|value| found(key, &value, decode)).transpose()
    }

    fn list<I, T>(
        &self,
        prefix: &[u8],
        id: impl Fn(&[u8]) -> Option<I>,
        decode: impl Fn(&[u8]) -> std::result::Result<T, Malformed>,
    ) -> Result<Vec<(I, Found<T>)>> {
        let start = engine_key(SYSTEM_DATABASE, prefix);
        // Every prefix ends in a slash, and a zero follows it.
        let end = [&start[..start.len() - 1], b"0"].concat();
        let mut rows = Vec::new();
        for entry in self.snapshot.range(&start, &end, Direction::Forward)? {
            let entry = entry?;
            let key = &entry.key[start.len()..];
            let id = id(key).ok_or_else(|| damaged(prefix, "a key of its kind"))?;
            rows.push((id, found(prefix, &entry.value, &decode)?));
        }
        Ok(rows)
    }
}

fn found<T>(
    key: &[u8],
    value: &Value,
    decode: impl FnOnce(&[u8]) -> std::result::Result<T, Malformed>,
) -> Result<Found<T>> {
    let bytes = match split_value(&value.bytes) {
        Some((Encoding::Bytes | Encoding::Le64, bytes)) => bytes,
        _ => return Err(damaged(key, "bytes")),
    };
    let row = decode(&bytes).map_err(|malformed| damaged(key, malformed.expected))?;
    Ok(Found { row, stamp: value.stamp })
}

fn damaged(key: &[u8], expected: &str) -> CatalogError {
    CatalogError::Damaged(format!("{}: expected {expected}", key.escape_ascii()))
}
