//! What small objects have in common: magic, format, reserved zeros, and a checksum at the end.

use engine::codec::{Decoder, Malformed};
use std::ops::RangeInclusive;

const CHECKSUM_LEN: usize = 4;

/// The bytes of a small object: what `write` adds, in its envelope.
pub(crate) fn in_envelope(magic: [u8; 8], format: u32, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&magic);
    out.extend_from_slice(&format.to_le_bytes());
    out.extend_from_slice(&0u32.to_le_bytes());
    write(&mut out);
    let checksum = crc32fast::hash(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads past the magic, the format and the reserved bytes at the start of `all`, and checks the
/// checksum at its end. Returns which of the known formats it is.
pub(crate) fn open_envelope(
    rest: &mut Decoder<'_>,
    all: &[u8],
    magic: [u8; 8],
    formats: RangeInclusive<u32>,
) -> Result<u32, Malformed> {
    let start = rest.clone();
    start.ensure(rest.array::<8>("magic")? == magic, "the magic of this kind of object")?;
    let at = rest.clone();
    let format = rest.u32("format")?;
    at.ensure(formats.contains(&format), "a format that is known")?;
    let at = rest.clone();
    at.ensure(rest.u32("reserved")? == 0, "zero")?;
    let covered = all.len().checked_sub(CHECKSUM_LEN).filter(|len| *len >= rest.offset());
    let Some(covered) = covered else { return Err(rest.malformed("a checksum")) };
    let checksum = crc32fast::hash(&all[..covered]).to_le_bytes();
    if all[covered..] == checksum {
        Ok(format)
    } else {
        Err(Malformed { offset: covered, expected: "the checksum" })
    }
}
