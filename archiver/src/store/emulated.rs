//! A store that is as far away and as narrow as one wishes: for tests and measurements.
//!
//! - Every call waits for the latency, then its bytes go through one link for each direction, one after
//!   the other: calls at the same time share the bandwidth.
//! - The clock is the runtime's, so that a test with a paused clock takes no time.

use super::{Error, ObjectStore, Page, Result, Statistics, Tag, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// The variable that sets the latency, in microseconds.
pub const LATENCY_VARIABLE: &str = "CAIRN_STORE_LATENCY_US";
/// The variable that sets the bandwidth of each direction, in bytes per second.
pub const BANDWIDTH_VARIABLE: &str = "CAIRN_STORE_BANDWIDTH_BPS";

/// How far and how narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// What every call waits.
    pub latency: Duration,
    /// What goes through in each direction; `None` is unbounded.
    pub bytes_per_second: Option<NonZeroU64>,
}

impl Link {
    /// What the environment says; `None` when neither variable is set.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] when a variable is not a number.
    pub fn from_environment() -> Result<Option<Self>> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str, unit: &str| match variable(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_not_a_number| Error::Url {
                reason: format!("environment variable {name}: {text} is not a whole number of {unit}"),
            }),
        };
        let latency = number(LATENCY_VARIABLE, "microseconds")?;
        let bandwidth = number(BANDWIDTH_VARIABLE, "bytes per second")?;
        if latency.is_none() && bandwidth.is_none() {
            return Ok(None);
        }
        let latency = Duration::from_micros(latency.unwrap_or(0));
        Ok(Some(Self { latency, bytes_per_second: bandwidth.and_then(NonZeroU64::new) }))
    }
}

/// When each direction of the link is free again.
#[derive(Debug, Default)]
struct Free {
    up: Option<Instant>,
    down: Option<Instant>,
}

/// A store behind an emulated link. Clones share the link.
#[derive(Debug, Clone)]
pub struct Emulated {
    inner: Arc<dyn ObjectStore>,
    link: Link,
    free: Arc<Mutex<Free>>,
}

impl Emulated {
    /// Puts `inner` behind a link.
    pub fn new(inner: Arc<dyn ObjectStore>, link: Link) -> Self {
        Self { inner, link, free: Arc::default() }
    }

    async fn up(&self, bytes: usize) {
        sleep(self.link.latency).await;
        self.carry(bytes, |free| &mut free.up).await;
    }

    async fn down(&self, bytes: usize) {
        self.carry(bytes, |free| &mut free.down).await;
    }

    /// Takes its turn on one direction of the link.
    async fn carry(&self, bytes: usize, direction: impl FnOnce(&mut Free) -> &mut Option<Instant>) {
        let Some(per_second) = self.link.bytes_per_second else { return };
        let nanoseconds = (bytes as u128 * 1_000_000_000).div_ceil(u128::from(per_second.get()));
        let takes = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let done = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let direction = direction(&mut free);
            let now = Instant::now();
            let done = direction.map_or(now, |free_at| free_at.max(now)) + takes;
            *direction = Some(done);
            done
        };
        sleep_until(done).await;
    }
}

#[async_trait]
impl ObjectStore for Emulated {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.up(bytes.len()).await;
        self.inner.put(name, bytes).await
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        self.up(0).await;
        let bytes = self.inner.get(name, len_max).await?;
        self.down(bytes.len()).await;
        Ok(bytes)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.up(0).await;
        let bytes = self.inner.get_range(name, range).await?;
        self.down(bytes.len()).await;
        Ok(bytes)
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        self.up(bytes.len()).await;
        self.inner.create(name, bytes).await
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        self.up(0).await;
        self.inner.begin(name, part_bytes).await
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        self.up(bytes.len()).await;
        self.inner.part(upload, number, bytes).await
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        self.up(0).await;
        self.inner.complete(upload, tags).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.up(0).await;
        self.inner.abort(upload).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        self.up(0).await;
        self.inner.list(prefix, start_after).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.up(0).await;
        self.inner.delete(name).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::Sim;
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn store(latency_ms: u64, bytes_per_second: u64) -> Emulated {
        let link = Link {
            latency: Duration::from_millis(latency_ms),
            bytes_per_second: NonZeroU64::new(bytes_per_second),
        };
        Emulated::new(Arc::new(Sim::new()), link)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_for_the_latency_and_share_the_bandwidth() -> TestResult {
        let store = store(10, 1_000);
        let began = Instant::now();
        let two = futures::join!(
            store.put("a", Bytes::from(vec![0; 1_000])),
            store.put("b", Bytes::from(vec![0; 1_000]))
        );
        two.0.and(two.1)?;
        assert_eq!(began.elapsed().as_millis(), 2_010, "together, one latency and both transfers");
        let began = Instant::now();
        store.get("a", 1_000).await?;
        assert_eq!(began.elapsed().as_millis(), 1_010);
        let began = Instant::now();
        store.list("", None).await?;
        assert_eq!(began.elapsed().as_millis(), 10);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_emulated_store_conforms() -> Result<(), String> {
        super::super::conformance::run(&store(1, 1 << 30)).await
    }

    #[test]
    fn the_environment_says_how_far_and_how_narrow() -> TestResult {
        let says = |latency: &'static str, bandwidth: &'static str| {
            let value = move |name: &str| if name == LATENCY_VARIABLE { latency } else { bandwidth };
            Link::from_variables(move |name| Some(value(name).to_owned()))
        };
        assert_eq!(says("", "")?, None);
        let link = Link { latency: Duration::from_micros(1_500), bytes_per_second: NonZeroU64::new(7) };
        assert_eq!(says("1500", "7")?, Some(link));
        for (latency, bandwidth, word) in [("1ms", "", LATENCY_VARIABLE), ("", "-1", BANDWIDTH_VARIABLE)] {
            let said = says(latency, bandwidth).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(word), "{said}");
        }
        Ok(())
    }
}
