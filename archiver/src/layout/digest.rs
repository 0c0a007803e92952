//! Digests and hashes as names spell them: lower-case hexadecimal digits, one way to write each.

use engine::ContentHash;
use std::fmt;

/// The first 16 bytes of the BLAKE3 of an object's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

impl Digest {
    /// The digest of an object.
    pub fn of(bytes: &[u8]) -> Self {
        let hash = blake3::hash(bytes);
        let mut digest = [0; 16];
        digest.copy_from_slice(&hash.as_bytes()[..16]);
        Self(digest)
    }
}

/// The first 8 bytes of a content hash: enough to tell histories apart that differ by accident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortHash(pub [u8; 8]);

impl From<ContentHash> for ShortHash {
    fn from(hash: ContentHash) -> Self {
        let mut short = [0; 8];
        short.copy_from_slice(&hash.as_bytes()[..8]);
        Self(short)
    }
}

/// The full BLAKE3 of a table's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableDigest(pub [u8; 32]);

impl TableDigest {
    /// The digest of a table.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// As [`TableDigest::of`], in pieces: whoever waits for the processor gets it in between.
    pub fn of_giving_way(bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for piece in crate::give_way::pieces(bytes) {
            hasher.update(piece);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The name of its file in an engine's directory, and of its object.
    pub fn file_name(&self) -> String {
        format!("{self}.tbl")
    }

    /// Reads [`TableDigest::file_name`]; `None` when it is not one.
    pub fn from_file_name(name: &str) -> Option<Self> {
        hex(name.strip_suffix(".tbl")?).map(Self)
    }
}

macro_rules! hex_text {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}

hex_text!(Digest, ShortHash, TableDigest);

/// Reads exactly `N` bytes of lower-case hex digits.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let digit = |d: u8| match d {
        b'0'..=b'9' => Some(d - b'0'),
        b'a'..=b'f' => Some(d - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
