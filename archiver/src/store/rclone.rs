//! A store in any of the clouds that rclone knows, through its remote control (`rclone rcd --rc-serve`).
//!
//! - The remote control is one that runs already, or a child of ours that is started with the first request and dies with the
//!   store.
//! - How durable a put is, and whether half of one can be seen, is up to the remote. Nothing here relies on either: an object's
//!   name holds the digest of its bytes.
//! - The remote control lists whole directories at once: each page of a listing costs one such listing.
//! - It has no multipart uploads: parts are files in `.tmp`, which are read back and written as one when they are completed.

mod child;
mod control;
mod upload;

use super::{Error, Object, ObjectStore, PAGE_OBJECTS_MAX, Page, Result, Tag, Upload, check_name};
use async_trait::async_trait;
use bytes::Bytes;
use child::{Started, basic};
use control::{Control, Failure, Outcome, sort};
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Where the remote control is.
#[derive(Clone, PartialEq, Eq)]
pub enum Server {
    /// It runs already.
    At {
        /// Host and port.
        address: String,
        /// User and password, where it wants them; never shown.
        user: Option<(String, String)>,
    },
    /// Started by us, by this program.
    Child(String),
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At { address, .. } => {
                f.debug_struct("At").field("address", address).finish_non_exhaustive()
            }
            Self::Child(program) => f.debug_tuple("Child").field(program).finish(),
        }
    }
}

/// A store in a directory of a remote.
#[derive(Debug, Clone)]
pub struct Rclone {
    server: Server,
    /// As rclone names it, such as `remote:bucket/path`.
    remote: String,
    started: Arc<Mutex<Option<Started>>>,
}

impl Rclone {
    /// The store in `remote`, as rclone names it. Starts nothing.
    pub fn new(server: Server, remote: &str) -> Self {
        Self { server, remote: remote.trim_end_matches('/').to_owned(), started: Arc::default() }
    }

    async fn control(&self) -> Outcome<Control> {
        let program = match &self.server {
            Server::At { address, user } => {
                let authorization = user.as_ref().map(|(user, password)| basic(user, password));
                return Ok(Control { address: address.clone(), authorization });
            }
            Server::Child(program) => program,
        };
        let mut started = self.started.lock().await;
        if let Some(child) = started.as_mut()
            && child.runs()
        {
            return Ok(child.control.clone());
        }
        let child = started.insert(Started::start(program).await?);
        Ok(child.control.clone())
    }

    fn sort<T>(&self, action: impl FnOnce() -> String, done: Outcome<T>) -> Result<T> {
        done.map_err(|failure| sort(action(), self.location(), failure))
    }

    fn not_found(&self, name: &str) -> Error {
        Error::NotFound { name: name.to_owned(), location: self.location() }
    }

    async fn call(&self, function: &str, name: &str) -> Outcome<Value> {
        let arguments = json!({ "fs": self.remote, "remote": name });
        self.control().await?.call(function, &arguments).await
    }

    async fn write(&self, name: &str, body: control::Body) -> Outcome<()> {
        let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
        self.control().await?.upload(&self.remote, directory, file, body).await
    }

    async fn write_bytes(&self, name: &str, bytes: Bytes) -> Outcome<()> {
        self.write(name, stream::once(async move { Ok(bytes) }).boxed()).await
    }

    async fn read(&self, name: &str, range: Option<Range<u64>>, len_max: u64) -> Outcome<Bytes> {
        match self.control().await?.download(&self.remote, name, range, len_max).await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(Error::TooLarge { name: name.to_owned(), len_max }.into()),
            Err(failure) if failure.is_absent() => Err(self.not_found(name).into()),
            Err(failure) => Err(failure),
        }
    }

    async fn page(&self, prefix: &str, start_after: Option<&str>) -> Outcome<Page> {
        let directory = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
        let options = json!({ "recurse": true, "filesOnly": true, "noMimeType": true });
        let arguments = json!({ "fs": self.remote, "remote": directory, "opt": options });
        let listing = match self.control().await?.call("operations/list", &arguments).await {
            Err(failure) if failure.is_absent() => return Ok(Page::default()),
            listing => listing?,
        };
        let listed = listing["list"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut objects: Vec<Object> = listed.iter().filter_map(object).collect();
        objects.retain(|object| {
            object.name.starts_with(prefix) && start_after.is_none_or(|after| *object.name > *after)
        });
        objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let more = objects.len() > PAGE_OBJECTS_MAX;
        objects.truncate(PAGE_OBJECTS_MAX);
        Ok(Page { objects, more })
    }

    async fn remove(&self, function: &str, name: &str) -> Outcome<()> {
        match self.call(function, name).await {
            Err(failure) if failure.is_absent() => Ok(()),
            removed => removed.map(drop),
        }
    }
}

/// One file of a listing, when its name is one of ours.
fn object(listed: &Value) -> Option<Object> {
    let name = listed["Path"].as_str().filter(|name| check_name(name).is_ok())?.to_owned();
    let modified = listed["ModTime"].as_str()?.parse::<jiff::Timestamp>().ok();
    let modified_ms = modified.and_then(|time| u64::try_from(time.as_millisecond()).ok()).unwrap_or(0);
    Some(Object { name, bytes: listed["Size"].as_u64()?, modified_ms })
}

#[async_trait]
impl ObjectStore for Rclone {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        check_name(name)?;
        self.sort(|| format!("write {name}"), self.write_bytes(name, bytes).await)
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        check_name(name)?;
        self.sort(|| format!("read {name}"), self.read(name, None, len_max).await)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        check_name(name)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let len_max = range.end - range.start;
        self.sort(|| format!("read {name}"), self.read(name, Some(range), len_max).await)
    }

    async fn create(&self, name: &str, _bytes: Bytes) -> Result<bool> {
        Err(Error::Unsupported { action: format!("create {name}"), location: self.location() })
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        check_name(name)?;
        self.sort(|| format!("begin {name}"), upload::begin(self, name, part_bytes).await)
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        let action = || format!("write part {number} of {}", upload.name);
        self.sort(action, upload::part(self, upload, number, bytes).await)
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        check_name(&upload.name)?;
        self.sort(|| format!("complete {}", upload.name), upload::complete(self, upload, tags).await)
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        self.sort(|| format!("give up {}", upload.name), upload::end(self, upload).await)
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        self.sort(|| format!("list {prefix}"), self.page(prefix, start_after).await)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.sort(|| format!("remove {name}"), self.remove("operations/deletefile", name).await)
    }

    fn location(&self) -> String {
        match &self.server {
            Server::At { address, .. } => format!("rclone://{address}/{}", self.remote),
            Server::Child(_) => format!("rclone:///{}", self.remote),
        }
    }
}
