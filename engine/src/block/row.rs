//! One entry of a block.
//!
//! | size | field | meaning |
//! |---|---|---|
//! | 1 | kind | 1 put, 2 delete, 3 put that expires |
//! | varint | shared | bytes of the key, after the prefix, that the row before has too; 0 in a restart |
//! | varint | unshared | length of the rest of the key |
//! | varint | version | of the stamp, less the base version |
//! | varint | order | of the stamp |
//! | varint | expire_at_ms | only in kind 3: Unix milliseconds |
//! | varint | value length | not in kind 2 |
//! | | rest of the key, value | |

use crate::Versionstamp;
use crate::codec::{Decoder, Malformed, put_varint};
use crate::entry::{Presence, Version};
use crate::write_batch::{KEY_LEN_MAX, VALUE_LEN_MAX};
use bytes::Bytes;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const PUT_EXPIRING: u8 = 3;

/// A decoded row.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// Bytes after the prefix that come from the row before.
    pub(super) shared: usize,
    /// The rest of the key.
    pub(super) unshared: &'a [u8],
    /// The commit that wrote it.
    pub(super) stamp: Versionstamp,
    /// What it wrote.
    pub(super) body: Body,
    /// Where the next row starts, from the start of the block.
    pub(super) end: usize,
}

/// What a row says of its key, without its value: only where that stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    kind: u8,
    expire_at_ms: u64,
    value_start: usize,
    value_end: usize,
}

impl<'a> Row<'a> {
    /// The row at `offset` of `rows`, which is the block up to the end of its rows.
    #[inline]
    pub(super) fn decode(rows: &'a [u8], offset: usize, base_version: u64) -> Result<Self, Malformed> {
        let mut rest = Decoder::new(rows.get(offset..).unwrap_or_default());
        Self::decode_at(&mut rest, offset, base_version)
            .map_err(|inner| Malformed { offset: offset + inner.offset, ..inner })
    }

    #[inline]
    fn decode_at(rest: &mut Decoder<'a>, start: usize, base_version: u64) -> Result<Self, Malformed> {
        let kind = rest.u8("an entry kind")?;
        rest.ensure((PUT..=PUT_EXPIRING).contains(&kind), "an entry kind from 1 to 3")?;
        let shared = bounded(rest, KEY_LEN_MAX, "a shared length within a key's bound")?;
        let unshared = bounded(rest, KEY_LEN_MAX, "a key length within its bound")?;
        let version = rest.varint("a version")?.checked_add(base_version);
        let version = version.ok_or_else(|| rest.malformed("a version of 64 bits"))?;
        let order = bounded(rest, usize::from(u16::MAX), "an order of 16 bits")?;
        let order = u16::try_from(order).unwrap_or(u16::MAX);
        let expire_at_ms = if kind == PUT_EXPIRING { rest.varint("expire_at_ms")? } else { 0 };
        let value_len =
            if kind == DELETE { 0 } else { bounded(rest, VALUE_LEN_MAX, "a value length within its bound")? };
        let unshared = rest.take(unshared, "the rest of a key")?;
        let value_start = start + rest.offset();
        rest.take(value_len, "a value")?;
        let end = start + rest.offset();
        let stamp = Versionstamp::new(version, order);
        let body = Body { kind, expire_at_ms, value_start, value_end: end };
        Ok(Self { shared, unshared, stamp, body, end })
    }
}

impl Body {
    /// Of no row.
    pub(super) const NONE: Self = Self { kind: DELETE, expire_at_ms: 0, value_start: 0, value_end: 0 };

    /// The version, its value a slice of `block`.
    pub(super) fn version(&self, block: &Bytes) -> Version {
        match self.presence() {
            Presence::Put { expire_at_ms } => {
                Version::Put { value: block.slice(self.value_start..self.value_end), expire_at_ms }
            }
            Presence::Delete => Version::Delete,
        }
    }

    /// The version but for its value.
    #[inline]
    pub(super) fn presence(&self) -> Presence {
        match self.kind {
            DELETE => Presence::Delete,
            PUT => Presence::Put { expire_at_ms: None },
            _ => Presence::Put { expire_at_ms: Some(self.expire_at_ms) },
        }
    }

    /// The value in `block`, where it is a put.
    pub(super) fn value<'b>(&self, block: &'b [u8]) -> Option<&'b [u8]> {
        if self.kind == DELETE { None } else { block.get(self.value_start..self.value_end) }
    }
}

#[inline(always)]
fn bounded(rest: &mut Decoder<'_>, max: usize, expected: &'static str) -> Result<usize, Malformed> {
    let offset = rest.offset();
    let number = rest.varint(expected)?;
    match usize::try_from(number) {
        Ok(number) if number <= max => Ok(number),
        _ => Err(Malformed { offset, expected }),
    }
}

/// Appends a row; `version` is less the base version.
pub(super) fn encode(
    out: &mut Vec<u8>,
    shared: usize,
    unshared: &[u8],
    (version, order): (u64, u16),
    what: &Version,
) {
    let (kind, expire_at_ms) = match what {
        Version::Put { expire_at_ms: None, .. } => (PUT, None),
        Version::Put { expire_at_ms, .. } => (PUT_EXPIRING, *expire_at_ms),
        Version::Delete => (DELETE, None),
    };
    out.push(kind);
    put_varint(out, shared as u64);
    put_varint(out, unshared.len() as u64);
    put_varint(out, version);
    put_varint(out, u64::from(order));
    if let Some(at) = expire_at_ms {
        put_varint(out, at);
    }
    match what {
        Version::Put { value, .. } => {
            put_varint(out, value.len() as u64);
            out.extend_from_slice(unshared);
            out.extend_from_slice(value);
        }
        Version::Delete => out.extend_from_slice(unshared),
    }
}
