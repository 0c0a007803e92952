//! Reading little-endian fields from bytes that are hostile until checked.
//!
//! Every decoder of the engine goes through [`Decoder`], which never panics, never indexes
//! unchecked, and says at which offset it wanted what.

/// Bytes that are not what the format says: where, and what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: expected {expected}")]
pub struct Malformed {
    /// Offset from the start of what was decoded.
    pub offset: usize,
    /// What the format wants there.
    pub expected: &'static str,
}

/// A cursor over untrusted bytes.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    all: &'a [u8],
    offset: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes, offset: 0 }
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.offset == self.all.len()
    }

    /// Bytes not read yet.
    pub const fn remaining(&self) -> usize {
        self.all.len() - self.offset
    }

    /// Bytes read so far.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// An error at the current offset.
    pub const fn malformed(&self, expected: &'static str) -> Malformed {
        Malformed { offset: self.offset, expected }
    }

    /// Fails at the current offset unless `holds`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] with `expected` when it does not hold.
    #[inline]
    pub fn ensure(&self, holds: bool, expected: &'static str) -> Result<(), Malformed> {
        if holds { Ok(()) } else { Err(self.malformed(expected)) }
    }

    /// Fails unless everything was read.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when bytes are left.
    pub fn finish(&self) -> Result<(), Malformed> {
        self.ensure(self.is_empty(), "the end")
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when fewer are left.
    #[inline]
    pub fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], Malformed> {
        let end = self.offset.checked_add(len).filter(|end| *end <= self.all.len());
        let Some(end) = end else {
            return Err(self.malformed(expected));
        };
        let taken = &self.all[self.offset..end];
        self.offset = end;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when fewer are left.
    #[inline]
    pub fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N, expected)?;
        let mut array = [0; N];
        array.copy_from_slice(bytes);
        Ok(array)
    }

    /// The next byte.
    ///
    /// # Errors
    ///
    /// [`Malformed`] at the end.
    #[inline]
    pub fn u8(&mut self, expected: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(expected)?[0])
    }

    /// The next two bytes, little-endian.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when fewer are left.
    pub fn u16(&mut self, expected: &'static str) -> Result<u16, Malformed> {
        self.array(expected).map(u16::from_le_bytes)
    }

    /// The next four bytes, little-endian.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when fewer are left.
    pub fn u32(&mut self, expected: &'static str) -> Result<u32, Malformed> {
        self.array(expected).map(u32::from_le_bytes)
    }

    /// The next eight bytes, little-endian.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when fewer are left.
    pub fn u64(&mut self, expected: &'static str) -> Result<u64, Malformed> {
        self.array(expected).map(u64::from_le_bytes)
    }

    /// A little-endian base-128 number of at most ten bytes, in its shortest form.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is cut, too long or not the shortest form.
    #[inline]
    pub fn varint(&mut self, expected: &'static str) -> Result<u64, Malformed> {
        // Nearly all are of one byte.
        if let Some(byte) = self.all.get(self.offset)
            && *byte < 0x80
        {
            self.offset += 1;
            return Ok(u64::from(*byte));
        }
        self.long_varint(expected)
    }

    #[inline(never)]
    fn long_varint(&mut self, expected: &'static str) -> Result<u64, Malformed> {
        let bytes = self.all.get(self.offset..).unwrap_or_default();
        let mut value = 0u64;
        for (index, byte) in bytes.iter().enumerate().take(10) {
            let low = u64::from(byte & 0x7f);
            if index == 9 && low > 1 {
                break;
            }
            value |= low << (7 * index);
            if byte & 0x80 == 0 {
                if *byte == 0 && index > 0 {
                    break;
                }
                self.offset += index + 1;
                return Ok(value);
            }
        }
        Err(self.malformed(expected))
    }
}

/// Appends `value` as [`Decoder::varint`] reads it.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits are what is wanted")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 0x80 here")]
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        let cases: [(u64, &[u8]); 4] = [
            (0, &[0]),
            (127, &[127]),
            (300, &[0xac, 0x02]),
            (u64::MAX, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        ];
        for (value, expected) in cases {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn a_varint_survives_its_bytes_and_no_other_form_is_read() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Decoder::new(&bytes).varint("number"), Ok(value));
        }
        for bytes in [&[0x80][..], &[0x80, 0], &[0xff; 10], &[0xff; 11]] {
            assert!(Decoder::new(bytes).varint("number").is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut rest = Decoder::new(&[1, 2, 3]);
        assert_eq!(rest.u16("two"), Ok(0x0201));
        assert_eq!(rest.u16("two more"), Err(Malformed { offset: 2, expected: "two more" }));
        assert_eq!(rest.take(usize::MAX, "everything"), Err(Malformed { offset: 2, expected: "everything" }));
        assert_eq!(rest.u8("one"), Ok(3));
        assert_eq!(rest.finish(), Ok(()));
    }
}
