//! A store under a prefix of another one's names.

use super::{Error, Object, ObjectStore, Page, Result, Statistics, Tag, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

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
            Error::NoUpload { name, location } => Error::NoUpload { name: strip(name), location },
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

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(&self.full(name), range).await.map_err(|e| self.plain(e))
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        self.inner.create(&self.full(name), bytes).await.map_err(|e| self.plain(e))
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        self.inner.begin(&self.full(name), part_bytes).await.map_err(|e| self.plain(e))
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        self.inner.part(upload, number, bytes).await.map_err(|e| self.plain(e))
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        self.inner.complete(upload, tags).await.map_err(|e| self.plain(e))
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.inner.abort(upload).await.map_err(|e| self.plain(e))
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

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::Sim;
    use super::*;

    #[tokio::test]
    async fn a_prefixed_store_conforms_and_stays_below_its_prefix() -> Result<(), String> {
        let sim = Sim::new();
        let beside = Bytes::from_static(b"beside");
        sim.put("beside", beside).await.map_err(|error| error.to_string())?;
        super::super::conformance::run(&Prefixed::new(Arc::new(sim.clone()), "p/q/".to_owned())).await?;
        assert_eq!(sim.names(), ["beside"]);
        Ok(())
    }
}
