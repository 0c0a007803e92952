//! Decisions about databases: which group holds a new one, under which number, and how one ends.

use super::change::Change;
use super::rows::{DatabaseRow, DatabaseState};
use super::view::{Found, NEXT_DATABASE, View, database_key, name_key};
use super::{CatalogError, Result};
use replication::{DEFAULT_DATABASE, DatabaseNumber, GroupId};
use uuid::Uuid;

/// The most databases of a cluster, besides the default one, inclusive; ended ones count until their data is removed.
pub const DATABASES_MAX: usize = 2_000;
/// The most characters of a name, inclusive.
const NAME_LEN_MAX: usize = 64;
/// What the default database is called.
pub(crate) const DEFAULT_NAME: &str = "default";

/// A database that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDatabase {
    /// Random.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// BLAKE3 of its access token.
    pub token_digest: [u8; 32],
}

/// Makes a database in the group that holds fewest, of `groups` data groups.
///
/// # Errors
///
/// When the name cannot be used or is taken, or there are too many databases.
pub fn create_database(
    view: &View<'_>,
    new: &NewDatabase,
    groups: u64,
    now_ms: u64,
) -> Result<(DatabaseRow, Change)> {
    create(view, new, DatabaseState::Active, groups, now_ms)
}

/// As [`create_database`], in another state.
pub(super) fn create(
    view: &View<'_>,
    new: &NewDatabase,
    state: DatabaseState,
    groups: u64,
    now_ms: u64,
) -> Result<(DatabaseRow, Change)> {
    check_name(&new.name)?;
    if view.database_named(&new.name)?.is_some() || new.name == DEFAULT_NAME {
        return Err(CatalogError::Conflict(format!("there is a database called {}", new.name)));
    }
    let others = view.databases()?;
    if others.len() >= DATABASES_MAX {
        return Err(CatalogError::Conflict(format!(
            "there are {DATABASES_MAX} databases, and that is the most"
        )));
    }
    let last = view.number(NEXT_DATABASE)?;
    let number = last.as_ref().map_or(u64::from(DEFAULT_DATABASE.0), |last| last.row) + 1;
    let full = |_| CatalogError::Conflict("every number of a database has been given".to_owned());
    let row = DatabaseRow {
        state,
        created_ms: now_ms,
        ended_ms: 0,
        number: DatabaseNumber(u32::try_from(number).map_err(full)?),
        group: place(
            others.iter().map(|(_, found)| found.row.group).chain([view.default_place()?.group]),
            groups,
        ),
        token_digest: new.token_digest,
        name: new.name.clone(),
    };
    let change = Change::default()
        .if_stamp(NEXT_DATABASE, last.map(|last| last.stamp))
        .if_absent(&name_key(&new.name))
        .if_absent(&database_key(new.id))
        .set_u64(NEXT_DATABASE, number)
        .set(&name_key(&new.name), new.id.as_bytes().to_vec())
        .set(&database_key(new.id), row.encode());
    Ok((row, change))
}

/// The group, of 1 to `groups`, that holds fewest databases, when `held` is where each of them is; the first of several.
pub fn place(held: impl Iterator<Item = GroupId>, groups: u64) -> GroupId {
    let held: Vec<GroupId> = held.collect();
    let count = |group: &GroupId| held.iter().filter(|other| *other == group).count();
    (1..=groups).map(GroupId).min_by_key(count).unwrap_or(GroupId::FIRST)
}

fn check_name(name: &str) -> Result<()> {
    let fits = (1..=NAME_LEN_MAX).contains(&name.len());
    if fits && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_LEN_MAX).collect();
    let rule = format!("a name has 1 to {NAME_LEN_MAX} letters, digits, '-', '_' or '.': not '{shown}'");
    Err(CatalogError::Invalid(rule))
}

/// Ends a database, by id or name: nobody can use it from then on. Returns its id and row.
///
/// # Errors
///
/// When there is no such database, or it is the default one.
pub fn end_database(view: &View<'_>, id_or_name: &str, now_ms: u64) -> Result<(Uuid, DatabaseRow, Change)> {
    let missing = || CatalogError::NotFound(format!("there is no database {id_or_name}"));
    let by_id = Uuid::try_parse(id_or_name).ok();
    if id_or_name == DEFAULT_NAME || by_id == Some(crate::connect::DEFAULT_DATABASE_ID) {
        return Err(CatalogError::Conflict("the default database cannot be deleted".to_owned()));
    }
    let id = match by_id {
        Some(id) => id,
        None => view.database_named(id_or_name)?.ok_or_else(missing)?.row,
    };
    let is_there = |found: &Found<DatabaseRow>| found.row.state != DatabaseState::Ended;
    let there = view.database(id)?.filter(is_there).ok_or_else(missing)?;
    let row = DatabaseRow { state: DatabaseState::Ended, ended_ms: now_ms, ..there.row.clone() };
    let key = database_key(id);
    let change =
        Change::default().if_still(&key, &there).delete(&name_key(&row.name)).set(&key, row.encode());
    Ok((id, row, change))
}

/// The keys of the catalog that tell of one database, and the one that keeps numbers from being given twice.
pub fn rows_of_database(id: Uuid, name: &str) -> Vec<Vec<u8>> {
    [database_key(id), name_key(name), NEXT_DATABASE.to_vec()]
        .iter()
        .map(|key| replication::engine_key(replication::SYSTEM_DATABASE, key))
        .collect()
}

pub(super) fn is_active(found: &Found<DatabaseRow>) -> bool {
    found.row.state == DatabaseState::Active
}

/// Forgets an ended database whose data is removed.
///
/// # Errors
///
/// When there is no such database, or it has not ended.
pub fn forget_database(view: &View<'_>, id: Uuid) -> Result<Change> {
    let there = view.database(id)?.filter(|found| found.row.state == DatabaseState::Ended);
    let there = there.ok_or_else(|| CatalogError::NotFound(format!("no database {id} has ended")))?;
    let key = database_key(id);
    Ok(Change::default().if_still(&key, &there).delete(&key))
}

#[cfg(test)]
mod tests;
