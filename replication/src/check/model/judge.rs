//! What an atomic write comes to at a place.

use super::{Model, Presence, Value};
use crate::{AtomicWrite, Check, DatabaseNumber, Encoding, MutationKind, StoredValue, Sum, engine_key};
use engine::Versionstamp;
use std::collections::BTreeMap;
use std::fmt;

/// Why a write does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotDone {
    /// These checks fail.
    Checks(Vec<u32>),
    /// A mutation cannot be done.
    Refused,
    /// A mutation that the model does not know.
    Unknown,
}

/// The last change of each engine key; `None` deletes.
type Changes = BTreeMap<Vec<u8>, Option<Value>>;

impl Model {
    /// The changes of a write that stands after `place` and commits under `stamp` at `time_ms`.
    pub(super) fn judge(
        &self,
        write: &AtomicWrite,
        place: usize,
        stamp: Versionstamp,
        time_ms: Option<u64>,
    ) -> Result<Changes, NotDone> {
        let fails = |check: &Check| {
            !matches!(self.holds(write.database, check, place, time_ms), Presence::Here | Presence::Either)
        };
        let failed: Vec<u32> =
            (0..).zip(&write.checks).filter(|(_, check)| fails(check)).map(|(index, _)| index).collect();
        if !failed.is_empty() {
            return Err(NotDone::Checks(failed));
        }
        let mut changes = Changes::new();
        for mutation in &write.mutations {
            let mut key = engine_key(write.database, &mutation.key);
            let before = match changes.get(&key) {
                Some(change) => change.clone(),
                None => self.version(&key, place).and_then(|version| version.value.clone()),
            };
            let before = before.filter(|value| Presence::of(value, time_ms) != Presence::Absent);
            let after = match &mutation.kind {
                MutationKind::Delete => None,
                MutationKind::Set { value, expire_at_ms } => Some(given(value, *expire_at_ms)),
                MutationKind::SetSuffixed { value, expire_at_ms } => {
                    key.extend_from_slice(format!("\x02{stamp}\0").as_bytes());
                    Some(given(value, *expire_at_ms))
                }
                MutationKind::Sum(Sum::U64(operand)) => Some(number(before, *operand, u64::wrapping_add)?),
                MutationKind::Min(operand) => Some(number(before, *operand, u64::min)?),
                MutationKind::Max(operand) => Some(number(before, *operand, u64::max)?),
                MutationKind::Sum(Sum::BigInt { .. } | Sum::Number { .. }) => return Err(NotDone::Unknown),
            };
            changes.insert(key, after);
        }
        Ok(changes)
    }

    /// Whether exactly these checks can have failed at `place`, at some time before the next commit.
    pub(crate) fn fails_at(&self, write: &AtomicWrite, failed: &[u32], place: usize) -> bool {
        let agrees = |time_ms: Option<u64>| {
            (0..).zip(&write.checks).all(|(index, check): (u32, &Check)| {
                match self.holds(write.database, check, place, time_ms) {
                    Presence::Either => true,
                    holds => (holds == Presence::Absent) == failed.contains(&index),
                }
            })
        };
        let count = u32::try_from(write.checks.len()).unwrap_or(u32::MAX);
        if failed.is_empty() || failed.iter().any(|index| *index >= count) {
            return false;
        }
        let Some((from, until)) = self.times_of(place) else { return agrees(None) };
        let expiries = write.checks.iter().filter_map(|check| {
            let version = self.version(&engine_key(write.database, &check.key), place)?;
            version.value.as_ref()?.expire_at_ms.filter(|at| (from..=until).contains(at))
        });
        std::iter::once(from).chain(expiries).any(|time_ms| agrees(Some(time_ms)))
    }

    /// Whether a mutation of the write cannot be done at `place`, although its checks hold.
    pub(crate) fn refuses_at(&self, write: &AtomicWrite, place: usize) -> bool {
        let time_ms = self.times_of(place).map(|(from, _)| from);
        self.judge(write, place, Versionstamp::MAX, time_ms) == Err(NotDone::Refused)
    }

    /// Whether a check holds; [`Presence::Either`] where that depends on an unknown time.
    fn holds(&self, database: DatabaseNumber, check: &Check, place: usize, time_ms: Option<u64>) -> Presence {
        let version = self.version(&engine_key(database, &check.key), place);
        let found = version.and_then(|version| Some((version.stamp, version.value.as_ref()?)));
        let as_presence = |holds: bool| if holds { Presence::Here } else { Presence::Absent };
        let Some((stamp, value)) = found else { return as_presence(check.stamp.is_none()) };
        match Presence::of(value, time_ms) {
            Presence::Here => as_presence(check.stamp == Some(stamp)),
            Presence::Absent => as_presence(check.stamp.is_none()),
            Presence::Either if check.stamp.is_none_or(|expected| expected == stamp) => Presence::Either,
            Presence::Either => Presence::Absent,
        }
    }
}

fn given(value: &StoredValue, expire_at_ms: Option<u64>) -> Value {
    let mut bytes = vec![value.encoding.as_byte()];
    bytes.extend_from_slice(&value.bytes);
    Value { bytes, expire_at_ms }
}

fn number(before: Option<Value>, operand: u64, combine: fn(u64, u64) -> u64) -> Result<Value, NotDone> {
    let result = match before {
        None => operand,
        Some(before) => combine(u64_of(&before.bytes).ok_or(NotDone::Refused)?, operand),
    };
    Ok(given(&StoredValue::u64(result), None))
}

/// The number that an engine value is.
pub(crate) fn u64_of(value: &[u8]) -> Option<u64> {
    let (encoding, bytes) = value.split_first()?;
    if *encoding != Encoding::Le64.as_byte() {
        return None;
    }
    bytes.try_into().ok().map(u64::from_le_bytes)
}

impl fmt::Display for NotDone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotDone::Checks(indexes) => {
                f.write_str("checks")?;
                indexes.iter().try_for_each(|index| write!(f, " {index}"))?;
                f.write_str(" fail")
            }
            NotDone::Refused => f.write_str("a mutation cannot be done"),
            NotDone::Unknown => f.write_str("the model does not know a mutation"),
        }
    }
}
