//! Rewriting tables, a step at a time, and moving the horizon.
//!
//! - A table is durable before the manifest names it, and removed after the manifest dropped it.
//! - The horizon is in the manifest before anything below it is gone, and it only rises.
//! - A compaction that is given up leaves nothing behind, and its inputs stay as they were.

use super::Core;
use super::flush::step_bytes;
use super::open::TABLES_DIR;
use super::upkeep::Progress;
use crate::Result;
use crate::budget::Purpose;
use crate::compaction::rewrite::{Rewrite, Target};
use crate::compaction::{Bounds, plan};
use crate::manifest::edit::Edit;
use crate::table;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A compaction under way, and what nobody needs of what it reads.
#[derive(Debug)]
pub(super) struct Compaction {
    rewrite: Rewrite,
    bounds: Bounds,
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
            // In this order: the view must have every erasure that the horizons may come to pass.
            let flushed = self.manifest.lock().state().flushed;
            let view = self.view.load_full();
            let bounds = self.due_bounds(&view, flushed);
            let pace = self.pressure.pace(self.env.clock.now_ms());
            let Some(choice) = plan::choose(&view.levels, &self.options, &bounds, pace)? else {
                return Ok(false);
            };
            if choice.is_move(&self.options) {
                self.move_tables(&choice, &bounds)?;
                return Ok(true);
            }
            let rewrite = Rewrite::new(self.target(), choice, Arc::clone(&view.levels), &bounds);
            *slot = Some(Compaction { rewrite, bounds });
        }
        let Some(compaction) = slot else {
            return Ok(false);
        };
        let before = compaction.rewrite.counts();
        let more = compaction.rewrite.step(step_bytes(&self.options))?;
        let after = compaction.rewrite.counts();
        self.budget
            .io()
            .charge(after.written_bytes.saturating_sub(before.written_bytes), self.env.clock.now_ms());
        self.pressure.grant(after.read_bytes - before.read_bytes);
        if !more && let Some(compaction) = slot.take() {
            self.end_compaction(compaction)?;
        }
        Ok(true)
    }

    /// Puts tables into another level as they are.
    fn move_tables(&self, choice: &plan::Choice, bounds: &Bounds) -> Result<()> {
        let metas: Vec<_> = choice.inputs.iter().map(|table| table.meta().clone()).collect();
        let added = choice.inputs.iter().map(|table| (choice.to, Arc::clone(table))).collect();
        self.install(choice, &metas, added, bounds)?;
        self.counters.moved(choice.to, choice.inputs.iter().map(|table| table.meta().bytes).sum());
        self.levels_changed();
        Ok(())
    }

    fn end_compaction(&self, compaction: Compaction) -> Result<()> {
        let Compaction { rewrite, bounds } = compaction;
        let (choice, counts) = (rewrite.choice().clone(), rewrite.counts());
        let metas = rewrite.finish()?;
        let bytes: u64 = metas.iter().map(|meta| meta.bytes).sum();
        self.budget.io().charge(bytes.saturating_sub(counts.written_bytes), self.env.clock.now_ms());
        let open = |meta: &table::Meta| Ok((choice.to, self.open_table(meta.clone(), &bounds)?));
        let added = metas.iter().map(open).collect::<Result<Vec<_>>>()?;
        self.install(&choice, &metas, added, &bounds)?;
        let read = choice.inputs.iter().map(|table| table.meta().bytes).sum();
        self.counters.compacted(choice.to, read, bytes);
        if choice.from == 0 {
            self.pressure.level0_rewritten(counts);
        }
        self.levels_changed();
        Ok(())
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
        bounds: &Bounds,
    ) -> Result<()> {
        let removed = choice.removed();
        let drop_inputs = removed.iter().map(|digest| Edit::RemoveTable { digest: *digest });
        let add = metas.iter().map(|meta| Edit::AddTable { level: choice.to, meta: meta.clone() });
        let mut manifest = self.manifest.lock();
        let levels = self.view.load().levels.with(added, &removed);
        let raised = self.raise(manifest.state(), bounds, &levels, Vec::new());
        let edits = drop_inputs.chain(add).chain(raised.edits.iter().cloned()).collect();
        manifest.commit(edits)?;
        self.show_raised(manifest.state_mut(), &raised, levels, |_| {});
        // Still under the manifest's lock: a checkpoint links what the manifest names.
        let live: BTreeSet<_> = manifest.state().tables.iter().map(|(_, meta)| meta.digest).collect();
        let gone = removed.iter().filter(|digest| !live.contains(digest));
        gone.map(|digest| self.dir.join(TABLES_DIR).join(digest.file_name()))
            .try_for_each(|path| self.remove(&path))
    }
}
