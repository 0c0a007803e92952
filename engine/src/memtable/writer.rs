//! How entries get into the tree.
//!
//! - One writer, which changes what readers see by one store (release) at a time: a permutation, a child, an entry
//!   or the root. After each of them every entry is found that was found before.
//! - A full node is replaced by two. The upper one is published in the parent first, as a separator with a child; then
//!   the lower one takes the place of the full node. Readers in the full node stay there.
//! - Where all that would go up is the entry that comes in, the full node stays as it is: keys that rise leave full
//!   nodes behind, and nothing is written twice.
//! - The old node stays in memory until the memtable is dropped.

use super::chunks::{Address, End};
use super::entries::{EntriesEnd, Reading, Sought};
use super::items::{Fences, Items, edge_form, refitted};
use super::node::{Form, Inner, Side, child_slot};
use super::permutation::SLOTS;
use super::tree::{Root, Tree};
use crate::entry::Presence;
use std::cmp::Ordering;

/// What the writer knows of the tree besides the tree.
#[derive(Debug)]
pub(super) struct Writer {
    entries: EntriesEnd,
    leaves: End,
    inners: End,
    /// The inner nodes above the leaf at hand, from the root on.
    path: Vec<Step>,
    finger: Option<Finger>,
    /// Whether the last entry went into the same leaf as the one before.
    is_near: bool,
}

/// An inner node on the way to a leaf.
#[derive(Debug, Clone, Copy)]
struct Step {
    node: Address,
    /// Separators before the child that the way goes through.
    rank: usize,
    fences: Fences,
}

/// Where the last entry went; forgotten when nodes change.
#[derive(Debug, Clone, Copy)]
struct Finger {
    leaf: Address,
    fences: Fences,
    last: Option<Address>,
}

/// A node that came into being above another, to be published in the parent.
struct Split {
    separator: Address,
    upper: Address,
    /// What takes the place of the node that was split; `None` when it stays.
    lower: Option<Address>,
    /// Bytes that the keys of the node and the new one share.
    shared: usize,
}

impl Writer {
    /// For a tree without entries.
    pub(super) const fn new() -> Self {
        Self {
            entries: EntriesEnd::new(),
            leaves: End::new(1),
            inners: End::new(1),
            path: Vec::new(),
            finger: None,
            is_near: false,
        }
    }

    /// Memory that the tree takes, in bytes.
    pub(super) fn bytes(&self, tree: &Tree) -> usize {
        self.entries.bytes(&tree.entries) + self.leaves.bytes(&tree.leaves) + self.inners.bytes(&tree.inners)
    }

    /// Adds an entry, or replaces the one with the same key and stamp.
    pub(super) fn insert(&mut self, tree: &Tree, place: Sought<'_>, presence: Presence, value: &[u8]) {
        let entry = tree.entries.push(&mut self.entries, place, presence, value);
        let Some(root) = tree.root() else {
            let form = Form { reading: Reading::Key { skip: 0 }, is_checked: true };
            let leaf = self.new_leaf(tree, form, &[(place.head(form.reading), entry)]);
            return tree.set_root(Root { node: leaf, height: 0 });
        };
        let finger = self.finger.filter(|finger| self.is_under(tree, finger, &place));
        let mut finger = finger.unwrap_or_else(|| self.descend(tree, root, &place));
        if !tree.leaves.get(finger.leaf).takes(&tree.entries, entry) {
            finger.leaf = self.refit_leaf(tree, finger.leaf, entry);
        }
        finger.last = Some(entry);
        self.finger = Some(finger);
        self.add(tree, finger, &place, entry);
    }

    /// Whether `place` belongs right after the last entry, as keys that rise do, and in the same leaf.
    fn is_under(&self, tree: &Tree, finger: &Finger, place: &Sought<'_>) -> bool {
        let is = |entry, expected| tree.entries.compare(entry, place, 0) == expected;
        let Fences { high, .. } = finger.fences;
        (high.is_none() || self.is_near)
            && finger.last.is_some_and(|last| is(last, Ordering::Less))
            && high.is_none_or(|high| is(high, Ordering::Greater))
    }

    /// Goes to the leaf where `place` belongs.
    fn descend(&mut self, tree: &Tree, root: Root, place: &Sought<'_>) -> Finger {
        self.path.clear();
        let (mut node, mut fences) = (root.node, Fences::default());
        for _ in 0..root.height {
            let inner = tree.inners.get(node);
            let permutation = inner.node.permutation();
            let rank = inner.node.rank(&tree.entries, permutation, place, Side::UpTo);
            self.path.push(Step { node, rank, fences });
            let separator = |rank| inner.node.entry(permutation.slot(rank));
            fences = Fences {
                low: if rank > 0 { Some(separator(rank - 1)) } else { fences.low },
                high: if rank < permutation.len() { Some(separator(rank)) } else { fences.high },
            };
            node = inner.child_in(child_slot(permutation, rank));
        }
        self.is_near = self.finger.is_some_and(|finger| finger.leaf == node);
        Finger { leaf: node, fences, last: None }
    }

    fn add(&mut self, tree: &Tree, finger: Finger, place: &Sought<'_>, entry: Address) {
        let leaf = tree.leaves.get(finger.leaf);
        let permutation = leaf.permutation();
        let rank = leaf.rank(&tree.entries, permutation, place, Side::Before);
        let head = place.head(leaf.form().reading);
        if rank < permutation.len() {
            let slot = permutation.slot(rank);
            let is_same = leaf.head(slot) == head
                && tree.entries.compare(leaf.entry(slot), place, 0) == Ordering::Equal;
            if is_same {
                return leaf.replace(slot, entry);
            }
        }
        if !permutation.is_full() {
            return leaf.add(rank, head, entry);
        }
        let split = self.split_leaf(tree, finger, rank, (head, entry));
        self.publish(tree, finger.leaf, split);
        self.finger = None;
    }

    fn split_leaf(&mut self, tree: &Tree, finger: Finger, rank: usize, new: (u64, Address)) -> Split {
        let leaf = tree.leaves.get(finger.leaf);
        let items = Items::of(leaf, rank, new);
        let cut = leaf.permutation().cut(rank);
        let separator = items.items[cut].1;
        let (below, above) = finger.fences.split(separator);
        let form = items.form_between(&tree.entries, below);
        let stays = cut == SLOTS && rank == SLOTS && form.reading == items.form.reading;
        let lower = match stays {
            true => None,
            false => Some(self.new_leaf(tree, form, &items.slots(&tree.entries, form, 0..cut))),
        };
        let form = items.form_between(&tree.entries, above);
        let upper = match cut == 1 && rank == 0 && form.reading == items.form.reading {
            true => finger.leaf,
            false => self.new_leaf(tree, form, &items.slots(&tree.entries, form, cut..SLOTS + 1)),
        };
        Split { separator, upper, lower, shared: items.shared(&tree.entries) }
    }

    /// Publishes what came of splitting `node`, a child of the last step of the path.
    fn publish(&mut self, tree: &Tree, mut node: Address, mut split: Split) {
        for level in (0..self.path.len()).rev() {
            self.refit_inner(tree, level, split.separator);
            let Step { node: parent, rank, .. } = self.path[level];
            let inner = tree.inners.get(parent);
            let permutation = inner.node.permutation();
            if !permutation.is_full() {
                let head = tree.entries.head(split.separator, inner.node.form().reading);
                inner.add(rank, head, split.separator, split.upper);
                if let Some(lower) = split.lower {
                    inner.replace_child(child_slot(permutation, rank), lower);
                }
                return;
            }
            (node, split) = (parent, self.split_inner(tree, level, &split));
        }
        let Split { separator, upper, lower, shared } = split;
        let form = edge_form(shared);
        let separators = [(tree.entries.head(separator, form.reading), separator)];
        let root = self.new_inner(tree, form, &separators, &[lower.unwrap_or(node), upper]);
        tree.set_root(Root { node: root, height: self.height() + 1 });
    }

    fn height(&self) -> u32 {
        u32::try_from(self.path.len()).expect("a tree of 32-bit addresses is not that high")
    }

    fn split_inner(&mut self, tree: &Tree, level: usize, split: &Split) -> Split {
        let Step { node, rank, fences } = self.path[level];
        let inner = tree.inners.get(node);
        let permutation = inner.node.permutation();
        let head = tree.entries.head(split.separator, inner.node.form().reading);
        let items = Items::of(&inner.node, rank, (head, split.separator));
        let children = children_with(inner, rank, split);
        let cut = permutation.cut(rank);
        let separator = items.items[cut].1;
        let (below, above) = fences.split(separator);
        let form = items.form_between(&tree.entries, below);
        // A child that changes must not be seen before what is above it.
        let stays = cut == SLOTS && rank == SLOTS && split.lower.is_none();
        let lower = match stays && form.reading == items.form.reading {
            true => None,
            false => {
                let separators = items.slots(&tree.entries, form, 0..cut);
                Some(self.new_inner(tree, form, &separators, &children[..=cut]))
            }
        };
        let form = items.form_between(&tree.entries, above);
        let separators = items.slots(&tree.entries, form, cut + 1..SLOTS + 1);
        let upper = self.new_inner(tree, form, &separators, &children[cut + 1..]);
        Split { separator, upper, lower, shared: items.shared(&tree.entries) }
    }

    /// Replaces a leaf whose keys share more than they do with that of `entry`.
    fn refit_leaf(&mut self, tree: &Tree, leaf: Address, entry: Address) -> Address {
        let old = tree.leaves.get(leaf);
        let form = edge_form(old.shared_with(&tree.entries, entry));
        let slots = refitted(&tree.entries, old, form);
        let new = self.new_leaf(tree, form, &slots);
        self.replace_child(tree, self.path.len(), new);
        new
    }

    /// Replaces the inner node at `level` of the path, if `separator` does not share what its keys do.
    fn refit_inner(&mut self, tree: &Tree, level: usize, separator: Address) {
        let old = tree.inners.get(self.path[level].node);
        if old.node.takes(&tree.entries, separator) {
            return;
        }
        let form = edge_form(old.node.shared_with(&tree.entries, separator));
        let separators = refitted(&tree.entries, &old.node, form);
        let new = self.new_inner(tree, form, &separators, &old.children());
        self.replace_child(tree, level, new);
        self.path[level].node = new;
    }

    /// Publishes `new` in the place of the node at `level` of the path; the leaf comes after the last.
    fn replace_child(&self, tree: &Tree, level: usize, new: Address) {
        let Some(parent) = level.checked_sub(1).map(|parent| self.path[parent]) else {
            return tree.set_root(Root { node: new, height: self.height() });
        };
        let inner = tree.inners.get(parent.node);
        inner.replace_child(child_slot(inner.node.permutation(), parent.rank), new);
    }

    fn new_leaf(&mut self, tree: &Tree, form: Form, items: &[(u64, Address)]) -> Address {
        let leaf = self.leaves.take(&tree.leaves, 1);
        tree.leaves.get(leaf).fill(form, items);
        leaf
    }

    fn new_inner(
        &mut self,
        tree: &Tree,
        form: Form,
        separators: &[(u64, Address)],
        children: &[Address],
    ) -> Address {
        let inner = self.inners.take(&tree.inners, 1);
        tree.inners.get(inner).fill(form, separators, children);
        inner
    }
}

/// The children of an inner node, with one of them split.
fn children_with(inner: &Inner, rank: usize, split: &Split) -> Vec<Address> {
    let mut children = inner.children();
    if let Some(lower) = split.lower {
        children[rank] = lower;
    }
    children.insert(rank + 1, split.upper);
    children
}
