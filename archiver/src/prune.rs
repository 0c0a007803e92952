//! Removes what retention lets go. Another role than shipping, with the right to list and delete.
//!
//! What will be removed is written down first, so that a verification tells pruned from lost; then
//! what names others goes before what is named.

use crate::catalog;
use crate::job::Job;
use crate::layout::{Kind, PrunedName};
use crate::retention;
use crate::{Archive, Result};
use futures::{StreamExt, TryStreamExt};

/// Objects removed at a time.
const REMOVALS_MAX: usize = 8;

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Objects removed.
    pub objects: u64,
}

/// Removes what is older than `keep_ms` and not needed to reach what is younger, in every lineage.
///
/// # Errors
///
/// What the store says. What was not removed is removed the next time.
pub async fn prune(archive: &Archive, group: u64, now_ms: u64, keep_ms: u64, job: &Job) -> Result<Pruned> {
    job.phase("listing");
    let (mut pruned, store) = (Pruned::default(), archive.store());
    for history in catalog::read(archive, group).await?.lineages {
        let removal = retention::choose(&history, now_ms, keep_ms);
        if removal.is_empty() {
            continue;
        }
        let names: Vec<String> = removal.kinds(group).into_iter().map(|kind| history.object(kind)).collect();
        // A clock that was set back must not find its own record among those it replaces.
        let latest = history.pruned.iter().map(|name| name.time_ms).max().unwrap_or(0);
        let below = history.pruned_below().unwrap_or(removal.below).max(removal.below);
        let record = PrunedName { below, time_ms: now_ms.max(latest + 1) };
        let text = names.iter().flat_map(|name| [name.as_str(), "\n"]).collect::<String>();
        store.put(&history.object(Kind::Pruned(group, record)), text.into()).await?;
        let (naming, named): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| name.ends_with(".ckpt"));
        job.phase("removing");
        for names in [naming, named] {
            job.checkpoint()?;
            pruned.objects += names.len() as u64;
            let removals = futures::stream::iter(names).map(|name| async move { store.delete(&name).await });
            removals.buffer_unordered(REMOVALS_MAX).try_collect::<()>().await?;
        }
    }
    Ok(pruned)
}
