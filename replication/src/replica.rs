//! This node's copy of a group's data: the engine under it, who waits for it, and what is known of the group.
//!
//! - Records are appended one for each log entry, alone and in order, and shown to readers at once: what is applied is
//!   agreed on. The engine's own log is synced when a segment is sealed; until then the Raft log holds the entries.
//! - The version of a record is the lineage's epoch and the index of its entry, so where the engine stands says where
//!   the log has been applied to.
//! - A proposal names a record that its proposer had applied, and its content hash. A replica that has another
//!   hash there differs, and stops before it applies anything more.

use crate::bugs::{self, Bug};
use crate::hashes::Hashes;
use crate::log::LogStore;
use crate::membership;
use crate::pending::{Pending, Verdict};
use crate::progress::Progress;
use crate::proposal::Proposal;
use crate::raft::{Answer, LogEntry, LogId, Payload, StoredMembership, log_id};
use crate::replica_dir::is_damage;
use crate::{GroupId, Hub, RequestId, apply, clock_ms};
use arc_swap::ArcSwap;
use engine::versionstamp::{INDEX_MAX, version_of};
use engine::{ContentHash, Engine, Mark, Op, Record};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One replica.
#[derive(Debug)]
pub(crate) struct Replica {
    group: GroupId,
    node: u64,
    boot: u64,
    engine: ArcSwap<Engine>,
    hub: Hub,
    pending: Pending,
    applied: Progress,
    membership: Mutex<StoredMembership>,
    hashes: Hashes,
    damaged: AtomicBool,
    /// Held while the engine changes: an entry is applied, or another engine takes its place.
    turn: tokio::sync::Mutex<()>,
}

/// The index of the entry that a version belongs to.
pub(crate) const fn index_of(version: u64) -> u64 {
    version & INDEX_MAX
}

/// The membership that an engine holds for its lineage, if it belongs to a group already.
pub(crate) fn membership_in(engine: &Engine) -> Option<StoredMembership> {
    let mark = engine.mark(membership::MARK)?;
    let stored = mark.strip_prefix(&engine.lineage().id.0)?;
    membership::decode_stored(stored).ok()
}

/// The mark that holds a membership in the engine's lineage.
pub(crate) fn membership_mark(engine: &Engine, stored: &StoredMembership) -> Mark {
    let mut value = engine.lineage().id.0.to_vec();
    membership::encode_stored(stored, &mut value);
    Mark { name: membership::MARK.to_vec(), value }
}

impl Replica {
    pub(crate) fn new(group: GroupId, node: u64, boot: u64, engine: Engine) -> Self {
        let applied = engine.applied();
        let membership = membership_in(&engine).unwrap_or_default();
        Self {
            group,
            node,
            boot,
            engine: ArcSwap::from_pointee(engine),
            hub: Hub::default(),
            pending: Pending::default(),
            applied: Progress::at(index_of(applied.version)),
            membership: Mutex::new(membership),
            hashes: Hashes::at(applied.version, applied.hash),
            damaged: AtomicBool::new(false),
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::clone(&self.engine.load())
    }

    pub(crate) const fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(crate) const fn pending(&self) -> &Pending {
        &self.pending
    }

    /// The index up to which the log is applied.
    pub(crate) const fn applied(&self) -> &Progress {
        &self.applied
    }

    pub(crate) const fn boot(&self) -> u64 {
        self.boot
    }

    pub(crate) fn membership(&self) -> StoredMembership {
        self.membership.lock().clone()
    }

    /// The entry that was applied last; `None` at the start of history.
    pub(crate) fn position(&self) -> Option<LogId> {
        let applied = self.engine.load().applied();
        (applied.version > 0).then(|| log_id(applied.term, index_of(applied.version)))
    }

    /// What a proposal of this node refers to.
    pub(crate) fn reference(&self) -> (u64, ContentHash) {
        let applied = self.engine.load().applied();
        (applied.version, applied.hash)
    }

    /// Whether it had to stop because something on its disk is damaged.
    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed) || self.engine.load().is_stopped_by_damage()
    }

    /// Applies one entry.
    ///
    /// # Errors
    ///
    /// When stored data cannot be read or written, or this replica differs from the others: it must stop.
    pub(crate) async fn apply(&self, entry: LogEntry) -> io::Result<Answer> {
        let applied = self.apply_in_turn(entry).await;
        if let Err(error) = &applied
            && let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<engine::Error>())
            && is_damage(error)
        {
            self.damaged.store(true, Ordering::Relaxed);
        }
        applied
    }

    async fn apply_in_turn(&self, entry: LogEntry) -> io::Result<Answer> {
        self.pending.enter_term(entry.id.leader_id.term);
        let _turn = self.turn.lock().await;
        let engine = self.engine();
        let (record, answer, requests) = self.resolve(&engine, &entry)?;
        self.append(&engine, &record).await?;
        self.hashes.push(record.version, record.hash);
        if let Payload::Membership(members) = entry.payload {
            *self.membership.lock() = StoredMembership::new(Some(entry.id), members);
        }
        self.tell(&record);
        self.applied.reach(entry.id.index);
        self.settle(&answer, &requests);
        Ok(answer)
    }

    /// What an entry comes to on an engine that holds all before it.
    fn resolve(&self, engine: &Engine, entry: &LogEntry) -> io::Result<(Record, Answer, Vec<RequestId>)> {
        let applied = engine.applied();
        let version = version_of(engine.lineage().epoch, entry.id.index);
        let term = entry.id.leader_id.term;
        let nothing = |marks| Record {
            version,
            term,
            time_ms: applied.time_ms,
            hash: applied.hash,
            batches: Vec::new(),
            marks,
        };
        match &entry.payload {
            Payload::Blank => Ok((nothing(Vec::new()), Answer::Nothing, Vec::new())),
            Payload::Membership(members) => {
                let stored = StoredMembership::new(Some(entry.id), members.clone());
                let mark = membership_mark(engine, &stored);
                Ok((nothing(vec![mark]), Answer::Nothing, Vec::new()))
            }
            Payload::Normal(proposed) => {
                let proposal = Proposal::decode(&proposed.0).map_err(io::Error::other)?;
                let requests = proposal.entry.requests();
                if proposal.term != term {
                    return Ok((nothing(Vec::new()), Answer::Fenced, requests));
                }
                self.compare(proposal.reference)?;
                let mut proposal = proposal;
                if bugs::seeded(Bug::OwnClock) {
                    proposal.entry = proposal.entry.at(engine.env().clock.now_ms());
                }
                if self.node == 2 && bugs::seeded_at_times(Bug::ApplySkips, 200) {
                    return Ok((nothing(Vec::new()), Answer::Applied(Vec::new()), requests));
                }
                let state = engine.newest().at_time(clock_ms(&applied, &proposal.entry));
                let application =
                    apply(&state, &applied, version, &proposal.entry).map_err(io::Error::other)?;
                let record = Record { term, ..application.record };
                Ok((record, Answer::Applied(application.outcomes), requests))
            }
        }
    }

    fn compare(&self, (version, hash): (u64, ContentHash)) -> io::Result<()> {
        match self.hashes.get(version) {
            Some(ours) if ours != hash => {
                let text = format!(
                    "the replicas of group {} differ: at version {version} the content hash is {hash} \
                     where the entry was proposed and {ours} here",
                    self.group
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            _ => Ok(()),
        }
    }

    /// Appends what was agreed on. A disk without any room is waited for: nothing can be refused here.
    async fn append(&self, engine: &Engine, record: &Record) -> io::Result<()> {
        const RETRY_MS: u64 = 100;
        let mut is_waiting = false;
        loop {
            match engine.append_agreed(record) {
                Ok(()) => break,
                Err(error @ (engine::Error::DiskFull { .. } | engine::Error::ErasuresFull { .. })) => {
                    if !std::mem::replace(&mut is_waiting, true) {
                        tracing::error!(group = %self.group, %error, "cannot apply what was agreed on: waiting for room");
                    }
                    crate::runtime::sleep(std::time::Duration::from_millis(RETRY_MS)).await;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        engine.publish(record.version);
        Ok(())
    }

    fn tell(&self, record: &Record) {
        let ops = || record.batches.iter().flat_map(|(_, batch)| batch.ops());
        self.hub.tell(ops().filter_map(|op| match op {
            Op::Put { key, .. } | Op::Delete { key } => Some(key),
            Op::DeletePrefix { .. } => None,
        }));
        for op in ops() {
            if let Op::DeletePrefix { prefix } = op {
                self.hub.tell_prefix(prefix);
            }
        }
    }

    /// Tells the requests of this run of this node what became of them.
    fn settle(&self, answer: &Answer, requests: &[RequestId]) {
        let ours = |request: &RequestId| request.node == self.node && request.boot == self.boot;
        for (place, request) in requests.iter().enumerate().filter(|(_, request)| ours(request)) {
            let verdict = match answer {
                Answer::Fenced => Verdict::NotApplied,
                Answer::Applied(outcomes) => {
                    outcomes.get(place).cloned().map_or(Verdict::Done, Verdict::Outcome)
                }
                Answer::Nothing => Verdict::Done,
            };
            self.pending.resolve(request.counter, verdict);
        }
    }

    /// Puts another engine in the place of this one: a Raft snapshot was installed.
    pub(crate) fn replace(&self, engine: Engine) {
        let applied = engine.applied();
        *self.membership.lock() = membership_in(&engine).unwrap_or_default();
        self.hashes.begin_at(applied.version, applied.hash);
        self.engine.store(Arc::new(engine));
        self.pending.skip_to(applied.term);
        self.applied.reach(index_of(applied.version));
        self.hub.tell_prefix(&[]);
    }

    /// Puts another engine of the same history in the place of this one, unnoticed by readers and by Raft: `fresh` is
    /// brought by the log to where this replica stands, compared with it, and switched to by `switch`. Returns the engine
    /// that was replaced.
    ///
    /// # Errors
    ///
    /// When the log does not reach back to `fresh`, when the two differ, or the disk fails: the old engine goes on. When
    /// `switch` fails, the old engine is closed: it is not known which one counts.
    pub(crate) async fn exchange(
        &self,
        fresh: Engine,
        log: &LogStore,
        switch: impl FnOnce(&Engine) -> io::Result<()>,
    ) -> io::Result<Engine> {
        // The one it was copied from may be ahead of this replica.
        self.applied.wait_for(index_of(fresh.applied().version)).await;
        // Most of it while entries are applied, the last ones while none is.
        self.catch_up(&fresh, log).await?;
        let _turn = self.turn.lock().await;
        self.catch_up(&fresh, log).await?;
        let old = self.engine();
        let (ours, theirs) = (old.applied(), fresh.applied());
        if ours != theirs {
            let text = format!(
                "the replicas of group {} differ: the copy has content hash {} at version {}, and this replica has {} at {}",
                self.group, theirs.hash, theirs.version, ours.hash, ours.version
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        fresh.sync().map_err(io::Error::other)?;
        if let Err(error) = switch(&fresh) {
            if let Err(error) = old.close() {
                tracing::debug!(%error, "an engine does not close");
            }
            return Err(error);
        }
        self.engine.store(Arc::new(fresh));
        Ok(old)
    }

    /// Applies to `fresh` what this replica has applied and that lacks.
    async fn catch_up(&self, fresh: &Engine, log: &LogStore) -> io::Result<()> {
        let until = self.applied.index();
        loop {
            let next = index_of(fresh.applied().version) + 1;
            if next > until {
                return Ok(());
            }
            let entries = log.applied_entries(next, until)?;
            if entries.first().is_none_or(|entry| entry.id.index != next) {
                return Err(io::Error::other(format!("entry {next} is no longer in the Raft log")));
            }
            for entry in entries {
                let (record, _, _) = self.resolve(fresh, &entry)?;
                self.append(fresh, &record).await?;
            }
        }
    }
}
