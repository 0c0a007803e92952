//! Brings a point of an archive back as a data directory.
//!
//! [`plan()`](plan::plan) decides, [`run`](run::run) acts. What comes out is checked against the
//! content hash of every commit on the way; an object that is missing or altered fails the restore.

pub mod plan;
mod replay;
pub mod run;
mod target;

pub use plan::{Plan, PlanError, Point, Until, Wanted, plan};
pub use run::{Destination, Restored, run};
pub use target::MARKER;

use crate::job::Job;
use crate::{Archive, Result, catalog};

/// Restores a point of a group: reads the catalog, plans, runs.
///
/// # Errors
///
/// Why the point cannot be restored; the directory is left as it was or empty.
pub async fn restore(
    archive: &Archive,
    group: u64,
    wanted: &Wanted,
    destination: &Destination,
    job: &Job,
) -> Result<Restored> {
    let catalog = catalog::read(archive, group).await?;
    let plan = plan(&catalog, wanted)?;
    run(archive, &plan, group, destination, job).await
}
