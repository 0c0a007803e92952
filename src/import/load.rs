//! Writing checked rows: through apply and the engine's log, in batches that are durable one by one.
//!
//! - The mark goes in before the first row and out after the last, each in a record of its own.
//! - No segment of the log is given up meanwhile: an archive may still want it.

use super::{ImportError, Imported, Options, Source, UNFINISHED_MARK, unfinished};
use engine::record::MARK_VALUE_LEN_MAX;
use engine::{Clock, Direction, Engine, Mark, Progress};
use replication::{AtomicWrite, DEFAULT_DATABASE, DatabaseNumber, Entry, Mutation, Outcome, RequestId};

/// Rows in one commit, at most.
const BATCH_ROWS_MAX: usize = 500;
/// Bytes of keys and values in one commit after which it is closed.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// Refuses a database that has content, or half an import, unless it may be merged into.
pub(super) fn refuse_content(engine: &Engine, now_ms: u64, merge: bool) -> Result<(), ImportError> {
    if merge {
        return Ok(());
    }
    if let Some(file) = unfinished(engine) {
        return Err(ImportError::Unfinished { file });
    }
    let start = replication::engine_key(DEFAULT_DATABASE, b"");
    let end = replication::engine_key(DatabaseNumber(DEFAULT_DATABASE.0 + 1), b"");
    let mut entries = engine.newest().at_time(now_ms).range(&start, &end, Direction::Forward)?;
    match entries.next().transpose()? {
        Some(_) => Err(ImportError::NotEmpty),
        None => Ok(()),
    }
}

/// Writes every row that has not expired.
pub(super) fn load(
    engine: &Engine,
    clock: &dyn Clock,
    source: &Source,
    checked: Imported,
    options: Options<'_>,
) -> Result<Imported, ImportError> {
    engine.keep_segments_after(Some(0));
    let mut target = Target { engine, clock, requests: 0 };
    target.mark(source.path().as_os_str().as_encoded_bytes())?;
    let now_ms = clock.now_ms();
    let mut done = Imported { queue_messages: checked.queue_messages, ..Imported::default() };
    let mut batch = Batch::default();
    source.each_row(|row| {
        if row.is_expired(now_ms) {
            done.skipped_expired += 1;
            return Ok(());
        }
        batch.bytes += row.len();
        batch.rows.push(row.to_mutation());
        if batch.is_full() {
            done.rows += target.commit(std::mem::take(&mut batch))?;
            options.tell(done.rows, checked.rows);
        }
        Ok(())
    })?;
    done.rows += target.commit(batch)?;
    options.tell(done.rows, checked.rows);
    target.mark(b"")?;
    Ok(done)
}

/// Rows that share a commit.
#[derive(Default)]
struct Batch {
    rows: Vec<Mutation>,
    bytes: usize,
}

impl Batch {
    const fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

struct Target<'a> {
    engine: &'a Engine,
    clock: &'a dyn Clock,
    requests: u64,
}

impl Target<'_> {
    /// Commits rows durably and says how many.
    fn commit(&mut self, batch: Batch) -> Result<u64, ImportError> {
        if batch.rows.is_empty() {
            return Ok(0);
        }
        let rows = batch.rows.len() as u64;
        self.requests += 1;
        let request = RequestId { node: 0, boot: 0, counter: self.requests };
        let write =
            AtomicWrite { request, database: DEFAULT_DATABASE, checks: Vec::new(), mutations: batch.rows };
        let outcomes = self.apply(&Entry::Batch { time_ms: self.clock.now_ms(), writes: vec![write] })?;
        match outcomes.into_iter().find_map(refusal) {
            Some(reason) => Err(ImportError::Refused { reason }),
            None => Ok(rows),
        }
    }

    /// Sets the mark of an import that has not ended; an empty file removes it.
    fn mark(&self, file: &[u8]) -> Result<(), ImportError> {
        let value = file[..file.len().min(MARK_VALUE_LEN_MAX)].to_vec();
        let mark = Mark { name: UNFINISHED_MARK.to_vec(), value };
        self.apply(&Entry::Progress {
            time_ms: self.clock.now_ms(),
            request: RequestId { node: 0, boot: 0, counter: 0 },
            mark,
        })?;
        Ok(())
    }

    fn apply(&self, entry: &Entry) -> Result<Vec<Outcome>, ImportError> {
        let engine = self.engine;
        let applied = engine.applied();
        let state = engine.newest().at_time(replication::clock_ms(&applied, entry));
        let application = replication::apply(&state, &applied, engine.next_version(), entry)?;
        engine.append(&application.record)?;
        engine.publish(engine.sync()?);
        while engine.maintain()? == Progress::Worked {}
        Ok(application.outcomes)
    }
}

fn refusal(outcome: Outcome) -> Option<replication::Refusal> {
    match outcome {
        Outcome::Refused(refusal) => Some(refusal),
        Outcome::Committed(_) | Outcome::ChecksFailed(_) => None,
    }
}

#[cfg(test)]
mod tests;
