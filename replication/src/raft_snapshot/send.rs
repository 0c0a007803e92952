//! The side that has the checkpoint: it offers, and sends what is wanted.

use super::message::{Content, Message, Want};
use super::stream::{explain, hear, overhear, pause, say};
use super::{CHUNK_BYTES_MAX, Error, Outgoing, Progress, Rate};
use crate::transport::Duplex;
use engine::Error as EngineError;
use engine::fs::File;
use std::path::Path;

/// Offers a checkpoint and sends what the other side lacks of it; on return the other side has it, checked and durable.
///
/// # Errors
///
/// See [`Error`]; the other side keeps what has arrived.
pub async fn send(
    outgoing: &Outgoing,
    duplex: &mut Duplex,
    rate: &Rate,
    progress: &Progress,
) -> Result<(), Error> {
    let sent = send_wanted(outgoing, duplex, rate, progress).await;
    if let Err(error) = &sent {
        explain(duplex, error);
    }
    sent
}

async fn send_wanted(
    outgoing: &Outgoing,
    duplex: &mut Duplex,
    rate: &Rate,
    progress: &Progress,
) -> Result<(), Error> {
    let offer = outgoing.offer();
    say(duplex, &Message::Offer(offer.clone())).await?;
    let Message::Want(wants) = hear(duplex).await? else {
        return Err(Error::OutOfTurn("something else than what it wants"));
    };
    let mut lacking = 0u64;
    for want in &wants {
        let content = offer.file(want.file).filter(|content| want.from < content.bytes);
        let content = content.ok_or(Error::OutOfTurn("it wants what was not offered"))?;
        lacking = lacking.saturating_add(content.bytes - want.from);
    }
    progress.begin(offer.bytes(), offer.bytes() - lacking);
    for want in wants {
        let (Some(content), Some(path)) = (offer.file(want.file), outgoing.path(want.file)) else {
            return Err(Error::OutOfTurn("it wants what was not offered"));
        };
        let file = outgoing.fs().open(&path).map_err(EngineError::io("open", &path))?;
        send_file(&Source { path: &path, file: &*file, content }, want, duplex, rate, progress).await?;
    }
    match hear(duplex).await? {
        Message::Whole => Ok(()),
        _ => Err(Error::OutOfTurn("something else than that it has everything")),
    }
}

struct Source<'a> {
    path: &'a Path,
    file: &'a dyn File,
    content: &'a Content,
}

async fn send_file(
    source: &Source<'_>,
    want: Want,
    duplex: &mut Duplex,
    rate: &Rate,
    progress: &Progress,
) -> Result<(), Error> {
    let mut offset = want.from;
    while offset < source.content.bytes {
        overhear(duplex)?;
        let left = usize::try_from(source.content.bytes - offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(CHUNK_BYTES_MAX)];
        let len = bytes.len();
        rate.take(len).await;
        source.file.read_exact_at(&mut bytes, offset).map_err(EngineError::io("read", source.path))?;
        say(duplex, &Message::Chunk { file: want.file, offset, bytes: bytes.into() }).await?;
        offset += len as u64;
        progress.add(len);
        pause().await;
    }
    Ok(())
}
