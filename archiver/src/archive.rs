//! An archive as it is read: the store it is in, and what opens what is encrypted there.
//!
//! - An object is what it should be when its stored bytes have the digest in its name; only then is it opened.
//! - Objects that are not encrypted need no identity, and both kinds may stand side by side: recipients can be added to a
//!   running database.

use crate::checkpoint::Table;
use crate::error::blocking;
use crate::layout::{Digest, TableDigest};
use crate::seal::{Identities, sealed_len_max};
use crate::store::{self, ObjectStore};
use crate::{Error, Result};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// An archive to read. Clones are the same.
#[derive(Debug, Clone)]
pub struct Archive {
    store: Arc<dyn ObjectStore>,
    identities: Identities,
}

impl Archive {
    /// An archive of which only what is not encrypted can be read.
    pub fn plain(store: Arc<dyn ObjectStore>) -> Self {
        Self::new(store, Identities::none())
    }

    /// An archive, and what opens it.
    pub const fn new(store: Arc<dyn ObjectStore>, identities: Identities) -> Self {
        Self { store, identities }
    }

    /// The store itself: for listing, writing and removing.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Where it is, for messages.
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// The plain bytes, at most `len_max`, of an object whose stored bytes have this digest.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Damaged`], [`Error::Sealed`], or what the store says.
    pub async fn fetch(&self, object: &str, digest: Digest, sealed: bool, len_max: u64) -> Result<Bytes> {
        let stored_max = if sealed { sealed_len_max(len_max) } else { len_max };
        let stored = self.get(object, stored_max).await?;
        let (identities, object) = (self.identities.clone(), object.to_owned());
        blocking(move || {
            if Digest::of(&stored) != digest {
                return Err(altered(object));
            }
            if sealed { identities.open(&object, &stored, len_max) } else { Ok(stored) }
        })
        .await
    }

    /// The plain bytes of a table, whose object has this name.
    ///
    /// # Errors
    ///
    /// As [`Archive::fetch`].
    pub async fn fetch_table(&self, object: &str, table: &Table) -> Result<Bytes> {
        let Table { digest, bytes, sealed } = *table;
        let stored = self.get(object, table.stored_bytes()).await?;
        let (identities, object) = (self.identities.clone(), object.to_owned());
        blocking(move || {
            let plain = match sealed {
                None => stored,
                Some(sealed) if Digest::of(&stored) == sealed.digest => {
                    identities.open(&object, &stored, bytes)?
                }
                Some(_) => return Err(altered(object)),
            };
            if TableDigest::of(&plain) == digest { Ok(plain) } else { Err(altered(object)) }
        })
        .await
    }

    /// The stored bytes of an object in a range, fewer where it ends before; `None` when the store has no ranges. Nothing
    /// of them is checked.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], or what the store says.
    pub(crate) async fn range(&self, object: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        match self.store.get_range(object, range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(store::Error::NotFound { .. }) => Err(Error::Missing { object: object.to_owned() }),
            // Whoever may not read at all is told so when the whole object is asked for.
            Err(store::Error::Unsupported { .. } | store::Error::Refused { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn get(&self, object: &str, len_max: u64) -> Result<Bytes> {
        match self.store.get(object, len_max).await {
            Ok(bytes) => Ok(bytes),
            Err(store::Error::NotFound { .. }) => Err(Error::Missing { object: object.to_owned() }),
            Err(store::Error::TooLarge { len_max, .. }) => Err(Error::Damaged {
                object: object.to_owned(),
                offset: len_max,
                expected: "the end".to_owned(),
            }),
            Err(error) => Err(error.into()),
        }
    }
}

fn altered(object: String) -> Error {
    Error::Damaged { object, offset: 0, expected: "bytes with the digest in the name".to_owned() }
}
