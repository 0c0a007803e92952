//! The file that remembers an upload.
//!
//! Text: a first line that says which object and which upload, then a line for each part that is in the store. Every
//! line ends with its checksum; a line that was not written whole ends the file.
//!
//! ```text
//! cairn-upload-1 <location> <name> <length> <part bytes> <upload name> <upload id> <crc32>
//! <number> <tag> <crc32>
//! ```
//!
//! Words are percent-encoded. Every line is synced before the next part is taken for sent.

use super::super::{Error, Result, Tag, Upload};
use engine::fs::{File, Fs, read_file};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &str = "cairn-upload-1";
/// The longest file that is read: ten thousand parts with long tags.
const LEN_MAX: u64 = 16 << 20;

/// Where the state of an upload is kept: a file of its own in a directory that is there.
#[derive(Debug, Clone)]
pub struct Resume {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The file.
    pub path: PathBuf,
}

/// What is being put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) location: String,
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) part_bytes: u64,
}

impl Object {
    /// The numbers of its parts.
    pub(super) fn parts(&self) -> RangeInclusive<u32> {
        1..=u32::try_from(self.len.div_ceil(self.part_bytes)).unwrap_or(u32::MAX)
    }

    /// The bytes of a part.
    pub(super) fn range(&self, number: u32) -> Range<u64> {
        let start = u64::from(number - 1) * self.part_bytes;
        start..self.len.min(start + self.part_bytes)
    }
}

/// An upload, and the file that remembers it.
#[derive(Debug)]
pub(super) struct State {
    upload: Upload,
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    resume: Resume,
    file: Arc<dyn File>,
    len: u64,
}

/// What the file says.
#[derive(Debug)]
pub(super) enum Found {
    /// This object, and the parts that are in the store.
    Same(State, BTreeMap<u32, Tag>),
    /// Another object, or this one of another size.
    Other(Upload),
    /// No upload.
    Nothing,
}

impl State {
    /// Remembers an upload without parts.
    pub(super) fn create(resume: Option<&Resume>, object: &Object, upload: Upload) -> Result<Self> {
        let Some(resume) = resume else { return Ok(Self { upload, kept: None }) };
        let failed = failed(&object.name);
        if resume.fs.exists(&resume.path).map_err(&failed)? {
            resume.fs.remove(&resume.path).map_err(&failed)?;
        }
        let file = resume.fs.create(&resume.path).map_err(&failed)?;
        let mut kept = Kept { resume: resume.clone(), file, len: 0 };
        let (len, part_bytes) = (object.len.to_string(), object.part_bytes.to_string());
        let words = [MAGIC, &object.location, &object.name, &len, &part_bytes, &upload.name, &upload.id];
        kept.append(&words).map_err(&failed)?;
        let directory = resume.path.parent().unwrap_or(Path::new("/"));
        resume.fs.sync_dir(directory).map_err(&failed)?;
        Ok(Self { upload, kept: Some(kept) })
    }

    pub(super) const fn upload(&self) -> &Upload {
        &self.upload
    }

    /// A part is in the store.
    pub(super) fn add(&mut self, number: u32, tag: &Tag) -> Result<()> {
        let name = &self.upload.name;
        match &mut self.kept {
            Some(kept) => kept.append(&[&number.to_string(), &tag.0]).map_err(failed(name)),
            None => Ok(()),
        }
    }

    /// The upload has ended.
    pub(super) fn forget(self) -> Result<()> {
        match self.kept {
            Some(Kept { resume, .. }) => resume.fs.remove(&resume.path).map_err(failed(&self.upload.name)),
            None => Ok(()),
        }
    }
}

impl Kept {
    fn append(&mut self, words: &[&str]) -> io::Result<()> {
        let line = line(words);
        self.file.write_at(line.as_bytes(), self.len)?;
        self.file.sync()?;
        self.len += line.len() as u64;
        Ok(())
    }
}

fn failed(name: &str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Source { name: name.to_owned(), source: Arc::new(source) }
}

fn line(words: &[&str]) -> String {
    let mut line = String::new();
    for word in words {
        for byte in word.bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                line.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ok = write!(line, "%{byte:02x}");
            }
        }
        line.push(' ');
    }
    let checksum = crc32fast::hash(line.as_bytes());
    format!("{line}{checksum:08x}\n")
}

/// The words of a line that was written whole.
fn words(line: &str) -> Option<Vec<String>> {
    let (text, checksum) = line.strip_suffix('\n')?.split_at_checked(line.len().checked_sub(9)?)?;
    if u32::from_str_radix(checksum, 16) != Ok(crc32fast::hash(text.as_bytes())) {
        return None;
    }
    text.split_terminator(' ').map(decode).collect()
}

fn decode(word: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            rest = after;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Reads the file. What cannot be read as one of ours is as if it were not there.
pub(super) fn load(resume: &Resume, object: &Object) -> Result<Found> {
    let failed = failed(&object.name);
    if !resume.fs.exists(&resume.path).map_err(&failed)? {
        return Ok(Found::Nothing);
    }
    let bytes = read_file(&*resume.fs, &resume.path, LEN_MAX).map_err(&failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.split_inclusive('\n');
    let Some((first, (of, upload))) = lines.next().and_then(|line| Some((line, head(&words(line)?)?))) else {
        return Ok(Found::Nothing);
    };
    if of != *object {
        return Ok(Found::Other(upload));
    }
    let (mut tags, mut len) = (BTreeMap::new(), first.len() as u64);
    for line in lines {
        let Some((number, tag)) = words(line).and_then(|words| part(&words, object)) else { break };
        tags.insert(number, tag);
        len += line.len() as u64;
    }
    let file = resume.fs.open_rw(&resume.path).map_err(&failed)?;
    // What was not written whole goes, so that a shorter line cannot leave its end behind.
    file.set_len(len).map_err(&failed)?;
    let kept = Some(Kept { resume: resume.clone(), file, len });
    Ok(Found::Same(State { upload, kept }, tags))
}

fn head(words: &[String]) -> Option<(Object, Upload)> {
    let [magic, location, name, len, part_bytes, upload_name, id] = words else { return None };
    let (len, part_bytes) = (len.parse().ok()?, part_bytes.parse().ok().filter(|bytes| *bytes > 0)?);
    let object = Object { location: location.clone(), name: name.clone(), len, part_bytes };
    let upload = Upload { name: upload_name.clone(), id: id.clone(), part_bytes };
    (magic == MAGIC).then_some((object, upload))
}

fn part(words: &[String], object: &Object) -> Option<(u32, Tag)> {
    let [number, tag] = words else { return None };
    let number = number.parse().ok().filter(|number| object.parts().contains(number))?;
    Some((number, Tag(tag.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_and_cut_or_changed_ones_are_none() {
        let said = ["a b", "%", "\"tag\"", "ä\n", ""];
        let written = line(&said);
        assert_eq!(words(&written).as_deref(), Some(&said.map(str::to_owned)[..]));
        for cut in 0..written.len() {
            assert_eq!(words(&written[..cut]), None, "cut at {cut}");
        }
        assert_eq!(words(&written.replace("tag", "gat")), None);
    }
}
