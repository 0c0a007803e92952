//! All groups of a cluster, at one time.
//!
//! - Groups commit apart, so a versionstamp names a point of one of them, and a time names one of each: the state after the
//!   last commit that is not after it.
//! - A group that was quiet ends before the time although nothing of it is missing: the time must be in the archive of some
//!   group, and each other one is either there or at its end. Where it ended is in what is returned. A group whose history
//!   begins with nothing after the time did not exist, and is left out.
//! - Where one group alone holds data, its versionstamp names a time as well: that of its commit, to which the catalog of
//!   databases is brought.

use super::plan::{self, Plan, PlanError, Point, Wanted};
use super::run::{self, Destination, Restored};
use super::scope::Scope;
use crate::archive::Archive;
use crate::catalog::{self, Catalog, History};
use crate::error::blocking;
use crate::fetch;
use crate::job::Job;
use crate::{Error, Result};
use engine::{LineageId, Versionstamp};
use std::collections::BTreeMap;

/// The group that says which databases exist.
const CATALOG: u64 = 0;

/// What is asked of each group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The point: a time or the end, unless there is one group alone.
    pub point: Point,
    /// Which lineages are meant, for groups that have several.
    pub lineages: Vec<LineageId>,
    /// Checkpoints at these stamps are left out.
    pub without: Vec<Versionstamp>,
    /// Which part of each group; a group that is not named is left out. Empty is all of every group.
    pub scopes: BTreeMap<u64, Scope>,
}

impl Ask {
    /// Everything at a point.
    pub const fn all_at(point: Point) -> Self {
        Self { point, lineages: Vec::new(), without: Vec::new(), scopes: BTreeMap::new() }
    }

    fn wanted(&self, catalog: &Catalog, point: Point) -> Wanted {
        let here = |id: &&LineageId| catalog.lineages.iter().any(|history| history.folder.id == **id);
        Wanted {
            point,
            lineage: self.lineages.iter().find(here).copied(),
            without: self.without.clone(),
            scope: self.scopes.get(&catalog.group).cloned().unwrap_or_default(),
        }
    }
}

/// Finds out how to restore every group that is asked for. `stamp_ms` is the clock at the versionstamp that is asked for; while it is not
/// known, that at the end of its segment.
///
/// # Errors
///
/// Why one of them cannot be restored.
pub fn plan_cluster(
    catalogs: &[Catalog],
    ask: &Ask,
    stamp_ms: Option<u64>,
) -> Result<Vec<(u64, Plan)>, PlanError> {
    let known = |id: &LineageId| {
        catalogs.iter().flat_map(|catalog| &catalog.lineages).any(|history| history.folder.id == *id)
    };
    if let Some(id) = ask.lineages.iter().find(|id| !known(id)) {
        let all = catalogs.iter().flat_map(|catalog| &catalog.lineages).map(|h| h.folder.id.to_string());
        return Err(PlanError::UnknownLineage { id: *id, known: all.collect::<Vec<_>>().join(", ") });
    }
    let asked = |catalog: &&Catalog| ask.scopes.is_empty() || ask.scopes.contains_key(&catalog.group);
    let location = catalogs.first().map_or_else(String::new, |catalog| catalog.location.clone());
    let catalogs: Vec<&Catalog> = catalogs.iter().filter(asked).collect();
    if catalogs.is_empty() || ask.scopes.keys().any(|group| catalogs.iter().all(|c| c.group != *group)) {
        let groups = ask.scopes.keys().map(u64::to_string).collect::<Vec<_>>().join(", ");
        return Err(PlanError::NoGroup { groups, location });
    }
    let data: Vec<&Catalog> = catalogs.iter().filter(|catalog| catalog.group != CATALOG).copied().collect();
    let (ask, first) = match (ask.point, data.as_slice(), catalogs.as_slice()) {
        // The stamp is meant to be one of data, of which nothing has arrived: the catalog has the same stamps.
        (Point::Stamp(_), [], _) if ask.scopes.is_empty() => {
            return Err(PlanError::NoGroup { groups: "of data".to_owned(), location });
        }
        (Point::Stamp(_), [one], [_, _]) => {
            let planned = plan::plan(one, &ask.wanted(one, ask.point))?;
            let point = Point::TimeMs(stamp_ms.unwrap_or_else(|| planned.ends_ms()));
            (Ask { point, ..ask.clone() }, Some((one.group, planned)))
        }
        (Point::Stamp(_), _, [_, _, ..]) => {
            let groups = data.iter().map(|catalog| catalog.group.to_string()).collect::<Vec<_>>().join(", ");
            return Err(PlanError::OfOneGroup { point: ask.point.to_string(), groups });
        }
        _ => (ask.clone(), None),
    };
    let mut plans = plan_each(&catalogs, &ask, first)?;
    plans.sort_by_key(|(group, _)| *group);
    Ok(plans)
}

/// As [`plan_cluster`], with the clock at a versionstamp looked up in its segment.
async fn plan_from(archive: &Archive, catalogs: &[Catalog], ask: &Ask) -> Result<Vec<(u64, Plan)>> {
    let plans = plan_cluster(catalogs, ask, None)?;
    let data = plans.iter().find(|(group, _)| *group != CATALOG);
    match (ask.point, data) {
        (Point::Stamp(stamp), Some((group, plan))) if plans.len() > 1 => {
            let stamp_ms = clock_at(archive, *group, plan, stamp).await?;
            Ok(plan_cluster(catalogs, ask, Some(stamp_ms))?)
        }
        _ => Ok(plans),
    }
}

/// The clock at the last commit of a plan, which is this one.
async fn clock_at(archive: &Archive, group: u64, plan: &Plan, stamp: Versionstamp) -> Result<u64> {
    let Some(last) = plan.segments.last() else { return Ok(plan.start_applied().time_ms) };
    let (object, mut reader) = fetch::segment(archive, &plan.history, group, last).await?;
    let read = move || {
        let mut clock_ms = reader.header().first_ms;
        while let Some(step) = reader.next_record().map_err(Error::damaged(&object))? {
            if step.record.commits().next().is_some_and(|(first, _)| first > stamp) {
                break;
            }
            clock_ms = step.record.time_ms;
        }
        Ok(clock_ms)
    };
    blocking(read).await
}

/// Plans each group, but for one that is planned already.
fn plan_each(
    catalogs: &[&Catalog],
    ask: &Ask,
    first: Option<(u64, Plan)>,
) -> Result<Vec<(u64, Plan)>, PlanError> {
    let is_left = |catalog: &&&Catalog| first.as_ref().is_none_or(|(group, _)| *group != catalog.group);
    let at_point = |catalog: &Catalog| plan::plan(catalog, &ask.wanted(catalog, ask.point));
    let mut results: Vec<_> =
        catalogs.iter().filter(is_left).map(|catalog| (*catalog, at_point(catalog))).collect();
    let is_held = first.is_some() || results.iter().any(|(_, planned)| planned.is_ok());
    let mut plans: Vec<(u64, Plan)> = first.into_iter().collect();
    // Why data cannot be had says more than why the catalog cannot.
    results.sort_by_key(|(catalog, _)| catalog.group == CATALOG);
    for (catalog, planned) in results {
        match planned {
            Err(PlanError::Unreachable { .. }) if is_held && begins_later(catalog, ask) => {}
            Err(PlanError::Unreachable { .. }) if is_held => {
                plans.push((catalog.group, at_its_end(catalog, ask)?));
            }
            planned => plans.push((catalog.group, planned?)),
        }
    }
    Ok(plans)
}

/// Whether nothing had ever been committed in a group at the time.
fn begins_later(catalog: &Catalog, ask: &Ask) -> bool {
    let Point::TimeMs(time_ms) = ask.point else { return false };
    let begins =
        |history: &History| history.empty_start().map(|start| history.window_from(&start).first.time_ms);
    let begun: Vec<_> = catalog.lineages.iter().map(begins).collect();
    begun.iter().flatten().count() == 1 && begun.iter().flatten().all(|first_ms| time_ms < *first_ms)
}

/// The end of a group that was quiet at the time; any other reason stays one.
fn at_its_end(catalog: &Catalog, ask: &Ask) -> Result<Plan, PlanError> {
    let refused = plan::plan(catalog, &ask.wanted(catalog, ask.point));
    let Point::TimeMs(time_ms) = ask.point else { return refused };
    let end = plan::plan(catalog, &ask.wanted(catalog, Point::Latest))?;
    if end.ends_ms() < time_ms { Ok(end) } else { refused }
}

/// Restores every group that is asked for into one directory.
///
/// # Errors
///
/// As [`run`](run::run), and why a group cannot be restored.
pub async fn restore_cluster(
    archive: &Archive,
    ask: &Ask,
    destination: &Destination,
    job: &Job,
) -> Result<Vec<(u64, Restored)>> {
    restore_to(archive, ask, destination, run::Ends::Data, job).await
}

/// Restores the catalog of databases alone, as it stood at the point that is asked of data group `of`; `None` when the archive holds
/// no catalog, or there was none yet.
///
/// # Errors
///
/// As [`restore_cluster`].
pub async fn restore_catalog(
    archive: &Archive,
    ask: &Ask,
    of: u64,
    destination: &Destination,
    job: &Job,
) -> Result<Option<Restored>> {
    job.phase("catalog");
    let catalogs = catalog::read_all(archive).await?;
    if catalogs.is_empty() {
        return Err(PlanError::NoArchive { location: archive.location() }.into());
    }
    if catalogs.iter().all(|catalog| catalog.group != CATALOG) {
        return Ok(None);
    }
    let scopes = BTreeMap::from([(CATALOG, Scope::All), (of, Scope::All)]);
    let mut plans = plan_from(archive, &catalogs, &Ask { scopes, ..ask.clone() }).await?;
    plans.retain(|(group, _)| *group == CATALOG);
    if plans.is_empty() {
        return Ok(None);
    }
    let restored = run::run_to(archive, &plans, destination, run::Ends::Data, job).await?;
    Ok(restored.first().map(|(_, restored)| *restored))
}

/// Restores the end of every group into a directory that goes on following the archive.
pub(crate) async fn restore_standby(
    archive: &Archive,
    lineages: Vec<LineageId>,
    destination: &Destination,
    job: &Job,
) -> Result<Vec<(u64, Restored)>> {
    let ask = Ask { lineages, ..Ask::all_at(Point::Latest) };
    restore_to(archive, &ask, destination, run::Ends::Standby, job).await
}

async fn restore_to(
    archive: &Archive,
    ask: &Ask,
    destination: &Destination,
    ends: run::Ends,
    job: &Job,
) -> Result<Vec<(u64, Restored)>> {
    job.phase("catalog");
    let catalogs = catalog::read_all(archive).await?;
    if catalogs.is_empty() {
        return Err(PlanError::NoArchive { location: archive.location() }.into());
    }
    let plans = plan_from(archive, &catalogs, ask).await?;
    run::run_to(archive, &plans, destination, ends, job).await
}
