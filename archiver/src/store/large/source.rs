//! Where the bytes of a large object come from.

use super::super::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use engine::fs::Fs;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that can be read in ranges, and again.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a range that lies within the bytes, for the object `name`. A caller that wants to go slowly waits here.
    ///
    /// # Errors
    ///
    /// [`Error::Source`].
    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes>;

    /// So many more bytes are in the store, those included that an earlier attempt put there.
    fn uploaded(&self, _bytes: u64) {}
}

#[async_trait]
impl Source for Bytes {
    fn len(&self) -> u64 {
        Bytes::len(self) as u64
    }

    async fn read(&self, _name: &str, range: Range<u64>) -> Result<Bytes> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(self.slice(at(range.start)..at(range.end)))
    }
}

/// A file, which does not change while it is read.
#[derive(Debug, Clone)]
pub struct FileSource {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub len: u64,
}

#[async_trait]
impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let (fs, path) = (Arc::clone(&self.fs), self.path.clone());
        let read = move || {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
            fs.open(&path)?.read_exact_at(&mut bytes, range.start)?;
            Ok::<_, std::io::Error>(Bytes::from(bytes))
        };
        let failed = |source| Error::Source { name: name.to_owned(), source };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(failed(Arc::new(error))),
            Err(error) => Err(failed(Arc::new(error))),
        }
    }
}
