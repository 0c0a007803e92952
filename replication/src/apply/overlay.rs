//! What the writes of one batch have changed so far, seen over the state below.
//!
//! - A write works on its own changes, which see the batch, which sees the state; they join the batch
//!   when the whole write has succeeded and are dropped otherwise.
//! - What has expired by the clock of the entry is absent at every layer.

use super::{State, sum};
use crate::command::{Mutation, MutationKind};
use crate::{DatabaseNumber, Refusal, StoredValue, engine_key};
use bytes::Bytes;
use engine::write_batch::{KEY_LEN_MAX, VALUE_LEN_MAX};
use engine::{OpError, Versionstamp, WriteBatch};
use std::collections::{BTreeMap, HashMap};

/// Bytes of an operation in a batch besides its key and value, at most.
const OP_OVERHEAD: usize = 15;
/// Bytes that a versionstamped suffix adds to a key.
const SUFFIX_LEN: usize = 2 + 2 * Versionstamp::LEN;

/// Why a write stopped half way.
#[derive(Debug)]
pub(super) enum Stop {
    /// The write cannot be done; the next one can.
    Refused(Refusal),
    /// The state cannot be read; nothing can be done.
    Disk(engine::Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<engine::Error> for Stop {
    fn from(error: engine::Error) -> Self {
        Stop::Disk(error)
    }
}

/// What a key became.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Put { value: Bytes, expire_at_ms: Option<u64> },
    Delete,
}

impl Change {
    /// The value that a reader at `time_ms` sees.
    fn visible(&self, time_ms: u64) -> Option<&Bytes> {
        match self {
            Change::Put { value, expire_at_ms } if expire_at_ms.is_none_or(|at| at > time_ms) => Some(value),
            Change::Put { .. } | Change::Delete => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Change::Put { value, .. } => value.len(),
            Change::Delete => 0,
        }
    }
}

/// The last change of each key, by engine key.
pub(super) type Changes = BTreeMap<Vec<u8>, Change>;

/// The committed changes of a batch over a state.
pub(super) struct Overlay<'a> {
    state: &'a dyn State,
    time_ms: u64,
    committed: HashMap<Vec<u8>, (Versionstamp, Change)>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(state: &'a dyn State, time_ms: u64) -> Self {
        Self { state, time_ms, committed: HashMap::new() }
    }

    /// The stamp of a key's value, if it has one. A key that the engine cannot hold has none.
    pub(super) fn stamp_of(&self, key: &[u8]) -> engine::Result<Option<Versionstamp>> {
        match self.committed.get(key) {
            Some((stamp, change)) => Ok(change.visible(self.time_ms).map(|_| *stamp)),
            None if key.len() > KEY_LEN_MAX => Ok(None),
            None => self.state.stamp_of(key),
        }
    }

    fn get(&self, key: &[u8]) -> engine::Result<Option<Bytes>> {
        match self.committed.get(key) {
            Some((_, change)) => Ok(change.visible(self.time_ms).cloned()),
            None => Ok(self.state.get(key)?.map(|value| value.bytes)),
        }
    }

    /// Starts a write that may add up to `room` bytes to the batch.
    pub(super) fn begin(&self, stamp: Versionstamp, room: usize) -> Write<'_> {
        Write { overlay: self, stamp, room, changes: Changes::new() }
    }

    /// Makes the changes of a write visible to the next.
    pub(super) fn commit(&mut self, stamp: Versionstamp, changes: Changes) {
        self.committed.extend(changes.into_iter().map(|(key, change)| (key, (stamp, change))));
    }
}

/// One write, half way through.
pub(super) struct Write<'a> {
    overlay: &'a Overlay<'a>,
    stamp: Versionstamp,
    room: usize,
    changes: Changes,
}

impl Write<'_> {
    /// Does one mutation.
    pub(super) fn mutate(&mut self, database: DatabaseNumber, mutation: &Mutation) -> Result<(), Stop> {
        let mut key = engine_key(database, &mutation.key);
        if let MutationKind::SetSuffixed { .. } = mutation.kind {
            push_suffix(&mut key, self.stamp);
        }
        if key.len() > KEY_LEN_MAX {
            return Err(Refusal::KeyTooLong.into());
        }
        let change = match &mutation.kind {
            MutationKind::Set { value, expire_at_ms } | MutationKind::SetSuffixed { value, expire_at_ms } => {
                put(value, *expire_at_ms)
            }
            MutationKind::Delete => Change::Delete,
            MutationKind::Sum(operand) => put(&sum::sum(self.get(&key)?.as_deref(), operand)?, None),
            MutationKind::Min(operand) => put(&sum::min(self.get(&key)?.as_deref(), *operand)?, None),
            MutationKind::Max(operand) => put(&sum::max(self.get(&key)?.as_deref(), *operand)?, None),
        };
        self.change(key, change)
    }

    /// The changes, when all mutations are done.
    pub(super) fn finish(self) -> Changes {
        self.changes
    }

    fn get(&self, key: &[u8]) -> engine::Result<Option<Bytes>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.visible(self.overlay.time_ms).cloned()),
            None => self.overlay.get(key),
        }
    }

    fn change(&mut self, key: Vec<u8>, change: Change) -> Result<(), Stop> {
        if change.len() > VALUE_LEN_MAX {
            return Err(Refusal::ValueTooLong.into());
        }
        let freed = self.changes.get(&key).map_or(0, |before| cost(&key, before));
        let room = self.room + freed;
        self.room = room.checked_sub(cost(&key, &change)).ok_or(Refusal::TooLarge)?;
        self.changes.insert(key, change);
        Ok(())
    }
}

fn put(value: &StoredValue, expire_at_ms: Option<u64>) -> Change {
    Change::Put { value: Bytes::from(value.to_engine()), expire_at_ms }
}

fn cost(key: &[u8], change: &Change) -> usize {
    OP_OVERHEAD + key.len() + change.len()
}

/// Appends `02`, the hexadecimal digits of the stamp and `00`: a KV Connect string key part.
fn push_suffix(key: &mut Vec<u8>, stamp: Versionstamp) {
    key.reserve(SUFFIX_LEN);
    key.push(0x02);
    key.extend_from_slice(stamp.to_string().as_bytes());
    key.push(0x00);
}

/// The changes in the engine's canonical bytes, in the order of the keys.
pub(super) fn to_batch(changes: &Changes) -> Result<WriteBatch, Refusal> {
    let mut batch = WriteBatch::new();
    for (key, change) in changes {
        match change {
            Change::Put { value, expire_at_ms } => batch.put(key, value, *expire_at_ms),
            Change::Delete => batch.delete(key),
        }
        .map_err(|out_of_bounds| match out_of_bounds {
            OpError::KeyLen(_) | OpError::PrefixLen(_) => Refusal::KeyTooLong,
            OpError::ValueLen(_) => Refusal::ValueTooLong,
        })?;
    }
    Ok(batch)
}
