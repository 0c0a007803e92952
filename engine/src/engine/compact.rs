//! Rewriting tables, a step at a time, and moving the horizon.
//!
//! - A table is durable before the manifest names it, and removed after the manifest dropped it.
//! - The horizon is in the manifest before anything below it is gone, and it only rises.
//! - A compaction that is given up leaves nothing behind, and its inputs stay as they were.

use super::Core;
use super::flush::step_bytes;
use super::open::TABLES_DIR;
use super::upkeep::Progress;
use crate::budget::Purpose;
use crate::compaction::rewrite::{Rewrite, Target};
use crate::compaction::{Horizon, plan};
use crate::manifest::Manifest;
use crate::manifest::edit::Edit;
use crate::table;
use crate::view::View;
use crate::{Result, Versionstamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A compaction under way, and the horizon below which it drops what is hidden.
#[derive(Debug)]
pub(super) struct Compaction {
    rewrite: Rewrite,
    horizon: Horizon,
}

impl Core {
    /// One step, as far as the rate of I/O allows it now.
    pub(super) fn compact(&self) -> Result<Progress> {
        self.running()?;
        if !self.budget.io().allows(Purpose::Compaction, self.env.clock.now_ms()) {
            return Ok(Progress::Idle);
        }
        self.unless_full(self.compact_step())
    }

    /// One step of the compaction under way, or the first of one that is due; whether there was anything to do.
    pub(super) fn compact_step(&self) -> Result<bool> {
        let mut slot = self.compaction.lock();
        let done = self.compact_step_of(&mut slot);
        if done.is_err() {
            *slot = None;
        }
        let memory = slot.as_ref().map_or(0, |compaction| compaction.rewrite.memory_bytes());
        self.counters.compaction_memory.store(memory, Ordering::Relaxed);
        drop(slot);
        self.pressure.compacting(matches!(done, Ok(true)));
        self.budget.moved.happened();
        done.map_err(|error| self.stop_on(error))
    }

    fn compact_step_of(&self, slot: &mut Option<Compaction>) -> Result<bool> {
        if slot.is_none() {
            let view = self.view.load_full();
            let horizon = self.due_horizon(view.horizon);
            let pace = self.pressure.pace(self.env.clock.now_ms());
            let Some(choice) = plan::choose(&view.levels, &self.options, horizon, pace) else {
                return Ok(false);
            };
            if choice.is_move(&self.options) {
                self.move_tables(&choice, horizon)?;
                return Ok(true);
            }
            let rewrite = Rewrite::new(self.target(), choice, Arc::clone(&view.levels), horizon);
            *slot = Some(Compaction { rewrite, horizon });
        }
        let Some(compaction) = slot else {
            return Ok(false);
        };
        let before = compaction.rewrite.counts();
        let more = compaction.rewrite.step(step_bytes(&self.options))?;
        let after = compaction.rewrite.counts();
        self.budget.io().charge(after.written_bytes.saturating_sub(before.written_bytes));
        self.pressure.grant(after.read_bytes - before.read_bytes);
        if !more && let Some(compaction) = slot.take() {
            self.end_compaction(compaction)?;
        }
        Ok(true)
    }

    /// Puts tables into another level as they are.
    fn move_tables(&self, choice: &plan::Choice, horizon: Horizon) -> Result<()> {
        let metas: Vec<_> = choice.inputs.iter().map(|table| table.meta().clone()).collect();
        let added = choice.inputs.iter().map(|table| (choice.to, Arc::clone(table))).collect();
        self.install(choice, &metas, added, horizon)?;
        self.counters.compacted(0);
        self.levels_changed();
        Ok(())
    }

    fn end_compaction(&self, compaction: Compaction) -> Result<()> {
        let Compaction { rewrite, horizon } = compaction;
        let (choice, counts) = (rewrite.choice().clone(), rewrite.counts());
        let metas = rewrite.finish()?;
        let open = |meta: &table::Meta| Ok((choice.to, self.open_table(meta.clone())?));
        let added = metas.iter().map(open).collect::<Result<Vec<_>>>()?;
        self.install(&choice, &metas, added, horizon)?;
        self.counters.compacted(metas.iter().map(|meta| meta.bytes).sum());
        if choice.from == 0 {
            self.pressure.level0_rewritten(counts);
        }
        self.levels_changed();
        Ok(())
    }

    /// The stamp below which only the newest version of each key is still needed.
    pub(super) fn due_horizon(&self, current: Horizon) -> Horizon {
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

    /// Where new tables go.
    pub(super) fn target(&self) -> Target {
        Target {
            fs: Arc::clone(&self.env.fs),
            dir: self.dir.join(TABLES_DIR),
            numbers: Arc::clone(&self.next_file),
            options: self.options.clone(),
        }
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
        let mut manifest = self.manifest.lock();
        let horizon = horizon.max(manifest.state().horizon);
        manifest.commit([Edit::Horizon(horizon)].into_iter().chain(drop_inputs).chain(add).collect())?;
        self.installed(&mut manifest, |view| {
            view.levels = Arc::new(view.levels.with(added, &removed));
        });
        // Still under the manifest's lock: a checkpoint links what the manifest names.
        let live: BTreeSet<_> = manifest.state().tables.iter().map(|(_, meta)| meta.digest).collect();
        let gone = removed.iter().filter(|digest| !live.contains(digest));
        gone.map(|digest| self.dir.join(TABLES_DIR).join(digest.file_name()))
            .try_for_each(|path| self.remove(&path))
    }

    /// Shows readers what the manifest says since its last edit: `change`, and its horizon.
    pub(super) fn installed(&self, manifest: &mut Manifest, change: impl FnOnce(&mut View)) {
        let horizon = manifest.state().horizon;
        manifest.state_mut().times.forget_before(horizon.stamp.version());
        self.change_view(|view| {
            change(view);
            view.horizon = horizon;
        });
        self.times.write().forget_before(horizon.stamp.version());
    }
}
