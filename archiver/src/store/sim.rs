//! A store in memory that fails when it is told to, in every way that real ones were seen to fail.
//!
//! Shared by clones; counts requests, so that a test can say that none was sent.

mod chaos;
mod uploads;

pub use chaos::Chaos;

use super::{Error, Object, ObjectStore, PAGE_OBJECTS_MAX, Page, Result, Tag, Upload, check_name};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uploads::Uploads;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Transient: nothing was done.
    Unreachable,
    /// Transient: it was done, but the answer got lost.
    AnswerLost,
    /// Permanent: nothing was done.
    Refused,
    /// Transient: half of what was written stands there, until it is written again. Other requests are not done.
    Cut,
    /// Transient: what was written arrives some requests later. Other requests are not done.
    Late,
    /// Success is said, but nothing was written or removed. Reads are not affected.
    Lied,
}

/// An object in memory.
#[derive(Debug, Clone)]
struct Kept {
    bytes: Bytes,
    modified_ms: u64,
    /// The end of its upload was cut off.
    cut: bool,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Kept>,
    uploads: Uploads,
    now_ms: u64,
    requests: u64,
    /// Requests that went wrong.
    faulty: u64,
    faults: Vec<Option<Fault>>,
    chaos: Option<Chaos>,
    /// Writes on their way: the number of the request at which they arrive.
    late: Vec<(u64, String, Bytes)>,
    listings_late_ms: u64,
    listings_twice: bool,
    down: bool,
    without_multipart: bool,
    without_ranges: bool,
    reads_refused: bool,
    removals_refused: bool,
}

impl State {
    fn insert(&mut self, name: &str, bytes: Bytes) -> Result<()> {
        match self.objects.get(name) {
            Some(there) if there.bytes != bytes && !there.cut => {
                Err(Error::Conflict { name: name.to_owned() })
            }
            // Written again with the same bytes, it counts as new, as in every real store.
            Some(_) | None => {
                let modified_ms = self.now_ms;
                self.objects.insert(name.to_owned(), Kept { bytes, modified_ms, cut: false });
                Ok(())
            }
        }
    }

    fn cut(&mut self, name: &str, bytes: &Bytes) {
        if !self.objects.contains_key(name) {
            let kept = Kept { bytes: bytes.slice(..bytes.len() / 2), modified_ms: self.now_ms, cut: true };
            self.objects.insert(name.to_owned(), kept);
        }
    }

    /// Counts a request and says how it fails, after what arrives before it.
    fn next_fault(&mut self) -> Option<Fault> {
        self.requests += 1;
        let requests = self.requests;
        let (due, waiting) = std::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= requests);
        self.late = waiting;
        let due: Vec<(u64, String, Bytes)> = due;
        for (_, name, bytes) in due {
            // It may have been written again, or others may stand there: then it comes too late.
            let late = self.insert(&name, bytes);
            tracing::debug!(name, arrived = late.is_ok(), "a late write");
        }
        let fault = match self.down {
            true => Some(Fault::Unreachable),
            false => self.faults.pop().unwrap_or_else(|| self.chaos.as_mut().and_then(Chaos::draw)),
        };
        self.faulty += u64::from(fault.is_some());
        fault
    }
}

/// A store in memory.
#[derive(Debug, Clone, Default)]
pub struct Sim {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, thiserror::Error)]
#[error("simulated")]
struct Simulated;

/// How many requests a late write waits.
const LATE_REQUESTS: u64 = 3;

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
        self.state().faults = vec![Some(fault); count];
    }

    /// How each of the next requests fails; `None` does not.
    pub fn fail_in_order(&self, faults: &[Option<Fault>]) {
        self.state().faults = faults.iter().rev().copied().collect();
    }

    /// Fails requests at random from now on, or none any more.
    pub fn set_chaos(&self, chaos: Option<Chaos>) {
        self.state().chaos = chaos;
    }

    /// Lists objects only once they are this old, and each of them twice if told so.
    pub fn set_listings(&self, late_ms: u64, twice: bool) {
        let mut state = self.state();
        (state.listings_late_ms, state.listings_twice) = (late_ms, twice);
    }

    /// Fails every request from now on, or none any more.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    /// Refuses to read and to list from now on, or not any more: the credentials of a shipper.
    pub fn refuse_reads(&self, refused: bool) {
        self.state().reads_refused = refused;
    }

    /// Refuses to remove from now on, or not any more: a locked bucket.
    pub fn refuse_removals(&self, refused: bool) {
        self.state().removals_refused = refused;
    }

    /// Knows no multipart uploads from now on.
    pub fn set_without_multipart(&self) {
        self.state().without_multipart = true;
    }

    /// From now on it gives whole objects only.
    pub fn set_without_ranges(&self) {
        self.state().without_ranges = true;
    }

    /// Sets the time that new objects get, Unix milliseconds.
    pub fn set_now_ms(&self, now_ms: u64) {
        self.state().now_ms = now_ms;
    }

    /// How many requests arrived, failed ones included.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// How many of them went wrong.
    pub fn faulty(&self) -> u64 {
        self.state().faulty
    }

    /// Has every write arrive that is on its way.
    pub fn arrive(&self) {
        let mut state = self.state();
        for (_, name, bytes) in std::mem::take(&mut state.late) {
            // Others may stand there: then it comes too late.
            let late = state.insert(&name, bytes);
            tracing::debug!(name, arrived = late.is_ok(), "a late write");
        }
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// How many multipart uploads were begun and are neither completed nor given up.
    pub fn open_uploads(&self) -> usize {
        self.state().uploads.len()
    }

    /// Replaces the bytes of an object behind everybody's back; `None` removes it. Returns what
    /// was there.
    pub fn tamper(&self, name: &str, bytes: Option<Bytes>) -> Option<Bytes> {
        let mut state = self.state();
        let old = state.objects.remove(name);
        if let Some(bytes) = bytes {
            let modified_ms = old.as_ref().map_or(state.now_ms, |kept| kept.modified_ms);
            state.objects.insert(name.to_owned(), Kept { bytes, modified_ms, cut: false });
        }
        old.map(|kept| kept.bytes)
    }

    /// An independent copy of the content.
    #[must_use]
    pub fn fork(&self) -> Sim {
        let state = self.state();
        let copy = State { objects: state.objects.clone(), now_ms: state.now_ms, ..State::default() };
        Sim { state: Arc::new(Mutex::new(copy)) }
    }

    fn fail<T>(&self, action: String, fault: Fault) -> Result<T> {
        let (location, source) = (self.location(), Arc::new(Simulated));
        match fault {
            Fault::Refused => Err(Error::Refused { action, location, source }),
            _ => Err(Error::Unreachable { action, location, source }),
        }
    }

    /// A request that writes no object.
    fn request<T>(&self, action: String, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.state();
        let reads = action.starts_with("read ") || action.starts_with("list ");
        let refused = (state.reads_refused && reads).then_some(Fault::Refused);
        match state.next_fault().or(refused) {
            None | Some(Fault::Lied) => act(&mut state),
            Some(fault) => {
                if fault == Fault::AnswerLost {
                    act(&mut state)?;
                }
                self.fail(action, fault)
            }
        }
    }

    /// A request that writes the object which `bytes` says, and to which `lie` is said when nothing was written.
    fn write<T>(
        &self,
        name: &str,
        lie: T,
        bytes: impl FnOnce(&mut State) -> Result<Bytes>,
        act: impl FnOnce(&mut State, Bytes) -> Result<T>,
    ) -> Result<T> {
        let mut state = self.state();
        let fault = state.next_fault();
        let bytes = bytes(&mut state)?;
        match fault {
            None => act(&mut state, bytes),
            Some(Fault::Lied) => Ok(lie),
            Some(fault) => {
                match fault {
                    Fault::AnswerLost => {
                        act(&mut state, bytes)?;
                    }
                    Fault::Cut => state.cut(name, &bytes),
                    Fault::Late => {
                        let arrives = state.requests + LATE_REQUESTS;
                        state.late.push((arrives, name.to_owned(), bytes));
                    }
                    Fault::Unreachable | Fault::Refused | Fault::Lied => {}
                }
                self.fail(format!("write {name}"), fault)
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Sim {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        check_name(name)?;
        self.write(name, (), |_| Ok(bytes), |state, bytes| state.insert(name, bytes))
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        let location = self.location();
        self.request(format!("read {name}"), |state| match state.objects.get(name) {
            Some(kept) if kept.bytes.len() as u64 > len_max => {
                Err(Error::TooLarge { name: name.to_owned(), len_max })
            }
            Some(kept) => Ok(kept.bytes.clone()),
            None => Err(Error::NotFound { name: name.to_owned(), location }),
        })
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let location = self.location();
        self.request(format!("read {name}"), |state| {
            if state.without_ranges {
                return Err(Error::Unsupported { action: format!("read a part of {name}"), location });
            }
            let not_found = || Error::NotFound { name: name.to_owned(), location };
            let bytes = &state.objects.get(name).ok_or_else(not_found)?.bytes;
            let at = |offset: u64| usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
            Ok(bytes.slice(at(range.start)..at(range.end).max(at(range.start))))
        })
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        check_name(name)?;
        let create = |state: &mut State, bytes| {
            let absent = !state.objects.contains_key(name);
            if absent {
                state.insert(name, bytes)?;
            }
            Ok(absent)
        };
        self.write(name, true, |_| Ok(bytes), create)
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        check_name(name)?;
        let (action, location) = (format!("begin {name}"), self.location());
        self.request(action.clone(), |state| match state.without_multipart {
            true => Err(Error::Unsupported { action, location }),
            false => Ok(state.uploads.begin(name, part_bytes)),
        })
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        let location = self.location();
        self.request(format!("write part {number} of {}", upload.name), |state| {
            let no_upload = || Error::NoUpload { name: upload.name.clone(), location };
            state.uploads.part(upload, number, bytes).ok_or_else(no_upload)
        })
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        let (name, location) = (upload.name.as_str(), self.location());
        let whole = |state: &mut State| {
            let no_upload = || Error::NoUpload { name: name.to_owned(), location };
            state.uploads.whole(upload, tags).ok_or_else(no_upload)
        };
        let complete = |state: &mut State, bytes| {
            state.uploads.end(upload);
            state.insert(name, bytes)
        };
        self.write(name, (), whole, complete)
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.request(format!("give up {}", upload.name), |state| {
            state.uploads.end(upload);
            Ok(())
        })
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        self.request(format!("list {prefix}"), |state| {
            let matching =
                |name: &str| name.starts_with(prefix) && start_after.is_none_or(|after| name > after);
            let visible_ms = state.now_ms.checked_sub(state.listings_late_ms);
            let visible = |kept: &Kept| {
                state.listings_late_ms == 0 || visible_ms.is_some_and(|ms| kept.modified_ms <= ms)
            };
            let times = if state.listings_twice { 2 } else { 1 };
            let mut objects: Vec<Object> = state
                .objects
                .iter()
                .filter(|(name, kept)| matching(name) && visible(kept))
                .flat_map(|listed| std::iter::repeat_n(listed, times))
                .take(PAGE_OBJECTS_MAX + 1)
                .map(|(name, Kept { bytes, modified_ms, .. })| Object {
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
        let mut state = self.state();
        let refused = state.removals_refused.then_some(Fault::Refused);
        let fault = state.next_fault().or(refused);
        if matches!(fault, None | Some(Fault::AnswerLost)) {
            state.objects.remove(name);
        }
        match fault {
            None | Some(Fault::Lied) => Ok(()),
            Some(fault) => self.fail(format!("remove {name}"), fault),
        }
    }

    fn location(&self) -> String {
        "sim://".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::Lacks;
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[tokio::test]
    async fn the_simulated_store_conforms() -> Result<(), String> {
        super::super::conformance::run(&Sim::new()).await
    }

    #[tokio::test]
    async fn a_store_without_multipart_conforms_but_for_that() -> Result<(), String> {
        let sim = Sim::new();
        sim.set_without_multipart();
        super::super::conformance::run_but(&sim, Some(Lacks::Multipart)).await
    }

    #[tokio::test]
    async fn what_is_written_again_counts_as_new() -> TestResult {
        let sim = Sim::new();
        sim.put("a", Bytes::from_static(b"1")).await?;
        sim.set_now_ms(7);
        sim.put("a", Bytes::from_static(b"1")).await?;
        assert_eq!(sim.list("", None).await?.objects[0].modified_ms, 7);
        Ok(())
    }

    #[tokio::test]
    async fn each_fault_does_what_it_says() -> TestResult {
        let (sim, bytes) = (Sim::new(), Bytes::from_static(b"1234"));
        for (fault, there) in [
            (Fault::Unreachable, None),
            (Fault::Refused, None),
            (Fault::AnswerLost, Some("1234")),
            (Fault::Cut, Some("12")),
            (Fault::Lied, None),
            (Fault::Late, None),
        ] {
            let name = format!("{fault:?}");
            sim.fail_next(fault, 1);
            assert_eq!(sim.put(&name, bytes.clone()).await.is_ok(), fault == Fault::Lied, "{name}");
            let got = sim.get(&name, 9).await.ok();
            assert_eq!(got, there.map(Bytes::from), "{name}");
            assert!(fault == Fault::Late || sim.put(&name, bytes.clone()).await.is_ok(), "{name}");
        }
        for _ in 0..LATE_REQUESTS {
            sim.list("", None).await?;
        }
        assert_eq!(sim.get("Late", 9).await?, bytes, "it arrived");
        Ok(())
    }

    #[tokio::test]
    async fn late_and_doubled_listings_hide_and_repeat() -> TestResult {
        let sim = Sim::new();
        sim.set_now_ms(1_000);
        sim.put("a", Bytes::new()).await?;
        sim.set_listings(500, true);
        assert_eq!(sim.list("", None).await?.objects.len(), 0);
        sim.set_now_ms(1_500);
        assert_eq!(sim.list("", None).await?.objects.len(), 2);
        assert_eq!(super::super::list_all(&sim, "").await?.len(), 1);
        Ok(())
    }
}
