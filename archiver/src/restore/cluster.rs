//! All groups of a cluster, at one time.
//!
//! - Groups commit apart, so a versionstamp names a point of one of them, and a time names one of each: the state after the
//!   last commit that is not after it.
//! - A group that was quiet ends before the time although nothing of it is missing: the time must be in the archive of some
//!   group, and each other one is either there or at its end. Where it ended is in what is returned.

use super::plan::{self, Plan, PlanError, Point, Wanted};
use super::run::{self, Destination, Restored};
use super::scope::Scope;
use crate::Result;
use crate::archive::Archive;
use crate::catalog::{self, Catalog};
use crate::job::Job;
use engine::{LineageId, Versionstamp};
use std::collections::BTreeMap;

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

/// Finds out how to restore every group that is asked for.
///
/// # Errors
///
/// Why one of them cannot be restored.
pub fn plan_cluster(catalogs: &[Catalog], ask: &Ask) -> Result<Vec<(u64, Plan)>, PlanError> {
    let known = |id: &LineageId| {
        catalogs.iter().flat_map(|catalog| &catalog.lineages).any(|history| history.folder.id == *id)
    };
    if let Some(id) = ask.lineages.iter().find(|id| !known(id)) {
        let all = catalogs.iter().flat_map(|catalog| &catalog.lineages).map(|h| h.folder.id.to_string());
        return Err(PlanError::UnknownLineage { id: *id, known: all.collect::<Vec<_>>().join(", ") });
    }
    let asked = |catalog: &&Catalog| ask.scopes.is_empty() || ask.scopes.contains_key(&catalog.group);
    let catalogs: Vec<&Catalog> = catalogs.iter().filter(asked).collect();
    if let (Point::Stamp(_), [_, _, ..]) = (ask.point, catalogs.as_slice()) {
        let groups = catalogs.iter().map(|catalog| catalog.group.to_string()).collect::<Vec<_>>().join(", ");
        return Err(PlanError::OfOneGroup { point: ask.point.to_string(), groups });
    }
    let at_point = |catalog: &&Catalog| plan::plan(catalog, &ask.wanted(catalog, ask.point));
    let results: Vec<_> = catalogs.iter().map(|catalog| (*catalog, at_point(catalog))).collect();
    let is_held = results.iter().any(|(_, planned)| planned.is_ok());
    let each = results.into_iter().map(|(catalog, planned)| {
        let planned = match planned {
            Err(PlanError::Unreachable { .. }) if is_held => at_its_end(catalog, ask),
            planned => planned,
        };
        Ok((catalog.group, planned?))
    });
    let plans = each.collect::<Result<Vec<_>, PlanError>>()?;
    if plans.is_empty() {
        return Err(PlanError::NoArchive { location: String::new() });
    }
    Ok(plans)
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
    job.phase("catalog");
    let catalogs = catalog::read_all(archive).await?;
    if catalogs.is_empty() {
        return Err(PlanError::NoArchive { location: archive.location() }.into());
    }
    let plans = plan_cluster(&catalogs, ask)?;
    run::run(archive, &plans, destination, job).await
}
