//! Keeps the Raft log short: what every replica's engine holds durably need not stay in it.
//!
//! - Never past what this node's engine has durable: what is above comes back from the log after a crash.
//! - The newest entries stay for followers that are a little behind, and more for one that is known to be further
//!   behind, both within bounds in bytes. A follower that needs more gets a Raft snapshot.

use super::Core;
use crate::bugs::{self, Bug};
use crate::replica::index_of;
use crate::runtime;
use std::sync::Arc;

/// Looks after the log until the group ends.
pub(super) async fn run(core: Arc<Core>) {
    loop {
        runtime::sleep(core.options.upkeep).await;
        if let Err(error) = core.shorten_log().await {
            tracing::warn!(group = %core.id, error, "cannot shorten the Raft log");
        }
    }
}

impl Core {
    async fn shorten_log(self: &Arc<Self>) -> Result<(), String> {
        let purged = self.purged_index();
        let wanted = self.purgeable();
        if wanted <= purged || self.home.keeps_log() {
            return Ok(());
        }
        let engine = self.replica.engine();
        let durable =
            runtime::spawn_blocking(
                move || if bugs::seeded(Bug::PurgedTooFar) { Ok(0) } else { engine.sync() },
            )
            .await
            .map_err(|error| error.to_string())?;
        let durable = index_of(durable.map_err(|error| error.to_string())?);
        let until = if bugs::seeded(Bug::PurgedTooFar) { wanted } else { wanted.min(durable) };
        if until <= purged {
            return Ok(());
        }
        tracing::debug!(group = %self.id, until, "shortening the Raft log");
        let ended = |error: openraft::errors::Fatal<crate::raft::TypeConfig>| error.to_string();
        // openraft purges what a snapshot covers; ours is a position and costs nothing.
        self.raft.trigger().snapshot().await.map_err(ended)?;
        self.raft.trigger().purge_log(until).await.map_err(ended)
    }

    /// The last index that may go as far as followers are concerned.
    fn purgeable(&self) -> u64 {
        let kept_from = self.log.index_before(self.options.log_bytes_kept);
        let slowest = self.status().members.iter().filter_map(|member| member.lag).max();
        let last = self.log.last().map_or(0, |id| id.index);
        let behind = slowest.map_or(kept_from, |lag| last.saturating_sub(lag).min(kept_from));
        behind.max(self.log.index_before(self.options.log_bytes_max))
    }
}
