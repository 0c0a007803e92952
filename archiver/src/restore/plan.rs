//! Which objects bring a point back, or why it cannot be reached. Pure.
//!
//! - A point is in exactly one lineage, or the caller is asked which one is meant.
//! - There is no "nearest": a point outside every window is refused, and the windows are named.
//! - What was shipped after a lineage ended, because another goes on from there, is a fork: it is not in a window unless the
//!   lineage is named. The end of a lineage that goes on here in a child is not "the latest".
//! - A checkpoint that should be the start and cannot be used is an error, not a reason to look
//!   elsewhere silently; the caller may leave it out by name.

use super::scope::Scope;
use crate::Error;
use crate::bugs::{self, Bug};
use crate::catalog::window::{Start, Window};
use crate::catalog::{Catalog, CheckpointEntry, Content, History, Segment, rfc3339};
use crate::checkpoint::{Checkpoint, Table};
use crate::layout::{CheckpointName, Kind};
use engine::codec::Malformed;
use engine::versionstamp::epoch_of;
use engine::{Applied, ContentHash, LineageId, Versionstamp};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// What to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// All commits up to this one, inclusive.
    Stamp(Versionstamp),
    /// All commits whose clock is not after this time, Unix milliseconds.
    TimeMs(u64),
    /// All commits of the lineage that are in the archive.
    Latest,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stamp(stamp) => write!(f, "versionstamp {stamp}"),
            Self::TimeMs(time_ms) => f.write_str(&rfc3339(*time_ms)),
            Self::Latest => f.write_str("the latest commit"),
        }
    }
}

/// What to restore, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The point.
    pub point: Point,
    /// In which lineage or a parent of it; needed only when several hold the point.
    pub lineage: Option<LineageId>,
    /// Checkpoints at these stamps are left out.
    pub without: Vec<Versionstamp>,
    /// Which part of the group.
    pub scope: Scope,
}

impl Wanted {
    /// All of the group at a point.
    pub const fn at(point: Point) -> Self {
        Self { point, lineage: None, without: Vec::new(), scope: Scope::All }
    }
}

/// What a restore does.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The lineage it restores from.
    pub history: History,
    /// The checkpoint it starts from; `None` when it starts from nothing.
    pub checkpoint: Option<(CheckpointName, Checkpoint)>,
    /// The segments to replay, in order.
    pub segments: Vec<Segment>,
    /// Segments that cover the same commits: they must say the same.
    pub rivals: Vec<Segment>,
    /// Where it ends: a stamp or a time.
    pub until: Until,
    /// Which part of the group it takes.
    pub scope: Scope,
    /// The tables that may hold some of it.
    pub tables: Vec<Table>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of lineage {} up to {}", self.scope, self.history.folder, self.until)?;
        match &self.checkpoint {
            Some((name, _)) => write!(f, ", from checkpoint {name}"),
            None => f.write_str(", from the beginning"),
        }
    }
}

/// Where a replay ends, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// At this commit.
    Stamp(Versionstamp),
    /// At this time, Unix milliseconds.
    TimeMs(u64),
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stamp(stamp) => write!(f, "versionstamp {stamp}"),
            Self::TimeMs(time_ms) => f.write_str(&rfc3339(*time_ms)),
        }
    }
}

impl Plan {
    /// The state before the first segment.
    pub fn start_applied(&self) -> Applied {
        self.checkpoint.as_ref().map_or(Applied::START, |(_, checkpoint)| checkpoint.applied)
    }

    /// The clock at the end, at most.
    pub(super) fn ends_ms(&self) -> u64 {
        let last = self.segments.last().map(|segment| segment.name.last_ms);
        last.unwrap_or_else(|| self.start_applied().time_ms)
    }

    pub(super) fn damaged_checkpoint(&self, group: u64, malformed: Malformed) -> Error {
        let object = self.checkpoint.as_ref().map(|(name, _)| Kind::Checkpoint(group, *name));
        let object = object.map_or_else(String::new, |kind| self.history.object(kind));
        Error::damaged(&object)(malformed)
    }

    /// The same, of a part of the group.
    fn of(mut self, scope: &Scope) -> Result<Plan, Malformed> {
        if let Some((_, checkpoint)) = &self.checkpoint {
            self.tables = scope.tables(checkpoint)?;
        }
        self.scope = scope.clone();
        Ok(self)
    }

    /// The stamp and the hash of history from which segments are replayed.
    pub fn start(&self) -> (Versionstamp, ContentHash) {
        let applied = self.checkpoint.as_ref().map(|(_, checkpoint)| checkpoint.applied);
        applied.map_or((Versionstamp::ZERO, ContentHash::EMPTY), |applied| (applied.stamp, applied.hash))
    }

    /// Bytes to fetch, rivals not counted. Of a part at most so many: of a table that it shares with others only some blocks
    /// are read, and which ones they are stands in the table.
    pub fn bytes(&self) -> u64 {
        let tables = self.tables.iter().map(Table::stored_bytes).sum::<u64>();
        tables + self.segments.iter().map(|segment| segment.bytes).sum::<u64>()
    }
}

/// Why a point cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is nothing to restore from. Look at the URL.
    #[error("there is no archive in {location}")]
    NoArchive {
        /// The store.
        location: String,
    },
    /// The lineage is not in the archive. Name one that is.
    #[error("lineage {id} is not in the archive; it holds {known}")]
    UnknownLineage {
        /// What was asked for.
        id: LineageId,
        /// What there is.
        known: String,
    },
    /// The point is outside every window. Name one inside.
    #[error("cannot restore {point}: {windows}")]
    Unreachable {
        /// What was asked for.
        point: String,
        /// What can be reached.
        windows: String,
    },
    /// Several lineages hold the point. Name the one that is meant.
    #[error("{point} is in several lineages; add --lineage and one of {lineages}")]
    Ambiguous {
        /// What was asked for.
        point: String,
        /// Which.
        lineages: String,
    },
    /// A versionstamp was given where a time is needed. Give a time, or name the group.
    #[error("{point} names a point of one group, and there are groups {groups}: give a time, or add --group")]
    OfOneGroup {
        /// What was asked for.
        point: String,
        /// What there is.
        groups: String,
    },
    /// The archive holds nothing of a group. Look at the list.
    #[error("{location} does not hold all of the groups {groups}")]
    NoGroup {
        /// What was asked for.
        groups: String,
        /// The store.
        location: String,
    },
    /// The stamp is of a parent, but after the point where the lineage left it. Name another.
    #[error(
        "versionstamp {stamp} is not in the history of lineage {lineage}, which left its parent at {left_at}"
    )]
    NotInHistory {
        /// What was asked for.
        stamp: Versionstamp,
        /// In which lineage.
        lineage: LineageId,
        /// Where it left the parent.
        left_at: Versionstamp,
    },
    /// The checkpoint to start from is encrypted. Give the identity that opens it.
    #[error("cannot open {object}: {reason}")]
    Sealed {
        /// The checkpoint.
        object: String,
        /// Why not.
        reason: &'static str,
    },
    /// The checkpoint to start from is damaged. Bring the object back, or leave the checkpoint out.
    #[error("damaged archive: {object}: {reason}; to start from an older checkpoint add --without {stamp}")]
    Damaged {
        /// The checkpoint.
        object: String,
        /// What is wrong with it.
        reason: String,
        /// Its stamp.
        stamp: Versionstamp,
    },
}

/// Finds out how to restore a point.
///
/// # Errors
///
/// Why it cannot be restored.
pub fn plan(catalog: &Catalog, wanted: &Wanted) -> Result<Plan, PlanError> {
    if catalog.lineages.is_empty() {
        return Err(PlanError::NoArchive { location: catalog.location.clone() });
    }
    let catalog = &*without_forks(catalog, wanted);
    let history = choose_lineage(catalog, wanted)?;
    let until = until(history, wanted.point, wanted.lineage == Some(history.folder.id))?;
    let kept = |entry: &&CheckpointEntry| !wanted.without.contains(&entry.name.stamp);
    for entry in history.checkpoints.iter().rev().filter(kept) {
        let start = history.start_at(entry);
        let window = history.window_from(&start);
        if !holds(&window, until) {
            continue;
        }
        return match &entry.content {
            Content::Whole(checkpoint) => {
                let plan = finish(history, Some((entry.name, checkpoint.clone())), &start, &window, until);
                plan.of(&wanted.scope).map_err(|malformed| PlanError::Damaged {
                    object: history.object(Kind::Checkpoint(catalog.group, entry.name)),
                    reason: malformed.to_string(),
                    stamp: entry.name.stamp,
                })
            }
            Content::Sealed(reason) => {
                let object = history.object(Kind::Checkpoint(catalog.group, entry.name));
                Err(PlanError::Sealed { object, reason })
            }
            Content::Unusable(reason) => Err(PlanError::Damaged {
                object: history.object(Kind::Checkpoint(catalog.group, entry.name)),
                reason: reason.clone(),
                stamp: entry.name.stamp,
            }),
        };
    }
    if let Some(start) = history.empty_start() {
        let window = history.window_from(&start);
        if holds(&window, until) {
            let plan = finish(history, None, &start, &window, until);
            return Ok(Plan { scope: wanted.scope.clone(), ..plan });
        }
    }
    Err(unreachable(wanted.point, &[history]))
}

/// What lineages hold up to where others go on from them; of the one that is named, all.
fn without_forks<'a>(catalog: &'a Catalog, wanted: &Wanted) -> Cow<'a, Catalog> {
    let ends = |history: &History| history.end().is_some() && wanted.lineage != Some(history.folder.id);
    if !catalog.lineages.iter().any(ends) {
        return Cow::Borrowed(catalog);
    }
    let lineages = catalog
        .lineages
        .iter()
        .map(|history| if ends(history) { history.until_its_end() } else { history.clone() });
    Cow::Owned(Catalog { lineages: lineages.collect(), ..catalog.clone() })
}

fn holds(window: &Window, until: Until) -> bool {
    match until {
        Until::Stamp(stamp) => window.holds_stamp(stamp),
        Until::TimeMs(time_ms) => window.holds_time(time_ms),
    }
}

fn until(history: &History, point: Point, is_named: bool) -> Result<Until, PlanError> {
    match point {
        Point::Stamp(stamp) => Ok(Until::Stamp(stamp)),
        Point::TimeMs(time_ms) => Ok(Until::TimeMs(time_ms)),
        Point::Latest => {
            let last = history.claimed_windows().iter().map(|window| window.last.stamp).max();
            // A segment may lead beyond the end.
            let end = history.end().map(|end| end.stamp).filter(|_| !is_named);
            let last = last.map(|last| end.map_or(last, |end| last.min(end)));
            last.map(Until::Stamp).ok_or_else(|| unreachable(point, &[history]))
        }
    }
}

/// Keeps of a window what is needed to get to a point.
fn finish(
    history: &History,
    checkpoint: Option<(CheckpointName, Checkpoint)>,
    start: &Start,
    window: &Window,
    until: Until,
) -> Plan {
    let needed = |segment: &Segment| match until {
        Until::Stamp(stamp) => segment.name.base.max(start.stamp) < stamp && segment.name.last > start.stamp,
        Until::TimeMs(time_ms) => segment.name.first_ms <= time_ms && segment.name.last > start.stamp,
    };
    let chain: Vec<Segment> = window.segments.iter().map(|i| history.segments[*i]).collect();
    let segments: Vec<Segment> = chain.iter().filter(|segment| needed(segment)).copied().collect();
    let says = |segment: &Segment| {
        let name = &segment.name;
        (name.base, name.last, name.hash_before, name.hash_after)
    };
    let said: BTreeSet<_> = chain.iter().map(says).collect();
    let agreeing = history.agreeing(&segments);
    let differs = |segment: &Segment| !said.contains(&says(segment)) && !agreeing.contains(&segment.name);
    let rival = |segment: &&Segment| needed(segment) && differs(segment);
    let rivals = history.segments.iter().filter(rival).copied().collect();
    let tables = checkpoint.iter().flat_map(|(_, checkpoint)| checkpoint.tables.clone()).collect();
    Plan { history: history.clone(), checkpoint, segments, rivals, until, scope: Scope::All, tables }
}

/// The one lineage that holds the point.
fn choose_lineage<'a>(catalog: &'a Catalog, wanted: &Wanted) -> Result<&'a History, PlanError> {
    let holders: Vec<&History> = match wanted.lineage {
        Some(id) => return named_lineage(catalog, id, wanted.point),
        None => holders(catalog, wanted.point),
    };
    match holders.as_slice() {
        [one] => Ok(one),
        [] => Err(unreachable(wanted.point, &catalog.lineages.iter().collect::<Vec<_>>())),
        several => Err(PlanError::Ambiguous {
            point: wanted.point.to_string(),
            lineages: several.iter().map(|h| h.folder.id.to_string()).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn holders(catalog: &Catalog, point: Point) -> Vec<&History> {
    let with = |holds: &dyn Fn(&History, &Window) -> bool| {
        let any = |history: &&History| history.claimed_windows().iter().any(|window| holds(history, window));
        catalog.lineages.iter().filter(any).collect::<Vec<_>>()
    };
    match point {
        Point::Latest => {
            let all = with(&|_, _| true);
            let is_there = |id: LineageId| all.iter().any(|history| history.folder.id == id);
            let goes_on = |history: &&&History| history.ends.iter().any(|end| is_there(end.child));
            let newest: Vec<&History> = all.iter().filter(|history| !goes_on(history)).copied().collect();
            if newest.is_empty() { all } else { newest }
        }
        Point::TimeMs(time_ms) => with(&|_, window| window.holds_time(time_ms)),
        Point::Stamp(stamp) => {
            // A stamp names its epoch. A child holds the stamp at which it left its parent, too, and
            // speaks for it when the parent's own archive does not.
            let own =
                |h: &History, w: &Window| h.folder.epoch == epoch_of(stamp.version()) && w.holds_stamp(stamp);
            let own = with(&own);
            if own.is_empty() { with(&|_, window| window.first.stamp == stamp) } else { own }
        }
    }
}

/// The lineage `id`, or the parent of it that holds the stamp.
fn named_lineage(catalog: &Catalog, id: LineageId, point: Point) -> Result<&History, PlanError> {
    let is_it = |history: &&History, id| history.folder.id == id || bugs::seeded(Bug::WrongLineage);
    let known = |id: LineageId| catalog.lineages.iter().find(|history| is_it(history, id));
    let Some(mut history) = known(id) else {
        let all: Vec<String> = catalog.lineages.iter().map(|h| h.folder.id.to_string()).collect();
        return Err(PlanError::UnknownLineage { id, known: all.join(", ") });
    };
    let Point::Stamp(stamp) = point else { return Ok(history) };
    // Epochs fall with each step, so that this ends.
    while epoch_of(stamp.version()) < history.folder.epoch {
        let Some((parent, left_at)) = history.announcement.and_then(|found| found.lineage.parent) else {
            break;
        };
        if stamp > left_at {
            return Err(PlanError::NotInHistory { stamp, lineage: history.folder.id, left_at });
        }
        match known(parent).filter(|parent| parent.folder.epoch < history.folder.epoch) {
            Some(parent) => history = parent,
            None => break,
        }
    }
    Ok(history)
}

fn unreachable(point: Point, histories: &[&History]) -> PlanError {
    let mut windows: Vec<String> = Vec::new();
    for history in histories {
        windows.extend(history.windows().iter().map(|window| {
            let (first, last) = (window.first, window.last);
            let (from, to) = (rfc3339(first.time_ms), rfc3339(last.time_ms));
            format!("{} to {} ({from} to {to}) of lineage {}", first.stamp, last.stamp, history.folder.id)
        }));
    }
    let windows = match windows.as_slice() {
        [] => "nothing in the archive can be restored".to_owned(),
        some => format!("the archive reaches {}; --at latest restores its end", some.join(", and ")),
    };
    PlanError::Unreachable { point: point.to_string(), windows }
}

#[cfg(test)]
mod tests;
