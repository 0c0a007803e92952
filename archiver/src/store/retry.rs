//! The one place where requests to a store are tried again.
//!
//! Only transient errors are retried, at most [`ATTEMPTS_MAX`] times with doubling pauses; the
//! last error is returned as it is. Shipping adds its own, slower loop on top.

use super::{ObjectStore, Page, Result, Statistics, Tag, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How often one request is sent, inclusive.
pub const ATTEMPTS_MAX: u32 = 4;
/// The pause after the first attempt; it doubles after each.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A store whose transient errors are tried again.
#[derive(Debug, Clone)]
pub struct Retrying {
    inner: Arc<dyn ObjectStore>,
}

impl Retrying {
    /// Retries what `inner` cannot do at once.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

async fn retry<T, F: Future<Output = Result<T>>>(mut attempt: impl FnMut() -> F) -> Result<T> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS_MAX {
        match attempt().await {
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "trying again");
                crate::runtime::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    attempt().await
}

#[async_trait]
impl ObjectStore for Retrying {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        retry(|| self.inner.put(name, bytes.clone())).await
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        retry(|| self.inner.get(name, len_max)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        retry(|| self.inner.get_range(name, range.clone())).await
    }

    /// Sent once: the answer to a second request would be about the first one.
    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        self.inner.create(name, bytes).await
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        retry(|| self.inner.begin(name, part_bytes)).await
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        retry(|| self.inner.part(upload, number, bytes.clone())).await
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        retry(|| self.inner.complete(upload, tags)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        retry(|| self.inner.abort(upload)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        retry(|| self.inner.list(prefix, start_after)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        retry(|| self.inner.delete(name)).await
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
    use super::super::Error;
    use super::super::sim::{Fault, Sim};
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[tokio::test(start_paused = true)]
    async fn a_transient_error_is_tried_again_and_a_refusal_is_not() -> TestResult {
        let sim = Arc::new(Sim::new());
        let store = Retrying::new(sim.clone());
        sim.fail_next(Fault::Unreachable, 3);
        store.put("a", Bytes::from_static(b"1")).await?;
        assert_eq!(sim.requests(), 4);
        sim.fail_next(Fault::Refused, 1);
        assert!(store.get("a", 10).await.is_err());
        assert_eq!(sim.requests(), 5);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn retries_end() {
        let sim = Arc::new(Sim::new());
        sim.fail_next(Fault::Unreachable, 100);
        let result = Retrying::new(sim.clone()).get("a", 10).await;
        assert!(result.is_err_and(|error: Error| error.is_transient()));
        assert_eq!(sim.requests(), u64::from(ATTEMPTS_MAX));
    }
}
