//! Copies an archive to another store, and brings a copy up to date.
//!
//! - An object is copied once: the same name means the same bytes, and those are checked against the digest in it.
//! - What names others is copied last, so that a copy that was interrupted is an archive that ends earlier.
//! - Nothing is opened: a copy of an encrypted archive needs no identity. Nothing is ever removed.

use crate::job::Job;
use crate::layout::{Digest, Kind, LINEAGES, Name, TableDigest};
use crate::store::{self, ObjectStore, list_all};
use crate::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use std::collections::BTreeMap;

/// Objects copied at a time.
const COPIES_MAX: usize = 6;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mirrored {
    /// Objects that were not there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were there already.
    pub kept: u64,
}

/// Copies what `to` lacks of the archive in `from`.
///
/// # Errors
///
/// [`Error::Damaged`] for an object that has not the digest in its name; what a store says. What was copied stays.
pub async fn mirror(from: &dyn ObjectStore, to: &dyn ObjectStore, job: &Job) -> Result<Mirrored> {
    job.phase("listing");
    let there: BTreeMap<String, u64> =
        list_all(to, LINEAGES).await?.into_iter().map(|object| (object.name, object.bytes)).collect();
    let (mut first, mut last, mut done) = (Vec::new(), Vec::new(), Mirrored::default());
    for object in list_all(from, LINEAGES).await? {
        let Some(name) = Name::parse(&object.name) else { continue };
        if there.get(&object.name) == Some(&object.bytes) {
            done.kept += 1;
            continue;
        }
        done.objects += 1;
        done.bytes += object.bytes;
        let names_others = matches!(name.kind, Kind::Checkpoint(..));
        if names_others { last.push((name, object)) } else { first.push((name, object)) }
    }
    job.total_bytes(done.bytes);
    job.phase("copying");
    for objects in [first, last] {
        let copies = objects.iter().map(|(name, object)| copy(from, to, name.kind, object, job));
        futures::stream::iter(copies).buffer_unordered(COPIES_MAX).try_collect::<()>().await?;
    }
    Ok(done)
}

async fn copy(
    from: &dyn ObjectStore,
    to: &dyn ObjectStore,
    kind: Kind,
    object: &store::Object,
    job: &Job,
) -> Result<()> {
    job.checkpoint()?;
    job.throttle(object.bytes).await;
    let missing = |error| match error {
        store::Error::NotFound { name, .. } => Error::Missing { object: name },
        other => other.into(),
    };
    let bytes = from.get(&object.name, object.bytes).await.map_err(missing)?;
    let checked = bytes.clone();
    let is_right = crate::error::blocking(move || Ok(has_digest(kind, &checked))).await?;
    if !is_right {
        let expected = "bytes with the digest in the name".to_owned();
        return Err(Error::Damaged { object: object.name.clone(), offset: 0, expected });
    }
    to.put(&object.name, bytes).await?;
    job.done_bytes(object.bytes);
    Ok(())
}

/// Whether the stored bytes of an object are those that its name says.
fn has_digest(kind: Kind, bytes: &[u8]) -> bool {
    match kind {
        Kind::Lineage(digest) => Digest::of(bytes) == digest,
        Kind::End(_, name) => Digest::of(bytes) == name.digest,
        Kind::Segment(_, name) => Digest::of(bytes) == name.digest,
        Kind::Checkpoint(_, name) => Digest::of(bytes) == name.digest,
        Kind::Table(_, name) => match name.sealed {
            Some(digest) => Digest::of(bytes) == digest,
            None => TableDigest::of(bytes) == name.digest,
        },
        // What retention removed is said by the name alone.
        Kind::Pruned(..) => true,
    }
}
