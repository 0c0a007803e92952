//! Takes the next segment of the archive out of the engine's log.

use crate::layout::LineageFolder;
use crate::segment::{Header, Writer};
use crate::{Error, Result};
use bytes::Bytes;
use engine::fs::Fs;
use engine::{Applied, ContentHash, Engine, LineageId, Versionstamp, wal};
use std::path::Path;
use std::sync::Arc;

/// A commit, and what is needed to go on from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The record it is in.
    pub(crate) version: u64,
    /// The commit.
    pub(crate) stamp: Versionstamp,
    /// The content hash at it.
    pub(crate) hash: ContentHash,
    /// The clock at it.
    pub(crate) time_ms: u64,
}

impl From<Applied> for Position {
    fn from(applied: Applied) -> Self {
        let Applied { version, stamp, hash, time_ms, .. } = applied;
        Self { version, stamp, hash, time_ms }
    }
}

/// Sealed segments of a lineage with records after a version.
pub(crate) fn waiting(engine: &Engine, lineage: LineageId, after: u64) -> Vec<wal::Segment> {
    let mut segments = engine.sealed_segments();
    segments.retain(|segment| segment.lineage == lineage && segment.last > after);
    segments
}

/// What to take.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) lineage: LineageFolder,
    pub(crate) group: u64,
    pub(crate) node: u64,
    /// The last shipped commit.
    pub(crate) from: Position,
    /// The segment is closed at this many bytes of records.
    pub(crate) bytes_max: u64,
}

/// What was there.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// No commit up to this version.
    Nothing { consumed: u64 },
    /// A segment: its end, and the version up to which nothing more waits.
    Segment { header: Box<Header>, bytes: Bytes, end: Position, consumed: u64 },
    /// The next commit does not continue the last shipped one.
    Broken,
}

impl Gather {
    /// Reads sealed segments, oldest first, until one object is full.
    pub(crate) fn run(&self, waiting: &[wal::Segment]) -> Result<Gathered> {
        let mut taken =
            Taken { writer: None, end: self.from, hash: self.from.hash, consumed: self.from.version };
        for segment in waiting {
            match self.take(segment, &mut taken)? {
                Took::All => taken.consumed = segment.last,
                Took::Full => break,
                Took::Other => return Ok(Gathered::Broken),
            }
        }
        let Taken { writer, end, hash, consumed } = taken;
        match writer {
            Some(writer) => {
                let path = waiting.first().map_or(Path::new(""), |segment| &segment.path);
                let (header, bytes) = writer.finish().map_err(Error::io("compress", path))?;
                Ok(Gathered::Segment { header: Box::new(header), bytes, end, consumed })
            }
            // Ticks alone, but of another history: commits before them are gone.
            None if hash != end.hash => Ok(Gathered::Broken),
            None => Ok(Gathered::Nothing { consumed }),
        }
    }

    fn take(&self, segment: &wal::Segment, taken: &mut Taken) -> Result<Took> {
        let mut reader = wal::Reader::open(&*self.fs, &segment.path)?;
        taken.hash = reader.hash_before();
        while let Some(record) = reader.next_record()? {
            let hash_before = std::mem::replace(&mut taken.hash, record.hash);
            if record.version <= self.from.version || record.batches.is_empty() {
                continue;
            }
            if hash_before != taken.end.hash {
                return Ok(Took::Other);
            }
            let (end, shipper) = (taken.end, (record.term, self.node));
            let start = || Writer::new(self.lineage, self.group, shipper, end.stamp, end.hash);
            let writer = taken.writer.get_or_insert_with(start);
            writer.add(&record).map_err(Error::io("compress", &segment.path))?;
            let (stamp, hash) = (writer.last(), writer.hash());
            taken.end = Position { version: record.version, stamp, hash, time_ms: record.time_ms };
            if writer.plain_bytes() >= self.bytes_max {
                taken.consumed = record.version;
                return Ok(Took::Full);
            }
        }
        Ok(Took::All)
    }
}

/// What was taken so far.
struct Taken {
    writer: Option<Writer>,
    end: Position,
    /// The content hash where reading stands.
    hash: ContentHash,
    consumed: u64,
}

/// How reading a segment of the log ended.
enum Took {
    /// At its end.
    All,
    /// The object is full.
    Full,
    /// It does not continue what was shipped.
    Other,
}
