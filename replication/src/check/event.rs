//! What a client asked, when, and what came back.
//!
//! - Keys are the engine's: [`crate::engine_key`] of a key of KV Connect. Values are the engine's as well: a byte of
//!   encoding, then the bytes.

use crate::AtomicWrite;
use engine::Versionstamp;
use std::fmt;

/// A moment of a test, the same clock for all clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment {
    /// Which of all moments of the test this is: what is smaller was before.
    pub order: u64,
    /// Nanoseconds since the test began. Only a stated staleness is measured with it.
    pub at_ns: u64,
}

/// One thing that a client did.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Who.
    pub client: u64,
    /// The node that was asked; only for people.
    pub node: u64,
    /// When it began.
    pub invoked: Moment,
    /// When its answer was there; `None` when none came.
    pub completed: Option<Moment>,
    /// What it was, and what came of it.
    pub action: Action,
}

/// What a client did, and what came of it. A read that failed is no event.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// An atomic write.
    Write {
        /// Its id, which no other write of the test has; one of its mutations is [`super::journal::note`] of it.
        id: u64,
        /// It.
        write: AtomicWrite,
        /// What the client was told.
        outcome: Written,
    },
    /// A read of some ranges in one snapshot.
    Read {
        /// What was promised.
        level: Level,
        /// What was asked for.
        selections: Vec<Selection>,
        /// What was shown.
        seen: Seen,
    },
    /// A watch of some keys.
    Watch {
        /// The keys.
        keys: Vec<Vec<u8>>,
        /// What it said, in order.
        messages: Vec<Message>,
        /// Whether it was still open, with time to say all, after the last write.
        drained: bool,
    },
}

/// What a client was told of its write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It happened, under this stamp.
    Committed(Versionstamp),
    /// It did not: the checks with these indexes failed.
    ChecksFailed(Vec<u32>),
    /// It did not: a mutation could not be done.
    Refused,
    /// It did not and never will: it was not proposed.
    Not,
    /// It may have happened, or may yet.
    Unknown,
}

/// What a read is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything that was acknowledged before it began.
    Strong,
    /// Some state of the past.
    Eventual {
        /// How old at most, when it began, if it said so. The caller has added what its clocks may differ by.
        staleness_ns: Option<u64>,
    },
    /// The state at this stamp.
    At(Versionstamp),
}

/// The entries with `start <= key < end`, the first or last of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Inclusive.
    pub start: Vec<u8>,
    /// Exclusive.
    pub end: Vec<u8>,
    /// How many at most.
    pub limit: usize,
    /// From the end.
    pub reverse: bool,
}

impl Selection {
    /// One key.
    pub fn key(key: &[u8]) -> Self {
        Self { start: key.to_vec(), end: [key, b"\0"].concat(), limit: 1, reverse: false }
    }

    /// Everything that begins with `prefix`, which does not end in `ff`.
    ///
    /// # Panics
    ///
    /// If the prefix is empty or ends in `ff`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let (last, before) = prefix.split_last().expect("a prefix has a byte");
        let next = last.checked_add(1).expect("a prefix does not end in ff");
        Self { start: prefix.to_vec(), end: [before, &[next]].concat(), limit: usize::MAX, reverse: false }
    }
}

/// An entry as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The engine's key.
    pub key: Vec<u8>,
    /// The engine's value.
    pub value: Vec<u8>,
    /// The commit that wrote it.
    pub stamp: Versionstamp,
}

/// What a read showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The stamp of the snapshot, if it was told.
    pub stamp: Option<Versionstamp>,
    /// The time by which expiry was judged, Unix milliseconds, if it was told.
    pub time_ms: Option<u64>,
    /// For each selection its rows, in the order asked for.
    pub rows: Vec<Vec<Row>>,
}

/// What a watch said at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// When it was there.
    pub at: Moment,
    /// The stamp of the snapshot, if it was told.
    pub stamp: Option<Versionstamp>,
    /// The time by which expiry was judged, Unix milliseconds, if it was told.
    pub time_ms: Option<u64>,
    /// For each key its row, or that it is absent.
    pub rows: Vec<Option<Row>>,
}

/// Everything that is there in the end, by a strong read after the last event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Last {
    /// All rows, in the order of their keys.
    pub rows: Vec<Row>,
    /// The time by which expiry was judged, Unix milliseconds, if it was told.
    pub time_ms: Option<u64>,
    /// The replicated clock at each version that has commits, where it is known. Without it no write may check or sum
    /// what can expire.
    pub times_ms: std::collections::BTreeMap<u64, u64>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Write { id, outcome, .. } => write!(f, "write {id} ({outcome})")?,
            Action::Read { level, .. } => write!(f, "{level} read")?,
            Action::Watch { .. } => f.write_str("watch")?,
        }
        write!(f, " of client {} at node {} from {}", self.client, self.node, self.invoked)?;
        match self.completed {
            Some(completed) => write!(f, " to {completed}"),
            None => f.write_str(", never answered"),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} ({} ms)", self.order, self.at_ns / 1_000_000)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::Committed(stamp) => write!(f, "committed as {stamp}"),
            Written::ChecksFailed(indexes) => {
                f.write_str("failed checks")?;
                indexes.iter().try_for_each(|index| write!(f, " {index}"))
            }
            Written::Refused => f.write_str("refused"),
            Written::Not => f.write_str("not applied"),
            Written::Unknown => f.write_str("outcome unknown"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Strong => f.write_str("strong"),
            Level::Eventual { staleness_ns: None } => f.write_str("eventual"),
            Level::Eventual { staleness_ns: Some(ns) } => {
                write!(f, "eventual (at most {} ms old)", ns / 1_000_000)
            }
            Level::At(stamp) => write!(f, "at {stamp}"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} = {} ({})",
            self.key.escape_ascii(),
            self.value.iter().take(24).map(|byte| format!("{byte:02x}")).collect::<String>(),
            self.stamp
        )
    }
}
