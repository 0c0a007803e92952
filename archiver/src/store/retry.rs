//! The one place where requests to a store are tried again.
//!
//! Only transient errors are retried, at most [`ATTEMPTS_MAX`] times with doubling pauses; the
//! last error is returned as it is. Shipping adds its own, slower loop on top.

use super::{Error, Object, ObjectStore, Page, Result};
use async_trait::async_trait;
use bytes::Bytes;
use std::future::Future;
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
                tokio::time::sleep(pause).await;
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

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        retry(|| self.inner.list(prefix, start_after)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        retry(|| self.inner.delete(name)).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

/// A store under a prefix of another one's names.
#[derive(Debug, Clone)]
pub struct Prefixed {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
}

impl Prefixed {
    /// Puts `prefix`, which ends with a slash or is empty, before every name.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: String) -> Self {
        Self { inner, prefix }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn strip(&self, object: Object) -> Option<Object> {
        let name = object.name.strip_prefix(&self.prefix)?.to_owned();
        Some(Object { name, ..object })
    }

    fn plain(&self, error: Error) -> Error {
        let strip =
            |name: String| name.strip_prefix(&self.prefix).map_or_else(|| name.clone(), str::to_owned);
        match error {
            Error::NotFound { name, location } => Error::NotFound { name: strip(name), location },
            Error::TooLarge { name, len_max } => Error::TooLarge { name: strip(name), len_max },
            Error::Conflict { name } => Error::Conflict { name: strip(name) },
            other => other,
        }
    }
}

#[async_trait]
impl ObjectStore for Prefixed {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.inner.put(&self.full(name), bytes).await.map_err(|e| self.plain(e))
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        self.inner.get(&self.full(name), len_max).await.map_err(|e| self.plain(e))
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        let after = start_after.map(|name| self.full(name));
        let page = self.inner.list(&self.full(prefix), after.as_deref()).await?;
        let objects = page.objects.into_iter().filter_map(|object| self.strip(object)).collect();
        Ok(Page { objects, more: page.more })
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(&self.full(name)).await
    }

    fn location(&self) -> String {
        format!("{}/{}", self.inner.location(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
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
        assert!(result.is_err_and(|error| error.is_transient()));
        assert_eq!(sim.requests(), u64::from(ATTEMPTS_MAX));
    }
}
