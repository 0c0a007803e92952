//! The position of a commit in the total order: ten bytes that only grow.
//!
//! Layout, big-endian so that stamps sort as bytes: `u64 version ++ u16 order`, where
//! `version = 20 bits of lineage epoch ++ 44 bits of log index`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Bits of the log index inside a version.
pub const INDEX_BITS: u32 = 44;
/// The greatest log index, inclusive.
pub const INDEX_MAX: u64 = (1 << INDEX_BITS) - 1;
/// The greatest lineage epoch, inclusive.
pub const EPOCH_MAX: u32 = (1 << (64 - INDEX_BITS)) - 1;

/// The position of one commit in the total order of its group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Versionstamp([u8; Versionstamp::LEN]);

impl Versionstamp {
    /// Bytes in an encoded stamp.
    pub const LEN: usize = 10;
    /// Before every commit.
    pub const ZERO: Versionstamp = Versionstamp([0; Self::LEN]);
    /// At or after every commit.
    pub const MAX: Versionstamp = Versionstamp([0xff; Self::LEN]);

    /// The stamp of the `order`-th write of the log entry `version`.
    pub const fn new(version: u64, order: u16) -> Self {
        let v = version.to_be_bytes();
        let o = order.to_be_bytes();
        Self([v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], o[0], o[1]])
    }

    /// The last stamp that the log entry `version` can give.
    pub const fn last_of(version: u64) -> Self {
        Self::new(version, u16::MAX)
    }

    /// Reads a stamp from its ten bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The ten bytes, which sort as the stamps do.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The log entry that gave this stamp.
    pub const fn version(&self) -> u64 {
        let b = &self.0;
        u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// The position inside that log entry.
    pub const fn order(&self) -> u16 {
        u16::from_be_bytes([self.0[8], self.0[9]])
    }
}

// As its bytes sort, but by two comparisons of numbers: every row that is read compares stamps.
impl Ord for Versionstamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.version().cmp(&other.version()).then_with(|| self.order().cmp(&other.order()))
    }
}

impl PartialOrd for Versionstamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The version of the log entry `index` in a lineage of `epoch`.
///
/// # Panics
///
/// If `epoch` is above [`EPOCH_MAX`] or `index` above [`INDEX_MAX`]: both are counters of ours.
pub const fn version_of(epoch: u32, index: u64) -> u64 {
    assert!(epoch <= EPOCH_MAX, "the lineage epoch fits its 20 bits");
    assert!(index <= INDEX_MAX, "the log index fits its 44 bits");
    ((epoch as u64) << INDEX_BITS) | index
}

/// The lineage epoch inside a version.
pub const fn epoch_of(version: u64) -> u32 {
    (version >> INDEX_BITS) as u32
}

/// The log index inside a version.
pub const fn index_of(version: u64) -> u64 {
    version & INDEX_MAX
}

impl fmt::Display for Versionstamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Versionstamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What [`Versionstamp::from_str`] could not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a versionstamp is 20 hexadecimal digits, such as 00000000000000010000")]
pub struct ParseError;

impl FromStr for Versionstamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.as_bytes();
        if digits.len() != 2 * Self::LEN {
            return Err(ParseError);
        }
        let mut bytes = [0; Self::LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, ParseError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(ParseError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        let stamp = Versionstamp::new(version_of(1, 2), 3);
        assert_eq!(stamp.as_bytes(), &[0, 0, 0x10, 0, 0, 0, 0, 2, 0, 3]);
        assert_eq!(stamp.to_string(), "00001000000000020003");
    }

    #[test]
    fn a_stamp_survives_its_text_and_other_text_is_refused() {
        let stamp = Versionstamp::new(version_of(EPOCH_MAX, INDEX_MAX), 9);
        assert_eq!(stamp.to_string().parse(), Ok(stamp));
        for text in ["", "0", "0000000000000001000g", "000000000000000100000", "+0000000000000010000"] {
            assert_eq!(text.parse::<Versionstamp>(), Err(ParseError), "{text}");
        }
    }

    #[test]
    fn stamps_sort_as_their_bytes_do() {
        let stamps = [(0, 1), (1, 0), (1, 7), (255, 9), (256, 0)].map(|(v, o)| Versionstamp::new(v, o));
        assert!(stamps.is_sorted());
        assert!(stamps.map(|s| *s.as_bytes()).is_sorted());
    }
}
