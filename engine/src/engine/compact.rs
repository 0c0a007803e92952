//! Rewriting tables, and moving the horizon.
//!
//! - A table is durable before the manifest names it, and removed after the manifest dropped it.
//! - The horizon is in the manifest before anything below it is gone.

use super::Core;
use super::open::TABLES_DIR;
use super::upkeep::Progress;
use crate::compaction::{Horizon, plan, rewrite};
use crate::manifest::edit::Edit;
use crate::table;
use crate::{Result, Versionstamp};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Core {
    pub(super) fn compact(&self) -> Result<Progress> {
        self.running()?;
        self.unless_full(self.compact_one())
    }

    /// The stamp below which only the newest version of each key is still needed.
    fn due_horizon(&self, current: Horizon) -> Horizon {
        let published = *self.published.read();
        let now_ms = self.env.clock.now_ms().max(published.time_ms);
        let oldest_kept_ms = now_ms.saturating_sub(self.options.history_ms);
        let times = self.times.read();
        let Some(version) = times.last_at(oldest_kept_ms, published.version) else {
            return current;
        };
        let stamp = Versionstamp::new(version.min(published.version), 0);
        let time_ms = times.at(stamp.version()).unwrap_or(current.time_ms);
        if stamp > current.stamp { Horizon { stamp, time_ms } } else { current }
    }

    pub(super) fn compact_one(&self) -> Result<bool> {
        let _compacting = self.compaction.lock();
        let view = self.view.load_full();
        let horizon = self.due_horizon(view.horizon);
        let Some(choice) = plan::choose(&view.levels, &self.options, horizon) else {
            return Ok(false);
        };
        let dir = self.dir.join(TABLES_DIR);
        let target =
            rewrite::Target { fs: &self.env.fs, dir: &dir, numbers: &self.next_file, options: &self.options };
        let metas =
            rewrite::run(&target, &choice, &view.levels, horizon).map_err(|error| self.stop_on(error))?;
        let open = |meta: &table::Meta| {
            let table = table::Reader::open(&self.env.fs, &dir, meta.clone(), Arc::clone(&self.cache))?;
            Ok((choice.to, Arc::new(table)))
        };
        let added =
            metas.iter().map(open).collect::<Result<Vec<_>>>().map_err(|error| self.stop_on(error))?;
        self.install(&choice, &metas, added, horizon)?;
        // A table that only moved was not written.
        let inputs = choice.removed();
        let written = metas.iter().filter(|meta| !inputs.contains(&meta.digest));
        self.counters.compacted(written.map(|meta| meta.bytes).sum());
        Ok(true)
    }

    fn install(
        &self,
        choice: &plan::Choice,
        metas: &[table::Meta],
        added: Vec<(u8, Arc<table::Reader>)>,
        horizon: Horizon,
    ) -> Result<()> {
        let removed = choice.removed();
        let drop_inputs = removed.iter().map(|digest| Edit::RemoveTable { digest: *digest });
        let add = metas.iter().map(|meta| Edit::AddTable { level: choice.to, meta: meta.clone() });
        let edits = [Edit::Horizon(horizon)].into_iter().chain(drop_inputs).chain(add).collect();
        let mut manifest = self.manifest.lock();
        manifest.commit(edits).map_err(|error| self.stop_on(error))?;
        manifest.state_mut().times.forget_before(horizon.stamp.version());
        self.change_view(|view| {
            view.levels = Arc::new(view.levels.with(added, &removed));
            view.horizon = horizon;
        });
        self.times.write().forget_before(horizon.stamp.version());
        // Still under the manifest's lock: a checkpoint links what the manifest names.
        let live: BTreeSet<_> = manifest.state().tables.iter().map(|(_, meta)| meta.digest).collect();
        let gone = removed.iter().filter(|digest| !live.contains(digest));
        gone.map(|digest| self.dir.join(TABLES_DIR).join(digest.file_name()))
            .try_for_each(|path| self.remove(&path))
    }
}
