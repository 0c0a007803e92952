//! Removes what retention lets go. Another role than shipping, with the right to list and delete.
//!
//! - What will be removed is written down first, so that a verification tells pruned from lost; then
//!   what names others goes before what is named.
//! - A removal that the store refuses (a locked bucket) is counted and tried again the next time. In a bucket with versions a
//!   removal hides an object, and the rules of the bucket take it away.

use crate::catalog::{self, History};
use crate::job::Job;
use crate::layout::{Kind, PrunedName};
use crate::retention::{self, Policy, Removal};
use crate::store;
use crate::{Archive, Result};
use futures::StreamExt;

/// Objects removed at a time.
const REMOVALS_MAX: usize = 8;

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Objects removed.
    pub objects: u64,
    /// Objects that the store did not let go.
    pub refused: u64,
    /// Why not, of the first of these.
    pub reason: Option<String>,
}

/// What may leave one lineage of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The lineage.
    pub history: History,
    /// What may leave it.
    pub removal: Removal,
}

/// What may leave an archive now, in every lineage of a group. Changes nothing.
///
/// # Errors
///
/// What the store says.
pub async fn plan(archive: &Archive, group: u64, now_ms: u64, policy: &Policy) -> Result<Vec<Planned>> {
    let lineages = catalog::read(archive, group).await?.lineages;
    let planned = lineages.into_iter().map(|history| {
        let removal = retention::choose(&history, now_ms, policy);
        Planned { history, removal }
    });
    Ok(planned.filter(|planned| !planned.removal.is_empty()).collect())
}

/// Removes what the policy does not keep, in every lineage.
///
/// # Errors
///
/// What the store says. What was not removed is removed the next time.
pub async fn prune(archive: &Archive, group: u64, now_ms: u64, policy: &Policy, job: &Job) -> Result<Pruned> {
    job.phase("listing");
    let mut pruned = Pruned::default();
    for Planned { history, removal } in plan(archive, group, now_ms, policy).await? {
        job.checkpoint()?;
        job.phase("removing");
        write_down(archive, group, now_ms, &history, &removal).await?;
        let names = removal.kinds(group).into_iter().map(|kind| history.object(kind));
        let (naming, named): (Vec<String>, Vec<String>) =
            names.partition(|name| name.contains("/checkpoints/"));
        for names in [naming, named] {
            remove(archive, names, &mut pruned, job).await?;
        }
    }
    Ok(pruned)
}

/// Says which points are given up, if more are than was said before.
async fn write_down(
    archive: &Archive,
    group: u64,
    now_ms: u64,
    history: &History,
    removal: &Removal,
) -> Result<()> {
    if history.pruned_below().is_some_and(|below| below >= removal.below) {
        return Ok(());
    }
    // A clock that was set back must not find its own record among those it replaces.
    let latest = history.pruned.iter().map(|name| name.time_ms).max().unwrap_or(0);
    let record = PrunedName { below: removal.below, time_ms: now_ms.max(latest + 1) };
    let names = removal.kinds(group).into_iter().map(|kind| history.object(kind) + "\n");
    let text = names.collect::<String>();
    Ok(archive.store().put(&history.object(Kind::Pruned(group, record)), text.into()).await?)
}

async fn remove(archive: &Archive, names: Vec<String>, pruned: &mut Pruned, job: &Job) -> Result<()> {
    let removals = names.into_iter().map(|name| async move { archive.store().delete(&name).await });
    let mut removals = futures::stream::iter(removals).buffer_unordered(REMOVALS_MAX);
    while let Some(removed) = removals.next().await {
        job.checkpoint()?;
        match removed {
            Ok(()) => pruned.objects += 1,
            Err(error @ store::Error::Refused { .. }) => {
                pruned.refused += 1;
                pruned.reason.get_or_insert_with(|| crate::error::with_causes(&error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
