//! The side that lacks something: it says what, and checks all that comes.

use super::destination::{Destination, Reuse};
use super::incoming::{Held, Incoming, Part};
use super::message::{Content, Digest, Message, Offer, Want};
use super::stream::{explain, hear, pause, say};
use super::{CHUNK_BYTES_MAX, Error, MANIFEST_BYTES_MAX, Progress};
use crate::bugs::{self, Bug};
use crate::transport::Duplex;
use bytes::Bytes;
use engine::fs::Fs;
use engine::{Checkpoint, Error as EngineError};
use std::path::{Path, PathBuf};

/// A raft snapshot that is there: whole, checked, durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The directory, which an engine can be opened in.
    pub dir: PathBuf,
    /// What it holds.
    pub checkpoint: Checkpoint,
}

/// Receives a raft snapshot into a directory.
///
/// # Errors
///
/// See [`Error`]. What has arrived is kept and used by the next call for the same directory; the directory is no
/// checkpoint before this returns.
pub async fn receive(
    into: &Destination,
    duplex: &mut Duplex,
    progress: &Progress,
) -> Result<Received, Error> {
    let received = receive_wanted(into, duplex, progress).await;
    match &received {
        Ok(_) => say(duplex, &Message::Whole).await.unwrap_or_else(|error| {
            // The snapshot is there all the same; the sender offers it again, and nothing is lacking then.
            tracing::debug!(error = &error as &dyn std::error::Error, "the sender is not told of the end");
        }),
        Err(error) => explain(duplex, error),
    }
    received
}

async fn receive_wanted(
    into: &Destination,
    duplex: &mut Duplex,
    progress: &Progress,
) -> Result<Received, Error> {
    let Message::Offer(offer) = hear(duplex).await? else {
        return Err(Error::OutOfTurn("something else than an offer"));
    };
    into.check(&offer)?;
    if offer.manifest.bytes > MANIFEST_BYTES_MAX {
        return Err(Error::TooLarge("its manifest is too long"));
    }
    let incoming = Incoming::begin(into.fs.clone(), &into.dir, &offer)?;
    let wants = lacking(into, &incoming, &offer, duplex).await?;
    let bytes = wants.iter().filter_map(|want| Some(offer.file(want.file)?.bytes - want.from));
    let bytes = bytes.fold(0, u64::saturating_add);
    check_room(into, bytes)?;
    progress.begin(offer.bytes(), offer.bytes().saturating_sub(bytes));
    say(duplex, &Message::Want(wants.clone())).await?;
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    for want in wants {
        let is_table = usize::try_from(want.file).is_ok_and(|number| number < offer.tables.len());
        let content = offer.file(want.file).ok_or(Error::OutOfTurn("a file that was not offered"))?;
        let mut part = if is_table { incoming.table(content)? } else { incoming.manifest(content)? };
        rehash(&mut part, &mut buffer).await?;
        while !part.is_full() {
            let bytes = chunk(duplex, want.file, part.offset()).await?;
            part.write(&bytes)?;
            progress.add(bytes.len());
            pause().await;
        }
        part.finish(is_table)?;
    }
    let checkpoint = incoming.complete(&offer)?;
    Ok(Received { dir: into.dir.clone(), checkpoint })
}

/// The next bytes of a file, which must be those at `offset`.
async fn chunk(duplex: &mut Duplex, wanted: u32, at: u64) -> Result<Bytes, Error> {
    match hear(duplex).await? {
        Message::Chunk { file, offset, bytes } if (file, offset) == (wanted, at) => Ok(bytes),
        Message::Chunk { .. } => Err(Error::OutOfTurn("a chunk that is not the next one")),
        _ => Err(Error::OutOfTurn("something else than a chunk")),
    }
}

async fn rehash(part: &mut Part, buffer: &mut [u8]) -> Result<(), Error> {
    while part.rehash(buffer)? {
        pause().await;
    }
    Ok(())
}

/// What has to be asked for: what is not there, and cannot be linked.
async fn lacking(
    into: &Destination,
    incoming: &Incoming,
    offer: &Offer,
    duplex: &mut Duplex,
) -> Result<Vec<Want>, Error> {
    let mut wants = Vec::new();
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    for (file, table) in (0..).zip(&offer.tables) {
        pause().await;
        let Held::Part(mut from) = incoming.held(table)? else { continue };
        if take(into, incoming, table, duplex, &mut buffer).await? {
            continue;
        }
        if from == table.bytes {
            let mut part = incoming.table(table)?;
            rehash(&mut part, &mut buffer).await?;
            match part.finish(true) {
                Ok(()) => continue,
                Err(Error::Part(_)) => from = 0,
                Err(error) => return Err(error),
            }
        }
        wants.push(Want { file, from });
    }
    if bugs::seeded(Bug::TableMissing) {
        wants.pop();
    }
    let manifest = u32::try_from(offer.tables.len()).unwrap_or(u32::MAX);
    wants.push(Want { file: manifest, from: 0 });
    Ok(wants)
}

/// Links a table that this node has; whether it has it.
async fn take(
    into: &Destination,
    incoming: &Incoming,
    table: &Content,
    duplex: &mut Duplex,
    buffer: &mut [u8],
) -> Result<bool, Error> {
    for tables in &into.tables {
        let path = tables.join(table.digest.table_name());
        if into.reuse == Reuse::Checked {
            if digest_of(&*into.fs, &path, table, buffer).await? != Some(table.digest) {
                continue;
            }
            // Reading may take long: the other side has to know that this one is there.
            say(duplex, &Message::Busy).await?;
        }
        if incoming.link(table, tables)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The digest of a file of the length that a table has; `None` when there is none, or it cannot be read.
async fn digest_of(
    fs: &dyn Fs,
    path: &Path,
    table: &Content,
    buffer: &mut [u8],
) -> Result<Option<Digest>, Error> {
    let Ok(file) = fs.open(path) else { return Ok(None) };
    if file.len().map_err(EngineError::io("measure", path))? != table.bytes {
        return Ok(None);
    }
    let (mut hasher, mut offset) = (blake3::Hasher::new(), 0);
    while offset < table.bytes {
        // A sector that cannot be read is a reason to ask for the table.
        let Ok(read) = file.read_at(buffer, offset) else { return Ok(None) };
        if read == 0 {
            return Ok(None);
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
        pause().await;
    }
    Ok(Some(Digest(*hasher.finalize().as_bytes())))
}

/// Refuses what would fill the disk up to the reserve, so that the engine goes on meanwhile.
fn check_room(into: &Destination, bytes: u64) -> Result<(), Error> {
    let space = into.fs.space(&into.dir).map_err(EngineError::io("look at the space of", &into.dir))?;
    let available = space.available.saturating_sub(into.reserve_bytes);
    if bytes > available { Err(Error::NoRoom { needed: bytes, available }) } else { Ok(()) }
}
