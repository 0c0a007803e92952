//! What holds a writer up when flushes and compactions do not keep up: a little at each write, never long at one.
//!
//! - Memory: a writer waits while the memtables of the budget are too far ahead of the flushes (see [`crate::budget`]).
//! - Level 0: while it holds more tables than it should, each write costs tokens, and each step of a compaction gives
//!   some. The price is what the levels make a byte cost, so level 0 grows no further.
//! - Where threads do the steps, a writer waits for the next step, whoever makes it; where none do, it makes the
//!   steps itself. So no writer waits for what nobody does.
//! - Who waits is woken by every step, by an engine that stops, and by threads that come or go.

use super::Core;
use crate::Result;
use crate::budget::{Help, Purpose};
use crate::compaction::plan::{self, Pace};
use crate::compaction::rewrite::Counts;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Level 0 slows writers down when it holds more tables than start a compaction, by one part in this many.
const LEVEL0_SLOW_PARTS: usize = 2;
/// Tokens that compactions save up for writers, at most: bytes read by compactions.
const TOKENS_MAX: i64 = 4 << 20;
/// Nobody writes for this long: a quiet time, in which level 0 is cleaned up.
const QUIET_MS: u64 = 300;
/// Writes replace what is there if a compaction of level 0 drops one entry in this many.
const REPLACING_PARTS: u64 = 4;

/// What one engine knows of it.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    tokens: AtomicI64,
    /// What a byte costs a writer, in sixteenths; 0 while level 0 is as it should be.
    price: AtomicU64,
    /// Whether the last attempt to compact found nothing to do, or no room: then nobody waits for it.
    idle: AtomicBool,
    replacing: AtomicBool,
    last_write_ms: AtomicU64,
    /// Threads that work for this engine alone.
    pub(crate) help: Help,
    pub(super) stalls: AtomicU64,
    pub(super) stalled_ms: AtomicU64,
}

impl Pressure {
    /// A compaction read this many bytes more.
    pub(super) fn grant(&self, bytes: u64) {
        let more = i64::try_from(bytes).unwrap_or(i64::MAX);
        let add = |tokens: i64| Some(tokens.saturating_add(more).min(TOKENS_MAX));
        // The closure always gives a number.
        let _before = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Whether the last attempt to compact did anything.
    pub(super) fn compacting(&self, worked: bool) {
        self.idle.store(!worked, Ordering::SeqCst);
    }

    /// What a compaction of level 0 found.
    pub(super) fn level0_rewritten(&self, counts: Counts) {
        self.replacing.store(counts.dropped * REPLACING_PARTS >= counts.read, Ordering::Relaxed);
    }

    /// What writes are like.
    pub(super) fn pace(&self, now_ms: u64) -> Pace {
        Pace { quiet: self.is_quiet(now_ms), replacing: self.replacing.load(Ordering::Relaxed) }
    }

    /// Whether nobody has written for a while.
    pub(super) fn is_quiet(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last_write_ms.load(Ordering::Relaxed)) >= QUIET_MS
    }

    /// A record was appended.
    pub(super) fn written(&self, now_ms: u64) {
        self.last_write_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// What a writer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Memory,
    Level0,
}

impl Core {
    /// Lets a writer of `bytes` through, at once or when there is room.
    pub(super) fn make_room(&self, bytes: u64) -> Result<()> {
        if self.waits_for().is_some() {
            self.pressure.stalls.fetch_add(1, Ordering::Relaxed);
            let start_ms = self.env.clock.now_ms();
            let waited = self.wait_for_room();
            let ms = self.env.clock.now_ms().saturating_sub(start_ms);
            self.pressure.stalled_ms.fetch_add(ms, Ordering::Relaxed);
            waited?;
        }
        self.pay(bytes);
        Ok(())
    }

    fn wait_for_room(&self) -> Result<()> {
        loop {
            // First what has happened, then whether that is enough: a step in between is not missed.
            let seen = self.budget.moved.seen();
            self.running()?;
            self.disk.check()?;
            let look_again = match self.waits_for() {
                Some(Wait::Memory) => self.relieve_memory(seen)?,
                Some(Wait::Level0) => self.relieve_level0(seen)?,
                None => false,
            };
            if !look_again {
                return Ok(());
            }
        }
    }

    /// Waits for a step that frees memory, or makes one; `false` when there is nobody whose step would.
    fn relieve_memory(&self, seen: u64) -> Result<bool> {
        let members = self.budget.members();
        let can_flush: Vec<_> = members.iter().filter(|core| core.can_flush()).collect();
        if self.budget.memory().seal_is_due() {
            let largest = can_flush.iter().max_by_key(|core| core.account.amounts().active);
            return Ok(largest.is_some_and(|core| core.seal_largest()));
        }
        let waiting: Vec<_> = can_flush.iter().filter(|core| core.account.amounts().sealed > 0).collect();
        if waiting.iter().any(|core| core.is_helped(Purpose::Flush)) {
            self.budget.moved.wait(seen, None);
            return Ok(true);
        }
        let own = waiting.iter().find(|core| std::ptr::eq(Arc::as_ptr(core), self));
        let Some(core) = own.or(waiting.first()) else {
            return Ok(false);
        };
        match core.flush_step() {
            // What another engine lacks is not this writer's error: its memory does not count from now on.
            Err(error) if !std::ptr::eq(Arc::as_ptr(core), self) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "another engine cannot flush");
                Ok(true)
            }
            Err(error) if error.is_disk_full() => Err(self.disk.full()),
            done => done,
        }
    }

    /// Waits for a step of a compaction, or makes one; `false` when there is nothing to compact, or no room for it.
    fn relieve_level0(&self, seen: u64) -> Result<bool> {
        if self.is_helped(Purpose::Compaction) {
            self.budget.moved.wait(seen, None);
            return Ok(true);
        }
        match self.compact_step() {
            Err(error) if error.is_disk_full() => Ok(false),
            done => done,
        }
    }

    fn can_flush(&self) -> bool {
        self.stopped.get().is_none() && !self.disk.is_full()
    }

    fn is_helped(&self, purpose: Purpose) -> bool {
        self.pressure.help.is_there(purpose) || self.budget.help.is_there(purpose)
    }

    /// Seals the memtable because those of all engines together are too large; whether it held anything.
    fn seal_largest(&self) -> bool {
        let mut appender = self.appender.lock();
        let holds_entries = !self.view.load().active.is_empty();
        if holds_entries {
            self.seal_memtable(&mut appender);
        }
        holds_entries
    }

    fn waits_for(&self) -> Option<Wait> {
        if self.budget.memory().is_short() {
            return Some(Wait::Memory);
        }
        let pressure = &self.pressure;
        let pays = pressure.price.load(Ordering::Relaxed) > 0 && !pressure.idle.load(Ordering::SeqCst);
        (pays && pressure.tokens.load(Ordering::Relaxed) < 0).then_some(Wait::Level0)
    }

    fn pay(&self, bytes: u64) {
        let price = self.pressure.price.load(Ordering::Relaxed);
        if price > 0 {
            let cost = i64::try_from(bytes.saturating_mul(price) / 16).unwrap_or(i64::MAX);
            self.pressure.tokens.fetch_sub(cost, Ordering::Relaxed);
        }
    }

    /// There are other tables: what a write costs, and whether compactions find something to do, may be different.
    pub(super) fn levels_changed(&self) {
        let levels = Arc::clone(&self.view.load().levels);
        let full = self.options.level0_tables_max;
        let slow_at = full + full.div_ceil(LEVEL0_SLOW_PARTS);
        let is_slow = levels.level(0).len() > slow_at;
        let price = if is_slow { plan::price(&levels, &self.options, slow_at).max(1) } else { 0 };
        self.pressure.price.store(price, Ordering::Relaxed);
        self.pressure.idle.store(false, Ordering::SeqCst);
    }
}
