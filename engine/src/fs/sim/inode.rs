//! One simulated file: what readers see, what a crash keeps, and the writes in between.

use super::{SplitMix, Unsynced};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
            Change::SetLen(len) => to.resize(*len, 0),
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits memory")
}

impl Inode {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let start = index(offset).min(self.bytes.len());
        let len = buf.len().min(self.bytes.len() - start);
        buf[..len].copy_from_slice(&self.bytes[start..start + len]);
        len
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) {
        self.change(Change::Write { offset: index(offset), bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.change(Change::SetLen(index(len)));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn crash(&mut self, unsynced: Unsynced, random: &mut SplitMix) {
        match unsynced {
            Unsynced::Lost => self.unsynced.clear(),
            Unsynced::Kept => self.sync(),
            Unsynced::Torn(_) => self.tear(random),
        }
        self.bytes.clone_from(&self.durable);
    }

    fn tear(&mut self, random: &mut SplitMix) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::SetLen(_) if random.below(2) == 0 => change.apply(&mut self.durable),
                Change::SetLen(_) => {}
                Change::Write { offset, bytes } => {
                    for (start, sector) in sectors(offset, &bytes) {
                        if random.below(2) == 0 {
                            let bytes = sector.to_vec();
                            Change::Write { offset: start, bytes }.apply(&mut self.durable);
                        }
                    }
                }
            }
        }
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> Option<()> {
        self.sync();
        *self.durable.get_mut(index(offset))? ^= 1 << (bit % 8);
        self.bytes.clone_from(&self.durable);
        Some(())
    }
}

/// Cuts a write where sectors begin.
fn sectors(offset: usize, bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut cut = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let to_boundary = SECTOR - (offset + start) % SECTOR;
        let end = bytes.len().min(start + to_boundary);
        cut.push((offset + start, &bytes[start..end]));
        start = end;
    }
    cut
}
