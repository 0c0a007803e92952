//! Ids of writes, kept in the database by the writes themselves: which writes happened, and under which stamps.
//!
//! - A note is a set with the stamp as suffix, so a write that happens twice leaves two.
//! - The suffix of the key, the stamp of the row and the stamp that the client was told must be one.

use super::{Action, Commit, Event, Last, Row, Violation, Written};
use crate::{DatabaseNumber, Mutation, MutationKind, StoredValue, engine_key};
use engine::Versionstamp;
use std::collections::BTreeMap;

/// The key that notes are put after, as a key of KV Connect: the text `journal`.
pub const KEY: &[u8] = b"\x02journal\x00";

/// The mutation that every write of a test has besides its own.
pub fn note(id: u64) -> Mutation {
    let value = StoredValue::u64(id);
    Mutation { key: KEY.to_vec(), kind: MutationKind::SetSuffixed { value, expire_at_ms: None } }
}

/// The engine's key that all notes of a database begin with.
pub fn prefix(database: DatabaseNumber) -> Vec<u8> {
    [&engine_key(database, KEY)[..], b"\x02"].concat()
}

/// The writes that happened, in the order of their stamps.
///
/// # Errors
///
/// When a note is of no write or there twice, or a write was told something else.
pub(super) fn resolve(events: &[Event], last: &Last) -> Result<Vec<Commit>, Violation> {
    let mut of_id = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        let Action::Write { id, .. } = &event.action else { continue };
        if of_id.insert(*id, index).is_some() {
            return Err(Violation::Misrecorded { what: format!("two writes have the id {id}") });
        }
    }
    let mut commits: BTreeMap<Versionstamp, Commit> = BTreeMap::new();
    let mut noted: BTreeMap<u64, Versionstamp> = BTreeMap::new();
    for row in last.rows.iter().filter(|row| is_note(&row.key)) {
        let (id, stamp) = read(row)?;
        let &event = of_id.get(&id).ok_or_else(|| Violation::NobodyWrote { row: row.to_string() })?;
        if let Some(first) = noted.insert(id, stamp) {
            return Err(Violation::Twice { write: events[event].to_string(), first, second: stamp });
        }
        let time_ms = last.times_ms.get(&stamp.version()).copied();
        if let Some(other) = commits.insert(stamp, Commit { stamp, event, time_ms }) {
            let (one, other) = (events[event].to_string(), events[other.event].to_string());
            return Err(Violation::SameStamp { stamp, one, other });
        }
    }
    for event in events {
        answered_truly(event, &noted)?;
    }
    Ok(commits.into_values().collect())
}

fn answered_truly(event: &Event, noted: &BTreeMap<u64, Versionstamp>) -> Result<(), Violation> {
    let Action::Write { id, outcome, .. } = &event.action else { return Ok(()) };
    match (outcome, noted.get(id)) {
        (Written::Committed(told), Some(stamp)) if told == stamp => Ok(()),
        (Written::Committed(_), Some(stamp)) => {
            Err(Violation::OtherStamp { write: event.to_string(), stamp: *stamp })
        }
        (Written::Committed(_), None) => Err(Violation::Lost { write: event.to_string() }),
        (Written::Unknown, _) | (_, None) => Ok(()),
        (_, Some(stamp)) => Err(Violation::Happened { write: event.to_string(), stamp: *stamp }),
    }
}

/// Whether the key is a note of some database.
fn is_note(key: &[u8]) -> bool {
    key.len() > 4 && key[4..].starts_with(KEY) && key.get(4 + KEY.len()) == Some(&2)
}

fn read(row: &Row) -> Result<(u64, Versionstamp), Violation> {
    let damaged = || Violation::DamagedNote { row: row.to_string() };
    let suffix = [b"\x02", row.stamp.to_string().as_bytes(), b"\0"].concat();
    if row.key[4 + KEY.len()..] != suffix {
        return Err(damaged());
    }
    let (_, id) = row.value.split_first().ok_or_else(damaged)?;
    let id = id.try_into().map(u64::from_le_bytes).map_err(|_length| damaged())?;
    Ok((id, row.stamp))
}
