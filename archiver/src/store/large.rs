//! Puts large objects in parts, several at once, and goes on after a crash.
//!
//! - What is known of an upload stands in a small local file, so that nothing is asked of the store: the
//!   right to put objects is enough.
//! - A part whose tag is in that file is in the store. A lost file costs an upload from the start, never an object.
//! - An object of at most one part is put as it is; so is a larger one, up to [`WHOLE_BYTES_MAX`], where the store has no
//!   multipart uploads.
//! - An upload that is given up is aborted when that can be done. What a crash of the machine leaves, the bucket's own
//!   rule for incomplete uploads removes.

mod source;
mod state;
#[cfg(test)]
mod tests;

use super::{Error, ObjectStore, PARTS_MAX, Result, Tag, Upload};
use futures::stream::{self, StreamExt, TryStreamExt};
use state::State;
use std::collections::BTreeMap;

pub use source::{FileSource, Source};
pub use state::Resume;

/// The size of a part, unless the object is so large that it would need too many of them.
pub const PART_BYTES: u64 = 16 << 20;
/// Parts on their way at the same time, each of them in memory.
pub const PARTS_AT_ONCE: usize = 4;
/// The largest object that is put as it is where the store has no multipart uploads: it is in memory then.
pub const WHOLE_BYTES_MAX: u64 = 1 << 30;
/// How often an upload that the store forgot is begun again.
const BEGINNINGS_MAX: u32 = 2;

/// How to put a large object.
#[derive(Debug, Clone)]
pub struct Large {
    /// The size of a part.
    pub part_bytes: u64,
    /// Parts on their way at the same time.
    pub at_once: usize,
    /// Where to keep what is needed to go on after a crash; `None` begins again then.
    pub resume: Option<Resume>,
}

impl Default for Large {
    fn default() -> Self {
        Self { part_bytes: PART_BYTES, at_once: PARTS_AT_ONCE, resume: None }
    }
}

impl Large {
    /// Goes on after a crash with what the file says.
    #[must_use]
    pub fn resuming(resume: Resume) -> Self {
        Self { resume: Some(resume), ..Self::default() }
    }

    /// Puts an object. It is there, whole and durable, when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Source`] when the source cannot be read, or what the store says. After a transient error the next
    /// call for the same name goes on where this one ended.
    pub async fn put(&self, store: &dyn ObjectStore, name: &str, source: &dyn Source) -> Result<()> {
        let len = source.len();
        let part_bytes = self.part_bytes.max(len.div_ceil(u64::from(PARTS_MAX)));
        if len <= part_bytes {
            return put_whole(store, name, source).await;
        }
        let mut beginnings = 1;
        loop {
            match self.put_parts(store, name, source, part_bytes).await {
                Err(Error::NoUpload { .. }) if beginnings < BEGINNINGS_MAX => {
                    tracing::info!(name, "the store forgot an upload: it begins again");
                    beginnings += 1;
                }
                Err(Error::Unsupported { .. }) if len <= WHOLE_BYTES_MAX => {
                    return put_whole(store, name, source).await;
                }
                done => return done,
            }
        }
    }

    async fn put_parts(
        &self,
        store: &dyn ObjectStore,
        name: &str,
        source: &dyn Source,
        part_bytes: u64,
    ) -> Result<()> {
        let object = state::Object {
            location: store.location(),
            name: name.to_owned(),
            len: source.len(),
            part_bytes,
        };
        let (mut state, mut tags) = self.begin(store, &object).await?;
        let done = self.send(store, source, &object, &mut state, &mut tags).await;
        let upload = state.upload().clone();
        match done {
            Ok(()) => {
                state.forget()?;
                Ok(())
            }
            // The next call goes on.
            Err(error) if error.is_transient() && self.resume.is_some() => Err(error),
            Err(error) => {
                give_up(store, &upload).await;
                state.forget()?;
                Err(error)
            }
        }
    }

    /// The upload to go on with, or a new one.
    async fn begin(
        &self,
        store: &dyn ObjectStore,
        object: &state::Object,
    ) -> Result<(State, BTreeMap<u32, Tag>)> {
        if let Some(resume) = &self.resume {
            match state::load(resume, object)? {
                state::Found::Same(state, tags) => return Ok((state, tags)),
                state::Found::Other(upload) => give_up(store, &upload).await,
                state::Found::Nothing => {}
            }
        }
        let upload = store.begin(&object.name, object.part_bytes).await?;
        Ok((State::create(self.resume.as_ref(), object, upload)?, BTreeMap::new()))
    }

    async fn send(
        &self,
        store: &dyn ObjectStore,
        source: &dyn Source,
        object: &state::Object,
        state: &mut State,
        tags: &mut BTreeMap<u32, Tag>,
    ) -> Result<()> {
        let upload = state.upload().clone();
        let missing: Vec<u32> = object.parts().filter(|number| !tags.contains_key(number)).collect();
        for number in tags.keys() {
            let range = object.range(*number);
            source.uploaded(range.end - range.start);
        }
        let send = |number: u32| {
            let (upload, range) = (&upload, object.range(number));
            async move {
                let bytes = source.read(&object.name, range).await?;
                let len = bytes.len() as u64;
                let tag = store.part(upload, number, bytes).await?;
                source.uploaded(len);
                Ok::<_, Error>((number, tag))
            }
        };
        let mut sent = stream::iter(missing).map(send).buffer_unordered(self.at_once.max(1));
        while let Some((number, tag)) = sent.try_next().await? {
            state.add(number, &tag)?;
            tags.insert(number, tag);
        }
        let tags: Vec<Tag> = tags.values().cloned().collect();
        store.complete(&upload, &tags).await
    }
}

async fn put_whole(store: &dyn ObjectStore, name: &str, source: &dyn Source) -> Result<()> {
    let len = source.len();
    let bytes = source.read(name, 0..len).await?;
    store.put(name, bytes).await?;
    source.uploaded(len);
    Ok(())
}

/// Aborts an upload; what the store says then is no reason to stop.
async fn give_up(store: &dyn ObjectStore, upload: &Upload) {
    if let Err(error) = store.abort(upload).await {
        tracing::info!(name = upload.name, %error, "an upload could not be given up");
    }
}
