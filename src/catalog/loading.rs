//! Decisions about databases that a restore fills while the cluster serves: seen by nobody until they are whole.
//!
//! - A database that is being loaded has its number, so that rows can be written, and is neither listed nor served.
//! - Replacing another is one change of the catalog: it takes over the number of what was loaded, and what it was is ended.
//! - The default database has no row until it is replaced: from then on its row says where it is. The number that it had goes the
//!   way of any other that has ended.
//! - Before that, the stamp is noted at which the archive brings the old content back.
//!
//! A recovery point stands under `recovery/<id, 16 bytes><Unix ms, u64 big-endian>`: format `01`, stamp 10 bytes, group varint,
//! number varint.

use super::change::Change;
use super::databases::{DEFAULT_NAME, NewDatabase, create, is_active};
use super::rows::{DatabaseRow, DatabaseState};
use super::view::{DatabasePlace, Found, View, database_key, name_key};
use super::{CatalogError, Result};
use crate::connect::DEFAULT_DATABASE_ID;
use engine::Versionstamp;
use engine::codec::{Decoder, Malformed, put_varint};
use replication::{DatabaseNumber, GroupId};
use uuid::Uuid;

const FORMAT: u8 = 1;

/// Where the archive holds what a database was before it was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// The last commit of its group then.
    pub stamp: Versionstamp,
    /// Its group.
    pub group: GroupId,
    /// Its number in the group.
    pub number: DatabaseNumber,
}

impl RecoveryPoint {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(self.stamp.as_bytes());
        put_varint(&mut out, self.group.0);
        put_varint(&mut out, u64::from(self.number.0));
        out
    }

    /// Reads a row.
    pub(super) fn decode(bytes: &[u8]) -> std::result::Result<RecoveryPoint, Malformed> {
        let mut rest = Decoder::new(bytes);
        let start = rest.clone();
        start.ensure(rest.u8("format of a row")? == FORMAT, "row format 1")?;
        let stamp = Versionstamp::from_bytes(rest.array("stamp")?);
        let group = GroupId(rest.varint("group")?);
        let start = rest.clone();
        let number = u32::try_from(rest.varint("number")?);
        let number = number.map_err(|_too_large| start.malformed("a number of 32 bits"))?;
        rest.finish()?;
        Ok(RecoveryPoint { stamp, group, number: DatabaseNumber(number) })
    }
}

fn recovery_key(id: Uuid, now_ms: u64) -> Vec<u8> {
    [super::view::RECOVERY, id.as_bytes(), &now_ms.to_be_bytes()].concat()
}

/// Makes a database that nobody sees, to be filled.
///
/// # Errors
///
/// As [`create_database`](super::create_database).
pub fn begin_loading(
    view: &View<'_>,
    new: &NewDatabase,
    groups: u64,
    now_ms: u64,
) -> Result<(DatabaseRow, Change)> {
    create(view, new, DatabaseState::Loading, groups, now_ms)
}

fn found(view: &View<'_>, id: Uuid) -> Result<Found<DatabaseRow>> {
    let there = view.database(id)?.filter(|found| found.row.state == DatabaseState::Loading);
    there.ok_or_else(|| CatalogError::NotFound(format!("no database {id} is being loaded")))
}

/// A database that is being loaded.
///
/// # Errors
///
/// When there is none.
pub fn loading(view: &View<'_>, id: Uuid) -> Result<DatabaseRow> {
    Ok(found(view, id)?.row)
}

/// Shows a database that is loaded, under its name.
///
/// # Errors
///
/// When it is not being loaded.
pub fn finish_loading(view: &View<'_>, id: Uuid) -> Result<(DatabaseRow, Change)> {
    let there = found(view, id)?;
    let row = DatabaseRow { state: DatabaseState::Active, ..there.row.clone() };
    let key = database_key(id);
    let change = Change::default().if_still(&key, &there).set(&key, row.encode());
    Ok((row, change))
}

/// Puts what was loaded as `id` in the place of the content of the database `name`, whose old content is ended; `stamp_of` says
/// where a group stands. Returns the id and row of the database, and where its old content can be brought back.
///
/// # Errors
///
/// When nothing was loaded, or there is no such database.
pub fn replace(
    view: &View<'_>,
    id: Uuid,
    id_or_name: &str,
    now_ms: u64,
    stamp_of: impl Fn(GroupId) -> Option<Versionstamp>,
) -> Result<(Uuid, DatabaseRow, RecoveryPoint, Change)> {
    let loaded = found(view, id)?;
    let (target, stamp, was) = target(view, id_or_name, now_ms)?;
    let (group, number) = (was.group, was.number);
    let unknown = || CatalogError::Conflict(format!("this node does not hold group {group}: ask another"));
    let point = RecoveryPoint { stamp: stamp_of(group).ok_or_else(unknown)?, group, number };
    let row = DatabaseRow { group: loaded.row.group, number: loaded.row.number, ..was };
    let ended =
        DatabaseRow { state: DatabaseState::Ended, ended_ms: now_ms, group, number, ..loaded.row.clone() };
    let (target_key, loaded_key) = (database_key(target), database_key(id));
    let change = Change::default()
        .if_stamp(&target_key, stamp)
        .if_still(&loaded_key, &loaded)
        .delete(&name_key(&loaded.row.name))
        .set(&target_key, row.encode())
        .set(&loaded_key, ended.encode())
        .set(&recovery_key(target, now_ms), point.encode());
    Ok((target, row, point, change))
}

/// The id of the database that is to be replaced, the stamp of its row, and what it is now.
fn target(
    view: &View<'_>,
    id_or_name: &str,
    now_ms: u64,
) -> Result<(Uuid, Option<Versionstamp>, DatabaseRow)> {
    let missing = || CatalogError::NotFound(format!("there is no database {id_or_name} to replace"));
    let target = match Uuid::try_parse(id_or_name) {
        Ok(target) => target,
        Err(_) if id_or_name == DEFAULT_NAME => DEFAULT_DATABASE_ID,
        Err(_) => view.database_named(id_or_name)?.ok_or_else(missing)?.row,
    };
    match view.database(target)? {
        None if target == DEFAULT_DATABASE_ID => Ok((target, None, default_row(now_ms))),
        found => {
            let there = found.filter(is_active).ok_or_else(missing)?;
            Ok((target, Some(there.stamp), there.row))
        }
    }
}

/// The first row of the default database. Its access token is the server's, so that its digest means nothing.
fn default_row(now_ms: u64) -> DatabaseRow {
    let DatabasePlace { group, number } = DatabasePlace::DEFAULT;
    DatabaseRow {
        state: DatabaseState::Active,
        created_ms: now_ms,
        ended_ms: 0,
        number,
        group,
        token_digest: [0; 32],
        name: DEFAULT_NAME.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::testing::Store;
    use crate::catalog::{create_database, end_database};

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    fn new(id: u128, name: &str) -> NewDatabase {
        NewDatabase { id: Uuid::from_u128(id), name: name.to_owned(), token_digest: [7; 32] }
    }

    #[test]
    fn what_is_loaded_has_its_name_for_itself_and_is_shown_when_it_is_whole() -> TestResult {
        let store = Store::new()?;
        let (row, change) = store.decide(|view| begin_loading(view, &new(1, "shop"), 1, 5))?;
        store.commit(change)?;
        assert_eq!(row.state, DatabaseState::Loading);
        assert!(store.decide(|view| create_database(view, &new(2, "shop"), 1, 6)).is_err());
        assert_eq!(store.decide(|view| loading(view, Uuid::from_u128(1)))?, row);
        let (shown, change) = store.decide(|view| finish_loading(view, Uuid::from_u128(1)))?;
        store.commit(change)?;
        assert_eq!(shown, DatabaseRow { state: DatabaseState::Active, ..row });
        assert!(store.decide(|view| loading(view, Uuid::from_u128(1))).is_err(), "it takes no more rows");
        Ok(())
    }

    #[test]
    fn a_replacement_takes_the_number_and_notes_where_the_old_content_is() -> TestResult {
        let store = Store::new()?;
        let (old, change) = store.decide(|view| create_database(view, &new(1, "shop"), 1, 5))?;
        store.commit(change)?;
        let (loaded, change) = store.decide(|view| begin_loading(view, &new(2, "aside"), 1, 6))?;
        store.commit(change)?;
        let stamp = Versionstamp::new(9, 1);
        let replaced =
            store.decide(|view| replace(view, Uuid::from_u128(2), "shop", 7, |_group| Some(stamp)));
        let (id, row, point, change) = replaced?;
        store.commit(change)?;
        assert_eq!((id, row.number, row.name.as_str()), (Uuid::from_u128(1), loaded.number, "shop"));
        assert_eq!((row.token_digest, row.created_ms), (old.token_digest, old.created_ms));
        assert_eq!(point, RecoveryPoint { stamp, group: old.group, number: old.number });
        let points = store.decide(|view| view.recovery_points(id))?;
        assert_eq!(points, [(7, point)]);
        let ended = store.decide(|view| view.database(Uuid::from_u128(2)))?.ok_or("it is ended")?.row;
        assert_eq!((ended.state, ended.number), (DatabaseState::Ended, old.number));
        assert!(store.decide(|view| end_database(view, "aside", 8)).is_err(), "its name is gone");
        Ok(())
    }

    #[test]
    fn the_default_database_can_be_replaced_again_and_again_and_stays_the_default_one() -> TestResult {
        let store = Store::new()?;
        let mut was = DatabasePlace::DEFAULT;
        assert_eq!(store.decide(|view| view.default_place())?, was);
        for (round, which) in [(2, "default"), (3, "00000000-0000-8000-8000-000000000001")] {
            let aside = Uuid::from_u128(round);
            let (loaded, change) =
                store.decide(|view| begin_loading(view, &new(round, &format!("aside{round}")), 2, 6))?;
            store.commit(change)?;
            let stamp = Versionstamp::new(9, 1);
            let replaced = store.decide(|view| replace(view, aside, which, 7, |_group| Some(stamp)))?;
            let (id, row, point, change) = replaced;
            store.commit(change)?;
            assert_eq!((id, row.name.as_str()), (DEFAULT_DATABASE_ID, "default"));
            assert_eq!(point, RecoveryPoint { stamp, group: was.group, number: was.number });
            was = DatabasePlace::of(&loaded);
            assert_eq!(store.decide(|view| view.default_place())?, was);
            assert!(store.decide(|view| end_database(view, which, 8)).is_err(), "it is never deleted");
            assert!(store.decide(|view| create_database(view, &new(9, "default"), 2, 6)).is_err());
        }
        let listed = store.decide(|view| view.databases())?;
        let states: Vec<_> = listed.iter().map(|(_, found)| (found.row.state, found.row.number.0)).collect();
        assert_eq!(states, [(DatabaseState::Ended, 1), (DatabaseState::Ended, 2)], "what it was is ended");
        Ok(())
    }

    #[test]
    fn two_replacements_of_the_default_database_at_once_do_not_both_happen() -> TestResult {
        let store = Store::new()?;
        let mut changes = Vec::new();
        for round in [2, 3] {
            let (_, change) =
                store.decide(|view| begin_loading(view, &new(round, &format!("aside{round}")), 1, 6))?;
            store.commit(change)?;
        }
        for round in [2, 3] {
            let at = |_group| Some(Versionstamp::new(9, 1));
            let replaced = store.decide(|view| replace(view, Uuid::from_u128(round), "default", 7, at))?;
            changes.push(replaced.3);
        }
        assert!(store.commit(changes.remove(0)).is_ok());
        assert!(store.commit(changes.remove(0)).is_err(), "it was decided on what is no more");
        Ok(())
    }

    #[test]
    fn the_format_is_frozen_and_every_cut_is_refused() -> TestResult {
        let stamp = Versionstamp::new(0x0102, 3);
        let point = RecoveryPoint { stamp, group: GroupId(4), number: DatabaseNumber(300) };
        let bytes = point.encode();
        assert_eq!(bytes, b"\x01\0\0\0\0\0\0\x01\x02\0\x03\x04\xac\x02");
        assert_eq!(RecoveryPoint::decode(&bytes).ok(), Some(point));
        for cut in 0..bytes.len() {
            assert!(RecoveryPoint::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        Ok(())
    }
}
