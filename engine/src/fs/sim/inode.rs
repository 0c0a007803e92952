//! One simulated file: what readers see, what a crash keeps, and the writes in between.

use super::Draw;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// The changes since the last sync, in order, each with its number.
    unsynced: Vec<(u64, Change)>,
    /// How many have it open.
    pub(super) handles: usize,
    /// Whether a sync was ever asked for.
    pub(super) was_synced: bool,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen { len: usize, cuts: bool },
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { offset, bytes } => write(to, *offset, bytes),
            Change::SetLen { len, .. } => to.resize(*len, 0),
        }
    }
}

fn write(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
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

    pub(super) fn write_at(&mut self, number: u64, bytes: &[u8], offset: u64) {
        self.change(number, Change::Write { offset: index(offset), bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, number: u64, len: u64) {
        let len = index(len);
        self.change(number, Change::SetLen { len, cuts: len < self.bytes.len() });
    }

    fn change(&mut self, number: u64, change: Change) {
        change.apply(&mut self.bytes);
        self.unsynced.push((number, change));
    }

    /// How many changes the next sync makes durable, and whether one of them cuts the file.
    pub(super) fn unsynced(&self) -> (usize, bool) {
        let cuts =
            self.unsynced.iter().any(|(_, change)| matches!(change, Change::SetLen { cuts: true, .. }));
        (self.unsynced.len(), cuts)
    }

    pub(super) fn oldest_change(&self) -> Option<u64> {
        self.unsynced.first().map(|(number, _)| *number)
    }

    pub(super) fn sync(&mut self) {
        for (_, change) in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn crash(&mut self, draw: &mut Draw) {
        for (number, change) in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Write { offset, bytes } if draw.tears() => {
                    for (start, sector) in sectors(offset, &bytes) {
                        if draw.keeps(number) {
                            write(&mut self.durable, start, sector);
                        }
                    }
                }
                whole if draw.keeps(number) => whole.apply(&mut self.durable),
                _ => {}
            }
        }
        self.bytes.clone_from(&self.durable);
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> Option<()> {
        self.sync();
        *self.durable.get_mut(index(offset))? ^= 1 << (bit % 8);
        self.bytes.clone_from(&self.durable);
        Some(())
    }

    /// The file as a reader sees it, all of it durable, open nowhere.
    pub(super) fn settled(&self) -> Inode {
        Inode { bytes: self.bytes.clone(), durable: self.bytes.clone(), ..Inode::default() }
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
