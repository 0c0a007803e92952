//! One group's log as openraft sees it.
//!
//! - The newest entries are kept in memory, up to a bound; replication and apply read them from there.
//! - An append returns at once; openraft is told when it is durable.
//! - A cut of the tail is a durable note first; the entries behind it go with the next append, which raft-engine lets
//!   overwrite them.

use super::chain::Chain;
use super::entry;
use super::watermark::{put_vote, vote as decode_vote};
use super::writer::{Done, LINEAGE, Log, Operation, PURGED, TAIL, VOTE};
use crate::bugs::{self, Bug};
use crate::membership::{position, put_position};
use crate::raft::{LogEntry, LogId, TypeConfig, Vote};
use crate::{GroupId, OpenError};
use engine::Lineage;
use engine::codec::{Decoder, Malformed};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Bytes of entries kept in memory for each group, about, at most.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// Bytes of entries read at once for apply, about.
const APPLY_BYTES_MAX: usize = 64 << 20;
/// Bytes of entries in one message to a follower, about; with one entry more it still fits a message.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// One group's log. Clones are the same log.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    log: Arc<Log>,
    group: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// The newest entries, without a gap up to `last`.
    cache: VecDeque<LogEntry>,
    cache_bytes: usize,
    last: Option<LogId>,
    /// The chain of `last`; `None` when it came with a snapshot.
    last_chain: Option<Chain>,
    purged: Option<LogId>,
    purged_chain: Option<Chain>,
    vote: Option<Vote>,
    /// Whether a durable note says that the log ends before its last entry on disk.
    is_cut: bool,
    /// Bytes appended since the start, and after which entries they were so many: one point for every so many bytes.
    appended_bytes: u64,
    sizes: VecDeque<(u64, u64)>,
}

/// Bytes between two points of [`State::sizes`], about.
const SIZE_STEP: u64 = 256 << 10;
/// Points kept, at most: with more, the oldest goes.
const SIZES_MAX: usize = 4_096;

impl LogStore {
    /// Opens a group's log and checks that it reaches as far as it was durable.
    ///
    /// # Errors
    ///
    /// [`OpenError::LogBehind`] when the end of the log is gone; when the disk fails.
    pub(crate) fn open(log: &Arc<Log>, group: GroupId) -> Result<LogStore, OpenError> {
        let state = recover(log, group.0).map_err(|source| OpenError::ReadLog { group, source })?;
        let known = log.known(group.0);
        if state.last < known.durable {
            let position = |id: Option<LogId>| id.map_or((0, 0), |id| (id.leader_id.term, id.index));
            return Err(OpenError::LogBehind {
                group,
                found: position(state.last),
                durable: position(known.durable),
            });
        }
        Ok(LogStore { log: Arc::clone(log), group: group.0, state: Arc::new(Mutex::new(state)) })
    }

    /// Begins an empty log after a position that the engine holds already.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub(crate) async fn begin_after(&self, id: LogId) -> io::Result<()> {
        let mut operation = Operation::on(self.group);
        {
            let mut state = self.state.lock();
            assert!(state.last.is_none(), "only an empty log begins");
            (state.last, state.purged) = (Some(id), Some(id));
            (state.last_chain, state.purged_chain) = (Some(Chain::START), Some(Chain::START));
            operation.notes.push((PURGED, Some(encode_purged(id, Some(Chain::START)))));
        }
        self.log.write(operation).await
    }

    /// Notes which lineage the log belongs to.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub(crate) async fn belong_to(&self, lineage: Lineage) -> io::Result<()> {
        let mut note = lineage.id.0.to_vec();
        note.extend_from_slice(&lineage.epoch.to_le_bytes());
        if self.log.note(self.group, LINEAGE).as_ref() == Some(&note) {
            return Ok(());
        }
        let mut operation = Operation::on(self.group);
        operation.notes.push((LINEAGE, Some(note)));
        self.log.write(operation).await
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.state.lock().last
    }

    /// What was purged last.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.state.lock().purged
    }

    /// The last index before the newest `bytes` of entries, about; 0 when there are not so many. What was appended before
    /// this start is counted as nothing.
    pub(crate) fn index_before(&self, bytes: u64) -> u64 {
        let state = self.state.lock();
        let Some(until) = state.appended_bytes.checked_sub(bytes) else { return 0 };
        let point = state.sizes.iter().rev().find(|(_, appended)| *appended <= until);
        point.map_or(0, |(index, _)| *index)
    }

    /// Reads entries from `from` on, before `to`, at least one and then about `bytes_max` bytes.
    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let (from, to, cached_from) = {
            let state = self.state.lock();
            let first = state.purged.map_or(0, |id| id.index + 1);
            let next = state.last.map_or(0, |id| id.index + 1);
            let (from, to) = (from.max(first), to.min(next));
            if from >= to {
                return Ok(Vec::new());
            }
            let cached_from = next - state.cache.len() as u64;
            if from >= cached_from {
                let range = place(from - cached_from)..place(to - cached_from);
                return Ok(take(state.cache.range(range).cloned(), bytes_max));
            }
            (from, to, cached_from)
        };
        // A log may begin after index 0 without anything purged from it.
        let first = self.log.span(self.group).map_or(cached_from, |(first, _)| first);
        let (from, until) = (from.max(first).min(cached_from), to.min(cached_from));
        let mut entries =
            if from < until { self.log.read(self.group, from, until, bytes_max)? } else { Vec::new() };
        let bytes: usize = entries.iter().map(LogEntry::len).sum();
        let reached = from + entries.len() as u64;
        if reached == until && until < to && bytes < bytes_max {
            entries.extend(self.read(until, to, bytes_max - bytes)?);
        }
        Ok(entries)
    }

    /// Entries from `first` to `last`, both inclusive: as many as are applied at once. It begins later where the log does.
    ///
    /// # Errors
    ///
    /// When the disk fails or an entry is damaged.
    pub(crate) fn applied_entries(&self, first: u64, last: u64) -> io::Result<Vec<LogEntry>> {
        self.read(first, last.saturating_add(1), MESSAGE_BYTES_MAX)
    }

    /// The chain of an entry, when it is known.
    fn chain_at(&self, id: LogId) -> io::Result<Option<Chain>> {
        {
            let state = self.state.lock();
            if state.purged == Some(id) {
                return Ok(state.purged_chain);
            }
        }
        let entry = self.read(id.index, id.index + 1, 1)?.pop();
        Ok(entry.filter(|entry| entry.id == id).and_then(|entry| entry.chain))
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("the cache is in memory")
}

fn take(entries: impl Iterator<Item = LogEntry>, bytes_max: usize) -> Vec<LogEntry> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for entry in entries {
        bytes += entry.len();
        if bytes > bytes_max && !taken.is_empty() {
            break;
        }
        taken.push(entry);
    }
    taken
}

fn recover(log: &Log, group: u64) -> io::Result<State> {
    let malformed = |error: Malformed| io::Error::new(io::ErrorKind::InvalidData, error);
    let note = |name| log.note(group, name);
    let purged = note(PURGED).map(|bytes| decode_purged(&bytes)).transpose().map_err(malformed)?;
    let (purged, purged_chain) = purged.map_or((None, None), |(id, chain)| (Some(id), chain));
    let cut = note(TAIL).map(|bytes| position(&mut Decoder::new(&bytes))).transpose().map_err(malformed)?;
    let noted =
        note(VOTE).map(|bytes| decode_vote(&mut Decoder::new(&bytes))).transpose().map_err(malformed)?;
    let vote = noted.flatten();
    let known = log.known(group).vote;
    let vote = if known.partial_cmp(&vote) == Some(std::cmp::Ordering::Greater) { known } else { vote };
    let mut end = log.span(group).map(|(_, last)| last);
    if let Some(cut) = cut {
        end = cut.map(|id| id.index);
    }
    let first = log.span(group).map(|(first, _)| first);
    let (mut last, mut last_chain) = (purged, purged_chain);
    if let (Some(end), Some(first)) = (end, first)
        && end >= first
        && purged.is_none_or(|id| id.index < end)
    {
        let entry = log.read(group, end, end + 1, 1)?.pop();
        let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("entry {end} is missing"));
        let entry = entry.ok_or_else(missing)?;
        (last, last_chain) = (Some(entry.id), entry.chain);
    }
    let (cache, cache_bytes, is_cut) = (VecDeque::new(), 0, cut.is_some());
    let (appended_bytes, sizes) = (0, VecDeque::new());
    Ok(State {
        cache,
        cache_bytes,
        last,
        last_chain,
        purged,
        purged_chain,
        vote,
        is_cut,
        appended_bytes,
        sizes,
    })
}

fn encode_purged(id: LogId, chain: Option<Chain>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_position(Some(id), &mut bytes);
    bytes.push(u8::from(chain.is_some()));
    bytes.extend_from_slice(&chain.map_or(0, |chain| chain.0).to_le_bytes());
    bytes
}

fn decode_purged(bytes: &[u8]) -> Result<(LogId, Option<Chain>), Malformed> {
    let mut rest = Decoder::new(bytes);
    let start = rest.clone();
    let id = position(&mut rest)?.ok_or_else(|| start.malformed("a position"))?;
    let is_known = rest.u8("flag of a chain")? == 1;
    let chain = Chain(rest.u64("chain")?);
    rest.finish()?;
    Ok((id, is_known.then_some(chain)))
}

impl State {
    /// Takes an entry at the end; returns its bytes.
    fn push(&mut self, mut entry: LogEntry) -> io::Result<Vec<u8>> {
        let before = if self.last.is_none() { Some(Chain::START) } else { self.last_chain };
        let (bytes, computed) = entry::encode(&entry, before.unwrap_or(Chain::START));
        match (entry.chain, before) {
            (Some(given), Some(_)) if given != computed => {
                let text = format!(
                    "entry {} does not fit the log of this node: one of the two is damaged or was changed",
                    entry.id
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            (Some(given), _) => self.last_chain = Some(given),
            (None, _) => {
                entry.chain = Some(computed);
                self.last_chain = Some(computed);
            }
        }
        self.last = Some(entry.id);
        self.count(entry.id.index, entry.len() as u64);
        self.cache_bytes += entry.len();
        self.cache.push_back(entry);
        Ok(bytes)
    }

    fn count(&mut self, index: u64, bytes: u64) {
        self.appended_bytes += bytes;
        let counted = self.sizes.back().map_or(0, |(_, bytes)| *bytes);
        if self.appended_bytes - counted >= SIZE_STEP {
            self.sizes.push_back((index, self.appended_bytes));
            if self.sizes.len() > SIZES_MAX {
                self.sizes.pop_front();
            }
        }
    }

    fn shrink(&mut self) {
        while self.cache_bytes > CACHE_BYTES_MAX && self.cache.len() > 1 {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cache_bytes -= entry.len();
        }
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: R,
    ) -> Result<Vec<LogEntry>, io::Error> {
        let (mut from, to) = bounds(&range);
        let mut entries = Vec::new();
        loop {
            let some = self.read(from, to, APPLY_BYTES_MAX)?;
            let Some(last) = some.last() else { return Ok(entries) };
            from = last.index() + 1;
            entries.extend(some);
        }
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.state.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> Result<Vec<LogEntry>, io::Error> {
        self.read(from, to, MESSAGE_BYTES_MAX)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if bugs::seeded(Bug::VoteNotSaved) {
            self.state.lock().vote = Some(*vote);
            return Ok(());
        }
        let mut bytes = Vec::new();
        put_vote(Some(vote), &mut bytes);
        let mut operation = Operation::on(self.group);
        operation.notes.push((VOTE, Some(bytes)));
        operation.vote = Some(*vote);
        self.log.write(operation).await?;
        self.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = LogEntry> + Send,
        I::IntoIter: Send,
    {
        let mut operation = Operation::on(self.group);
        {
            let mut state = self.state.lock();
            for entry in entries {
                operation.entries.push(state.push(entry)?);
            }
            state.shrink();
            operation.last = state.last;
            if std::mem::take(&mut state.is_cut) {
                operation.notes.push((TAIL, None));
            }
        }
        operation.done = Done::Flushed(flushed);
        self.log.submit(operation);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let kept = last.map_or(0, |id| id.index + 1);
        if self.state.lock().last.is_none_or(|id| id.index < kept) {
            return Ok(());
        }
        let chain = last.map_or(Ok(Some(Chain::START)), |id| self.chain_at(id))?;
        {
            let mut state = self.state.lock();
            while state.cache.back().is_some_and(|entry| entry.index() >= kept) {
                let cut = state.cache.pop_back();
                state.cache_bytes -= cut.map_or(0, |entry| entry.len());
            }
            (state.last, state.last_chain, state.is_cut) = (last, chain, true);
        }
        let mut bytes = Vec::new();
        put_position(last, &mut bytes);
        let mut operation = Operation::on(self.group);
        operation.notes.push((TAIL, Some(bytes)));
        operation.cut = Some(last);
        self.log.write(operation).await
    }

    async fn purge(&mut self, id: LogId) -> Result<(), io::Error> {
        let is_past_the_end = self.state.lock().last.is_none_or(|last| last.index < id.index);
        let chain = if is_past_the_end { None } else { self.chain_at(id)? };
        let mut operation = Operation::on(self.group);
        {
            let mut state = self.state.lock();
            while state.cache.front().is_some_and(|entry| entry.index() <= id.index) {
                state.pop_oldest();
            }
            (state.purged, state.purged_chain) = (Some(id), chain);
            if is_past_the_end {
                (state.last, state.last_chain) = (Some(id), None);
                operation.last = Some(id);
                // What is on disk ends before: the next entry would leave a gap if any of it stayed.
                if std::mem::take(&mut state.is_cut) {
                    operation.notes.push((TAIL, None));
                }
            }
        }
        operation.notes.push((PURGED, Some(encode_purged(id, chain))));
        operation.purge_to = Some(id.index + 1);
        self.log.write(operation).await
    }
}
