//! What a store does with files of a session.

use super::session::Session;
use super::wire::{Attributes, CHUNK_LEN, Entry, Reply, Request};
use super::{Failure, Outcome, unexpected};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use std::ops::Range;

/// Chunks on their way at once: 2 MiB, so that a link of 160 Mbit/s and 100 ms is full.
const CHUNKS_AT_ONCE: usize = 64;

pub(super) async fn open(session: &Session, path: &str, flags: u32) -> Outcome<Bytes> {
    match session.ask(Request::Open { path, flags }).await? {
        Reply::Handle(handle) => Ok(handle),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn attributes(session: &Session, handle: &[u8]) -> Outcome<Attributes> {
    match session.ask(Request::HandleStat { handle }).await? {
        Reply::Attributes(attributes) => Ok(attributes),
        other => Err(unexpected(&other)),
    }
}

/// Writes at an offset, many chunks at once.
pub(super) async fn write(session: &Session, handle: &[u8], offset: u64, bytes: &Bytes) -> Outcome<()> {
    let chunks = (0..bytes.len()).step_by(CHUNK_LEN).map(|at| {
        let chunk = bytes.slice(at..bytes.len().min(at + CHUNK_LEN));
        async move {
            session.ask(Request::Write { handle, offset: offset + at as u64, bytes: &chunk }).await.map(drop)
        }
    });
    stream::iter(chunks).buffer_unordered(CHUNKS_AT_ONCE).try_collect().await
}

/// Reads a range that the file has, many chunks at once.
pub(super) async fn read(session: &Session, handle: &[u8], range: Range<u64>) -> Outcome<Bytes> {
    let chunks = range.clone().step_by(CHUNK_LEN).map(|at| {
        let len = usize::try_from(range.end - at).map_or(CHUNK_LEN, |left| left.min(CHUNK_LEN));
        async move { read_chunk(session, handle, at, len).await }
    });
    let whole = BytesMut::with_capacity(usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0));
    let mut chunks = stream::iter(chunks).buffered(CHUNKS_AT_ONCE);
    let mut bytes = whole;
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Reads exactly this much: a server may give less at a time.
async fn read_chunk(session: &Session, handle: &[u8], at: u64, len: usize) -> Outcome<Bytes> {
    let mut bytes = BytesMut::with_capacity(len);
    while bytes.len() < len {
        let wanted = u32::try_from(len - bytes.len()).unwrap_or(u32::MAX);
        let offset = at + bytes.len() as u64;
        match session.ask(Request::Read { handle, offset, len: wanted }).await? {
            Reply::Data(data) if !data.is_empty() && data.len() <= len - bytes.len() => {
                bytes.extend_from_slice(&data);
            }
            Reply::End => return Err(Failure::Unreachable("the file became shorter".to_owned())),
            other => return Err(unexpected(&other)),
        }
    }
    Ok(bytes.freeze())
}

pub(super) async fn sync_and_close(session: &Session, handle: &[u8]) -> Outcome<()> {
    if session.has("fsync@openssh.com") {
        session.ask(Request::Sync { handle }).await?;
    }
    session.ask(Request::Close { handle }).await.map(drop)
}

/// Renames over what is there, into a directory that is created when it is not there.
pub(super) async fn rename(session: &Session, from: &str, to: &str) -> Outcome<()> {
    match session.ask(Request::Rename { from, to }).await {
        Err(failure) if failure.is_absent() => {
            make_parent(session, to).await?;
            session.ask(Request::Rename { from, to }).await.map(drop)
        }
        renamed => renamed.map(drop),
    }
}

/// Creates the directory that a file stands in.
pub(super) async fn make_parent(session: &Session, path: &str) -> Outcome<()> {
    match path.rsplit_once('/') {
        Some((parent, _)) => make_dirs(session, parent).await,
        None => Ok(()),
    }
}

/// Creates a directory and those above it.
pub(super) async fn make_dirs(session: &Session, path: &str) -> Outcome<()> {
    let mut missing = Vec::new();
    let mut directory = path;
    while !directory.is_empty() {
        match session.ask(Request::Stat { path: directory }).await {
            Ok(_) => break,
            Err(failure) if failure.is_absent() => missing.push(directory),
            Err(failure) => return Err(failure),
        }
        directory = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    for directory in missing.into_iter().rev() {
        if let Err(failure) = session.ask(Request::MakeDir { path: directory }).await {
            // Somebody else was faster, or it cannot be.
            let there = session.ask(Request::Stat { path: directory }).await;
            if there.is_err() {
                return Err(failure);
            }
        }
    }
    Ok(())
}

/// Removes a file; not an error when it is not there.
pub(super) async fn remove(session: &Session, path: &str) -> Outcome<()> {
    match session.ask(Request::Remove { path }).await {
        Err(failure) if failure.is_absent() => Ok(()),
        removed => removed.map(drop),
    }
}

/// What is in a directory; nothing when it is not there.
pub(super) async fn entries(session: &Session, path: &str) -> Outcome<Vec<Entry>> {
    let handle = match session.ask(Request::OpenDir { path }).await {
        Ok(Reply::Handle(handle)) => handle,
        Ok(other) => return Err(unexpected(&other)),
        Err(failure) if failure.is_absent() => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    let mut all = Vec::new();
    loop {
        match session.ask(Request::ReadDir { handle: &handle }).await? {
            Reply::Entries(entries) => all.extend(entries),
            Reply::End => break,
            other => return Err(unexpected(&other)),
        }
    }
    session.ask(Request::Close { handle: &handle }).await?;
    Ok(all)
}
