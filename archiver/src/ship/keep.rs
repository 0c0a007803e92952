//! What the archives of one group still need of its log.
//!
//! - The engine keeps what the slowest target needs: one that cannot be reached never makes another one lose a commit.
//! - Each target moves its own need on, and gives it up when its backlog is over its bound.

use crate::layout::Digest;
use engine::Engine;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What each target of a group needs. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// The version after which each target needs everything.
    after: Arc<Mutex<BTreeMap<Digest, u64>>>,
}

impl Keep {
    /// Nothing is needed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A target needs everything after this version; the engine keeps what any target needs.
    pub fn set(&self, engine: &Engine, target: Digest, version: u64) {
        let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        after.insert(target, version);
        engine.keep_segments_after(after.values().copied().min());
    }
}
