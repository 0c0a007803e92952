//! The one writer of a node's Raft log: what waits becomes one batch, one write and one fdatasync.
//!
//! - In production it is a thread, in a simulation a task of the node; both run the same steps.
//! - After a failure nothing is written any more: every operation that waits or comes fails, and [`Log::failed`] says why.
//!   raft-engine panics where a sync fails; that is caught here and is the same failure. The node has to be started again.

use super::entry;
use super::file_system::Files;
use super::raw::{RawEntries, RawEntry};
use super::watermark::{Found, GROUPS_MAX, Watermark};
use crate::bugs::{self, Bug};
use crate::raft::{LogEntry, LogId, TypeConfig, Vote};
use crate::{GroupId, OpenError};
use bytes::Bytes;
use engine::codec::{Decoder, Malformed};
use engine::{Env, LineageId};
use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use raft_engine::{Command, LogBatch, ReadableSize};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// Bytes of entries in one write, about, at most.
const WRITE_BYTES_MAX: usize = 8 << 20;
/// Where raft-engine keeps its files, in the data directory.
const DIR: &str = "raft";
/// The name of the watermark, beside it.
const WATERMARK: &str = "raft.mark";
/// A group's durable notes.
pub(super) const VOTE: &[u8] = b"vote";
pub(super) const PURGED: &[u8] = b"purged";
pub(super) const TAIL: &[u8] = b"tail";
pub(super) const LINEAGE: &[u8] = b"lineage";

/// How the log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The size of one file, in bytes.
    pub file_bytes: u64,
    /// Past this raft-engine collects what was purged, in bytes.
    pub purge_bytes: u64,
    /// In simulations: a real, empty directory that shows raft-engine the names of its files.
    pub mirror: Option<PathBuf>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { file_bytes: 32 << 20, purge_bytes: 256 << 20, mirror: None }
    }
}

/// Who waits for an operation.
pub(super) enum Done {
    Nobody,
    Flushed(IOFlushed<TypeConfig>),
    Reply(oneshot::Sender<io::Result<()>>),
}

/// One operation on one group's log.
pub(super) struct Operation {
    pub(super) group: u64,
    pub(super) entries: Vec<Vec<u8>>,
    /// The last of `entries`.
    pub(super) last: Option<LogId>,
    pub(super) notes: Vec<(&'static [u8], Option<Vec<u8>>)>,
    pub(super) vote: Option<Vote>,
    /// Where the log is about to end.
    pub(super) cut: Option<Option<LogId>>,
    /// Entries before this index go.
    pub(super) purge_to: Option<u64>,
    pub(super) sync: bool,
    /// Everything of the group goes.
    pub(super) forget: bool,
    pub(super) done: Done,
}

impl Operation {
    pub(super) const fn on(group: u64) -> Self {
        Self {
            group,
            entries: Vec::new(),
            last: None,
            notes: Vec::new(),
            vote: None,
            cut: None,
            purge_to: None,
            sync: true,
            forget: false,
            done: Done::Nobody,
        }
    }

    fn bytes(&self) -> usize {
        self.entries.iter().map(Vec::len).sum()
    }
}

type RaftEngine = raft_engine::Engine<Files>;

/// The log of all groups of a node.
pub(crate) struct Log {
    queue: mpsc::UnboundedSender<Operation>,
    shared: Arc<Shared>,
}

struct Shared {
    engine: RaftEngine,
    files: Arc<Files>,
    watermark: Mutex<Watermark>,
    env: Env,
    failed: OnceLock<String>,
    failure: Notify,
    is_simulated: bool,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("failed", &self.shared.failed).finish_non_exhaustive()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.shared.files.retire();
    }
}

impl Log {
    /// Opens the log in a data directory, creating it when there is none, and starts its writer.
    ///
    /// # Errors
    ///
    /// When the disk fails, the log cannot be read, or its watermark is missing.
    pub(crate) fn open(env: &Env, data: &Path, options: &LogOptions) -> Result<Arc<Log>, OpenError> {
        let dir = data.join(DIR);
        let files = Arc::new(
            Files::new(Arc::clone(&env.fs), &dir, options.mirror.as_deref()).map_err(OpenError::io(&dir))?,
        );
        let mark_path = data.join(WATERMARK);
        let (mut watermark, found) =
            Watermark::open(&*env.fs, &mark_path).map_err(OpenError::io(&mark_path))?;
        let engine = open_engine(options, &dir, &files)?;
        if found != Found::Read && !engine.is_empty() {
            return Err(OpenError::Watermark { path: mark_path });
        }
        if found != Found::Read {
            // Before the first write: a crash right after that must not look as if this file had been lost.
            watermark.write(env.clock.now_ms()).map_err(OpenError::io(&mark_path))?;
        }
        let shared = Arc::new(Shared {
            engine,
            files,
            watermark: Mutex::new(watermark),
            env: env.clone(),
            failed: OnceLock::new(),
            failure: Notify::new(),
            is_simulated: options.mirror.is_some(),
        });
        let (queue, operations) = mpsc::unbounded_channel();
        start_writer(Arc::clone(&shared), operations).map_err(OpenError::io(&dir))?;
        Ok(Arc::new(Log { queue, shared }))
    }

    /// Why nothing is written any more; `None` while it is.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.shared.failed.get().map(String::as_str)
    }

    /// Waits until nothing is written any more.
    pub(crate) async fn failure(&self) -> String {
        loop {
            let failure = self.shared.failure.notified();
            if let Some(reason) = self.failed() {
                return reason.to_owned();
            }
            failure.await;
        }
    }

    pub(super) fn submit(&self, mut operation: Operation) {
        if bugs::seeded(Bug::AckedBeforeWritten) {
            answer(std::mem::replace(&mut operation.done, Done::Nobody), Ok(()));
        }
        if let Err(mpsc::error::SendError(operation)) = self.queue.send(operation) {
            answer(operation.done, Err(io::Error::other("the writer of the Raft log has ended")));
        }
    }

    pub(super) async fn write(&self, mut operation: Operation) -> io::Result<()> {
        let (reply, answer) = oneshot::channel();
        operation.done = Done::Reply(reply);
        self.submit(operation);
        let gone = |_gone| Err(io::Error::other("the writer of the Raft log has ended"));
        answer.await.unwrap_or_else(gone)
    }

    /// A durable note of a group.
    pub(super) fn note(&self, group: u64, name: &[u8]) -> Option<Vec<u8>> {
        self.shared.engine.get(group, name)
    }

    /// The vote of a group, as the watermark has it.
    pub(super) fn known(&self, group: u64) -> super::watermark::Known {
        self.shared.watermark.lock().of(group)
    }

    /// The first and last index of the entries on disk.
    pub(super) fn span(&self, group: u64) -> Option<(u64, u64)> {
        Some((self.shared.engine.first_index(group)?, self.shared.engine.last_index(group)?))
    }

    /// The lineage, and its epoch, that a group's log belongs to; `None` when there is no log.
    ///
    /// # Errors
    ///
    /// When what is noted makes no sense.
    pub(crate) fn lineage(&self, group: GroupId) -> io::Result<Option<(LineageId, u32)>> {
        let Some(note) = self.note(group.0, LINEAGE) else { return Ok(None) };
        let mut rest = Decoder::new(&note);
        let read = |rest: &mut Decoder<'_>| Ok((LineageId(rest.array("lineage")?), rest.u32("epoch")?));
        let read: Result<_, Malformed> = read(&mut rest);
        read.map(Some).map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))
    }

    /// Forgets everything of a group, its vote too.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    pub(crate) async fn forget(&self, group: GroupId) -> io::Result<()> {
        self.write(Operation { forget: true, ..Operation::on(group.0) }).await
    }

    /// Whether nothing was ever written of a group.
    pub(crate) fn is_new(&self, group: GroupId) -> bool {
        self.span(group.0).is_none()
            && self.note(group.0, PURGED).is_none()
            && self.note(group.0, VOTE).is_none()
    }

    /// Reads entries from the disk: those from `from` on, before `to`, at least one and then about `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// When the disk fails or an entry is damaged.
    pub(super) fn read(&self, group: u64, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let engine = &self.shared.engine;
        let fetch = || {
            let mut raw = Vec::new();
            let done = engine.fetch_entries_to::<RawEntries>(group, from, to, Some(bytes_max), &mut raw);
            done.map(|_| raw)
        };
        // A file may have been collected between its being found and read: the second look finds where it is now.
        let raw = self.alone(fetch).or_else(|_moved| self.alone(fetch)).map_err(io::Error::other)?;
        check_chains(raw)
    }

    /// raft-engine keeps one block for each thread, whatever engine it is of. In a simulation, where one thread
    /// has many, each read has a thread of its own.
    fn alone<T: Send>(&self, read: impl Fn() -> T + Sync) -> T {
        if !self.shared.is_simulated {
            return read();
        }
        std::thread::scope(|scope| {
            let joined = scope.spawn(&read).join();
            joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn check_chains(raw: Vec<RawEntry>) -> io::Result<Vec<LogEntry>> {
    let damaged = |index: u64| {
        let text = format!("entry {index} of the Raft log does not fit the one before it");
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let mut entries: Vec<LogEntry> = Vec::with_capacity(raw.len());
    for raw in raw {
        let bytes = Bytes::from(raw.bytes);
        let read = entry::decode(&bytes).map_err(io::Error::other)?;
        if let Some(before) = entries.last().and_then(|before| before.chain)
            && read.chain != Some(entry::chain_of(&bytes, before))
        {
            return Err(damaged(read.index()));
        }
        entries.push(read);
    }
    Ok(entries)
}

fn open_engine(options: &LogOptions, dir: &Path, files: &Arc<Files>) -> Result<RaftEngine, OpenError> {
    let shown = options.mirror.as_deref().unwrap_or(dir);
    let config = raft_engine::Config {
        dir: shown.to_string_lossy().into_owned(),
        target_file_size: ReadableSize(options.file_bytes),
        purge_threshold: ReadableSize(options.purge_bytes),
        // More threads would read files in no fixed order.
        recovery_threads: 1,
        // Entries are short, or compressed by nobody's gain: the log is read once.
        batch_compression_threshold: ReadableSize(0),
        ..raft_engine::Config::default()
    };
    let opened =
        catch_unwind(AssertUnwindSafe(|| RaftEngine::open_with_file_system(config, Arc::clone(files))));
    let refused = |reason: String| OpenError::RaftLog { path: dir.to_path_buf(), reason };
    match opened {
        Ok(Ok(engine)) => Ok(engine),
        Ok(Err(error)) => Err(refused(error.to_string())),
        Err(panic) => Err(refused(text_of(&*panic))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the one thread that writes the Raft log")]
fn start_writer(shared: Arc<Shared>, mut operations: mpsc::UnboundedReceiver<Operation>) -> io::Result<()> {
    if shared.is_simulated {
        crate::runtime::spawn(async move {
            while let Some(first) = operations.recv().await {
                crate::runtime::sleep(disk_delay()).await;
                shared.take_and_write(first, &mut operations);
            }
        });
        return Ok(());
    }
    std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || {
        while let Some(first) = operations.blocking_recv() {
            shared.take_and_write(first, &mut operations);
        }
    })?;
    Ok(())
}

/// What a write waits for before it begins, in a simulation: so others join it, as they do behind a busy disk.
fn disk_delay() -> Duration {
    Duration::from_micros(100 + crate::runtime::random_u64() % 3_000)
}

impl Shared {
    fn take_and_write(&self, first: Operation, operations: &mut mpsc::UnboundedReceiver<Operation>) {
        let mut bytes = first.bytes();
        let mut taken = vec![first];
        while bytes < WRITE_BYTES_MAX {
            let Ok(next) = operations.try_recv() else { break };
            bytes += next.bytes();
            taken.push(next);
        }
        let written = match self.failed.get() {
            Some(reason) => Err(reason.clone()),
            None => self.write(&mut taken),
        };
        if let Err(reason) = &written
            && self.failed.set(reason.clone()).is_ok()
        {
            tracing::error!(
                reason,
                "the Raft log failed: this node takes no part any more until it is started again"
            );
            self.failure.notify_waiters();
        }
        for operation in taken {
            answer(operation.done, written.clone().map_err(io::Error::other));
        }
    }

    fn write(&self, taken: &mut [Operation]) -> Result<(), String> {
        match catch_unwind(AssertUnwindSafe(|| self.try_write(taken))) {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(panic) => Err(text_of(&*panic)),
        }
    }

    fn try_write(&self, taken: &mut [Operation]) -> io::Result<()> {
        let mut watermark = self.watermark.lock();
        let now_ms = self.env.clock.now_ms();
        let cuts: Vec<_> = taken.iter().filter_map(|op| op.cut.map(|last| (op.group, last))).collect();
        if !cuts.is_empty() {
            cuts.iter().for_each(|(group, last)| watermark.lower(*group, *last));
            watermark.write(now_ms)?;
        }
        for operation in taken.iter().filter(|operation| operation.forget) {
            watermark.forget(operation.group);
            watermark.write(now_ms)?;
        }
        let mut batch = LogBatch::default();
        let (mut sync, mut purges) = (false, false);
        for operation in taken.iter_mut() {
            sync |= operation.sync;
            purges |= operation.purge_to.is_some();
            add(&mut batch, operation)?;
        }
        let synced = sync && !bugs::seeded(Bug::LogUnsynced);
        self.engine.write(&mut batch, synced).map_err(io::Error::other)?;
        if sync {
            for operation in taken.iter() {
                note(&mut watermark, operation);
            }
            let voted = taken.iter().any(|operation| operation.vote.is_some());
            if voted { watermark.write(now_ms)? } else { watermark.write_if_due(now_ms)? }
        }
        drop(watermark);
        if purges {
            self.engine.purge_expired_files().map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn add(batch: &mut LogBatch, operation: &mut Operation) -> io::Result<()> {
    for (name, value) in operation.notes.drain(..) {
        match value {
            Some(value) => batch.put(operation.group, name.to_vec(), value).map_err(io::Error::other)?,
            None => batch.delete(operation.group, name.to_vec()),
        }
    }
    if operation.forget {
        batch.add_command(operation.group, Command::Clean);
    }
    if let Some(index) = operation.purge_to {
        batch.add_command(operation.group, Command::Compact { index });
    }
    let entries: Vec<RawEntry> = operation.entries.drain(..).map(RawEntry::new).collect();
    batch.add_entries::<RawEntries>(operation.group, &entries).map_err(io::Error::other)
}

fn note(watermark: &mut Watermark, operation: &Operation) {
    assert!(operation.group < GROUPS_MAX as u64, "a node has few groups");
    if let Some(vote) = operation.vote {
        watermark.vote(operation.group, vote);
    }
    if let Some(last) = operation.last {
        watermark.raise(operation.group, last);
    }
}

fn answer(done: Done, result: io::Result<()>) {
    match done {
        Done::Nobody => {}
        Done::Flushed(flushed) => flushed.io_completed(result),
        // Who does not wait any more needs no answer.
        Done::Reply(reply) => drop(reply.send(result)),
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}
