//! Which part of a cluster a restore takes.
//!
//! - A database is looked up in the catalog as it was at the point: what is deleted since can be brought back, and what was
//!   made since cannot.
//! - With a database comes its row of the catalog, so that the directory serves it under the id and name that it had.
//! - The default database is looked up as well: its content may have been replaced. Where there was no catalog, it was at its first place.
//! - A versionstamp is a point of one group: a database is there at it only when it was in that group then.

use crate::catalog::{self, DatabasePlace, DatabaseRow, DatabaseState, RecoveryPoint, View};
use crate::cli::UsageError;
use crate::connect::DEFAULT_DATABASE_ID;
use archiver::Archive;
use archiver::job::{Job, JobKind};
use archiver::restore::{Ask, Destination, Point, Scope, restore_catalog};
use engine::{Engine, Versionstamp};
use replication::{GroupId, database_prefix};
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
#[derive(Debug, PartialEq, Eq)]
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
    /// A [`UsageError`] when there is no such database at the point; as [`restore_catalog`].
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
            name => find(archive, whole, aside, name.as_deref().unwrap_or(catalog::DEFAULT_NAME)).await?,
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

/// Where the default database is before it was ever replaced: it has no row of the catalog.
const fn default_place() -> Place {
    let DatabasePlace { group, number } = DatabasePlace::DEFAULT;
    Place { group, prefix: database_prefix(number), rows: Vec::new() }
}

/// Looks a database up in the catalog of the archive, in each data group that reaches the point.
async fn find(archive: &Archive, whole: &Ask, aside: &Destination, name: &str) -> anyhow::Result<Place> {
    let groups = archiver::catalog::groups(archive).await?;
    let mut data: Vec<u64> = groups.into_iter().filter(|group| *group != GroupId::CATALOG.0).collect();
    if data.is_empty() {
        // So that the refusal says what the archive lacks.
        data.push(GroupId::FIRST.0);
    }
    let (mut places, mut refused) = (Vec::new(), None);
    for group in data {
        match look_beside(archive, whole, aside, group, name).await {
            Ok(Some(place)) if is_meant(&place, group, whole.point) => places.push(place),
            Ok(_) => {}
            Err(error) => refused = Some(error),
        }
        // A time is the same in every group: one that reaches it is enough.
        if !places.is_empty() && !matches!(whole.point, Point::Stamp(_)) {
            break;
        }
    }
    match (places.len(), refused) {
        (1, _) => Ok(places.remove(0)),
        (0, Some(error)) => Err(error),
        (0, None) => Err(UsageError(format!("there was no database {name} at {}", whole.point)).into()),
        _ => Err(UsageError(format!(
            "at versionstamp {} database {name} was in one group and in another: give a time instead",
            whole.point
        ))
        .into()),
    }
}

/// Whether a database that was there at a point of this group is meant by that point.
fn is_meant(place: &Place, group: u64, point: Point) -> bool {
    !matches!(point, Point::Stamp(_)) || place.group.0 == group
}

/// Where a database was at the point of a data group, as the catalog says.
async fn look_beside(
    archive: &Archive,
    whole: &Ask,
    aside: &Destination,
    group: u64,
    name: &str,
) -> anyhow::Result<Option<Place>> {
    let job = Job::unwatched(JobKind::Restore);
    let restored = restore_catalog(archive, whole, group, aside, &job).await;
    let at = match whole.point {
        Point::Stamp(stamp) => Some((GroupId(group), stamp)),
        Point::TimeMs(_) | Point::Latest => None,
    };
    let found = match restored {
        Ok(None) => Ok(is_default(name).then(default_place)),
        Ok(Some(_)) => look_in(aside, name, at),
        Err(error) => Err(super::as_usage(error)),
    };
    aside.env.fs.remove_dir_all(&aside.dir)?;
    found
}

fn look_in(
    aside: &Destination,
    name: &str,
    at: Option<(GroupId, Versionstamp)>,
) -> anyhow::Result<Option<Place>> {
    let dir = aside.dir.join("groups").join(GroupId::CATALOG.to_string());
    let (engine, _recovery) = Engine::open(aside.env.clone(), &dir, aside.options.clone())?;
    let found = look(&View::new(&engine.snapshot()), name, at);
    engine.close()?;
    Ok(found?)
}

/// Where a database is as this catalog says, or was at a versionstamp of a group, if it was there then.
fn look(view: &View<'_>, name: &str, at: Option<(GroupId, Versionstamp)>) -> catalog::Result<Option<Place>> {
    let id = match Uuid::try_parse(name) {
        Ok(id) => Some(id),
        Err(_) if is_default(name) => Some(DEFAULT_DATABASE_ID),
        Err(_) => view.database_named(name)?.map(|found| found.row),
    };
    let Some(id) = id else { return Ok(None) };
    let Some(found) = view.database(id)? else { return Ok(is_default(name).then(default_place)) };
    // The catalog may have moved on within the millisecond of the commit.
    let replaced = view
        .recovery_points(id)?
        .into_iter()
        .find(|(_, point)| at.is_some_and(|(group, stamp)| point.group == group && stamp <= point.stamp));
    if found.row.state != DatabaseState::Active {
        return Ok(None);
    }
    let DatabaseRow { group, number, .. } = match replaced {
        Some((_, RecoveryPoint { group, number, .. })) => DatabaseRow { group, number, ..found.row.clone() },
        None => found.row.clone(),
    };
    let rows = catalog::rows_of_database(id, &found.row.name);
    Ok(Some(Place { group, prefix: database_prefix(number), rows }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::NewDatabase;
    use crate::catalog::testing::Store;
    use crate::testing::TestResult;
    use replication::DatabaseNumber;

    #[test]
    fn a_prefix_is_pairs_of_digits() {
        assert_eq!(parse_prefix("02fF00"), Ok(vec![2, 255, 0]));
        for text in ["", "0", "0g", "0x00", "+1", "012"] {
            assert!(parse_prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_versionstamp_of_the_old_content_finds_it_also_in_a_catalog_that_has_moved_on() -> TestResult {
        let store = Store::new()?;
        let new = NewDatabase { id: Uuid::from_u128(7), name: "aside".to_owned(), token_digest: [0; 32] };
        let (_, change) = store.decide(|view| catalog::begin_loading(view, &new, 1, 5))?;
        store.commit(change)?;
        let switch = Versionstamp::new(9, 1);
        let replaced =
            store.decide(|view| catalog::replace(view, new.id, "default", 6, |_group| Some(switch)))?;
        store.commit(replaced.3)?;
        let number = |at: Option<Versionstamp>| {
            let found = store.decide(|view| look(view, "default", at.map(|at| (GroupId::FIRST, at))));
            found.map(|place| place.map(|place| place.prefix))
        };
        let (old, now) = (database_prefix(DatabaseNumber(1)), database_prefix(DatabaseNumber(2)));
        assert_eq!(number(Some(switch))?, Some(old));
        assert_eq!(number(Some(Versionstamp::new(10, 0)))?, Some(now));
        assert_eq!(number(None)?, Some(now));
        Ok(())
    }

    #[test]
    fn the_default_database_has_a_name_and_an_id() {
        for name in ["default", "00000000-0000-8000-8000-000000000001"] {
            assert!(is_default(name), "{name}");
        }
        assert!(!is_default("shop"));
    }
}
