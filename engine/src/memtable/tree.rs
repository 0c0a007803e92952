//! The tree as readers see it.
//!
//! - A leaf holds the entries from its lower fence (inclusive) to its upper one (exclusive). Fences are entries, and stay
//!   in the tree: the lower one is the first entry of its leaf.
//! - A node that a reader has reached holds every entry of its range that was there when the reader came. When the
//!   writer replaces it, nothing is taken from it.

use super::chunks::{Address, Chunks};
use super::entries::{Entries, Sought, Stored};
use super::node::{Inner, Node, Side};
use super::permutation::Permutation;
use crate::sync::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

/// The root of a tree without entries.
const NO_ROOT: u64 = u64::MAX;

/// Entries in internal order.
pub(super) struct Tree {
    pub(super) entries: Entries,
    pub(super) leaves: Chunks<Node>,
    pub(super) inners: Chunks<Inner>,
    /// A [`Root`] in one word.
    root: AtomicU64,
}

/// The node above all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    pub(super) node: Address,
    /// Inner nodes above a leaf.
    pub(super) height: u32,
}

/// A leaf as a reader found it.
pub(super) struct Found<'a> {
    pub(super) leaf: &'a Node,
    pub(super) permutation: Permutation,
    /// Entries of the leaf before the place that was looked for.
    pub(super) rank: usize,
    /// The first entry that belongs to the next leaf; `None` in the last.
    pub(super) next: Option<Address>,
}

impl Tree {
    /// Without entries.
    pub(super) fn new() -> Self {
        Self {
            entries: Entries::new(),
            leaves: Chunks::new(),
            inners: Chunks::new(),
            root: AtomicU64::new(NO_ROOT),
        }
    }

    /// The root; `None` before the first entry.
    pub(super) fn root(&self) -> Option<Root> {
        let bits = self.root.load(Acquire);
        let [height, node] = [bits >> 32, bits & u64::from(u32::MAX)].map(u32::try_from);
        let (height, node) = (height.ok()?, node.ok()?);
        (bits != NO_ROOT).then_some(Root { node: Address::from_bits(node), height })
    }

    /// Publishes a root.
    pub(super) fn set_root(&self, root: Root) {
        self.root.store(u64::from(root.height) << 32 | u64::from(root.node.bits()), Release);
    }

    /// The leaf where `place` belongs, as the first of those at or after it.
    pub(super) fn find(&self, place: &Sought<'_>) -> Option<Found<'_>> {
        self.find_side(place, Side::UpTo, Side::Before)
    }

    /// The leaf with the entries that come right after `place`.
    pub(super) fn find_after(&self, place: &Sought<'_>) -> Option<Found<'_>> {
        self.find_side(place, Side::UpTo, Side::UpTo)
    }

    /// The leaf with the entries that come right before `place`.
    pub(super) fn find_before(&self, place: &Sought<'_>) -> Option<Found<'_>> {
        self.find_side(place, Side::Before, Side::Before)
    }

    /// The last leaf, with all its entries before the place.
    pub(super) fn find_last(&self) -> Option<Found<'_>> {
        let Root { mut node, height } = self.root()?;
        for _ in 0..height {
            node = self.inners.get(node).last_child();
        }
        let leaf = self.leaves.get(node);
        let permutation = leaf.permutation();
        Some(Found { leaf, permutation, rank: permutation.len(), next: None })
    }

    /// Separators and entries on these sides of `place` are passed.
    #[inline]
    fn find_side(&self, place: &Sought<'_>, separators: Side, entries: Side) -> Option<Found<'_>> {
        let (leaf, next) = self.descend(place, separators)?;
        let permutation = leaf.permutation();
        let rank = leaf.rank(&self.entries, permutation, place, entries);
        Some(Found { leaf, permutation, rank, next })
    }

    /// The leaf where `place` belongs, and the first entry of the next one.
    #[inline]
    fn descend(&self, place: &Sought<'_>, separators: Side) -> Option<(&Node, Option<Address>)> {
        let Root { mut node, height } = self.root()?;
        let mut next = None;
        for _ in 0..height {
            let (child, separator) = self.inners.get(node).child(&self.entries, place, separators);
            (node, next) = (child, separator.or(next));
        }
        Some((self.leaves.get(node), next))
    }

    /// The first entry at or after `place`, if it is a version of the same key.
    pub(super) fn first_version(&self, place: &Sought<'_>) -> Option<Stored<'_>> {
        let (leaf, next) = self.descend(place, Side::UpTo)?;
        if let Some(entry) = self.first_in(leaf, place) {
            return Some(entry).filter(|entry| entry.is_of(place.key));
        }
        // The versions of the key go on in the next leaf, or there are none.
        let next = self.entries.get(next?);
        if !next.is_of(place.key) {
            return None;
        }
        let place = Sought::new(place.key, next.stamp());
        self.first_in(self.descend(&place, Side::UpTo)?.0, &place)
    }

    /// The first entry of a leaf that is at or after `place`. A key that does not share what the keys of the leaf and its
    /// fences do is in neither, so for such a one any answer will do, and nothing is checked.
    fn first_in(&self, leaf: &Node, place: &Sought<'_>) -> Option<Stored<'_>> {
        let permutation = leaf.permutation();
        let rank = leaf.rank_inside(&self.entries, permutation, place, Side::Before, leaf.form());
        let entry = (rank < permutation.len()).then(|| leaf.entry(permutation.slot(rank)))?;
        Some(self.entries.get(entry))
    }
}
