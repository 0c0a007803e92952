//! What several engines of one process share: block cache, memory of memtables, threads, and the rate at which flushes and
//! compactions write.
//!
//! - Each engine has exactly one budget; [`Engine::open`](crate::Engine::open) makes one for the engine alone.
//! - One number bounds memory. Two fifths of it are the block cache, two fifths memtables, one fifth is what flushes,
//!   compactions and open tables need.
//! - An engine leaves its budget when its last handle is dropped.

mod io;
mod memory;
mod signal;

pub(crate) use io::{IoLimit, Purpose};
pub(crate) use memory::{Account, Memory};
pub(crate) use signal::Signal;

use crate::cache::Cache;
use crate::engine::{Core, Engine};
use crate::{Error, Options, Result};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The least memory of a budget, in bytes.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// The memory that flushes and compactions of one engine use at once, about, in bytes, when it has a budget alone.
const WORKING_BYTES: u64 = 32 << 20;

/// Settings of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetOptions {
    /// Memory of all engines: block cache, memtables, and what flushes and compactions need. In bytes, at least 1 MiB.
    pub memory_bytes_max: u64,
    /// Threads that compact, at most one per engine at a time; 1 to 64.
    pub compaction_threads: usize,
    /// Bytes that flushes and compactions write in a second; 0 is no limit. The log is not limited.
    pub io_bytes_per_s_max: u64,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self { memory_bytes_max: 160 << 20, compaction_threads: 1, io_bytes_per_s_max: 0 }
    }
}

/// What engines share.
#[derive(Debug)]
pub struct Budget {
    memory_bytes_max: u64,
    compaction_threads: usize,
    cache: Arc<Cache>,
    memory: Arc<Memory>,
    io: IoLimit,
    members: Mutex<Vec<Weak<Core>>>,
    /// A step was done, or whoever does steps came or went: writers that wait look again.
    pub(crate) moved: Signal,
    /// There is something to do for the threads.
    pub(crate) work: Signal,
    pub(crate) help: Help,
}

/// How many threads do the work of whom, so that a writer knows whether to wait for them.
#[derive(Debug, Default)]
pub(crate) struct Help {
    pub(crate) flush: AtomicUsize,
    pub(crate) compaction: AtomicUsize,
}

impl Help {
    pub(crate) fn of(&self, purpose: Purpose) -> &AtomicUsize {
        match purpose {
            Purpose::Flush => &self.flush,
            Purpose::Compaction => &self.compaction,
        }
    }

    pub(crate) fn is_there(&self, purpose: Purpose) -> bool {
        self.of(purpose).load(Ordering::SeqCst) > 0
    }
}

impl Budget {
    /// A budget without engines: open them with [`Engine::open_with_budget`](crate::Engine::open_with_budget).
    ///
    /// # Errors
    ///
    /// [`Error::Option`] naming the option and its range.
    pub fn new(options: BudgetOptions) -> Result<Arc<Self>> {
        let BudgetOptions { memory_bytes_max, compaction_threads, io_bytes_per_s_max } = options;
        let refuse = |name, reason| Err(Error::Option { name, reason });
        if memory_bytes_max < MEMORY_BYTES_MIN {
            return refuse("memory_bytes_max", "at least 1 MiB");
        }
        if !(1..=64).contains(&compaction_threads) {
            return refuse("compaction_threads", "1 to 64");
        }
        let share = memory_bytes_max / 5 * 2;
        Ok(Self::of(memory_bytes_max, share, share, compaction_threads, io_bytes_per_s_max))
    }

    /// The budget of an engine alone.
    pub(crate) fn alone(options: &Options) -> Arc<Self> {
        let memtables = Memory::bytes_for(options.memtable_bytes_max as u64);
        let memory = options.block_cache_bytes.saturating_add(memtables).saturating_add(WORKING_BYTES);
        Self::of(memory, options.block_cache_bytes, memtables, 1, 0)
    }

    fn of(
        memory_bytes_max: u64,
        cache: u64,
        memtables: u64,
        compaction_threads: usize,
        io_bytes_per_s_max: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            memory_bytes_max,
            compaction_threads,
            cache: Arc::new(Cache::new(cache)),
            memory: Arc::new(Memory::new(memtables)),
            io: IoLimit::new(io_bytes_per_s_max),
            members: Mutex::default(),
            moved: Signal::default(),
            work: Signal::default(),
            help: Help::default(),
        })
    }

    /// The bound on the memory of all engines, in bytes.
    pub fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// Memory of the memtables of all engines now, in bytes.
    pub fn memtable_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// How many threads compact.
    pub fn compaction_threads(&self) -> usize {
        self.compaction_threads
    }

    /// The engines that are open.
    pub fn engines(&self) -> Vec<Engine> {
        self.members().into_iter().map(Engine::of).collect()
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(crate) fn io(&self) -> &IoLimit {
        &self.io
    }

    pub(crate) fn members(&self) -> Vec<Arc<Core>> {
        self.members.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Takes an engine in.
    pub(crate) fn join(&self, core: &Arc<Core>) {
        let mut members = self.members.lock();
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(core));
        drop(members);
        self.work.happened();
    }
}
