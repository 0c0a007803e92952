//! One drained batch, from commands to answers.
//!
//! - Order within a batch: apply, append, sync, publish, tell watches, answer.
//! - A write whose data cannot be read fails alone: its batch is halved until it is found. So is a batch
//!   that comes to more than one record can hold.
//! - When every check of a batch fails, nothing is appended: there is nothing to make durable.

use super::{Command, Reply, State, WriteError};
use crate::connect::errors::Chain;
use crate::metrics::WriteMetrics;
use engine::{Engine, Op, Record};
use replication::Hub;
use replication::ServingClock;
use replication::{Application, AtomicWrite, Entry, Outcome, Refusal};
use tokio::sync::watch;

/// Applies batches to the engine, one after the other.
#[derive(Debug)]
pub(super) struct Committer {
    engine: Engine,
    clock: ServingClock,
    hub: Hub,
    state: watch::Sender<State>,
    metrics: WriteMetrics,
}

/// The engine stopped: no batch can follow.
#[derive(Debug)]
pub(super) struct Stopped;

/// Answers that wait for the sync.
#[derive(Default)]
struct Staged {
    writes: Vec<(Reply<Outcome>, Outcome)>,
    marks: Vec<Reply<()>>,
    records: Vec<Record>,
}

impl Committer {
    pub(super) const fn new(
        engine: Engine,
        clock: ServingClock,
        hub: Hub,
        state: watch::Sender<State>,
        metrics: WriteMetrics,
    ) -> Self {
        Self { engine, clock, hub, state, metrics }
    }

    /// Makes a batch durable and answers every command in it.
    pub(super) fn commit(&mut self, commands: Vec<Command>) -> Result<(), Stopped> {
        let mut staged = Staged::default();
        let mut writes = Vec::new();
        let mut replies = Vec::new();
        let mut rooms = Vec::new();
        let mut marks = Vec::new();
        for command in commands {
            match command {
                Command::Write { write, reply, _room, .. } => {
                    writes.push(write);
                    replies.push(reply);
                    rooms.push(_room);
                }
                Command::Progress { mark, reply } => marks.push((mark, reply)),
                Command::Close => unreachable!("a batch ends before the command to close"),
            }
        }
        self.metrics.batch_writes.observe(count(writes.len()));
        let appended = self.stage_writes(writes, replies, &mut staged).and_then(|()| {
            marks.into_iter().try_for_each(|(mark, reply)| self.stage_mark(mark, reply, &mut staged))
        });
        match appended.and_then(|()| self.make_durable(&staged)) {
            Ok(()) => {
                self.finish(staged);
                Ok(())
            }
            Err(reason) => Err(self.fail(staged, reason)),
        }
    }

    fn stage_writes(
        &self,
        writes: Vec<AtomicWrite>,
        mut replies: Vec<Reply<Outcome>>,
        staged: &mut Staged,
    ) -> Result<(), String> {
        if writes.is_empty() {
            return Ok(());
        }
        let entry = Entry::Batch { time_ms: self.clock.now_ms(), writes };
        let applied = self.apply(&entry);
        let Entry::Batch { mut writes, .. } = entry else { unreachable!("a batch was just made") };
        match applied {
            Ok(application) if writes.len() == 1 || !overflows(&application) => {
                self.stage(application, replies, staged)
            }
            Err(error) if writes.len() == 1 => {
                tracing::error!(error = %Chain(&error), "cannot apply a write");
                answer_all(replies, &WriteError::Storage(error.to_string()));
                Ok(())
            }
            Ok(_) | Err(_) => {
                let half = writes.len() / 2;
                let (later_writes, later_replies) = (writes.split_off(half), replies.split_off(half));
                self.stage_writes(writes, replies, staged)?;
                self.stage_writes(later_writes, later_replies, staged)
            }
        }
    }

    fn apply(&self, entry: &Entry) -> engine::Result<Application> {
        let applied = self.engine.applied();
        let state = self.engine.newest().at_time(replication::clock_ms(&applied, entry));
        replication::apply(&state, &applied, self.engine.next_version(), entry)
    }

    fn stage(
        &self,
        application: Application,
        replies: Vec<Reply<Outcome>>,
        staged: &mut Staged,
    ) -> Result<(), String> {
        assert_eq!(application.outcomes.len(), replies.len(), "every write has an outcome");
        let answers = replies.into_iter().zip(application.outcomes);
        if application.record.batches.is_empty() {
            staged.writes.extend(answers);
            return Ok(());
        }
        match self.engine.append(&application.record) {
            Ok(()) => {
                self.set_state(State::Open);
                staged.writes.extend(answers);
                staged.records.push(application.record);
                Ok(())
            }
            Err(engine::Error::DiskFull { available, reserve }) => {
                let error = self.disk_full(available, reserve);
                answers.for_each(|(reply, _)| answer(reply, Err(error.clone())));
                Ok(())
            }
            Err(error) => {
                staged.writes.extend(answers);
                Err(Chain(&error).to_string())
            }
        }
    }

    fn stage_mark(&self, mark: engine::Mark, reply: Reply<()>, staged: &mut Staged) -> Result<(), String> {
        let entry = Entry::Progress { time_ms: self.clock.now_ms(), mark };
        let record = match self.apply(&entry) {
            Ok(application) => application.record,
            Err(error) => {
                answer(reply, Err(WriteError::Storage(error.to_string())));
                return Ok(());
            }
        };
        match self.engine.append(&record) {
            Ok(()) => {
                staged.marks.push(reply);
                staged.records.push(record);
                Ok(())
            }
            Err(engine::Error::DiskFull { available, reserve }) => {
                answer(reply, Err(self.disk_full(available, reserve)));
                Ok(())
            }
            Err(error) => {
                staged.marks.push(reply);
                Err(Chain(&error).to_string())
            }
        }
    }

    fn make_durable(&self, staged: &Staged) -> Result<(), String> {
        if staged.records.is_empty() {
            return Ok(());
        }
        let synced = self.engine.sync().map_err(|error| Chain(&error).to_string())?;
        self.engine.publish(synced);
        Ok(())
    }

    fn finish(&self, staged: Staged) {
        for record in &staged.records {
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
        staged.writes.into_iter().for_each(|(reply, outcome)| answer(reply, Ok(outcome)));
        staged.marks.into_iter().for_each(|reply| answer(reply, Ok(())));
    }

    fn fail(&self, staged: Staged, reason: String) -> Stopped {
        tracing::error!(reason, "the engine stopped: writes that were under way have no known outcome");
        let error = WriteError::Unknown(reason.clone());
        let (writes, outcomes): (Vec<_>, Vec<_>) = staged.writes.into_iter().unzip();
        drop(outcomes);
        answer_all(writes, &error);
        answer_all(staged.marks, &error);
        self.set_state(State::Failed(reason));
        Stopped
    }

    fn disk_full(&self, available: u64, reserve: u64) -> WriteError {
        let reason = engine::Error::DiskFull { available, reserve }.to_string();
        if self.set_state(State::DiskFull { reason: reason.clone(), reserve }) {
            tracing::error!(available, reserve, "writes are stopped: the disk is full up to its reserve");
        }
        WriteError::DiskFull { reason, reserve }
    }

    /// Sets how writes stand; returns whether that is of another kind than before.
    fn set_state(&self, state: State) -> bool {
        let mut changed = false;
        self.state.send_if_modified(|current| {
            changed = std::mem::discriminant(current) != std::mem::discriminant(&state);
            if changed {
                *current = state;
            }
            changed
        });
        changed
    }
}

/// Whether a write was refused only because of the others in its batch.
fn overflows(application: &Application) -> bool {
    application.outcomes.contains(&Outcome::Refused(Refusal::BatchFull))
}

/// Answers a command that was not taken.
pub(super) fn refuse(command: Command, error: &WriteError) {
    match command {
        Command::Write { reply, .. } => answer(reply, Err(error.clone())),
        Command::Progress { reply, .. } => answer(reply, Err(error.clone())),
        Command::Close => {}
    }
}

fn answer_all<T>(replies: Vec<Reply<T>>, error: &WriteError) {
    replies.into_iter().for_each(|reply| answer(reply, Err(error.clone())));
}

/// Answers; a client that went away needs none.
fn answer<T>(reply: Reply<T>, result: Result<T, WriteError>) {
    drop(reply.send(result));
}

fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}
