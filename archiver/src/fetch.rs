//! Fetches objects whose names say what they must be.

use crate::archive::Archive;
use crate::catalog::{History, Segment};
use crate::checkpoint::Table;
use crate::layout::Kind;
use crate::segment::{OBJECT_BYTES_MAX, Reader};
use crate::{Error, Result};
use bytes::Bytes;

/// A segment, opened; its bytes and its header are what its name says.
pub(crate) async fn segment(
    archive: &Archive,
    history: &History,
    group: u64,
    segment: &Segment,
) -> Result<(String, Reader)> {
    let (folder, name) = (history.folder, segment.name);
    let object = history.object(Kind::Segment(group, name));
    let bytes = archive.fetch(&object, name.digest, name.sealed, OBJECT_BYTES_MAX).await?;
    let reader = Reader::new(bytes).map_err(Error::damaged(&object))?;
    let header = reader.header();
    if header.lineage != folder || header.group != group || header.name(name.digest, name.sealed) != name {
        let expected = "the header that the name says".to_owned();
        return Err(Error::Damaged { object, offset: 0, expected });
    }
    Ok((object, reader))
}

/// The bytes of a table, which have the digest in its name.
pub(crate) async fn table(archive: &Archive, history: &History, group: u64, table: &Table) -> Result<Bytes> {
    let object = history.object(Kind::Table(group, table.name()));
    archive.fetch_table(&object, table).await
}
