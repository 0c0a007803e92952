//! V8's wire format for numbers and bigints, frozen: the part of it that apply must read and write.
//!
//! | bytes | meaning |
//! |---|---|
//! | `ff`, version varint | 13 to 16 are read, 15 is written |
//! | `00`* | padding before a tag, skipped |
//! | `?`, count varint | an old hint, skipped |
//! | `I`, zigzag varint | int32 |
//! | `U`, varint | uint32 |
//! | `N`, 8 bytes | double, little-endian |
//! | `Z`, bitfield varint, digits | bigint: bit 0 the sign, bits 1 to 30 the bytes of the magnitude, little-endian |
//!
//! - Numbers mean the same in all four versions. Bytes after the value are ignored, as V8 does.
//! - A number is written as a double, with one bit pattern for every NaN: what an addition leaves in a NaN
//!   differs between processors, and replicas must not.
//! - A bigint is written in whole 64-bit digits, as V8 does; zero has none and no sign.

use crate::{BigInt, Refusal};
use engine::codec::Decoder;
use num_bigint::Sign;

const VERSION_TAG: u8 = 0xff;
const VERSIONS_READ: std::ops::RangeInclusive<u32> = 13..=16;
const VERSION_WRITTEN: u8 = 15;
const PADDING: u8 = 0x00;
const OBJECT_COUNT: u8 = b'?';
const INT32: u8 = b'I';
const UINT32: u8 = b'U';
const DOUBLE: u8 = b'N';
const BIGINT: u8 = b'Z';
/// The tags that start a value of any other type.
const OTHER_TAGS: &[u8] = b"-_0TF\"Sc^oaADyxnzsR;'B~tVupw\\mr";
const NAN: u64 = 0x7ff8_0000_0000_0000;

/// A number as JavaScript knows them.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// A `number`.
    Double(f64),
    /// A `bigint`.
    BigInt(BigInt),
}

/// Reads a number or bigint that V8 wrote.
///
/// # Errors
///
/// [`Refusal::UnsupportedValueType`] for a value of another type, [`Refusal::InvalidV8Value`] for what
/// is no value at all.
pub fn decode(bytes: &[u8]) -> Result<Number, Refusal> {
    let mut rest = Decoder::new(bytes);
    let version = match next_tag(&mut rest)? {
        VERSION_TAG => varint(&mut rest)?,
        _ => return Err(Refusal::InvalidV8Value),
    };
    if !VERSIONS_READ.contains(&version) {
        return Err(Refusal::InvalidV8Value);
    }
    let mut tag = next_tag(&mut rest)?;
    while tag == OBJECT_COUNT {
        varint(&mut rest)?;
        tag = next_tag(&mut rest)?;
    }
    match tag {
        INT32 => varint(&mut rest).map(|zigzag| Number::Double(f64::from(unzigzag(zigzag)))),
        UINT32 => varint(&mut rest).map(|value| Number::Double(f64::from(value))),
        DOUBLE => rest.array("a double").map(f64::from_le_bytes).map(Number::Double).map_err(invalid),
        BIGINT => bigint(&mut rest).map(Number::BigInt),
        other if OTHER_TAGS.contains(&other) => Err(Refusal::UnsupportedValueType),
        _ => Err(Refusal::InvalidV8Value),
    }
}

/// Writes a number as V8 would.
///
/// # Errors
///
/// [`Refusal::ValueTooLong`] for a bigint that the format has no length for.
pub fn encode(number: &Number) -> Result<Vec<u8>, Refusal> {
    let mut out = vec![VERSION_TAG, VERSION_WRITTEN];
    match number {
        Number::Double(value) => {
            out.push(DOUBLE);
            let bits = if value.is_nan() { NAN } else { value.to_bits() };
            out.extend_from_slice(&bits.to_le_bytes());
        }
        Number::BigInt(value) => {
            out.push(BIGINT);
            let (sign, digits) = value.to_u64_digits();
            let len = u32::try_from(digits.len()).ok().and_then(|len| len.checked_mul(8 << 1));
            let bitfield = len.ok_or(Refusal::ValueTooLong)? | u32::from(sign == Sign::Minus);
            engine::codec::put_varint(&mut out, u64::from(bitfield));
            out.extend(digits.iter().flat_map(|digit| digit.to_le_bytes()));
        }
    }
    Ok(out)
}

fn next_tag(rest: &mut Decoder<'_>) -> Result<u8, Refusal> {
    loop {
        match rest.u8("a tag").map_err(invalid)? {
            PADDING => {}
            tag => return Ok(tag),
        }
    }
}

/// A u32 in at most five bytes; longer forms of a number are V8's to write and ours to read.
fn varint(rest: &mut Decoder<'_>) -> Result<u32, Refusal> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = rest.u8("a varint").map_err(invalid)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).map_err(|_too_large| Refusal::InvalidV8Value);
        }
    }
    Err(Refusal::InvalidV8Value)
}

const fn unzigzag(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn bigint(rest: &mut Decoder<'_>) -> Result<BigInt, Refusal> {
    let bitfield = varint(rest)?;
    let len = (bitfield & 0x7fff_fffe) >> 1;
    let magnitude = rest.take(len as usize, "digits of a bigint").map_err(invalid)?;
    let sign = if bitfield & 1 == 0 { Sign::Plus } else { Sign::Minus };
    Ok(BigInt::from_bytes_le(sign, magnitude))
}

fn invalid(_malformed: engine::codec::Malformed) -> Refusal {
    Refusal::InvalidV8Value
}

#[cfg(test)]
mod tests;
