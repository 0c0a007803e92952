//! Which part of a cluster a restore takes.
//!
//! - A database is looked up in the catalog as it was at the point: what is deleted since can be brought back, and what was
//!   made since cannot.
//! - With a database comes its row of the catalog, so that the directory serves it under the id and name that it had.

use crate::catalog::{self, DatabaseRow, View};
use crate::cli::UsageError;
use crate::connect::DEFAULT_DATABASE_ID;
use archiver::Archive;
use archiver::job::{Job, JobKind};
use archiver::restore::{Ask, Destination, Scope, restore_cluster};
use engine::Engine;
use replication::{DEFAULT_DATABASE, GroupId, database_prefix};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Which part is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Part {
    /// Only this group (0 is the catalog of databases, 1 holds the default database)
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["database", "prefix"])]
    group: Option<u64>,

    /// Only this database: its id or name, or default
    #[arg(long, value_name = "DATABASE")]
    database: Option<String>,

    /// Only keys of the database that begin so, in hexadecimal digits; may be repeated [of: the default database]
    #[arg(long, value_name = "HEX", value_parser = parse_prefix)]
    prefix: Vec<Vec<u8>>,
}

type Prefix = Vec<u8>;

fn parse_prefix(text: &str) -> Result<Prefix, String> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    let invalid = || "give an even number of hexadecimal digits, at least two".to_owned();
    bytes.filter(|bytes| !bytes.is_empty()).ok_or_else(invalid)
}

/// Where a database is, or was.
struct Place {
    group: GroupId,
    prefix: [u8; 4],
    /// Its rows of the catalog.
    rows: Vec<Prefix>,
}

impl Part {
    /// The same, of a database; the default one unless one is named.
    ///
    /// # Errors
    ///
    /// A [`UsageError`] when a group was asked for.
    pub(super) fn of_one_database(mut self) -> Result<Part, UsageError> {
        if self.group.is_some() {
            return Err(UsageError("a cluster that serves takes in one database: say --database".to_owned()));
        }
        self.database.get_or_insert_with(|| catalog::DEFAULT_NAME.to_owned());
        Ok(self)
    }

    /// What to take of each group; nothing is all of every group. The catalog is looked at in `aside`, which is removed again.
    ///
    /// # Errors
    ///
    /// A [`UsageError`] when there is no such database at the point; as [`restore_cluster`].
    pub(super) async fn scopes(
        &self,
        archive: &Archive,
        whole: &Ask,
        aside: &Destination,
    ) -> anyhow::Result<BTreeMap<u64, Scope>> {
        if let Some(group) = self.group {
            return Ok(BTreeMap::from([(group, Scope::All)]));
        }
        let place = match &self.database {
            None if self.prefix.is_empty() => return Ok(BTreeMap::new()),
            None => default_place(),
            Some(name) if is_default(name) => default_place(),
            Some(name) => {
                let found = find(archive, whole, aside, name).await;
                aside.env.fs.remove_dir_all(&aside.dir)?;
                found?
            }
        };
        let own = |prefix: &Prefix| [&place.prefix[..], prefix].concat();
        let keys = match self.prefix.as_slice() {
            [] => vec![place.prefix.to_vec()],
            some => some.iter().map(own).collect(),
        };
        let mut scopes = BTreeMap::from([(place.group.0, Scope::Prefixes(keys))]);
        if !place.rows.is_empty() {
            scopes.insert(GroupId::CATALOG.0, Scope::Prefixes(place.rows));
        }
        Ok(scopes)
    }
}

fn is_default(name: &str) -> bool {
    name == catalog::DEFAULT_NAME || Uuid::try_parse(name).is_ok_and(|id| id == DEFAULT_DATABASE_ID)
}

const fn default_place() -> Place {
    Place { group: GroupId::FIRST, prefix: database_prefix(DEFAULT_DATABASE), rows: Vec::new() }
}

/// Looks a database up in the catalog of the archive.
async fn find(archive: &Archive, whole: &Ask, aside: &Destination, name: &str) -> anyhow::Result<Place> {
    let of_catalog = Ask { scopes: BTreeMap::from([(GroupId::CATALOG.0, Scope::All)]), ..whole.clone() };
    let job = Job::unwatched(JobKind::Restore);
    restore_cluster(archive, &of_catalog, aside, &job).await.map_err(super::as_usage)?;
    let dir = aside.dir.join("groups").join(GroupId::CATALOG.to_string());
    let (engine, _recovery) = Engine::open(aside.env.clone(), &dir, aside.options.clone())?;
    let found = look(&View::new(&engine.snapshot()), name);
    engine.close()?;
    let missing = || UsageError(format!("there was no database {name} at {}", whole.point));
    let (id, row) = found?.ok_or_else(missing)?;
    let rows = catalog::rows_of_database(id, &row.name);
    Ok(Place { group: row.group, prefix: database_prefix(row.number), rows })
}

fn look(view: &View<'_>, name: &str) -> catalog::Result<Option<(Uuid, DatabaseRow)>> {
    let id = match Uuid::try_parse(name) {
        Ok(id) => Some(id),
        Err(_) => view.database_named(name)?.map(|found| found.row),
    };
    let Some(id) = id else { return Ok(None) };
    Ok(view.database(id)?.map(|found| (id, found.row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_pairs_of_digits() {
        assert_eq!(parse_prefix("02fF00"), Ok(vec![2, 255, 0]));
        for text in ["", "0", "0g", "0x00", "+1", "012"] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_default_database_needs_no_catalog() {
        for name in ["default", "00000000-0000-8000-8000-000000000001"] {
            assert!(is_default(name), "{name}");
        }
        assert!(!is_default("shop"));
    }
}
