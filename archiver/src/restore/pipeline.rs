//! Replays the segments of a plan: some are fetched ahead, one is unpacked, and one is applied, all at once.
//!
//! - They are applied in order, whatever order they arrive in.
//! - What is fetched ahead is bounded in objects and in bytes; what is unpacked ahead, in pieces.

use super::plan::Plan;
use super::replay::Replay;
use crate::archive::Archive;
use crate::catalog::Segment;
use crate::error::blocking;
use crate::fetch;
use crate::job::Job;
use crate::segment::{Reader, Step};
use crate::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Segments fetched at a time.
const SEGMENTS_AHEAD: usize = 32;
/// Bytes of segments fetched ahead, in KiB; a larger one is fetched alone.
const AHEAD_KIB: u32 = 128 << 10;
/// Unpacked pieces that wait to be applied, at most.
const PIECES_AHEAD: usize = 4;
/// Records in a piece, at most.
const PIECE_RECORDS_MAX: usize = 4_096;
/// Bytes of operations after which a piece is closed.
const PIECE_BYTES: usize = 1 << 20;

/// Records of one segment, in order.
struct Piece {
    object: Arc<str>,
    steps: Vec<Step>,
}

/// Replays every segment of a plan.
pub(super) async fn replay(
    archive: &Archive,
    plan: &Plan,
    group: u64,
    replay: Replay,
    job: &Job,
) -> Result<Replay> {
    let (pieces, received) = mpsc::channel(PIECES_AHEAD);
    let applying = tokio::spawn(blocking(move || apply(replay, received)));
    let read = unpack_all(archive, plan, group, &pieces, job).await;
    drop(pieces);
    let applied = applying.await.unwrap_or(Err(Error::Stopped));
    // What could not be applied says more than that nobody took what was read.
    match (applied, read) {
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(replay), Ok(())) => Ok(replay),
    }
}

fn apply(mut replay: Replay, mut pieces: mpsc::Receiver<Piece>) -> Result<Replay> {
    while let Some(piece) = pieces.blocking_recv() {
        if !replay.steps(&piece.object, piece.steps)? {
            break;
        }
    }
    Ok(replay)
}

async fn unpack_all(
    archive: &Archive,
    plan: &Plan,
    group: u64,
    pieces: &mpsc::Sender<Piece>,
    job: &Job,
) -> Result<()> {
    let room = Arc::new(Semaphore::new(AHEAD_KIB as usize));
    let fetches = plan.segments.iter().map(|segment| {
        let room = Arc::clone(&room);
        async move {
            let held = take_room(&room, segment).await?;
            job.throttle(segment.bytes).await;
            let (object, reader) = fetch::segment(archive, &plan.history, group, segment).await?;
            Ok::<_, Error>((segment.bytes, object, reader, held))
        }
    });
    let mut fetches = futures::stream::iter(fetches).buffered(SEGMENTS_AHEAD);
    while let Some((bytes, object, reader, held)) = fetches.try_next().await? {
        job.checkpoint()?;
        let pieces = pieces.clone();
        let counted = job.clone();
        if !blocking(move || unpack(&object, reader, &pieces, &counted)).await? {
            return Ok(());
        }
        drop(held);
        job.done_bytes(bytes);
    }
    Ok(())
}

async fn take_room(room: &Arc<Semaphore>, segment: &Segment) -> Result<OwnedSemaphorePermit> {
    let kib = u32::try_from(segment.bytes.div_ceil(1 << 10)).unwrap_or(AHEAD_KIB).clamp(1, AHEAD_KIB);
    Arc::clone(room).acquire_many_owned(kib).await.map_err(|_closed| Error::Stopped)
}

/// Unpacks a segment to its end; returns whether somebody still takes what is in it.
fn unpack(object: &str, mut reader: Reader, pieces: &mpsc::Sender<Piece>, job: &Job) -> Result<bool> {
    let object: Arc<str> = object.into();
    let (mut steps, mut bytes, mut keys) = (Vec::new(), 0, 0);
    loop {
        let next = reader.next_record().map_err(Error::damaged(&object))?;
        let is_last = next.is_none();
        if let Some(step) = next {
            let batches = step.record.batches.iter().map(|(_, batch)| batch);
            bytes += batches.clone().map(|batch| batch.as_bytes().len()).sum::<usize>();
            keys += batches.map(|batch| batch.ops().count() as u64).sum::<u64>();
            steps.push(step);
        }
        if is_last || bytes >= PIECE_BYTES || steps.len() >= PIECE_RECORDS_MAX {
            job.done_keys(std::mem::take(&mut keys));
            let piece = Piece { object: Arc::clone(&object), steps: std::mem::take(&mut steps) };
            bytes = 0;
            if pieces.blocking_send(piece).is_err() {
                return Ok(false);
            }
        }
        if is_last {
            return Ok(true);
        }
    }
}
