//! A small file that says how far each group's log was durable at some recent sync, and what was voted.
//!
//! raft-engine cuts its log at the first bad record, whatever that was. A node that lost the end of its log so has
//! forgotten entries that it told others it holds, and must neither vote nor lead. This file shows it.
//!
//! - Two slots of 64 KiB, written in turn, each synced before it counts: a torn write leaves the other one.
//! - What it says was durable in the log when it was written, so it is never ahead of an intact log. It is raised about once
//!   a second while the log grows, with every vote, and lowered before a tail is cut.
//! - A vote stands in both places; the greater one counts.
//!
//! | offset in a slot | size | field |
//! |---|---|---|
//! | 0 | 8 | magic `CAIRNWM1` |
//! | 8 | 8 | sequence, little-endian as all integers; the greater one counts |
//! | 16 | 4 | number of groups |
//! | 20 | | each group, rising: id u64; vote: flag u8, in case 1 term u64, node u64, committed u8; last durable position: flag u8, in case 1 term u64, index u64 |
//! | | 4 | CRC-32 of all before |

use crate::membership::{position, put_position};
use crate::raft::{LogId, Vote};
use engine::codec::{Decoder, Malformed};
use engine::fs::{File, Fs};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"CAIRNWM1";
const SLOT_BYTES: usize = 64 << 10;
/// The most groups of a node, inclusive: a slot holds them.
pub(crate) const GROUPS_MAX: usize = 1_024;

/// What is known of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Known {
    pub(crate) vote: Option<Vote>,
    pub(crate) durable: Option<LogId>,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Watermark {
    file: Arc<dyn File>,
    sequence: u64,
    groups: BTreeMap<u64, Known>,
    is_raised: bool,
    written_ms: u64,
}

impl Watermark {
    /// Opens the file, creating it when it is not there. `None` besides it when neither slot can be read although the
    /// file was there.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) fn open(fs: &dyn Fs, path: &Path) -> io::Result<(Watermark, Found)> {
        let existed = fs.exists(path)?;
        let file = if existed { fs.open_rw(path)? } else { create(fs, path)? };
        let slots = [read_slot(&*file, 0)?, read_slot(&*file, 1)?];
        let newest = slots.into_iter().flatten().max_by_key(|(sequence, _)| *sequence);
        let found = match (&newest, existed) {
            (Some(_), _) => Found::Read,
            (None, true) => Found::Unreadable,
            (None, false) => Found::Nothing,
        };
        let (sequence, groups) = newest.unwrap_or_default();
        Ok((Self { file, sequence, groups, is_raised: false, written_ms: 0 }, found))
    }

    /// What is known of a group.
    pub(crate) fn of(&self, group: u64) -> Known {
        self.groups.get(&group).copied().unwrap_or_default()
    }

    /// Notes that the log of a group is durable up to `last`. Written with the next [`write_if_due`](Self::write_if_due).
    pub(crate) fn raise(&mut self, group: u64, last: LogId) {
        self.groups.entry(group).or_default().durable = Some(last);
        self.is_raised = true;
    }

    /// Notes a vote; the caller writes.
    pub(crate) fn vote(&mut self, group: u64, vote: Vote) {
        self.groups.entry(group).or_default().vote = Some(vote);
    }

    /// Notes that the log of a group is about to end at `last`; the caller writes before it cuts.
    pub(crate) fn lower(&mut self, group: u64, last: Option<LogId>) {
        let known = self.groups.entry(group).or_default();
        known.durable = known.durable.min(last);
    }

    /// Forgets a group; the caller writes.
    pub(crate) fn forget(&mut self, group: u64) {
        self.groups.remove(&group);
    }

    /// Writes what was raised when the last time was a while ago.
    ///
    /// # Errors
    ///
    /// What the disk says.
    pub(crate) fn write_if_due(&mut self, now_ms: u64) -> io::Result<()> {
        const EVERY_MS: u64 = 1_000;
        let since = now_ms.checked_sub(self.written_ms);
        if self.is_raised && since.is_none_or(|since| since >= EVERY_MS) {
            self.write(now_ms)?;
        }
        Ok(())
    }

    /// Writes and syncs the slot that does not count.
    ///
    /// # Errors
    ///
    /// What the disk says: what is durable is unknown then.
    pub(crate) fn write(&mut self, now_ms: u64) -> io::Result<()> {
        let sequence = self.sequence + 1;
        let bytes = encode(sequence, &self.groups);
        assert!(bytes.len() <= SLOT_BYTES, "the groups of a node fit a slot");
        self.file.write_at(&bytes, (sequence % 2) * SLOT_BYTES as u64)?;
        self.file.sync()?;
        self.sequence = sequence;
        self.is_raised = false;
        self.written_ms = now_ms;
        Ok(())
    }
}

/// What [`Watermark::open`] met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// No file: the log must be new as well.
    Nothing,
    /// A slot that can be read.
    Read,
    /// A file without one: it never had one, or both are damaged. The log must be new.
    Unreadable,
}

fn create(fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn File>> {
    let file = fs.create(path)?;
    file.allocate(2 * SLOT_BYTES as u64)?;
    file.sync()?;
    if let Some(dir) = path.parent() {
        fs.sync_dir(dir)?;
    }
    Ok(file)
}

fn encode(sequence: u64, groups: &BTreeMap<u64, Known>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&sequence.to_le_bytes());
    let count = u32::try_from(groups.len()).expect("a node has few groups");
    bytes.extend_from_slice(&count.to_le_bytes());
    for (group, known) in groups {
        bytes.extend_from_slice(&group.to_le_bytes());
        put_vote(known.vote.as_ref(), &mut bytes);
        put_position(known.durable, &mut bytes);
    }
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Appends a vote, if there is one.
pub(crate) fn put_vote(vote: Option<&Vote>, out: &mut Vec<u8>) {
    out.push(u8::from(vote.is_some()));
    if let Some(vote) = vote {
        out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
        out.extend_from_slice(&vote.leader_id.voted_for.to_le_bytes());
        out.push(u8::from(vote.committed));
    }
}

/// Reads what [`put_vote`] wrote.
///
/// # Errors
///
/// When it is not that.
pub(crate) fn vote(rest: &mut Decoder<'_>) -> Result<Option<Vote>, Malformed> {
    let start = rest.clone();
    match rest.u8("flag of a vote")? {
        0 => Ok(None),
        1 => {
            let (term, node) = (rest.u64("term of a vote")?, rest.u64("node of a vote")?);
            match rest.u8("state of a vote")? {
                0 => Ok(Some(Vote::new(term, node))),
                1 => Ok(Some(Vote::new_committed(term, node))),
                _ => Err(start.malformed("a vote's state of 0 or 1")),
            }
        }
        _ => Err(start.malformed("a flag of 0 or 1")),
    }
}

type Slot = (u64, BTreeMap<u64, Known>);

fn read_slot(file: &dyn File, slot: u64) -> io::Result<Option<Slot>> {
    let mut bytes = vec![0; SLOT_BYTES];
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], slot * SLOT_BYTES as u64 + len as u64)? {
            0 => break,
            read => len += read,
        }
    }
    Ok(decode(&bytes[..len]).ok())
}

fn decode(bytes: &[u8]) -> Result<Slot, Malformed> {
    let mut rest = Decoder::new(bytes);
    let magic = rest.take(MAGIC.len(), "magic")?;
    rest.ensure(magic == MAGIC, "the magic of a watermark")?;
    let sequence = rest.u64("sequence")?;
    let count = rest.u32("number of groups")?;
    let mut groups = BTreeMap::new();
    for _ in 0..count {
        let group = rest.u64("group")?;
        let known = Known { vote: vote(&mut rest)?, durable: position(&mut rest)? };
        rest.ensure(groups.last_key_value().is_none_or(|(last, _)| *last < group), "rising groups")?;
        groups.insert(group, known);
    }
    let summed = crc32fast::hash(&bytes[..rest.offset()]);
    let sum = rest.u32("checksum")?;
    rest.ensure(sum == summed, "the checksum of a watermark")?;
    Ok((sequence, groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::log_id;
    use engine::fs::sim::{Faults, Sim, Unsynced};

    type TestResult = Result<(), Box<dyn std::error::Error>>;

    fn path() -> &'static Path {
        Path::new("/data/raft.mark")
    }

    fn disk() -> io::Result<Sim> {
        let disk = Sim::new();
        disk.create_dir_all(Path::new("/data"))?;
        Ok(disk)
    }

    #[test]
    fn the_format_is_frozen() -> TestResult {
        let known = Known { vote: Some(Vote::new(2, 9)), durable: Some(log_id(1, 5)) };
        let bytes = encode(3, &BTreeMap::from([(7, known)]));
        let expected = b"CAIRNWM1\x03\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0";
        assert_eq!(bytes[..bytes.len() - 4], expected[..]);
        assert_eq!(decode(&bytes)?, (3, BTreeMap::from([(7, known)])));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(decode(&changed).is_err(), "byte {at}");
        }
        Ok(())
    }

    #[test]
    fn all_groups_of_a_node_fit_a_slot() {
        let known =
            Known { vote: Some(Vote::new_committed(u64::MAX, 1)), durable: Some(log_id(1, u64::MAX)) };
        let groups = (0..GROUPS_MAX as u64).map(|group| (group, known)).collect();
        assert!(encode(1, &groups).len() <= SLOT_BYTES);
    }

    #[test]
    fn whatever_a_crash_tears_the_last_written_state_is_there() -> TestResult {
        for stop in 1..40 {
            for seed in 0..4 {
                let disk = disk()?;
                let (mut mark, found) = Watermark::open(&disk, path())?;
                assert_eq!(found, Found::Nothing);
                disk.set_faults(Faults { stop_at_op: Some(stop), ..Faults::default() });
                let mut written = 0;
                for index in 1..=16 {
                    mark.raise(1, log_id(1, index));
                    if mark.write(index).is_err() {
                        break;
                    }
                    written = index;
                }
                disk.crash(Unsynced::Torn(seed));
                let (again, _) = Watermark::open(&disk, path())?;
                let durable = again.of(1).durable.map_or(0, |id| id.index);
                assert!(durable == written || durable == written + 1, "{durable} after {written}");
            }
        }
        Ok(())
    }

    #[test]
    fn it_is_written_once_a_second_and_also_after_the_clock_was_set_back() -> TestResult {
        let disk = disk()?;
        let (mut mark, _) = Watermark::open(&disk, path())?;
        let mut durable_after = |now_ms, index| {
            mark.raise(1, log_id(1, index));
            mark.write_if_due(now_ms)?;
            Ok::<_, io::Error>(Watermark::open(&disk, path())?.0.of(1).durable.map(|id| id.index))
        };
        assert_eq!(durable_after(5_000, 1)?, Some(1));
        assert_eq!(durable_after(5_999, 2)?, Some(1));
        assert_eq!(durable_after(6_000, 3)?, Some(3));
        assert_eq!(durable_after(10, 4)?, Some(4));
        Ok(())
    }
}
