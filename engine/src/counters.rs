//! Counters that many threads raise at the same time without getting in each other's way.
//!
//! - Each thread adds to one of a few shards, each on cache lines of its own; reading adds them up.
//! - Nothing is ordered by them: a sum is what was added some moment ago.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many shards there are: threads beyond this share.
const SHARDS: usize = 8;

/// `N` counters in shards.
#[derive(Debug)]
pub(crate) struct Sharded<const N: usize> {
    shards: [Shard<N>; SHARDS],
}

/// Two cache lines, as processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Sharded<N> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Shard(std::array::from_fn(|_| AtomicU64::new(0)))) }
    }
}

/// Not given to this thread yet.
const NONE: usize = usize::MAX;
static NEXT: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(NONE) };
}

/// Which shard this thread adds to.
fn shard() -> usize {
    SHARD.with(|own| match own.get() {
        NONE => {
            let given = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            own.set(given);
            given
        }
        given => given,
    })
}

impl<const N: usize> Sharded<N> {
    /// Raises a counter.
    pub(crate) fn add(&self, counter: usize, by: u64) {
        self.shards[shard()].0[counter].fetch_add(by, Ordering::Relaxed);
    }

    /// What was added to a counter.
    pub(crate) fn total(&self, counter: usize) -> u64 {
        self.shards.iter().map(|shard| shard.0[counter].load(Ordering::Relaxed)).sum()
    }
}

/// What readers count.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    counters: Sharded<4>,
}

impl Reads {
    const GETS: usize = 0;
    const RANGES: usize = 1;
    const REJECTED: usize = 2;
    const IN_VAIN: usize = 3;

    /// A key was asked for.
    pub(crate) fn get(&self) {
        self.counters.add(Self::GETS, 1);
    }

    /// A range was asked for.
    pub(crate) fn range(&self) {
        self.counters.add(Self::RANGES, 1);
    }

    /// A key was looked for in tables: filters left some out, and let others through that do not have it.
    pub(crate) fn probed(&self, rejected: u64, in_vain: u64) {
        if rejected > 0 {
            self.counters.add(Self::REJECTED, rejected);
        }
        if in_vain > 0 {
            self.counters.add(Self::IN_VAIN, in_vain);
        }
    }

    /// How many keys, and how many ranges.
    pub(crate) fn gets_and_ranges(&self) -> (u64, u64) {
        (self.counters.total(Self::GETS), self.counters.total(Self::RANGES))
    }

    /// How many tables filters left out, and how many they let through in vain.
    pub(crate) fn rejected_and_in_vain(&self) -> (u64, u64) {
        (self.counters.total(Self::REJECTED), self.counters.total(Self::IN_VAIN))
    }
}

/// How long something took, over all of its runs. Times in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    count: AtomicU64,
    total_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Timer {
    /// Notes one run.
    pub(crate) fn took(&self, ns: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.total_ns.fetch_add(ns, Ordering::Relaxed);
        self.max_ns.fetch_max(ns, Ordering::Relaxed);
    }

    /// What was noted.
    pub(crate) fn read(&self) -> Durations {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Durations { count: of(&self.count), total_ns: of(&self.total_ns), max_ns: of(&self.max_ns) }
    }
}

/// How long something took. Times in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Durations {
    /// How often it ran.
    pub count: u64,
    /// All runs together.
    pub total_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

impl Durations {
    /// The mean, in nanoseconds; 0 before the first run.
    pub const fn mean_ns(&self) -> u64 {
        match self.total_ns.checked_div(self.count) {
            Some(mean) => mean,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_threads_add_is_lost() {
        let counters = Sharded::<2>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1_000).for_each(|n| counters.add(n % 2, 3)));
            }
        });
        assert_eq!([counters.total(0), counters.total(1)], [3 * 500 * 2 * SHARDS as u64; 2]);
    }

    #[test]
    fn a_timer_knows_the_mean_and_the_longest() {
        let timer = Timer::default();
        assert_eq!(timer.read().mean_ns(), 0);
        [5, 1, 9].into_iter().for_each(|ns| timer.took(ns));
        let read = timer.read();
        assert_eq!((read, read.mean_ns()), (Durations { count: 3, total_ns: 15, max_ns: 9 }, 5));
    }
}
