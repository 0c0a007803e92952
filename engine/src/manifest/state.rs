//! What a manifest says once all of its edits are applied.

use super::edit::Edit;
use crate::Applied;
use crate::erasure::Erasures;
use crate::horizon::{Horizon, Horizons};
use crate::levels::LEVEL_MAX;
use crate::record::Mark;
use crate::table;
use crate::times::Times;
use crate::{Lineage, LineageId};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The state of an engine's tables, as its manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) lineage: Lineage,
    /// The end of what the tables hold; replay starts above it.
    pub(crate) flushed: Applied,
    /// Level and meta; within level 0 oldest first.
    pub(crate) tables: Vec<(u8, table::Meta)>,
    /// Marks as of `flushed`.
    pub(crate) marks: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Clock up to `flushed`.
    pub(crate) times: Times,
    /// What flushes and compactions may have dropped lies below them.
    pub(crate) horizons: Horizons,
    /// Deletions of prefixes up to `flushed` that may hide something.
    pub(crate) erasures: Erasures,
    /// WAL segment that the last boot started; 0 before any.
    pub(crate) first_segment: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            lineage: Lineage { id: LineageId([0; 16]), epoch: 0, parent: None },
            flushed: Applied::START,
            tables: Vec::new(),
            marks: BTreeMap::new(),
            times: Times::default(),
            horizons: Horizons::default(),
            erasures: Erasures::default(),
            first_segment: 0,
        }
    }
}

impl State {
    /// Applies one edit.
    ///
    /// # Errors
    ///
    /// What the edit lacks in this state; the state is unchanged then.
    pub(crate) fn apply(&mut self, edit: Edit) -> Result<(), &'static str> {
        match edit {
            Edit::Lineage(lineage) => self.lineage = lineage,
            Edit::AddTable { level, meta } => {
                if level > LEVEL_MAX {
                    return Err("a level from 0 to 6");
                }
                if self.position(&meta.digest).is_some() {
                    return Err("a table that is not live yet");
                }
                self.tables.push((level, meta));
            }
            Edit::RemoveTable { digest } => {
                let at = self.position(&digest).ok_or("a table that is live")?;
                self.tables.remove(at);
            }
            Edit::Flushed(applied) => self.flushed = applied,
            Edit::Mark(Mark { name, value }) => set_mark(&mut self.marks, name, value),
            Edit::Times(points) => {
                for point in points {
                    if !self.times.is_followed_by(point) {
                        return Err("rising versions and times");
                    }
                    self.times.push(point);
                }
            }
            Edit::Horizon { prefix, horizon } => {
                if self.horizons.at(&prefix).is_some_and(|before| before > horizon) {
                    return Err("a horizon that does not fall");
                }
                self.horizons.set(prefix, horizon);
            }
            Edit::NoHorizon { prefix } => {
                if !self.horizons.remove(&prefix) {
                    return Err("a prefix that has a horizon");
                }
            }
            Edit::Erase(erasure) => {
                if !self.erasures.add(erasure) {
                    return Err("an erasure that is not there yet");
                }
            }
            Edit::Forget(erasure) => {
                if !self.erasures.remove(&erasure) {
                    return Err("an erasure that is there");
                }
            }
            Edit::Boot { first_segment } => self.first_segment = first_segment,
        }
        Ok(())
    }

    /// The edits that raise the horizons to `due`.
    pub(crate) fn raise(&self, due: &Horizons) -> Vec<Edit> {
        let mut edits = Vec::new();
        let mut set = |prefix: &Bytes, horizon: Horizon| {
            if self.horizons.at(prefix) != Some(horizon) {
                edits.push(Edit::Horizon { prefix: prefix.clone(), horizon });
            }
        };
        set(&Bytes::new(), due.of_rest());
        due.prefixes().iter().for_each(|(prefix, horizon)| set(prefix, *horizon));
        let gone = self.horizons.prefixes().iter().filter(|(prefix, _)| due.at(prefix).is_none());
        edits.extend(gone.map(|(prefix, _)| Edit::NoHorizon { prefix: prefix.clone() }));
        edits
    }

    fn position(&self, digest: &table::TableDigest) -> Option<usize> {
        self.tables.iter().position(|(_, meta)| meta.digest == *digest)
    }

    /// The edits that make this state out of the default one.
    pub(crate) fn as_edits(&self) -> Vec<Edit> {
        let tables =
            self.tables.iter().map(|(level, meta)| Edit::AddTable { level: *level, meta: meta.clone() });
        let marks = self
            .marks
            .iter()
            .map(|(name, value)| Edit::Mark(Mark { name: name.clone(), value: value.clone() }));
        let fixed = [
            Edit::Lineage(self.lineage),
            Edit::Flushed(self.flushed),
            Edit::Times(self.times.after(0).to_vec()),
            Edit::Horizon { prefix: Bytes::new(), horizon: self.horizons.of_rest() },
            Edit::Boot { first_segment: self.first_segment },
        ];
        let horizon = |(prefix, horizon): &(Bytes, Horizon)| Edit::Horizon {
            prefix: prefix.clone(),
            horizon: *horizon,
        };
        let horizons = self.horizons.prefixes().iter().map(horizon);
        let erasures = self.erasures.iter().cloned().map(Edit::Erase);
        fixed.into_iter().chain(horizons).chain(erasures).chain(tables).chain(marks).collect()
    }
}

/// Sets a mark; an empty value removes it.
pub(crate) fn set_mark(marks: &mut BTreeMap<Vec<u8>, Vec<u8>>, name: Vec<u8>, value: Vec<u8>) {
    if value.is_empty() {
        marks.remove(&name);
    } else {
        marks.insert(name, value);
    }
}
