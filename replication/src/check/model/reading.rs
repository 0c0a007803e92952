//! Whether rows are those of a state.

use super::{Model, Presence, Version, newest};
use crate::check::{Row, Selection, Violation};

impl Model {
    /// The first difference between what a read of `selection` must show at `place` and `rows`.
    pub(crate) fn differs(
        &self,
        selection: &Selection,
        place: usize,
        time_ms: Option<u64>,
        rows: &[Row],
    ) -> Option<String> {
        let mut rest = rows;
        let range = self.keys.range(selection.start.clone()..selection.end.clone());
        let mut cells: Box<dyn Iterator<Item = _>> =
            if selection.reverse { Box::new(range.rev()) } else { Box::new(range) };
        while rows.len() - rest.len() < selection.limit {
            let Some((key, versions)) = cells.next() else { break };
            let Some(version) = newest(versions, place) else { continue };
            let shown = rest.first().filter(|row| row.key == *key);
            if let Some(difference) = compare(key, version, time_ms, shown) {
                return Some(difference);
            }
            rest = &rest[usize::from(shown.is_some())..];
        }
        rest.first().map(|row| format!("{row} is shown and should not be"))
    }

    /// Whether `rows` are all there is in the end.
    ///
    /// # Errors
    ///
    /// [`Violation::OtherEnd`] when they are not.
    pub(crate) fn equals(&self, rows: &[Row], time_ms: Option<u64>) -> Result<(), Violation> {
        match self.differs(&everything(), self.last_place(), time_ms, rows) {
            None => Ok(()),
            Some(difference) => Err(Violation::OtherEnd { difference }),
        }
    }
}

/// All keys.
pub(super) fn everything() -> Selection {
    Selection { start: Vec::new(), end: vec![0xff; 64], limit: usize::MAX, reverse: false }
}

fn compare(key: &[u8], version: &Version, time_ms: Option<u64>, shown: Option<&Row>) -> Option<String> {
    let presence = version.value.as_ref().map_or(Presence::Absent, |value| Presence::of(value, time_ms));
    match (shown, presence) {
        (None, Presence::Absent | Presence::Either) => None,
        (None, Presence::Here) => {
            Some(format!("{} is missing, which {} wrote", key.escape_ascii(), version.stamp))
        }
        (Some(row), Presence::Absent) => {
            Some(format!("{row} is shown, which is gone since {}", version.stamp))
        }
        (Some(row), Presence::Here | Presence::Either) => {
            let same_value = version.value.as_ref().is_some_and(|value| value.bytes == row.value);
            (row.stamp != version.stamp || !same_value)
                .then(|| format!("{row} is shown, where {} wrote the newest value", version.stamp))
        }
    }
}
