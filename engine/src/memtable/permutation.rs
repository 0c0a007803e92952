//! The order of the slots of a node, in one word that is published as a whole.
//!
//! Bits 0 to 3 are the number of slots in use; the nibbles above name them in order. Slots are filled from
//! the first on and never emptied, so those in use are `0..len`, and the newest is `len - 1`.

/// Slots of a node. Fewer where every interleaving is tried, so that nodes split early.
pub(super) const SLOTS: usize = if cfg!(loom) { 3 } else { 15 };

/// Which slots are in use, in the order of their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permutation(u64);

impl Permutation {
    /// The first `len` slots in their own order.
    pub(super) fn identity(len: usize) -> Self {
        (0..len).fold(Self(0), |permutation, slot| permutation.with_next_at(slot))
    }

    /// As it is kept in an atomic.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// From what [`bits`](Self::bits) gave.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// How many slots are in use; the next one to fill.
    #[inline]
    pub(super) const fn len(self) -> usize {
        (self.0 & 15) as usize
    }

    /// Whether no slot is left.
    pub(super) const fn is_full(self) -> bool {
        self.len() == SLOTS
    }

    /// The slot of the entry number `rank`, below `len`.
    #[inline]
    pub(super) const fn slot(self, rank: usize) -> usize {
        (self.0 >> (4 + 4 * rank) & 15) as usize
    }

    /// With the next slot in front of the entry number `rank`.
    #[must_use]
    pub(super) fn with_next_at(self, rank: usize) -> Self {
        debug_assert!(!self.is_full() && rank <= self.len(), "there is a slot, and its place");
        let place = 4 + 4 * rank;
        let (above, below) = (self.0 >> place << place, self.0 & ((1 << place) - 1));
        // With the count at its greatest nothing is shifted out: the last nibble is empty.
        Self((above << 4 | (self.len() as u64) << place | below) + 1)
    }

    /// Where to split a full node whose next entry comes at `rank`: how many entries, counting that one, stay
    /// below. In the middle; but where the entries before came as a run, at its end, so that the nodes it
    /// leaves behind are full.
    pub(super) fn cut(self, rank: usize) -> usize {
        let rank_of = |slot| (0..self.len()).find(|rank| self.slot(*rank) == slot);
        let (newest, before) = (rank_of(SLOTS - 1), rank_of(SLOTS - 2));
        if let (Some(newest), Some(before)) = (newest, before) {
            if before + 1 == newest && newest + 1 == rank {
                return rank;
            }
            if newest + 1 == before && newest == rank {
                return rank + 1;
            }
        }
        SLOTS.div_ceil(2)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots(permutation: Permutation) -> Vec<usize> {
        (0..permutation.len()).map(|rank| permutation.slot(rank)).collect()
    }

    fn inserted(ranks: &[usize]) -> (Permutation, Vec<usize>) {
        ranks.iter().enumerate().fold(
            (Permutation::identity(0), Vec::new()),
            |(permutation, mut model), (slot, rank)| {
                let rank = rank % (slot + 1);
                model.insert(rank, slot);
                (permutation.with_next_at(rank), model)
            },
        )
    }

    proptest! {
        #[test]
        fn it_is_a_vector_with_insertions(ranks in prop::collection::vec(0..16usize, 0..=SLOTS)) {
            let (permutation, model) = inserted(&ranks);
            prop_assert_eq!(slots(permutation), model);
            prop_assert_eq!(permutation.is_full(), ranks.len() == SLOTS);
        }

        #[test]
        fn a_cut_leaves_something_on_both_sides(
            ranks in prop::collection::vec(0..16usize, SLOTS), rank in 0..=SLOTS,
        ) {
            let cut = inserted(&ranks).0.cut(rank);
            prop_assert!((1..=SLOTS).contains(&cut));
        }
    }

    #[test]
    fn a_run_is_cut_at_its_end() {
        let rising: Vec<usize> = (0..SLOTS).collect();
        assert_eq!(inserted(&rising).0.cut(SLOTS), SLOTS);
        let falling = [0; SLOTS];
        assert_eq!(inserted(&falling).0.cut(0), 1);
        assert_eq!(inserted(&rising).0.cut(3), 8);
    }
}
