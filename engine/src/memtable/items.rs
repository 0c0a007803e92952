//! What is in a node that is made anew, and how its heads are to be read.

use super::chunks::Address;
use super::entries::{Entries, Reading};
use super::node::{Form, Node};
use super::permutation::SLOTS;
use std::cmp::Ordering;
use std::ops::Range;

/// Bytes that heads skip less than the keys of a node at the edge share, so that keys may come in that share a
/// little less.
const SKIP_SLACK: usize = 3;
/// Heads are made anew when they can skip this much more.
const SKIP_GAIN_MIN: usize = 4;

/// The range of a node; `None` where it is open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fences {
    pub(super) low: Option<Address>,
    pub(super) high: Option<Address>,
}

/// The slots of a full node with one more, in order.
pub(super) struct Items {
    pub(super) items: [(u64, Address); SLOTS + 1],
    pub(super) form: Form,
}

impl Fences {
    /// The ranges below and from `separator` on.
    pub(super) fn split(self, separator: Address) -> (Self, Self) {
        (Self { high: Some(separator), ..self }, Self { low: Some(separator), ..self })
    }
}

impl Items {
    /// The slots of a full node with `new` as the one number `rank`.
    pub(super) fn of(node: &Node, rank: usize, new: (u64, Address)) -> Self {
        let permutation = node.permutation();
        let items = std::array::from_fn(|index| match index.cmp(&rank) {
            Ordering::Less => node.item(permutation.slot(index)),
            Ordering::Equal => new,
            Ordering::Greater => node.item(permutation.slot(index - 1)),
        });
        Self { items, form: node.form() }
    }

    /// Bytes that all their keys share.
    pub(super) fn shared(&self, entries: &Entries) -> usize {
        let [(_, first), .., (_, last)] = &self.items;
        entries.shared_len(*first, *last)
    }

    /// The form of a node between `fences` that holds some of them. What heads skip does not change for little.
    pub(super) fn form_between(&self, entries: &Entries, fences: Fences) -> Form {
        let old = self.form.skip();
        let grown = |skip| if (old..old + SKIP_GAIN_MIN).contains(&skip) { old } else { skip };
        let Fences { low: Some(low), high: Some(high) } = fences else {
            let skip = edge_form(self.shared(entries)).skip().max(old);
            return Form { reading: Reading::Key { skip: grown(skip) }, is_checked: true };
        };
        let reading = match entries.is_same_key(low, high) {
            true => Reading::Version,
            false => Reading::Key { skip: grown(entries.shared_len(low, high)) },
        };
        Form { reading, is_checked: false }
    }

    /// Those in `range`, with the heads that `form` wants.
    pub(super) fn slots(&self, entries: &Entries, form: Form, range: Range<usize>) -> Vec<(u64, Address)> {
        let head = |(head, entry): &(u64, Address)| match form.reading == self.form.reading {
            true => (*head, *entry),
            false => (entries.head(*entry, form.reading), *entry),
        };
        self.items[range].iter().map(head).collect()
    }
}

/// The form of a node at the edge of the tree, whose keys share some bytes.
pub(super) fn edge_form(shared: usize) -> Form {
    Form { reading: Reading::Key { skip: shared.saturating_sub(SKIP_SLACK) }, is_checked: true }
}

/// The slots of a node in order, with the heads that `form` wants.
pub(super) fn refitted(entries: &Entries, node: &Node, form: Form) -> Vec<(u64, Address)> {
    let permutation = node.permutation();
    let entry = |rank| node.entry(permutation.slot(rank));
    (0..permutation.len()).map(entry).map(|entry| (entries.head(entry, form.reading), entry)).collect()
}
