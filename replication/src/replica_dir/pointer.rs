//! The file that says which directory of a group counts.
//!
//! Layout, integers little-endian:
//!
//! | offset | size | field | meaning |
//! |---|---|---|---|
//! | 0 | 8 | magic | `CAIRNREP` |
//! | 8 | 4 | format | 1 |
//! | 12 | 4 | reserved | 0 |
//! | 16 | 8 | group | the group it is of |
//! | 24 | 8 | current | the directory that counts |
//! | 32 | 1 | holds | 1 it holds an engine, 2 it is still empty |
//! | 33 | 1 | aside | how many were set aside, at most [`ASIDE_MAX`] |
//! | 34 | | | 8 bytes for each: its number; below `current`, rising |
//! | | 4 | checksum | CRC-32 of all bytes before |

use super::ASIDE_MAX;
use crate::GroupId;
use engine::codec::{Decoder, Malformed};

const MAGIC: &[u8; 8] = b"CAIRNREP";
const FORMAT: u32 = 1;
/// Directories are counted far below this, inclusive.
const NUMBER_MAX: u64 = 1 << 48;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pointer {
    /// The directory that counts.
    pub(super) current: u64,
    /// Whether there is an engine in it: always, once it was opened or received.
    pub(super) holds_engine: bool,
    /// Directories that were set aside; they rise.
    pub(super) aside: Vec<u64>,
}

impl Pointer {
    /// The longest file, in bytes.
    pub(super) const BYTES_MAX: u64 = 34 + 8 * ASIDE_MAX as u64 + 4;

    /// The bytes of the file.
    pub(super) fn encode(&self, group: GroupId) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&group.0.to_le_bytes());
        out.extend_from_slice(&self.current.to_le_bytes());
        out.push(if self.holds_engine { 1 } else { 2 });
        assert!(self.aside.len() <= ASIDE_MAX, "what is set aside is bounded");
        out.push(u8::try_from(self.aside.len()).expect("a handful"));
        self.aside.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads the file of `group`.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one pointer of that group.
    pub(super) fn decode(bytes: &[u8], group: GroupId) -> Result<Self, Malformed> {
        let covered = bytes.len().saturating_sub(4);
        let mut rest = Decoder::new(bytes);
        rest.ensure(bytes.len() > 4, "a checksum")?;
        if crc32fast::hash(&bytes[..covered]).to_le_bytes() != bytes[covered..] {
            return Err(Malformed { offset: covered, expected: "the checksum" });
        }
        let at = rest.clone();
        at.ensure(rest.take(8, "magic")? == MAGIC, "a pointer's magic, CAIRNREP")?;
        let at = rest.clone();
        at.ensure(rest.u32("format")? == FORMAT, "pointer format 1")?;
        let at = rest.clone();
        at.ensure(rest.u32("reserved bytes")? == 0, "reserved bytes that are 0")?;
        let at = rest.clone();
        at.ensure(rest.u64("group")? == group.0, "the group of the file's name")?;
        let at = rest.clone();
        let current = rest.u64("the directory that counts")?;
        at.ensure((1..=NUMBER_MAX).contains(&current), "the number of a directory")?;
        let at = rest.clone();
        let holds = rest.u8("whether it holds an engine")?;
        at.ensure(matches!(holds, 1 | 2), "1 or 2 for whether it holds an engine")?;
        let at = rest.clone();
        let count = usize::from(rest.u8("how many were set aside")?);
        at.ensure(count <= ASIDE_MAX, "at most 4 that were set aside")?;
        let mut aside: Vec<u64> = Vec::with_capacity(count);
        for _ in 0..count {
            let at = rest.clone();
            let number = rest.u64("a directory that was set aside")?;
            let rises = aside.last().is_none_or(|last| *last < number) && number < current;
            at.ensure(rises, "rising numbers below the one that counts")?;
            aside.push(number);
        }
        rest.u32("checksum")?;
        rest.finish()?;
        Ok(Self { current, holds_engine: holds == 1, aside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Pointer {
        Pointer { current: 7, holds_engine: true, aside: vec![0, 5] }
    }

    #[test]
    fn the_format_is_frozen() {
        let mut expected = b"CAIRNREP\x01\0\0\0\0\0\0\0".to_vec();
        for number in [3, 7] {
            expected.extend_from_slice(&[number, 0, 0, 0, 0, 0, 0, 0]);
        }
        expected.extend_from_slice(&[1, 2]);
        for number in [0, 5] {
            expected.extend_from_slice(&[number, 0, 0, 0, 0, 0, 0, 0]);
        }
        let checksum = crc32fast::hash(&expected);
        expected.extend_from_slice(&checksum.to_le_bytes());
        assert_eq!(sample().encode(GroupId(3)), expected);
        assert_eq!(Pointer::decode(&expected, GroupId(3)), Ok(sample()));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_refused() {
        let bytes = sample().encode(GroupId(3));
        assert!(bytes.len() as u64 <= Pointer::BYTES_MAX);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(Pointer::decode(&flipped, GroupId(3)).is_err(), "byte {at}");
            assert!(Pointer::decode(&bytes[..at], GroupId(3)).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_no_node_writes_is_refused() {
        let refused =
            |pointer: &Pointer, group| Pointer::decode(&pointer.encode(GroupId(group)), GroupId(3)).is_err();
        assert!(!refused(&sample(), 3));
        assert!(refused(&sample(), 4), "the pointer of another group");
        assert!(refused(&Pointer::default(), 3), "a pointer to directory 0, which needs none");
        assert!(refused(&Pointer { current: u64::MAX, ..sample() }, 3));
        for aside in [vec![5, 0], vec![5, 5], vec![7], vec![8]] {
            assert!(refused(&Pointer { aside: aside.clone(), ..sample() }, 3), "{aside:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..90)) {
            let bytes = [&body[..], &crc32fast::hash(&body).to_le_bytes()].concat();
            if let Ok(pointer) = Pointer::decode(&bytes, GroupId(1)) {
                prop_assert_eq!(pointer.encode(GroupId(1)), bytes);
            }
        }
    }
}
