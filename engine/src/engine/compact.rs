//! Rewriting tables, and moving the horizon.
//!
//! - A table is durable before the manifest names it, and removed after the manifest dropped it.
//! - The horizon is in the manifest before anything below it is gone.

use super::Core;
use super::open::TABLES_DIR;
use super::upkeep::Progress;
use crate::Result;
use crate::compaction::{Bounds, plan, rewrite};
use crate::manifest::edit::Edit;
use crate::table;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Core {
    pub(super) fn compact(&self) -> Result<Progress> {
        self.running()?;
        self.unless_full(self.compact_one())
    }

    pub(super) fn compact_one(&self) -> Result<bool> {
        let _compacting = self.compaction.lock();
        let view = self.view.load_full();
        let bounds = self.due_bounds(&view);
        let choice = plan::choose(&view.levels, &self.options, &bounds);
        let Some(choice) = choice.map_err(|error| self.stop_on(error))? else {
            return Ok(false);
        };
        let dir = self.dir.join(TABLES_DIR);
        let target =
            rewrite::Target { fs: &self.env.fs, dir: &dir, numbers: &self.next_file, options: &self.options };
        let metas =
            rewrite::run(&target, &choice, &view.levels, &bounds).map_err(|error| self.stop_on(error))?;
        let open = |meta: &table::Meta| {
            if choice.is_move(&self.options) {
                let moved = choice.inputs.iter().find(|table| table.meta().digest == meta.digest);
                return Ok((choice.to, Arc::clone(moved.expect("a move gives its own inputs"))));
            }
            let table = table::Reader::open(&self.env.fs, &dir, meta.clone(), Arc::clone(&self.cache))?;
            Ok((choice.to, Arc::new(table.written_under(Arc::clone(&bounds.horizons)))))
        };
        let added =
            metas.iter().map(open).collect::<Result<Vec<_>>>().map_err(|error| self.stop_on(error))?;
        if self.rises(&bounds.horizons) {
            self.sync()?;
        }
        self.install(&choice, &metas, added, &bounds)?;
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
        bounds: &Bounds,
    ) -> Result<()> {
        let removed = choice.removed();
        let drop_inputs = removed.iter().map(|digest| Edit::RemoveTable { digest: *digest });
        let add = metas.iter().map(|meta| Edit::AddTable { level: choice.to, meta: meta.clone() });
        let mut manifest = self.manifest.lock();
        let levels = self.view.load().levels.with(added, &removed);
        let raised = self.raise(manifest.state(), bounds, &levels, Vec::new());
        let edits = drop_inputs.chain(add).chain(raised.edits.iter().cloned()).collect();
        manifest.commit(edits).map_err(|error| self.stop_on(error))?;
        self.show_raised(manifest.state_mut(), &raised, levels, |_| {});
        // Still under the manifest's lock: a checkpoint links what the manifest names.
        let live: BTreeSet<_> = manifest.state().tables.iter().map(|(_, meta)| meta.digest).collect();
        let gone = removed.iter().filter(|digest| !live.contains(digest));
        gone.map(|digest| self.dir.join(TABLES_DIR).join(digest.file_name()))
            .try_for_each(|path| self.remove(&path))
    }
}
