//! The nodes of the tree: entries or separators in slots that are written once.
//!
//! - A slot is written before the permutation that names it is published (release), and its head never changes.
//!   So whoever has loaded the permutation (acquire) finds whole slots, and what comes later is not in its way.
//! - A slot holds the address of an entry and the entry's head: eight bytes of the key from where the keys of the node
//!   begin to differ. Only where heads are the same are the entries themselves read.
//! - All keys of a node share the bytes that its heads skip, and so do its fences where it has them. Where it has both,
//!   that is so for every key that is looked for in it; at the edges of the tree it is checked
//!   ([`Form::is_checked`]), and a key that comes in and shares less gets a new node first (see `writer`).
//! - An inner node has a child per separator, with the entries from the separator on, and one for those before the
//!   first. A child may be replaced by another that holds the same entries, or by the lower half of them after
//!   the permutation that names the upper half was published; see [`Inner::child`].

use super::chunks::Address;
use super::entries::{Entries, Reading, Sought};
use super::permutation::{Permutation, SLOTS};
use crate::sync::{AtomicU32, AtomicU64};
use std::cmp::Ordering;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Slot of the child before the first separator.
pub(super) const FIRST_CHILD: usize = SLOTS;

/// Entries, or the separators of an inner node: three cache lines.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Node {
    permutation: AtomicU64,
    heads: [AtomicU64; SLOTS],
    entries: [AtomicU32; SLOTS],
    form: AtomicU32,
}

/// A node with children: four cache lines.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) node: Node,
    children: [AtomicU32; SLOTS + 1],
}

/// How the heads of a node are made, fixed when the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) reading: Reading,
    /// Whether keys that are looked for may not share what heads skip.
    pub(super) is_checked: bool,
}

/// Where [`Form`] has its bits, above those of `skip`.
const CHECKED: u32 = 1 << 16;
const BY_VERSION: u32 = 1 << 17;

impl Form {
    fn bits(self) -> u32 {
        let checked = if self.is_checked { CHECKED } else { 0 };
        match self.reading {
            Reading::Key { skip } => checked | u32::try_from(skip).expect("a key is shorter than 64 KiB"),
            Reading::Version => checked | BY_VERSION,
        }
    }

    fn from_bits(bits: u32) -> Self {
        let reading = match bits & BY_VERSION {
            0 => Reading::Key { skip: (bits & (CHECKED - 1)) as usize },
            _ => Reading::Version,
        };
        Self { reading, is_checked: bits & CHECKED != 0 }
    }

    /// Bytes that the keys of the node are known to share.
    pub(super) fn skip(self) -> usize {
        match self.reading {
            Reading::Key { skip } => skip,
            Reading::Version => 0,
        }
    }
}

/// Which entries count as before a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Those before it.
    Before,
    /// Those before it, and the one at it.
    UpTo,
}

impl Side {
    fn takes(self, entry: Ordering) -> bool {
        entry == Ordering::Less || (entry == Ordering::Equal && self == Side::UpTo)
    }
}

impl Node {
    /// The slots in use, and all that was written to them.
    #[inline]
    pub(super) fn permutation(&self) -> Permutation {
        Permutation::from_bits(self.permutation.load(Acquire))
    }

    /// How its heads are made.
    #[inline]
    pub(super) fn form(&self) -> Form {
        Form::from_bits(self.form.load(Relaxed))
    }

    /// The head in a slot that is in use.
    pub(super) fn head(&self, slot: usize) -> u64 {
        self.heads[slot].load(Relaxed)
    }

    /// The address of the entry in a slot that is in use; acquired, as the entry may have been replaced.
    #[inline]
    pub(super) fn entry(&self, slot: usize) -> Address {
        Address::from_bits(self.entries[slot].load(Acquire))
    }

    /// The head and the entry in a slot that is in use.
    pub(super) fn item(&self, slot: usize) -> (u64, Address) {
        (self.head(slot), self.entry(slot))
    }

    /// How many entries stand before `place`.
    #[inline]
    pub(super) fn rank(
        &self,
        entries: &Entries,
        permutation: Permutation,
        place: &Sought<'_>,
        side: Side,
    ) -> usize {
        let form = self.form();
        if form.is_checked
            && let Some(rank) = self.rank_outside(entries, permutation, place, form)
        {
            return rank;
        }
        self.rank_inside(entries, permutation, place, side, form)
    }

    /// As [`rank`](Self::rank), for a key that shares what heads skip. For any other the answer is of no use.
    #[inline]
    pub(super) fn rank_inside(
        &self,
        entries: &Entries,
        permutation: Permutation,
        place: &Sought<'_>,
        side: Side,
        form: Form,
    ) -> usize {
        let (head, len) = (place.head(form.reading), permutation.len());
        // Slots in use are the first ones, so what is less can be counted in any order, and of all slots, which takes
        // no branch. What the others hold does not count; loom is spared the orders in which that may be seen.
        let read = if cfg!(loom) { len } else { SLOTS };
        let less = (0..read).fold(0u32, |less, slot| less | u32::from(self.head(slot) < head) << slot);
        let low = (less & ((1 << len) - 1)).count_ones() as usize;
        let has_same = |rank| self.head(permutation.slot(rank)) == head;
        let high = (low..len).find(|rank| !has_same(*rank)).unwrap_or(len);
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = self.entry(permutation.slot(middle));
            if side.takes(entries.compare(entry, place, form.skip())) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The rank of a key that does not share what the keys of the node do: before or after all of them.
    fn rank_outside(
        &self,
        entries: &Entries,
        permutation: Permutation,
        place: &Sought<'_>,
        form: Form,
    ) -> Option<usize> {
        if form.skip() == 0 || permutation.len() == 0 {
            return None;
        }
        match entries.get(self.entry(0)).compare_prefix(place.key, form.skip()) {
            Ordering::Less => Some(permutation.len()),
            Ordering::Equal => None,
            Ordering::Greater => Some(0),
        }
    }

    /// Whether the key of `entry` shares what heads skip, so that it can come in.
    pub(super) fn takes(&self, entries: &Entries, entry: Address) -> bool {
        let form = self.form();
        !form.is_checked || form.skip() == 0 || self.shared_with(entries, entry) >= form.skip()
    }

    /// How many bytes at their beginning the key of `entry` and all keys of the node share, if that is less than
    /// heads skip.
    pub(super) fn shared_with(&self, entries: &Entries, entry: Address) -> usize {
        match self.permutation().len() {
            0 => entries.get(entry).key_len(),
            _ => entries.shared_len(self.entry(0), entry),
        }
    }

    /// Makes an unpublished node hold `slots`, in order.
    pub(super) fn fill(&self, form: Form, slots: &[(u64, Address)]) {
        for (slot, (head, entry)) in slots.iter().enumerate() {
            self.heads[slot].store(*head, Relaxed);
            self.entries[slot].store(entry.bits(), Relaxed);
        }
        self.form.store(form.bits(), Relaxed);
        self.permutation.store(Permutation::identity(slots.len()).bits(), Relaxed);
    }

    /// Publishes an entry as the one number `rank`; there is room.
    pub(super) fn add(&self, rank: usize, head: u64, entry: Address) {
        let permutation = self.permutation();
        let slot = permutation.len();
        self.heads[slot].store(head, Relaxed);
        self.entries[slot].store(entry.bits(), Relaxed);
        self.permutation.store(permutation.with_next_at(rank).bits(), Release);
    }

    /// Publishes another entry with the key and stamp of the one in `slot`.
    pub(super) fn replace(&self, slot: usize, entry: Address) {
        self.entries[slot].store(entry.bits(), Release);
    }
}

impl Inner {
    /// The child where `place` belongs, and the separator after it.
    ///
    /// The permutation is loaded again after the child. If it is the same, the child was not yet replaced by its
    /// lower half when it was loaded, as the upper half is published before that. A node takes [`SLOTS`] separators
    /// in its life, so this ends.
    #[inline]
    pub(super) fn child(
        &self,
        entries: &Entries,
        place: &Sought<'_>,
        side: Side,
    ) -> (Address, Option<Address>) {
        self.child_at(|permutation| self.node.rank(entries, permutation, place, side))
    }

    /// The last child.
    pub(super) fn last_child(&self) -> Address {
        self.child_at(Permutation::len).0
    }

    #[inline]
    fn child_at(&self, rank: impl Fn(Permutation) -> usize) -> (Address, Option<Address>) {
        let mut permutation = self.node.permutation();
        loop {
            let rank = rank(permutation);
            let child = self.child_in(child_slot(permutation, rank));
            let again = self.node.permutation();
            if again == permutation {
                let next = (rank < permutation.len()).then(|| self.node.entry(permutation.slot(rank)));
                return (child, next);
            }
            permutation = again;
        }
    }

    /// The child in a slot.
    #[inline]
    pub(super) fn child_in(&self, slot: usize) -> Address {
        Address::from_bits(self.children[slot].load(Acquire))
    }

    /// The children, in order.
    pub(super) fn children(&self) -> Vec<Address> {
        let permutation = self.node.permutation();
        (0..=permutation.len()).map(|rank| self.child_in(child_slot(permutation, rank))).collect()
    }

    /// Makes an unpublished node hold separators and the children around them.
    pub(super) fn fill(&self, form: Form, separators: &[(u64, Address)], children: &[Address]) {
        debug_assert_eq!(children.len(), separators.len() + 1, "a child on each side of each separator");
        for (rank, child) in children.iter().enumerate() {
            self.children[if rank == 0 { FIRST_CHILD } else { rank - 1 }].store(child.bits(), Relaxed);
        }
        self.node.fill(form, separators);
    }

    /// Publishes a separator as the one number `rank`, with the child after it; there is room.
    pub(super) fn add(&self, rank: usize, head: u64, separator: Address, child: Address) {
        self.children[self.node.permutation().len()].store(child.bits(), Relaxed);
        self.node.add(rank, head, separator);
    }

    /// Publishes another child in `slot`.
    pub(super) fn replace_child(&self, slot: usize, child: Address) {
        self.children[slot].store(child.bits(), Release);
    }
}

/// The slot of the child with `rank` separators before it.
#[inline]
pub(super) fn child_slot(permutation: Permutation, rank: usize) -> usize {
    if rank == 0 { FIRST_CHILD } else { permutation.slot(rank - 1) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_whole_cache_lines() {
        assert_eq!((size_of::<Node>(), size_of::<Inner>()), (192, 256));
    }

    #[test]
    fn a_form_survives_its_bits() {
        for reading in [Reading::Key { skip: 0 }, Reading::Key { skip: 65_535 }, Reading::Version] {
            for is_checked in [false, true] {
                let form = Form { reading, is_checked };
                assert_eq!(Form::from_bits(form.bits()), form);
            }
        }
    }
}
