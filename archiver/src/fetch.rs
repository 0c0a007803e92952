//! Fetches objects whose names say what they must be.

use crate::catalog::{History, Segment};
use crate::checkpoint::Table;
use crate::layout::{Digest, Kind, TableDigest};
use crate::segment::{OBJECT_BYTES_MAX, Reader};
use crate::store::ObjectStore;
use crate::{Error, Result, store};
use bytes::Bytes;

/// Large objects fetched at a time.
pub(crate) const FETCHES_MAX: usize = 4;

async fn get(store: &dyn ObjectStore, object: String, len_max: u64) -> Result<(String, Bytes)> {
    match store.get(&object, len_max).await {
        Ok(bytes) => Ok((object, bytes)),
        Err(store::Error::NotFound { .. }) => Err(Error::Missing { object }),
        Err(store::Error::TooLarge { len_max, .. }) => {
            Err(Error::Damaged { object, offset: len_max, expected: "the end".to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

fn altered(object: String) -> Error {
    Error::Damaged { object, offset: 0, expected: "bytes with the digest in the name".to_owned() }
}

/// A segment, opened; its bytes and its header are what its name says.
pub(crate) async fn segment(
    store: &dyn ObjectStore,
    history: &History,
    group: u64,
    segment: &Segment,
) -> Result<(String, Reader)> {
    let object = history.object(Kind::Segment(group, segment.name));
    let (object, bytes) = get(store, object, OBJECT_BYTES_MAX).await?;
    let folder = history.folder;
    let name = segment.name;
    crate::error::blocking(move || {
        if Digest::of(&bytes) != name.digest {
            return Err(altered(object));
        }
        let reader = Reader::new(bytes).map_err(Error::damaged(&object))?;
        let header = reader.header();
        if header.lineage != folder || header.group != group || header.name(name.digest) != name {
            let expected = "the header that the name says".to_owned();
            return Err(Error::Damaged { object, offset: 0, expected });
        }
        Ok((object, reader))
    })
    .await
}

/// The bytes of a table, which have the digest in its name.
pub(crate) async fn table(
    store: &dyn ObjectStore,
    history: &History,
    group: u64,
    table: &Table,
) -> Result<Bytes> {
    let object = history.object(Kind::Table(group, table.digest));
    let (object, bytes) = get(store, object, table.bytes).await?;
    let digest = table.digest;
    crate::error::blocking(
        move || {
            if TableDigest::of(&bytes) == digest { Ok(bytes) } else { Err(altered(object)) }
        },
    )
    .await
}
