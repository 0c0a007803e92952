//! Memory of the memtables of all engines of a budget, and when a writer has to wait for some of it.
//!
//! - A memtable is sealed at a share of 7 in 16 of the bound, so that one can be filled while one is flushed; a sixteenth is
//!   left on each for the record that goes over.
//! - Active and sealed memtables together never pass 14 in 16 of the bound by more than the last record.
//! - While a memtable is flushed, the active one may be ahead of the flush by a quarter of a memtable: writers go
//!   as fast as the flush does, a step at a time, instead of stopping once at its end.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A memtable is sealed at this many parts of [`PARTS`] of the bound.
const SEAL_PARTS: u64 = 7;
const PARTS: u64 = 16;
/// The active memtable may be ahead of a flush by one memtable divided by this.
const AHEAD_PARTS: u64 = 4;

/// The sums over all engines, in bytes.
#[derive(Debug)]
pub(crate) struct Memory {
    seal_bytes: u64,
    active: AtomicU64,
    sealed: AtomicU64,
    /// Of the sealed ones, what has been flushed of them so far.
    flushed: AtomicU64,
}

impl Memory {
    /// Memtables of all engines take up to `bytes_max`.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let zero = || AtomicU64::new(0);
        let seal_bytes = (bytes_max / PARTS * SEAL_PARTS).max(1);
        Self { seal_bytes, active: zero(), sealed: zero(), flushed: zero() }
    }

    /// Room for memtables that are sealed at `bytes`.
    pub(crate) const fn bytes_for(seal_bytes: u64) -> u64 {
        seal_bytes.div_ceil(SEAL_PARTS) * PARTS
    }

    /// A memtable this large is sealed.
    pub(crate) const fn seal_bytes(&self) -> u64 {
        self.seal_bytes
    }

    /// Bytes of all memtables.
    pub(crate) fn bytes(&self) -> u64 {
        self.active.load(Ordering::Relaxed) + self.sealed.load(Ordering::Relaxed)
    }

    /// Whether the active memtables together are as large as one may be: the largest of them has to be sealed.
    pub(crate) fn seal_is_due(&self) -> bool {
        self.active.load(Ordering::Relaxed) >= self.seal_bytes
    }

    /// Whether a writer has to wait, or to see to it that something is sealed.
    pub(crate) fn is_short(&self) -> bool {
        !self.has_room() || self.seal_is_due()
    }

    /// Whether a writer may write.
    fn has_room(&self) -> bool {
        let [active, sealed, flushed] =
            [&self.active, &self.sealed, &self.flushed].map(|sum| sum.load(Ordering::Relaxed));
        let unflushed = (active + sealed).saturating_sub(flushed);
        active + sealed <= 2 * self.seal_bytes
            && (sealed == 0 || unflushed <= self.seal_bytes + self.seal_bytes / AHEAD_PARTS)
    }
}

/// What one engine has of it. Dropped, it gives all of it back.
#[derive(Debug)]
pub(crate) struct Account {
    memory: Arc<Memory>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    amounts: Amounts,
    /// Not in the sums: memory that no flush can free must not hold up other engines.
    written_off: bool,
}

/// Bytes of the memtables of one engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) active: u64,
    pub(crate) sealed: u64,
    pub(crate) flushed: u64,
}

impl Account {
    /// Of an engine without memtables.
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self { memory, state: Mutex::default() }
    }

    /// What the engine has.
    pub(crate) fn amounts(&self) -> Amounts {
        self.state.lock().amounts
    }

    /// Notes what has changed.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Amounts)) {
        let mut state = self.state.lock();
        let mut after = state.amounts;
        change(&mut after);
        if !state.written_off {
            self.replace(state.amounts, after);
        }
        state.amounts = after;
    }

    /// Whether nobody can flush it now: the engine has stopped, or its disk is full.
    pub(crate) fn write_off(&self, written_off: bool) {
        let mut state = self.state.lock();
        if state.written_off != written_off {
            let (amounts, none) = (state.amounts, Amounts::default());
            let (before, after) = if written_off { (amounts, none) } else { (none, amounts) };
            self.replace(before, after);
            state.written_off = written_off;
        }
    }

    fn replace(&self, before: Amounts, after: Amounts) {
        let sums = [
            (&self.memory.active, before.active, after.active),
            (&self.memory.sealed, before.sealed, after.sealed),
            (&self.memory.flushed, before.flushed, after.flushed),
        ];
        for (sum, before, after) in sums.into_iter().filter(|(_, before, after)| before != after) {
            // Modulo 2^64 the difference is right also where it falls.
            sum.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.write_off(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(bytes_max: u64) -> (Arc<Memory>, Account) {
        let memory = Arc::new(Memory::new(bytes_max));
        (Arc::clone(&memory), Account::new(memory))
    }

    #[test]
    fn a_writer_may_be_a_quarter_of_a_memtable_ahead_of_the_flush() {
        let (memory, account) = account(16_000);
        assert_eq!((memory.seal_bytes(), Memory::bytes_for(7_000)), (7_000, 16_000));
        let room = |active, flushed| {
            account.change(|it| *it = Amounts { active, sealed: 7_000, flushed });
            memory.has_room()
        };
        assert!(room(1_750, 0) && !room(1_751, 0));
        assert!(room(2_750, 1_000) && !room(2_751, 1_000));
        assert!(room(7_000, 7_000) && !room(7_001, 7_000), "what is flushed is still in memory");
        account.change(|it| *it = Amounts { active: 7_000, ..Amounts::default() });
        assert!(memory.has_room() && memory.seal_is_due());
    }

    #[test]
    fn what_an_engine_had_comes_back_when_it_goes_or_cannot_flush() {
        let (memory, account) = account(16_000);
        let other = Account::new(Arc::clone(&memory));
        account.change(|it| it.active = 50);
        other.change(|it| (it.active, it.sealed, it.flushed) = (1, 7_000, 3_000));
        assert_eq!(memory.bytes(), 7_051);
        other.write_off(true);
        other.change(|it| it.active = 9);
        assert_eq!(memory.bytes(), 50);
        other.write_off(false);
        assert_eq!(memory.bytes(), 7_059);
        drop(other);
        assert_eq!((memory.bytes(), memory.flushed.load(Ordering::Relaxed)), (50, 0));
    }
}
