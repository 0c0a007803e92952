//! A store in a directory.
//!
//! - An object is written under a temporary name, synced, renamed, and its directory synced: it is
//!   there whole or not at all, also after a crash.
//! - Names that start with a dot are not objects; temporary files and multipart uploads live in `.tmp`.
//!
//! This file speaks to the system's disk directly: it is the real side of the
//! [`ObjectStore`] seam, as `store::s3` is the real side for a network.
#![expect(clippy::disallowed_methods, reason = "this is the implementation of the seam that hides the disk")]

pub(super) mod upload;

use super::{Error, Object, ObjectStore, PAGE_OBJECTS_MAX, Page, Result, Tag, Upload, check_name};
use async_trait::async_trait;
use bytes::Bytes;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Temporary files of dead writers are removed once they are this old.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);
const TEMPORARY: &str = ".tmp";

static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// A store in a directory, which is created by the first put.
#[derive(Debug, Clone)]
pub struct Local {
    root: PathBuf,
}

impl Local {
    /// The store at `root`, an absolute path.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Runs blocking work off the runtime's threads.
    async fn blocking<T: Send + 'static>(
        &self,
        action: String,
        work: impl FnOnce(&Path) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T> {
        let root = self.root.clone();
        let location = self.location();
        let done = tokio::task::spawn_blocking(move || work(&root)).await;
        match done {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Failure::Store(error))) => Err(error),
            Ok(Err(Failure::Disk(source))) => {
                Err(Error::Refused { action, location, source: Arc::new(source) })
            }
            Err(source) => Err(Error::Refused { action, location, source: Arc::new(source) }),
        }
    }
}

enum Failure {
    Store(Error),
    Disk(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

#[async_trait]
impl ObjectStore for Local {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        check_name(name)?;
        let name = name.to_owned();
        self.blocking(format!("write {name}"), move |root| put(root, &name, &bytes)).await
    }

    async fn get(&self, name: &str, len_max: u64) -> Result<Bytes> {
        check_name(name)?;
        let (name, location) = (name.to_owned(), self.location());
        self.blocking(format!("read {name}"), move |root| get(root, name, len_max, location)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        check_name(name)?;
        let (name, location) = (name.to_owned(), self.location());
        self.blocking(format!("read {name}"), move |root| get_range(root, name, &range, location)).await
    }

    async fn create(&self, name: &str, bytes: Bytes) -> Result<bool> {
        check_name(name)?;
        let name = name.to_owned();
        self.blocking(format!("create {name}"), move |root| create(root, &name, &bytes)).await
    }

    async fn begin(&self, name: &str, part_bytes: u64) -> Result<Upload> {
        check_name(name)?;
        let name = name.to_owned();
        self.blocking(format!("begin {name}"), move |root| upload::begin(root, name, part_bytes)).await
    }

    async fn part(&self, upload: &Upload, number: u32, bytes: Bytes) -> Result<Tag> {
        let (upload, location) = (upload.clone(), self.location());
        let action = format!("write part {number} of {}", upload.name);
        self.blocking(action, move |root| upload::part(root, upload, number, &bytes, location)).await
    }

    async fn complete(&self, upload: &Upload, tags: &[Tag]) -> Result<()> {
        let (upload, tags, location) = (upload.clone(), tags.to_vec(), self.location());
        let action = format!("complete {}", upload.name);
        self.blocking(action, move |root| upload::complete(root, upload, &tags, location)).await
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        let upload = upload.clone();
        self.blocking(format!("give up {}", upload.name), move |root| upload::abort(root, &upload)).await
    }

    async fn list(&self, prefix: &str, start_after: Option<&str>) -> Result<Page> {
        let (prefix, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        self.blocking(format!("list {prefix}"), move |root| list(root, &prefix, after.as_deref())).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        check_name(name)?;
        let name = name.to_owned();
        self.blocking(format!("remove {name}"), move |root| match fs::remove_file(root.join(&name)) {
            Err(error) if is_absent(&error) => Ok(()),
            done => Ok(done?),
        })
        .await
    }

    fn location(&self) -> String {
        format!("file://{}", self.root.display())
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn put(root: &Path, name: &str, bytes: &Bytes) -> Result<(), Failure> {
    let path = root.join(name);
    match fs::read(&path) {
        // Written again: it counts as new for those who remove what is old.
        Ok(there) if there == *bytes => {
            return Ok(fs::File::options().write(true).open(&path)?.set_modified(SystemTime::now())?);
        }
        Ok(_) => return Err(Failure::Store(Error::Conflict { name: name.to_owned() })),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(error.into()),
    }
    let parent = path.parent().unwrap_or(root);
    create_durably(parent)?;
    let temporary = temporary_path(root)?;
    let written = write_durably(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        if let Err(left) = fs::remove_file(&temporary) {
            tracing::debug!(path = %temporary.display(), %left, "a temporary file is left");
        }
        return Err(error.into());
    }
    Ok(sync_dir(parent)?)
}

/// A name nobody else uses, in the directory for temporary files.
fn temporary_path(root: &Path) -> io::Result<PathBuf> {
    let directory = root.join(TEMPORARY);
    let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
    if number == 0 {
        create_durably(&directory)?;
        remove_abandoned(&directory)?;
    } else if !directory.is_dir() {
        create_durably(&directory)?;
    }
    Ok(directory.join(format!("{}-{number}", std::process::id())))
}

fn remove_abandoned(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > ABANDONED_AFTER {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn create_durably(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    create_durably(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(parent),
    }
}

fn sync_dir(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// A hard link is made unless there is one, by the file system.
fn create(root: &Path, name: &str, bytes: &[u8]) -> Result<bool, Failure> {
    let path = root.join(name);
    let parent = path.parent().unwrap_or(root);
    create_durably(parent)?;
    let temporary = temporary_path(root)?;
    write_durably(&temporary, bytes)?;
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        linked => {
            linked?;
            sync_dir(parent)?;
            Ok(true)
        }
    }
}

/// Opens an object; its size comes with it.
fn open(root: &Path, name: &str, location: String) -> Result<(fs::File, u64), Failure> {
    let not_found = || Failure::Store(Error::NotFound { name: name.to_owned(), location });
    let file = match fs::File::open(root.join(name)) {
        Err(error) if is_absent(&error) => return Err(not_found()),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() { Err(not_found()) } else { Ok((file, metadata.len())) }
}

fn get_range(root: &Path, name: String, range: &Range<u64>, location: String) -> Result<Bytes, Failure> {
    let (mut file, len) = open(root, &name, location)?;
    file.seek(SeekFrom::Start(range.start))?;
    let wanted = range.end.min(len).saturating_sub(range.start);
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    file.take(wanted).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn get(root: &Path, name: String, len_max: u64, location: String) -> Result<Bytes, Failure> {
    let (file, len) = open(root, &name, location)?;
    let mut bytes = Vec::with_capacity(usize::try_from(len.min(len_max)).unwrap_or(0));
    file.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > len_max {
        return Err(Failure::Store(Error::TooLarge { name, len_max }));
    }
    Ok(bytes.into())
}

fn list(root: &Path, prefix: &str, after: Option<&str>) -> Result<Page, Failure> {
    let mut page = Page::default();
    walk(root, "", prefix, after, &mut page)?;
    Ok(page)
}

/// Adds the objects below `directory`, whose names start with `above`, in the order of their bytes.
fn walk(directory: &Path, above: &str, prefix: &str, after: Option<&str>, page: &mut Page) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if is_absent(&error) => return Ok(()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned)
        else {
            continue;
        };
        // A directory sorts with its slash, as the names of the objects in it do.
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        names.push(format!("{above}{name}{slash}"));
    }
    names.sort_unstable();
    for name in names {
        if page.more {
            return Ok(());
        }
        let relative = &name[above.len()..];
        if name.ends_with('/') {
            let may_match = name.starts_with(prefix) || prefix.starts_with(&name);
            let may_follow = after.is_none_or(|after| *after < *name || after.starts_with(&name));
            if may_match && may_follow {
                walk(&directory.join(relative), &name, prefix, after, page)?;
            }
        } else if name.starts_with(prefix) && after.is_none_or(|after| *name > *after) {
            add(&directory.join(relative), name, page)?;
        }
    }
    Ok(())
}

fn add(path: &Path, name: String, page: &mut Page) -> io::Result<()> {
    if page.objects.len() == PAGE_OBJECTS_MAX {
        page.more = true;
        return Ok(());
    }
    let metadata = match fs::metadata(path) {
        // Pruned while we listed.
        Err(error) if is_absent(&error) => return Ok(()),
        metadata => metadata?,
    };
    let since_epoch = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH);
    let modified_ms = since_epoch.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
    page.objects.push(Object { name, bytes: metadata.len(), modified_ms });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[tokio::test]
    async fn a_directory_conforms() -> TestResult {
        let directory = tempfile::tempdir()?;
        super::super::conformance::run(&Local::new(directory.path().join("archive"))).await?;
        Ok(())
    }

    #[tokio::test]
    async fn other_bytes_under_a_name_are_refused_and_nothing_temporary_stays() -> TestResult {
        let directory = tempfile::tempdir()?;
        let store = Local::new(directory.path().to_path_buf());
        store.put("a/b", Bytes::from_static(b"1")).await?;
        let result = store.put("a/b", Bytes::from_static(b"2")).await;
        assert!(matches!(result, Err(Error::Conflict { .. })));
        assert_eq!(store.get("a/b", 9).await?, Bytes::from_static(b"1"));
        assert_eq!(fs::read_dir(directory.path().join(TEMPORARY))?.count(), 0);
        Ok(())
    }

    #[tokio::test]
    async fn what_is_not_there_lists_as_nothing() -> TestResult {
        let directory = tempfile::tempdir()?;
        let store = Local::new(directory.path().join("absent"));
        assert_eq!(store.list("", None).await?, Page::default());
        Ok(())
    }
}
