//! The bucket as the archiver sees it: whole objects that are written once.
//!
//! - A name is written once: whoever writes it again writes the same bytes, so a repeated put is
//!   harmless and an overwrite is never needed.
//! - A put is durable when it returns.
//! - Listings are sorted by name and come in pages of at most [`PAGE_OBJECTS_MAX`] objects.
//! - A multipart upload is not an object, nor listed, before it is completed.
//! - Retries happen in one place, [`retry`], and are bounded there.
//!
//! | module | what it is |
//! |---|---|
//! | [`local`], [`s3`], [`sftp`], [`rclone`], [`sim`] | a directory, a bucket, a directory of another machine, what rclone knows, memory that fails on request |
//! | [`retry`], [`prefixed`], [`counted`], [`emulated`] | around any of them: tries again, puts a prefix before every name, counts, slows down |
//! | [`large`] | puts large objects in parts, and goes on after a crash |
//! | [`url`] | opens the store that a URL names |
//! | [`probe`] | tries out what a store can do |
//!
//! Every store passes the suite in [`conformance`].

#[doc(hidden)]
pub mod conformance;
pub mod counted;
pub mod emulated;
pub mod large;
pub mod local;
pub mod prefixed;
pub mod probe;
pub mod rclone;
pub mod retry;
pub mod s3;
pub mod sftp;
pub mod sim;
pub mod statistics;
pub mod url;

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use statistics::Statistics;
pub use url::open;

/// The most objects in one page of a listing, inclusive.
pub const PAGE_OBJECTS_MAX: usize = 1_000;
/// The longest name of an object, in bytes, inclusive.
pub const NAME_LEN_MAX: usize = 900;
/// The longest component of a name, in bytes, inclusive: what file systems take.
pub const COMPONENT_LEN_MAX: usize = 240;

/// The least bytes of a part of a multipart upload, the last part excepted.
pub const PART_BYTES_MIN: u64 = 5 << 20;
/// The most parts of a multipart upload, inclusive.
pub const PARTS_MAX: u32 = 10_000;

/// A multipart upload that was begun. Opaque: it goes back to the store as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The object that it becomes, as the store names it.
    pub name: String,
    /// The store's name for it.
    pub id: String,
    /// The size of every part but the last.
    pub part_bytes: u64,
}

/// What a store answers for a part: completing an upload shows it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub String);

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written by the store's own clock, Unix milliseconds.
    pub modified_ms: u64,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Objects, sorted by name.
    pub objects: Vec<Object>,
    /// Whether objects follow after the last one.
    pub more: bool,
}

/// Where archives are kept.
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Writes a whole object, durably. Writing a name again with the same bytes changes nothing.
    ///
    /// # Errors
    ///
    /// What the store says. Whether the object is there is unknown after a transient error.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()>;

    /// Reads a whole object of at most `len_max` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::TooLarge`], or what the store says.
    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes>;

    /// Reads the bytes of an object in `range`: fewer, or none, where the object ends before.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], or what the store says.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes>;

    /// Writes a whole object unless there is one, and says whether it did. Only for learning what a store can do:
    /// some say that they did and did not.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], or what the store says.
    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool>;

    /// Begins an object that is written in parts of `part_bytes`, at least [`PART_BYTES_MIN`]; only the last one may be
    /// smaller. The same size for all of them is what Cloudflare's R2 wants.
    ///
    /// # Errors
    ///
    /// What the store says.
    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload>;

    /// Writes one part, durably. Parts are numbered from 1 to [`PARTS_MAX`] and come in any order; a part may be
    /// written again with the same bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NoUpload`], or what the store says.
    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag>;

    /// Makes the object out of its parts, whose tags are given in their order, from part 1 to the last.
    ///
    /// # Errors
    ///
    /// [`Error::NoUpload`], which also comes when it was completed before; or what the store says.
    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()>;

    /// Gives an upload up. Not an error when it is not there.
    ///
    /// # Errors
    ///
    /// What the store says.
    async fn abort(&self, upload: &Upload) -> Result<()>;

    /// The first objects whose names start with `prefix` and sort after `start_after`.
    ///
    /// # Errors
    ///
    /// What the store says.
    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page>;

    /// Removes an object. Not an error when it is not there.
    ///
    /// # Errors
    ///
    /// What the store says.
    async fn delete(&self, name: &str) -> Result<()>;

    /// The URL it was opened with, without credentials: for messages.
    fn location(&self) -> String;

    /// What was asked of it so far, where that is counted.
    fn statistics(&self) -> Option<Statistics> {
        None
    }
}

/// Every object whose name starts with `prefix`, once, sorted by name, also from a server that lists folder by
/// folder (SeaweedFS puts `l/x` before `l-1/x`) or lists an object twice.
///
/// # Errors
///
/// What the store says; [`Error::Refused`] when its pages never end.
pub async fn list_all(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<Object>> {
    let mut all: Vec<Object> = Vec::new();
    loop {
        let after = all.last().map(|object| object.name.clone());
        let page = store.list(prefix, after.as_deref()).await?;
        let last = page.objects.last().map(|object| object.name.clone());
        if page.more && last.is_some() && last == after {
            let source = Arc::new(NoProgress);
            return Err(Error::Refused {
                action: format!("list {prefix}"),
                location: store.location(),
                source,
            });
        }
        all.extend(page.objects);
        if !page.more || last.is_none() {
            all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            all.dedup_by(|a, b| a.name == b.name);
            return Ok(all);
        }
    }
}

/// A page of a listing ends where the one before ended.
#[derive(Debug, thiserror::Error)]
#[error("the server gives the same page of the listing again and again")]
struct NoProgress;

/// Refuses names that some store could not keep as they are.
///
/// # Errors
///
/// [`Error::Name`] unless the name is components of `A-Z a-z 0-9 . _ -`, none starting with a
/// dot, joined by single slashes, within the length bounds.
pub fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let component = |part: &str| {
        (1..=COMPONENT_LEN_MAX).contains(&part.len()) && !part.starts_with('.') && part.bytes().all(plain)
    };
    if name.len() <= NAME_LEN_MAX && name.split('/').all(component) {
        Ok(())
    } else {
        Err(Error::Name { name: name.to_owned() })
    }
}

/// What can go wrong in a store, sorted by what the caller does next.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such object. Look at what names it.
    #[error("no object {name} in {location}")]
    NotFound {
        /// The object.
        name: String,
        /// The store.
        location: String,
    },
    /// The object is larger than anything we write there. It is not ours.
    #[error("object {name} is over {len_max} bytes")]
    TooLarge {
        /// The object.
        name: String,
        /// What was allowed.
        len_max: u64,
    },
    /// The multipart upload was completed, given up, or never begun. Begin again.
    #[error("the upload of {name} is not known any more in {location}")]
    NoUpload {
        /// The object.
        name: String,
        /// The store.
        location: String,
    },
    /// What was to be written cannot be read. Look at the disk.
    #[error("cannot read what is to be written as {name}")]
    Source {
        /// The object.
        name: String,
        /// What the disk said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store cannot do this at all. Do without.
    #[error("{location} cannot {action}")]
    Unsupported {
        /// What was tried.
        action: String,
        /// The store.
        location: String,
    },
    /// Other bytes stand under this name. Two writers differ: find the second one.
    #[error("object {name} is there with other bytes")]
    Conflict {
        /// The object.
        name: String,
    },
    /// The name is not one that every store can keep. This is a bug of the caller.
    #[error("{name} is not an object name")]
    Name {
        /// The name.
        name: String,
    },
    /// The URL of the archive is wrong. Change it.
    #[error("{reason}")]
    Url {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The store did not answer, or asked to come back later. Try again.
    #[error("cannot {action} in {location}")]
    Unreachable {
        /// What was tried.
        action: String,
        /// The store.
        location: String,
        /// What the store or the network said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The store said no, and will again. Look at credentials, permissions and free space.
    #[error("cannot {action} in {location}")]
    Refused {
        /// What was tried.
        action: String,
        /// The store.
        location: String,
        /// What the store said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody changing anything.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// The result of an operation on a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_store_could_change_are_refused() {
        for name in ["a", "a/b.c", "lineages/00000-ab/x_y"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "x".repeat(COMPONENT_LEN_MAX + 1);
        for name in ["", "/a", "a/", "a//b", ".a", "a/..", "a b", "a%2f", "ä", "a\\b", &long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
