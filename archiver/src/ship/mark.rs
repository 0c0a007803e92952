//! How far shipping got, as the database's own log keeps it.
//!
//! Layout of the mark's value, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 1 | format | 1 |
//! | 1 | 16 | lineage | whose history was shipped |
//! | 17 | 16 | target | digest of the store's location |
//! | 33 | 8 | begun | when shipping of the lineage to the target began, Unix milliseconds |
//! | 41 | 8 | version | last shipped record |
//! | 49 | 10 | stamp | last shipped commit |
//! | 59 | 32 | hash | content hash at it |
//! | 91 | 8 | time | clock at it |
//! | 99 | 1 | rooted | 1 when what was shipped can be restored, else 0 |
//! | 100 | 1 | gap | 1 when a gap is not yet in a checkpoint, else 0 |
//! | 101 | 10 | gap after | the last commit before it; zero without one |
//! | 111 | 8 | bytes | of segments since the last checkpoint |
//! | 119 | 8 | made | when the last checkpoint was made; 0 without one |
//! | 127 | | name | of the last checkpoint, to the end; empty without one |

use super::source::Position;
use crate::layout::{CheckpointName, Digest};
use engine::codec::{Decoder, Malformed};
use engine::{ContentHash, Engine, LineageId, Versionstamp};

const FORMAT: u8 = 1;

/// The last checkpoint in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastCheckpoint {
    pub(crate) name: CheckpointName,
    pub(crate) made_ms: u64,
}

/// How far shipping got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub(crate) lineage: LineageId,
    pub(crate) target: Digest,
    pub(crate) begun_ms: u64,
    pub(crate) position: Position,
    /// Whether what was shipped can be restored.
    pub(crate) rooted: bool,
    /// The last commit before a gap that no checkpoint in the archive records yet.
    pub(crate) gap_after: Option<Versionstamp>,
    pub(crate) bytes_since_checkpoint: u64,
    pub(crate) checkpoint: Option<LastCheckpoint>,
}

impl Mark {
    /// Nothing was shipped. Without a position a checkpoint comes first.
    pub(crate) fn start(lineage: LineageId, target: Digest, begun_ms: u64, at: Option<Position>) -> Self {
        let nowhere =
            Position { version: 0, stamp: Versionstamp::ZERO, hash: ContentHash::EMPTY, time_ms: 0 };
        Self {
            lineage,
            target,
            begun_ms,
            position: at.unwrap_or(nowhere),
            rooted: at.is_some(),
            gap_after: None,
            bytes_since_checkpoint: 0,
            checkpoint: None,
        }
    }

    /// The name under which the engine keeps it.
    pub fn name(group: u64, target: Digest) -> Vec<u8> {
        format!("archive/{group}/{target}").into_bytes()
    }

    /// What is recorded in an engine of its own lineage and this target. Before there were several targets, a mark had no
    /// target in its name.
    pub fn read(engine: &Engine, group: u64, target: Digest) -> Option<Self> {
        let lineage = engine.lineage().id;
        let named = [Self::name(group, target), format!("archive/{group}").into_bytes()];
        let marks = named.iter().filter_map(|name| engine.mark(name));
        let mut marks = marks.filter_map(|value| Self::decode(&value).ok());
        marks.find(|mark| mark.lineage == lineage && mark.target == target)
    }

    /// The last shipped commit.
    pub const fn shipped(&self) -> Versionstamp {
        self.position.stamp
    }

    /// The clock at it, Unix milliseconds.
    pub const fn shipped_ms(&self) -> u64 {
        self.position.time_ms
    }

    /// Whether what was shipped can be restored: not while a checkpoint is on its way without which nothing can.
    pub const fn is_rooted(&self) -> bool {
        self.rooted
    }

    /// The last checkpoint that was shipped.
    pub fn checkpoint(&self) -> Option<CheckpointName> {
        self.checkpoint.map(|last| last.name)
    }

    /// Whose history was shipped.
    pub const fn lineage(&self) -> LineageId {
        self.lineage
    }

    pub(crate) fn as_engine_mark(&self, group: u64) -> engine::Mark {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.lineage.0);
        out.extend_from_slice(&self.target.0);
        out.extend_from_slice(&self.begun_ms.to_le_bytes());
        out.extend_from_slice(&self.position.version.to_le_bytes());
        out.extend_from_slice(self.position.stamp.as_bytes());
        out.extend_from_slice(self.position.hash.as_bytes());
        out.extend_from_slice(&self.position.time_ms.to_le_bytes());
        out.push(u8::from(self.rooted));
        out.push(u8::from(self.gap_after.is_some()));
        out.extend_from_slice(self.gap_after.unwrap_or(Versionstamp::ZERO).as_bytes());
        out.extend_from_slice(&self.bytes_since_checkpoint.to_le_bytes());
        out.extend_from_slice(&self.checkpoint.map_or(0, |last| last.made_ms).to_le_bytes());
        out.extend_from_slice(self.checkpoint.map_or(String::new(), |last| last.name.to_string()).as_bytes());
        engine::Mark { name: Self::name(group, self.target), value: out }
    }

    /// Reads the value of a mark.
    ///
    /// # Errors
    ///
    /// Where it is not what the format says.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(bytes);
        let format = rest.u8("format")?;
        rest.ensure(format == FORMAT, "format 1")?;
        let lineage = LineageId(rest.array("lineage")?);
        let target = Digest(rest.array("target")?);
        let begun_ms = rest.u64("begun")?;
        let position = Position {
            version: rest.u64("version")?,
            stamp: Versionstamp::from_bytes(rest.array("stamp")?),
            hash: ContentHash::from_bytes(rest.array("hash")?),
            time_ms: rest.u64("time")?,
        };
        let rooted = flag(&mut rest)?;
        let gap = flag(&mut rest)?;
        let after = Versionstamp::from_bytes(rest.array("gap after")?);
        let bytes_since_checkpoint = rest.u64("bytes")?;
        let made_ms = rest.u64("made")?;
        let name = rest.take(rest.remaining(), "name")?;
        let checkpoint = if name.is_empty() {
            None
        } else {
            let name = std::str::from_utf8(name).ok().and_then(CheckpointName::parse);
            let Some(name) = name else { return Err(rest.malformed("the name of a checkpoint")) };
            Some(LastCheckpoint { name, made_ms })
        };
        let gap_after = gap.then_some(after);
        Ok(Self {
            lineage,
            target,
            begun_ms,
            position,
            rooted,
            gap_after,
            bytes_since_checkpoint,
            checkpoint,
        })
    }
}

fn flag(rest: &mut Decoder<'_>) -> Result<bool, Malformed> {
    match rest.u8("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(rest.malformed("a flag of 0 or 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::ShortHash;

    #[test]
    fn a_mark_survives_its_bytes_and_its_format_is_frozen() -> Result<(), Malformed> {
        let mut mark = Mark::start(LineageId([1; 16]), Digest([2; 16]), 3, None);
        mark.position.hash = ContentHash::from_bytes([4; 32]);
        let value = mark.as_engine_mark(1).value;
        assert_eq!((value.len(), value[0], value[99]), (127, 1, 0));
        assert_eq!(Mark::decode(&value)?, mark);
        mark.gap_after = Some(Versionstamp::new(5, 6));
        let name = CheckpointName {
            stamp: Versionstamp::new(7, 8),
            time_ms: 9,
            hash: ShortHash([10; 8]),
            digest: Digest([11; 16]),
            sealed: false,
        };
        mark.checkpoint = Some(LastCheckpoint { name, made_ms: 12 });
        let value = mark.as_engine_mark(1).value;
        assert_eq!(Mark::decode(&value)?, mark);
        for cut in 0..127 {
            assert!(Mark::decode(&value[..cut]).is_err(), "cut at {cut}");
        }
        Ok(())
    }
}
