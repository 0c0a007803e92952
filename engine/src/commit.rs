//! Group commit: what many threads commit at the same time becomes one record and one sync.
//!
//! - The first to come leads: it takes all that waits, commits it, and hands the lead to the first
//!   of those that came meanwhile.
//! - Batches keep the order in which they came.

use crate::record::BATCHES_MAX;
use crate::{Error, Result, Versionstamp, WriteBatch};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of batches in one record, at most, unless one batch alone is larger.
const GROUP_BYTES_MAX: usize = 4 << 20;

#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(WriteBatch, Arc<Slot>)>,
    led: bool,
}

/// Where one thread waits for its turn to lead or for its result.
#[derive(Debug, Default)]
struct Slot {
    news: Mutex<Option<News>>,
    told: Condvar,
}

#[derive(Debug)]
enum News {
    Lead,
    Done(Result<Versionstamp>),
}

impl Slot {
    fn tell(&self, news: News) {
        *self.news.lock() = Some(news);
        self.told.notify_one();
    }

    fn wait(&self) -> News {
        let mut news = self.news.lock();
        loop {
            match news.take() {
                Some(news) => return news,
                None => self.told.wait(&mut news),
            }
        }
    }
}

impl CommitQueue {
    /// Commits `batch` through `commit_group`, which gets batches in order and returns the version of
    /// their record.
    pub(crate) fn commit(
        &self,
        batch: WriteBatch,
        commit_group: impl FnOnce(Vec<WriteBatch>) -> Result<u64>,
    ) -> Result<Versionstamp> {
        let slot = Arc::new(Slot::default());
        let leads = {
            let mut state = self.state.lock();
            state.waiting.push_back((batch, Arc::clone(&slot)));
            !std::mem::replace(&mut state.led, true)
        };
        if !leads && let News::Done(result) = slot.wait() {
            return result;
        }
        let (batches, slots) = self.take_group();
        let result = commit_group(batches);
        self.hand_over();
        // This thread's batch is the first: it led as soon as it could.
        for (order, other) in (1..=u16::MAX).zip(&slots[1..]) {
            other.tell(News::Done(stamp(&result, order)));
        }
        result.map(|version| Versionstamp::new(version, 0))
    }

    fn take_group(&self) -> (Vec<WriteBatch>, Vec<Arc<Slot>>) {
        let mut state = self.state.lock();
        let mut bytes = 0;
        let fits = |(batch, _): &&(WriteBatch, _)| {
            bytes += batch.as_bytes().len();
            bytes <= GROUP_BYTES_MAX
        };
        let count = state.waiting.iter().take(BATCHES_MAX).take_while(fits).count().max(1);
        state.waiting.drain(..count).unzip()
    }

    fn hand_over(&self) {
        let mut state = self.state.lock();
        match state.waiting.front() {
            Some((_, next)) => next.tell(News::Lead),
            None => state.led = false,
        }
    }
}

/// The result of one batch of a group.
fn stamp(result: &Result<u64>, order: u16) -> Result<Versionstamp> {
    match result {
        Ok(version) => Ok(Versionstamp::new(*version, order)),
        Err(Error::DiskFull { available, reserve }) => {
            Err(Error::DiskFull { available: *available, reserve: *reserve })
        }
        Err(error) => Err(Error::Stopped { reason: error.to_string() }),
    }
}
