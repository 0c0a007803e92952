//! Reading one segment, whole or cut short by a crash. Never repairs.

use super::header::{Header, KIND_HEADER, KIND_RECORD, KIND_SEAL, Seal};
use super::{MAGIC, Segment};
use crate::codec::Malformed;
use crate::frame::{self, Frame, PAYLOAD_LEN_MAX};
use crate::fs::{Fs, read_file};
use crate::{ContentHash, Error, Record, Result};
use std::io;
use std::path::{Path, PathBuf};

/// The longest segment that is read, in bytes: the greatest seal size and one record past it.
const SEGMENT_LEN_MAX: u64 = (1 << 30) + 2 * PAYLOAD_LEN_MAX as u64;

/// The intact frames of a segment, in the roles they have.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    pub(super) salt: u64,
    pub(super) header: Header,
    pub(super) records: Vec<Frame>,
    pub(super) seal: Option<Seal>,
    /// The greatest durable mark in it.
    pub(super) durable: u64,
    /// Where the next frame would stand.
    pub(super) end: usize,
    /// Bytes after `end` up to the last one that is not zero.
    pub(super) torn: usize,
}

impl Parsed {
    /// Reads a segment that may end where a crash cut it.
    pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<Parsed> {
        Self::parse(path, read_bytes(fs, path)?).map_err(Error::damaged(path, 0))
    }

    pub(super) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Parsed, Malformed> {
        let frame::Frames { salt, frames, durable, end, torn } = frame::read(&bytes, MAGIC)?;
        let mut frames = frames.into_iter();
        let nothing = Malformed { offset: frame::PREAMBLE_LEN, expected: "a segment header" };
        let first = frames.next().filter(|frame| frame.kind == KIND_HEADER).ok_or(nothing)?;
        let header = Header::decode(&bytes[first.payload.clone()]).map_err(inside(&first))?;
        let (mut records, mut seal) = (Vec::new(), None);
        for frame in frames {
            match frame.kind {
                _ if seal.is_some() => {
                    return Err(Malformed { offset: frame.offset, expected: "nothing after the seal" });
                }
                KIND_RECORD => records.push(frame),
                KIND_SEAL => {
                    seal = Some(Seal::decode(&bytes[frame.payload.clone()]).map_err(inside(&frame))?);
                }
                _ => return Err(Malformed { offset: frame.offset, expected: "a record or a seal" }),
            }
        }
        if seal.is_some() && torn > 0 {
            return Err(Malformed { offset: end, expected: "nothing after the seal" });
        }
        Ok(Parsed { path: path.to_path_buf(), bytes, salt, header, records, seal, durable, end, torn })
    }

    /// Decodes the record in `frame`, which must follow `version` and `hash`.
    pub(super) fn record(&self, frame: &Frame, version: u64, hash: ContentHash) -> Result<Record> {
        let malformed = |expected| Malformed { offset: 0, expected };
        let decoded = Record::decode(&self.bytes[frame.payload.clone()]).and_then(|record| {
            if record.version <= version {
                return Err(malformed("a version above the one before"));
            }
            if record.hash_after(hash) != record.hash {
                return Err(malformed("the content hash that follows from the record before"));
            }
            Ok(record)
        });
        decoded.map_err(Error::damaged(&self.path, frame.payload.start as u64))
    }

    pub(super) fn damaged(&self, offset: usize, expected: &str) -> Error {
        Error::Damaged { path: self.path.clone(), offset: offset as u64, expected: expected.to_owned() }
    }
}

fn read_bytes(fs: &dyn Fs, path: &Path) -> Result<Vec<u8>> {
    match read_file(fs, path, SEGMENT_LEN_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::Missing { path: path.to_path_buf(), needed_by: "the log" })
        }
        read => read.map_err(Error::io("read", path)),
    }
}

/// Whether a segment was made ahead and holds nothing that counts: not even its header is there.
///
/// # Errors
///
/// When its preamble is damaged, or something later in it was durable.
pub(super) fn is_unused(fs: &dyn Fs, path: &Path) -> Result<bool> {
    let bytes = read_bytes(fs, path)?;
    let frames = frame::read(&bytes, MAGIC).map_err(Error::damaged(path, 0))?;
    Ok(frames.frames.is_empty())
}

fn inside(frame: &Frame) -> impl FnOnce(Malformed) -> Malformed {
    let start = frame.payload.start;
    move |inner| Malformed { offset: start + inner.offset, ..inner }
}

/// Reads the records of a sealed segment in order, checking that each follows from the one before.
#[derive(Debug)]
pub struct Reader {
    parsed: Parsed,
    next: usize,
    version: u64,
    hash: ContentHash,
}

impl Reader {
    /// Opens a sealed segment and checks every frame of it.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when it is not sealed or not intact.
    pub fn open(fs: &dyn Fs, path: &Path) -> Result<Reader> {
        let parsed = Parsed::read(fs, path)?;
        if parsed.seal.is_none() {
            return Err(parsed.damaged(parsed.end, "a record or a seal"));
        }
        let (version, hash) = (parsed.header.base, parsed.header.hash_before);
        Ok(Reader { parsed, next: 0, version, hash })
    }

    /// Content hash before the first record of the segment.
    pub fn hash_before(&self) -> ContentHash {
        self.parsed.header.hash_before
    }

    /// The next record; `None` at the seal.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] when it does not follow from the record before it.
    pub fn next_record(&mut self) -> Result<Option<Record>> {
        let Some(frame) = self.parsed.records.get(self.next) else {
            return self.check_seal();
        };
        let record = self.parsed.record(frame, self.version, self.hash)?;
        (self.next, self.version, self.hash) = (self.next + 1, record.version, record.hash);
        Ok(Some(record))
    }

    fn check_seal(&self) -> Result<Option<Record>> {
        match self.parsed.seal {
            Some(seal) if seal.last == self.version => Ok(None),
            _ => Err(self.parsed.damaged(self.parsed.end, "a seal that names the last record")),
        }
    }
}

/// What the engine remembers of a sealed segment.
pub(super) fn describe(parsed: &Parsed, last: u64, commits: u64, bytes: u64) -> Segment {
    Segment {
        number: parsed.header.number,
        path: parsed.path.clone(),
        lineage: parsed.header.lineage,
        base: parsed.header.base,
        hash_before: parsed.header.hash_before,
        last,
        commits,
        bytes,
    }
}
