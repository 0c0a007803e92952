//! A store in memory that fails when it is told to.
//!
//! Shared by clones; counts requests, so that a test can say that none was sent.

use super::{Error, Object, ObjectStore, PAGE_OBJECTS_MAX, Page, Result, check_name};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Transient: nothing was done.
    Unreachable,
    /// Transient: it was done, but the answer got lost.
    AnswerLost,
    /// Permanent: nothing was done.
    Refused,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, (Bytes, u64)>,
    now_ms: u64,
    requests: u64,
    faults: Vec<Fault>,
    down: bool,
    reads_refused: bool,
}

/// A store in memory.
#[derive(Debug, Clone, Default)]
pub struct Sim {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, thiserror::Error)]
#[error("simulated")]
struct Simulated;

impl Sim {
    /// An empty store at time 0.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails the next `count` requests.
    pub fn fail_next(&self, fault: Fault, count: usize) {
        self.state().faults = vec![fault; count];
    }

    /// Fails every request from now on, or none any more.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    /// Refuses to read and to list from now on, or not any more: the credentials of a shipper.
    pub fn refuse_reads(&self, refused: bool) {
        self.state().reads_refused = refused;
    }

    /// Sets the time that new objects get, Unix milliseconds.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.state().now_ms = now_ms;
    }

    /// How many requests arrived, failed ones included.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// Replaces the bytes of an object behind everybody's back; `None` removes it. Returns what
    /// was there.
    pub fn tamper(&self, name: &str, bytes: Option<Bytes>) -> Option<Bytes> {
        let mut state = self.state();
        let old = state.objects.remove(name);
        if let Some(bytes) = bytes {
            let modified_ms = old.as_ref().map_or(state.now_ms, |(_, ms)| *ms);
            state.objects.insert(name.to_owned(), (bytes, modified_ms));
        }
        old.map(|(bytes, _)| bytes)
    }

    /// An independent copy of the content.
    #[must_use]
    pub fn fork(&self) -> Sim {
        let state = self.state();
        let copy = State { objects: state.objects.clone(), now_ms: state.now_ms, ..State::default() };
        Sim { state: Arc::new(Mutex::new(copy)) }
    }

    fn request<T>(&self, action: String, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        state.requests += 1;
        let reads = action.starts_with("read ") || action.starts_with("list ");
        let fault = match (state.down, state.reads_refused && reads) {
            (true, _) => Some(Fault::Unreachable),
            (false, true) => Some(Fault::Refused),
            (false, false) => state.faults.pop(),
        };
        let location = self.location();
        let source = Arc::new(Simulated);
        match fault {
            None => act(&mut state),
            Some(Fault::Unreachable) => Err(Error::Unreachable { action, location, source }),
            Some(Fault::Refused) => Err(Error::Refused { action, location, source }),
            Some(Fault::AnswerLost) => {
                act(&mut state)?;
                Err(Error::Unreachable { action, location, source })
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Sim {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        check_name(name)?;
        self.request(format!("write {name}"), |state| {
            let now_ms = state.now_ms;
            match state.objects.get(name) {
                Some((there, _)) if *there != bytes => Err(Error::Conflict { name: name.to_owned() }),
                Some(_) | None => {
                    state.objects.insert(name.to_owned(), (bytes, now_ms));
                    Ok(())
                }
            }
        })
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        let location = self.location();
        self.request(format!("read {name}"), |state| match state.objects.get(name) {
            Some((bytes, _)) if bytes.len() as u64 > len_max => {
                Err(Error::TooLarge { name: name.to_owned(), len_max })
            }
            Some((bytes, _)) => Ok(bytes.clone()),
            None => Err(Error::NotFound { name: name.to_owned(), location }),
        })
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        self.request(format!("list {prefix}"), |state| {
            let matching =
                |name: &str| name.starts_with(prefix) && start_after.is_none_or(|after| name > after);
            let mut objects: Vec<Object> = state
                .objects
                .iter()
                .filter(|(name, _)| matching(name))
                .take(PAGE_OBJECTS_MAX + 1)
                .map(|(name, (bytes, modified_ms))| Object {
                    name: name.clone(),
                    bytes: bytes.len() as u64,
                    modified_ms: *modified_ms,
                })
                .collect();
            let more = objects.len() > PAGE_OBJECTS_MAX;
            objects.truncate(PAGE_OBJECTS_MAX);
            Ok(Page { objects, more })
        })
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.request(format!("remove {name}"), |state| {
            state.objects.remove(name);
            Ok(())
        })
    }

    fn location(&self) -> String {
        "sim://".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_simulated_store_conforms() -> Result<(), String> {
        super::super::conformance::run(&Sim::new()).await
    }
}
