//! Multipart uploads in memory.

use super::super::{PART_BYTES_MIN, PARTS_MAX, Tag, Upload};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Uploads that were begun and have not ended.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    begun: u64,
    open: BTreeMap<String, BTreeMap<u32, (Tag, Bytes)>>,
    parts: u64,
}

impl Uploads {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn begin(&mut self, name: &str, part_bytes: u64) -> Upload {
        assert!(part_bytes >= PART_BYTES_MIN, "parts of {part_bytes} bytes are too small");
        self.begun += 1;
        let id = self.begun.to_string();
        self.open.insert(id.clone(), BTreeMap::new());
        Upload { name: name.to_owned(), id, part_bytes }
    }

    pub(super) fn part(&mut self, upload: &Upload, number: u32, bytes: Bytes) -> Option<Tag> {
        assert!((1..=PARTS_MAX).contains(&number), "parts are numbered from 1, not {number}");
        self.parts += 1;
        let tag = Tag(format!("\"{}\"", self.parts));
        self.open.get_mut(&upload.id)?.insert(number, (tag.clone(), bytes));
        Some(tag)
    }

    /// The object, when these are the tags of its parts.
    pub(super) fn whole(&self, upload: &Upload, tags: &[Tag]) -> Option<Bytes> {
        let parts = self.open.get(&upload.id)?;
        let mut whole = Vec::new();
        for (number, tag) in (1..).zip(tags) {
            let (_, bytes) = parts.get(&number).filter(|(is, _)| is == tag)?;
            let last = number as usize == tags.len();
            assert!(last || bytes.len() as u64 == upload.part_bytes, "part {number} has another size");
            whole.extend_from_slice(bytes);
        }
        Some(whole.into())
    }

    pub(super) fn end(&mut self, upload: &Upload) {
        self.open.remove(&upload.id);
    }
}
