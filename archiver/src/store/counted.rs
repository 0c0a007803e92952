//! A store whose calls are counted and timed.

use super::statistics::{Call, Statistics};
use super::{ObjectStore, Page, Result, Tag, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// A store whose calls are counted. Clones count together.
#[derive(Debug, Clone)]
pub struct Counted {
    inner: Arc<dyn ObjectStore>,
    statistics: Arc<Mutex<Statistics>>,
}

impl Counted {
    /// Counts what is asked of `inner` from now on.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, statistics: Arc::default() }
    }

    /// Counts one call; `bytes` says how many it carried.
    async fn count<T>(
        &self,
        call: Call,
        bytes: impl FnOnce(&T) -> usize,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let began = Instant::now();
        let done = work.await;
        let time = began.elapsed();
        let mut statistics = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = statistics.at(call);
        calls.count += 1;
        calls.time += time;
        match &done {
            Ok(value) => calls.bytes += bytes(value) as u64,
            Err(_) => calls.errors += 1,
        }
        done
    }
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let len = bytes.len();
        self.count(Call::Put, |()| len, self.inner.put(name, bytes)).await
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        self.count(Call::Get, Bytes::len, self.inner.get(name, len_max)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.count(Call::GetRange, Bytes::len, self.inner.get_range(name, range)).await
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        let len = bytes.len();
        self.count(Call::Create, |ours| if *ours { len } else { 0 }, self.inner.create(name, bytes)).await
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        self.count(Call::Begin, |_| 0, self.inner.begin(name, part_bytes)).await
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        let len = bytes.len();
        self.count(Call::Part, |_| len, self.inner.part(upload, number, bytes)).await
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        self.count(Call::Complete, |()| 0, self.inner.complete(upload, tags)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.count(Call::Abort, |()| 0, self.inner.abort(upload)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        self.count(Call::List, |_| 0, self.inner.list(prefix, start_after)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.count(Call::Delete, |()| 0, self.inner.delete(name)).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(*self.statistics.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulated::{Emulated, Link};
    use super::super::sim::Sim;
    use super::*;
    use std::time::Duration;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[tokio::test(start_paused = true)]
    async fn calls_errors_bytes_and_time_are_counted() -> TestResult {
        let link = Link { latency: Duration::from_millis(5), bytes_per_second: None };
        let store = Counted::new(Arc::new(Emulated::new(Arc::new(Sim::new()), link)));
        store.put("a", Bytes::from_static(b"123")).await?;
        store.put("b", Bytes::from_static(b"1")).await?;
        store.get_range("a", 1..9).await?;
        assert!(store.get("c", 9).await.is_err());
        let statistics = store.clone().statistics().ok_or("it counts")?;
        let (put, range, get) =
            (statistics.of(Call::Put), statistics.of(Call::GetRange), statistics.of(Call::Get));
        assert_eq!((put.count, put.errors, put.bytes, put.time.as_millis()), (2, 0, 4, 10));
        assert_eq!((range.count, range.bytes), (1, 2));
        assert_eq!((get.count, get.errors, get.bytes), (1, 1, 0));
        assert_eq!(statistics.requests(), 4);
        Ok(())
    }

    #[tokio::test]
    async fn a_counted_store_conforms() -> Result<(), String> {
        super::super::conformance::run(&Counted::new(Arc::new(Sim::new()))).await
    }
}
