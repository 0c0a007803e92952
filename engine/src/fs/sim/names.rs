//! One simulated directory: its names now, at its last sync, and the changes in between.

use super::Draw;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Dir {
    pub(super) names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// The changes since the last sync, in order, each with its number.
    changes: Vec<(u64, NameChange)>,
    /// Whether a sync was ever asked for.
    pub(super) was_synced: bool,
}

/// A creation, link, removal or rename: it happens whole or not at all.
#[derive(Debug, Clone)]
pub(super) struct NameChange {
    removed: Option<String>,
    added: Option<(String, u64)>,
}

impl NameChange {
    pub(super) fn added(name: &str, inode: u64) -> Self {
        Self { removed: None, added: Some((name.to_owned(), inode)) }
    }

    pub(super) fn removed(name: &str) -> Self {
        Self { removed: Some(name.to_owned()), added: None }
    }

    pub(super) fn moved(from: &str, to: &str, inode: u64) -> Self {
        Self { removed: Some(from.to_owned()), added: Some((to.to_owned(), inode)) }
    }

    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        if let Some(name) = &self.removed {
            names.remove(name);
        }
        if let Some((name, inode)) = &self.added {
            names.insert(name.clone(), *inode);
        }
    }
}

impl Dir {
    pub(super) fn change(&mut self, number: u64, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push((number, change));
    }

    /// How many changes the next sync makes durable.
    pub(super) fn unsynced(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn oldest_change(&self) -> Option<u64> {
        self.changes.first().map(|(number, _)| *number)
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.names);
        self.changes.clear();
    }

    pub(super) fn crash(&mut self, draw: &mut Draw) {
        let changes = std::mem::take(&mut self.changes);
        let first = draw.kept_of(changes.len());
        for (at, (number, change)) in changes.iter().enumerate() {
            let kept = match first {
                Some(first) => at < first,
                None => draw.keeps(*number),
            };
            if kept {
                change.apply(&mut self.durable);
            }
        }
        self.names.clone_from(&self.durable);
    }

    /// The directory as it is now, all of it durable.
    pub(super) fn settled(&self) -> Dir {
        Dir { names: self.names.clone(), durable: self.names.clone(), ..Dir::default() }
    }

    /// Every file that a name of it leads to, or may after a crash.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        let pending = self.changes.iter().filter_map(|(_, change)| change.added.as_ref().map(|(_, id)| *id));
        self.names.values().chain(self.durable.values()).copied().chain(pending)
    }
}
