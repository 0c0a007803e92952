//! Multipart uploads into a directory: one temporary file, in which every part has its place.
//!
//! - A part is synced before its tag is given: a tag that was kept says what is on the disk after a crash.
//! - Completing reads the file once and compares every part with its tag.
#![expect(clippy::disallowed_methods, reason = "this is the implementation of the seam that hides the disk")]

use super::{Error, Failure, TEMPORARY, Tag, Upload, create_durably, is_absent, sync_dir, temporary_path};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes compared at a time.
const COMPARED_BYTES: usize = 1 << 20;

/// What is remembered of a part.
pub(in crate::store) fn tag(bytes: &[u8]) -> Tag {
    Tag(format!("{}-{:08x}", bytes.len(), crc32fast::hash(bytes)))
}

/// The length that a tag says.
pub(in crate::store) fn tagged_len(tag: &Tag) -> Option<u64> {
    tag.0.split_once('-')?.0.parse().ok()
}

fn no_upload(upload: &Upload, location: String) -> Failure {
    Failure::Store(Error::NoUpload { name: upload.name.clone(), location })
}

fn path(root: &Path, upload: &Upload) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_digit() || byte == b'-';
    let id = Some(&upload.id).filter(|id| !id.is_empty() && id.bytes().all(plain))?;
    Some(root.join(TEMPORARY).join(id))
}

pub(super) fn begin(root: &Path, name: String, part_bytes: u64) -> Result<Upload, Failure> {
    let path = temporary_path(root)?;
    let number = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Process ids come again; this name must outlive its process.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("{number}-{}", since_epoch.as_nanos());
    let upload = Upload { name, id, part_bytes };
    let path = root.join(TEMPORARY).join(&upload.id);
    fs::File::create_new(&path)?.sync_all()?;
    sync_dir(&root.join(TEMPORARY))?;
    Ok(upload)
}

pub(super) fn part(
    root: &Path,
    upload: Upload,
    number: u32,
    bytes: &[u8],
    location: String,
) -> Result<Tag, Failure> {
    let Some(path) = path(root, &upload) else { return Err(no_upload(&upload, location)) };
    let file = match fs::File::options().write(true).open(path) {
        Err(error) if is_absent(&error) => return Err(no_upload(&upload, location)),
        opened => opened?,
    };
    let offset = u64::from(number.saturating_sub(1)) * upload.part_bytes;
    file.write_all_at(bytes, offset)?;
    file.sync_all()?;
    Ok(tag(bytes))
}

pub(super) fn complete(root: &Path, upload: Upload, tags: &[Tag], location: String) -> Result<(), Failure> {
    let Some(from) = path(root, &upload) else { return Err(no_upload(&upload, location)) };
    let mut file = match fs::File::options().read(true).write(true).open(&from) {
        Err(error) if is_absent(&error) => return Err(no_upload(&upload, location)),
        opened => opened?,
    };
    check_parts(&mut file, &upload, tags)?;
    let to = root.join(&upload.name);
    let parent = to.parent().unwrap_or(root);
    create_durably(parent)?;
    match fs::File::open(&to) {
        Ok(there) => {
            if !same_bytes(fs::File::open(&from)?, there)? {
                return Err(Failure::Store(Error::Conflict { name: upload.name }));
            }
            // Written again: it counts as new for those who remove what is old.
            fs::File::options().write(true).open(&to)?.set_modified(SystemTime::now())?;
            fs::remove_file(&from)?;
        }
        Err(error) if is_absent(&error) => {
            fs::rename(&from, &to)?;
            sync_dir(parent)?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Compares what is in the file with the tags, and cuts off what is in none of them.
fn check_parts(file: &mut fs::File, upload: &Upload, tags: &[Tag]) -> io::Result<()> {
    let (mut total, mut bytes) = (0, Vec::new());
    for (number, expected) in (1..).zip(tags) {
        let wrong =
            || io::Error::new(io::ErrorKind::InvalidData, format!("part {number} is not what was put"));
        let len = tagged_len(expected).filter(|len| *len <= upload.part_bytes).ok_or_else(wrong)?;
        if number < tags.len() && len != upload.part_bytes {
            return Err(wrong());
        }
        bytes.clear();
        file.take(len).read_to_end(&mut bytes)?;
        if tag(&bytes) != *expected {
            return Err(wrong());
        }
        total += len;
    }
    if file.metadata()?.len() != total {
        file.set_len(total)?;
        file.sync_all()?;
    }
    Ok(())
}

fn same_bytes(a: fs::File, b: fs::File) -> io::Result<bool> {
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    let (mut a, mut b) = (a, b);
    loop {
        mine.clear();
        theirs.clear();
        (&mut a).take(COMPARED_BYTES as u64).read_to_end(&mut mine)?;
        (&mut b).take(COMPARED_BYTES as u64).read_to_end(&mut theirs)?;
        if mine != theirs {
            return Ok(false);
        }
        if mine.is_empty() {
            return Ok(true);
        }
    }
}

pub(super) fn abort(root: &Path, upload: &Upload) -> Result<(), Failure> {
    let Some(path) = path(root, upload) else { return Ok(()) };
    match fs::remove_file(path) {
        Err(error) if is_absent(&error) => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{ObjectStore, PART_BYTES_MIN};
    use super::super::Local;
    use super::*;
    use bytes::Bytes;

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    #[tokio::test]
    async fn a_part_that_changed_on_the_disk_is_noticed() -> TestResult {
        let directory = tempfile::tempdir()?;
        let store = Local::new(directory.path().to_path_buf());
        let upload = store.begin("a/b", PART_BYTES_MIN).await?;
        let tag = store.part(&upload, 1, Bytes::from_static(b"1234")).await?;
        let path = directory.path().join(TEMPORARY).join(&upload.id);
        fs::write(&path, b"1235")?;
        assert!(store.complete(&upload, std::slice::from_ref(&tag)).await.is_err());
        fs::write(&path, b"1234 and more")?;
        store.complete(&upload, &[tag]).await?;
        assert_eq!(store.get("a/b", 99).await?, Bytes::from_static(b"1234"));
        Ok(())
    }

    #[tokio::test]
    async fn an_object_of_other_bytes_is_not_replaced_and_ids_do_not_leave_the_directory() -> TestResult {
        let directory = tempfile::tempdir()?;
        let store = Local::new(directory.path().join("archive"));
        store.put("a", Bytes::from_static(b"1")).await?;
        for (bytes, conflicts) in [("1", false), ("2", true)] {
            let upload = store.begin("a", PART_BYTES_MIN).await?;
            let tag = store.part(&upload, 1, Bytes::from(bytes)).await?;
            let done = store.complete(&upload, &[tag]).await;
            assert_eq!(matches!(done, Err(Error::Conflict { .. })), conflicts, "{done:?}");
            store.abort(&upload).await?;
        }
        let outside = directory.path().join("outside");
        fs::write(&outside, b"mine")?;
        let id = "../../outside".to_owned();
        let upload = Upload { name: "b".to_owned(), id, part_bytes: PART_BYTES_MIN };
        store.abort(&upload).await?;
        let result = store.part(&upload, 1, Bytes::new()).await;
        assert!(matches!(result, Err(Error::NoUpload { .. })), "{result:?}");
        assert_eq!(fs::read(outside)?, b"mine");
        Ok(())
    }
}
