//! Where history ends: the rules, the horizons that follow from them, and what erasures hide.
//!
//! - A horizon rises in the same edit of the manifest as the flush or compaction that drops what lies below it.
//! - A horizon is never above what tables hold: recovery cannot end below it, and a checkpoint, which is tables and
//!   a manifest alone, holds everything at its stamp.

use super::Core;
use crate::compaction::Bounds;
use crate::erasure::Erasure;
use crate::history::{Now, Rules};
use crate::horizon::{Horizon, Horizons};
use crate::levels::Levels;
use crate::manifest::State;
use crate::manifest::edit::Edit;
use crate::view::View;
use crate::{Applied, Error, History, Result, WriteBatch};
use std::sync::Arc;

impl Core {
    /// What nobody may need once the horizons have risen as far as they should, and no further than `through`,
    /// up to which tables hold everything.
    pub(super) fn due_bounds(&self, view: &View, through: Applied) -> Bounds {
        let published = *self.published.read();
        let time_ms = self.env.clock.now_ms().max(published.time_ms);
        let published = if through.version < published.version { through } else { published };
        let times = self.times.read();
        let now = Now { published, time_ms, times: &times, levels: &view.levels };
        let due = self.rules.read().due(&view.horizons, &now);
        let horizons = if due == *view.horizons { Arc::clone(&view.horizons) } else { Arc::new(due) };
        Bounds { horizons, erasures: Arc::clone(&view.erasures) }
    }

    /// The edits that raise the horizons to `bounds` and forget erasures that then hide nothing in `levels`, and
    /// the horizons and the forgotten that they come to. What `state` lacks of flushed erasures, `erased` are.
    pub(super) fn raise(
        &self,
        state: &State,
        bounds: &Bounds,
        levels: &Levels,
        erased: Vec<Erasure>,
    ) -> Raised {
        let mut horizons = bounds.horizons.max(&state.horizons);
        self.rules.read().tidy(&mut horizons);
        let mut edits = state.raise(&horizons);
        let mut flushed = state.erasures.clone();
        for erasure in erased {
            if flushed.add(erasure.clone()) {
                edits.push(Edit::Erase(erasure));
            }
        }
        let bounds = Bounds { horizons: Arc::new(horizons), erasures: Arc::new(flushed) };
        let forgotten = bounds.erasures.iter().filter(|erasure| bounds.can_forget(erasure, levels));
        let forgotten: Vec<Erasure> = forgotten.cloned().collect();
        edits.extend(forgotten.iter().cloned().map(Edit::Forget));
        Raised { edits, horizons: bounds.horizons, forgotten }
    }

    /// Shows readers what [`raise`](Self::raise) came to, once the manifest has it, with what `change` does besides.
    pub(super) fn show_raised(
        &self,
        state: &mut State,
        raised: &Raised,
        levels: Levels,
        change: impl FnOnce(&mut View),
    ) {
        debug_assert!(
            raised.horizons.highest().stamp.version() <= state.flushed.version,
            "no horizon is above what tables hold"
        );
        let oldest = raised.horizons.lowest().stamp.version();
        state.times.forget_before(oldest);
        self.change_view(|view| {
            change(view);
            view.levels = Arc::new(levels);
            view.set_horizons(Arc::clone(&raised.horizons));
            if !raised.forgotten.is_empty() {
                view.erasures = Arc::new(view.erasures.without(&raised.forgotten));
            }
        });
        self.times.write().forget_before(oldest);
    }

    pub(super) fn set_histories(&self, rules: Vec<(Vec<u8>, History)>) -> Result<()> {
        self.running()?;
        let rules = Rules::telling(&self.rules.read(), rules)?;
        let mut manifest = self.manifest.lock();
        let mut horizons = manifest.state().horizons.clone();
        for prefix in rules.prefixes() {
            // A crash must not let a long rule begin where a shorter one above it has come to meanwhile.
            horizons.set(prefix.clone(), manifest.state().horizons.of(prefix));
        }
        let edits = manifest.state().raise(&horizons);
        if !edits.is_empty() {
            manifest.commit(edits).map_err(|error| self.stop_on(error))?;
            self.change_view(|view| view.set_horizons(Arc::new(horizons)));
        }
        *self.rules.write() = rules;
        Ok(())
    }

    /// Does `commit` with room for the erasures in `batch`: in a group, one with too many must not fail the others.
    pub(super) fn with_room_for<T>(
        &self,
        batch: WriteBatch,
        commit: impl FnOnce(WriteBatch) -> Result<T>,
    ) -> Result<T> {
        if !batch.deletes_prefixes() {
            return commit(batch);
        }
        let prefixes = batch.prefixes();
        let (more, bytes) = prefixes.fold((0, 0), |(count, bytes), prefix| (count + 1, bytes + prefix.len()));
        {
            let mut erasing = self.erasing.lock();
            let view = self.view.load();
            if !view.erasures.has_room(erasing.0 + more, erasing.1 + bytes) {
                return Err(Error::ErasuresFull { waiting: view.erasures.len() + erasing.0 });
            }
            *erasing = (erasing.0 + more, erasing.1 + bytes);
        }
        let result = commit(batch);
        let mut erasing = self.erasing.lock();
        *erasing = (erasing.0 - more, erasing.1 - bytes);
        result
    }

    pub(super) fn horizon_of(&self, key: &[u8]) -> Horizon {
        self.view.load().horizons.of(key)
    }
}

/// What a flush or compaction changes besides tables.
#[derive(Debug)]
pub(super) struct Raised {
    pub(super) edits: Vec<Edit>,
    pub(super) horizons: Arc<Horizons>,
    pub(super) forgotten: Vec<Erasure>,
}
