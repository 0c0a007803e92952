//! What a log entry says: atomic writes waiting to be applied, a tick of the clock, a mark, or the end of a database.
//!
//! - Keys are KV Connect keys, without the database prefix of the engine.
//! - Operands are typed already: whoever makes an entry has decoded and checked them.

use crate::{BigInt, DatabaseNumber, StoredValue};
use engine::{Mark, Versionstamp};

/// One entry of a group's log.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// Atomic writes, applied in order; the index of each is the order in its versionstamp.
    Batch {
        /// The proposer's clock, Unix milliseconds.
        time_ms: u64,
        /// At most [`crate::apply::WRITES_MAX`]; those after it are refused.
        writes: Vec<AtomicWrite>,
    },
    /// Moves the replicated clock, so that what is due expires.
    Tick {
        /// The proposer's clock, Unix milliseconds.
        time_ms: u64,
    },
    /// Sets a mark; changes no data.
    Progress {
        /// The proposer's clock, Unix milliseconds.
        time_ms: u64,
        /// Who asked.
        request: RequestId,
        /// What is set. A mark outside the engine's bounds is left out.
        mark: Mark,
    },
    /// Removes everything that a database holds. Doing it again changes nothing more.
    DeleteDatabase {
        /// The proposer's clock, Unix milliseconds.
        time_ms: u64,
        /// Who asked.
        request: RequestId,
        /// Which. The system's own keyspace, number 0, is left alone.
        database: DatabaseNumber,
    },
}

impl Entry {
    /// The proposer's clock, Unix milliseconds.
    pub const fn time_ms(&self) -> u64 {
        match self {
            Entry::Batch { time_ms, .. }
            | Entry::Tick { time_ms }
            | Entry::Progress { time_ms, .. }
            | Entry::DeleteDatabase { time_ms, .. } => *time_ms,
        }
    }

    /// The same entry at another time.
    #[must_use]
    pub fn at(mut self, at_ms: u64) -> Entry {
        match &mut self {
            Entry::Batch { time_ms, .. }
            | Entry::Tick { time_ms }
            | Entry::Progress { time_ms, .. }
            | Entry::DeleteDatabase { time_ms, .. } => *time_ms = at_ms,
        }
        self
    }

    /// An entry that is not a batch, asked for by `request`.
    #[must_use]
    pub fn by(mut self, by: RequestId) -> Entry {
        if let Entry::Progress { request, .. } | Entry::DeleteDatabase { request, .. } = &mut self {
            *request = by;
        }
        self
    }

    /// Who asked for what it does, in order.
    pub fn requests(&self) -> Vec<RequestId> {
        match self {
            Entry::Batch { writes, .. } => writes.iter().map(|write| write.request).collect(),
            Entry::Tick { .. } => Vec::new(),
            Entry::Progress { request, .. } | Entry::DeleteDatabase { request, .. } => vec![*request],
        }
    }
}

/// Names one request for ever, so that its outcome can be found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The node that took the request.
    pub node: u64,
    /// Which run of that node.
    pub boot: u64,
    /// Rises with each request of that run.
    pub counter: u64,
}

/// Checks, and mutations that happen together when all checks hold.
#[derive(Debug, Clone, PartialEq)]
pub struct AtomicWrite {
    /// Who asked.
    pub request: RequestId,
    /// Where.
    pub database: DatabaseNumber,
    /// All must hold.
    pub checks: Vec<Check>,
    /// Done in order; later ones see earlier ones.
    pub mutations: Vec<Mutation>,
}

/// A condition on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The key.
    pub key: Vec<u8>,
    /// The stamp of its value; `None` when it must be absent.
    pub stamp: Option<Versionstamp>,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    /// The key; for [`MutationKind::SetSuffixed`] what the suffix is put after.
    pub key: Vec<u8>,
    /// The change.
    pub kind: MutationKind,
}

impl Mutation {
    /// Bytes of its key and value.
    pub fn bytes(&self) -> usize {
        let value = match &self.kind {
            MutationKind::Set { value, .. } | MutationKind::SetSuffixed { value, .. } => value.bytes.len(),
            MutationKind::Delete | MutationKind::Sum(_) | MutationKind::Min(_) | MutationKind::Max(_) => 0,
        };
        self.key.len() + value
    }
}

/// What a mutation does to its key.
#[derive(Debug, Clone, PartialEq)]
pub enum MutationKind {
    /// Stores a value and replaces the expiry.
    Set {
        /// The value.
        value: StoredValue,
        /// Unix milliseconds from which on the key is absent; `None` is never.
        expire_at_ms: Option<u64>,
    },
    /// Removes the key.
    Delete,
    /// Adds to the value, or stores the operand when the key is absent. Clears the expiry.
    Sum(Sum),
    /// Keeps the smaller of two u64, or stores the operand when absent. Clears the expiry.
    Min(u64),
    /// Keeps the greater of two u64, or stores the operand when absent. Clears the expiry.
    Max(u64),
    /// Stores a value under `key ++ 02 ++ 20 lower-case hexadecimal digits of the stamp ++ 00`.
    SetSuffixed {
        /// The value.
        value: StoredValue,
        /// Unix milliseconds from which on the key is absent; `None` is never.
        expire_at_ms: Option<u64>,
    },
}

/// The operand of a sum, with bounds of the same type (inclusive).
#[derive(Debug, Clone, PartialEq)]
pub enum Sum {
    /// Wraps at 2^64.
    U64(u64),
    /// Of any size.
    BigInt {
        /// What is added.
        operand: BigInt,
        /// The smallest result.
        min: Option<BigInt>,
        /// The greatest result.
        max: Option<BigInt>,
        /// Whether a result outside the bounds is moved to the bound instead of refused.
        clamp: bool,
    },
    /// A JavaScript number.
    Number {
        /// What is added.
        operand: f64,
        /// The smallest result.
        min: Option<f64>,
        /// The greatest result.
        max: Option<f64>,
        /// Whether a result outside the bounds is moved to the bound instead of refused.
        clamp: bool,
    },
}
