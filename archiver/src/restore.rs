//! Brings a point of an archive back as a data directory: one group, a part of one, or all of a cluster.
//!
//! [`plan()`](plan::plan) decides, [`run`](run::run) acts. What comes out is checked against the content hash of every commit
//! on the way; an object that is missing or altered fails the restore.

mod cluster;
mod parts;
mod pipeline;
pub mod plan;
pub(crate) mod replay;
pub mod run;
mod scope;
mod target;

pub(crate) use cluster::restore_standby;
pub use cluster::{Ask, plan_cluster, restore_catalog, restore_cluster};
pub use plan::{Plan, PlanError, Point, Until, Wanted, plan};
pub use run::{Destination, Restored, run};
pub use scope::Scope;
pub use target::{MARKER, STANDBY_MARKER};

use crate::archive::Archive;
use crate::job::Job;
use crate::{Error, Result, catalog};

/// Restores a point of a group: reads the catalog, plans, runs.
///
/// # Errors
///
/// Why the point cannot be restored; the directory is left as it was, or marked as unfinished.
pub async fn restore(
    archive: &Archive,
    group: u64,
    wanted: &Wanted,
    destination: &Destination,
    job: &Job,
) -> Result<Restored> {
    job.phase("catalog");
    let catalog = catalog::read(archive, group).await?;
    let plans = [(group, plan(&catalog, wanted)?)];
    let restored = run(archive, &plans, destination, job).await?;
    restored.first().map(|(_, restored)| *restored).ok_or(Error::Stopped)
}
