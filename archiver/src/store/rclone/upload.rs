//! Multipart uploads for remotes that have none: parts are files in `.tmp/<id>`, beside one that says that it was begun.

use super::super::local::upload::{tag, tagged_len};
use super::super::{Error, PARTS_MAX, Result, Tag, Upload};
use super::{Failure, Outcome, Rclone};
use bytes::Bytes;
use engine::Random;
use engine::env::SystemRandom;
use futures::stream::{self, StreamExt};

/// The file that is there as long as the upload is. Some remotes keep no empty files.
const BEGUN: &str = "begun";

fn path(upload: &Upload) -> Option<String> {
    let ours = upload.id.len() == 32 && upload.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    ours.then(|| format!(".tmp/{}", upload.id))
}

fn no_upload(store: &Rclone, upload: &Upload) -> Failure {
    let location = super::ObjectStore::location(store);
    Error::NoUpload { name: upload.name.clone(), location }.into()
}

pub(super) async fn begin(store: &Rclone, name: &str, part_bytes: u64) -> Outcome<Upload> {
    let mut id = [0; 16];
    SystemRandom.fill(&mut id);
    let id = format!("{:032x}", u128::from_be_bytes(id));
    store.write_bytes(&format!(".tmp/{id}/{BEGUN}"), Bytes::from(name.to_owned())).await?;
    Ok(Upload { name: name.to_owned(), id, part_bytes })
}

/// The directory of an upload that is there.
async fn open(store: &Rclone, upload: &Upload) -> Outcome<String> {
    let path = path(upload).ok_or_else(|| no_upload(store, upload))?;
    let found = store.call("operations/stat", &format!("{path}/{BEGUN}")).await?;
    if found["item"].is_null() { Err(no_upload(store, upload)) } else { Ok(path) }
}

pub(super) async fn part(store: &Rclone, upload: &Upload, number: u32, bytes: Bytes) -> Outcome<Tag> {
    let path = open(store, upload).await?;
    let tag = tag(&bytes);
    store.write_bytes(&format!("{path}/{number:05}"), bytes).await?;
    Ok(tag)
}

pub(super) async fn complete(store: &Rclone, upload: &Upload, tags: &[Tag]) -> Outcome<()> {
    let path = open(store, upload).await?;
    assert!(tags.len() <= PARTS_MAX as usize, "an upload has at most {PARTS_MAX} parts");
    let (reader, tags) = (store.clone(), tags.to_vec());
    let parts = stream::iter((1..).zip(tags)).then(move |(number, expected): (u32, Tag)| {
        let (reader, part) = (reader.clone(), format!("{path}/{number:05}"));
        async move { read_part(&reader, &part, &expected).await }
    });
    store.write(&upload.name, parts.boxed()).await?;
    end(store, upload).await
}

/// Reads a part back; it must be what its tag says.
async fn read_part(store: &Rclone, part: &str, expected: &Tag) -> Result<Bytes> {
    let read = store.read(part, None, tagged_len(expected).unwrap_or(0)).await;
    let bytes = store.sort(|| format!("read {part}"), read)?;
    if tag(&bytes) == *expected { Ok(bytes) } else { Err(Error::Conflict { name: part.to_owned() }) }
}

pub(super) async fn end(store: &Rclone, upload: &Upload) -> Outcome<()> {
    match path(upload) {
        // Without it the upload is over, whatever becomes of the rest.
        Some(path) => {
            store.remove("operations/deletefile", &format!("{path}/{BEGUN}")).await?;
            store.remove("operations/purge", &path).await
        }
        None => Ok(()),
    }
}
