//! One step of the manifest's history, and its bytes.
//!
//! A group is its edits, one after the other: tag u8, length varint, body. Integers
//! little-endian, `varint` as in [`crate::codec`].
//!
//! | tag | edit | body |
//! |---|---|---|
//! | 1 | lineage | id 16, epoch u32, parent u8 (0 or 1), then parent id 16 and stamp 10 |
//! | 2 | add table | level u8, table meta |
//! | 3 | remove table | digest 32 |
//! | 4 | flushed | version u64, term u64, time_ms u64, hash 32, stamp 10 |
//! | 5 | mark | as in [`crate::record`]; an empty value removes it |
//! | 6 | times | count varint, then each: version and time_ms as varints, the second and later as differences |
//! | 7 | horizon | stamp 10, time_ms u64, prefix u16 and bytes; an empty prefix is the default |
//! | 8 | boot | number of the WAL segment that this boot started, u64 |
//! | 9 | no horizon | prefix u16 and bytes: its keys have the horizon above it |
//! | 10 | erase | stamp 10, prefix u16 and bytes |
//! | 11 | forget | an erasure that hides nothing any more: as in 10 |

use crate::Applied;
use crate::codec::{Decoder, Malformed, put_varint};
use crate::erasure::Erasure;
use crate::horizon::Horizon;
use crate::record::Mark;
use crate::table;
use crate::times::Point;
use crate::{ContentHash, Lineage, LineageId, Versionstamp};
use bytes::Bytes;

const LINEAGE: u8 = 1;
const ADD_TABLE: u8 = 2;
const REMOVE_TABLE: u8 = 3;
const FLUSHED: u8 = 4;
const MARK: u8 = 5;
const TIMES: u8 = 6;
const HORIZON: u8 = 7;
const BOOT: u8 = 8;
const NO_HORIZON: u8 = 9;
const ERASE: u8 = 10;
const FORGET: u8 = 11;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edit {
    Lineage(Lineage),
    AddTable { level: u8, meta: table::Meta },
    RemoveTable { digest: table::TableDigest },
    Flushed(Applied),
    Mark(Mark),
    Times(Vec<Point>),
    Horizon { prefix: Bytes, horizon: Horizon },
    Boot { first_segment: u64 },
    NoHorizon { prefix: Bytes },
    Erase(Erasure),
    Forget(Erasure),
}

/// Appends a group to `out`.
pub(crate) fn encode(edits: &[Edit], out: &mut Vec<u8>) {
    let mut body = Vec::new();
    for edit in edits {
        body.clear();
        out.push(edit.encode_body(&mut body));
        put_varint(out, body.len() as u64);
        out.extend_from_slice(&body);
    }
}

/// Reads a group.
///
/// # Errors
///
/// When the bytes are not a whole number of well-formed edits.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Edit>, Malformed> {
    let mut rest = Decoder::new(bytes);
    let mut edits = Vec::new();
    while !rest.is_empty() {
        let tag = rest.u8("tag of an edit")?;
        let len = rest.varint("length of an edit")?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let start = rest.offset();
        let mut body = Decoder::new(rest.take(len, "body of an edit")?);
        let edit = Edit::decode_body(tag, &mut body).and_then(|edit| body.finish().map(|()| edit));
        edits.push(edit.map_err(|inner| Malformed { offset: start + inner.offset, ..inner })?);
    }
    Ok(edits)
}

impl Edit {
    fn encode_body(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Edit::Lineage(lineage) => {
                out.extend_from_slice(&lineage.id.0);
                out.extend_from_slice(&lineage.epoch.to_le_bytes());
                out.push(u8::from(lineage.parent.is_some()));
                if let Some((id, stamp)) = lineage.parent {
                    out.extend_from_slice(&id.0);
                    out.extend_from_slice(stamp.as_bytes());
                }
                LINEAGE
            }
            Edit::AddTable { level, meta } => {
                out.push(*level);
                meta.encode(out);
                ADD_TABLE
            }
            Edit::RemoveTable { digest } => {
                out.extend_from_slice(&digest.0);
                REMOVE_TABLE
            }
            Edit::Flushed(applied) => {
                for number in [applied.version, applied.term, applied.time_ms] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(applied.hash.as_bytes());
                out.extend_from_slice(applied.stamp.as_bytes());
                FLUSHED
            }
            Edit::Mark(mark) => {
                mark.encode(out);
                MARK
            }
            Edit::Times(points) => {
                encode_times(points, out);
                TIMES
            }
            Edit::Horizon { prefix, horizon } => {
                out.extend_from_slice(horizon.stamp.as_bytes());
                out.extend_from_slice(&horizon.time_ms.to_le_bytes());
                put_prefix(out, prefix);
                HORIZON
            }
            Edit::NoHorizon { prefix } => {
                put_prefix(out, prefix);
                NO_HORIZON
            }
            Edit::Erase(erasure) => {
                put_erasure(out, erasure);
                ERASE
            }
            Edit::Forget(erasure) => {
                put_erasure(out, erasure);
                FORGET
            }
            Edit::Boot { first_segment } => {
                out.extend_from_slice(&first_segment.to_le_bytes());
                BOOT
            }
        }
    }

    fn decode_body(tag: u8, body: &mut Decoder<'_>) -> Result<Edit, Malformed> {
        Ok(match tag {
            LINEAGE => Edit::Lineage(decode_lineage(body)?),
            ADD_TABLE => Edit::AddTable { level: body.u8("level")?, meta: table::Meta::decode(body)? },
            REMOVE_TABLE => Edit::RemoveTable { digest: table::TableDigest(body.array("table digest")?) },
            FLUSHED => Edit::Flushed(Applied {
                version: body.u64("version")?,
                term: body.u64("term")?,
                time_ms: body.u64("time_ms")?,
                hash: ContentHash::from_bytes(body.array("content hash")?),
                stamp: Versionstamp::from_bytes(body.array("versionstamp")?),
            }),
            MARK => Edit::Mark(Mark::decode(body)?),
            TIMES => Edit::Times(decode_times(body)?),
            HORIZON => {
                let stamp = Versionstamp::from_bytes(body.array("versionstamp")?);
                let horizon = Horizon { stamp, time_ms: body.u64("time_ms")? };
                Edit::Horizon { horizon, prefix: decode_prefix(body)? }
            }
            BOOT => Edit::Boot { first_segment: body.u64("segment number")? },
            NO_HORIZON => Edit::NoHorizon { prefix: decode_prefix(body)? },
            ERASE => Edit::Erase(decode_erasure(body)?),
            FORGET => Edit::Forget(decode_erasure(body)?),
            _ => return Err(Malformed { offset: 0, expected: "a tag from 1 to 11" }),
        })
    }
}

fn put_prefix(out: &mut Vec<u8>, prefix: &[u8]) {
    let len = u16::try_from(prefix.len()).expect("a prefix is at most as long as a key");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(prefix);
}

fn decode_prefix(body: &mut Decoder<'_>) -> Result<Bytes, Malformed> {
    let len = usize::from(body.u16("length of a prefix")?);
    body.take(len, "prefix").map(Bytes::copy_from_slice)
}

fn put_erasure(out: &mut Vec<u8>, erasure: &Erasure) {
    out.extend_from_slice(erasure.stamp.as_bytes());
    put_prefix(out, &erasure.prefix);
}

fn decode_erasure(body: &mut Decoder<'_>) -> Result<Erasure, Malformed> {
    let stamp = Versionstamp::from_bytes(body.array("versionstamp")?);
    Ok(Erasure { stamp, prefix: decode_prefix(body)? })
}

fn decode_lineage(body: &mut Decoder<'_>) -> Result<Lineage, Malformed> {
    let id = LineageId(body.array("lineage id")?);
    let epoch = body.u32("lineage epoch")?;
    body.ensure(epoch <= crate::versionstamp::EPOCH_MAX, "a lineage epoch of 20 bits")?;
    let parent = match body.u8("whether there is a parent")? {
        0 => None,
        1 => {
            let id = LineageId(body.array("parent id")?);
            Some((id, Versionstamp::from_bytes(body.array("parent stamp")?)))
        }
        _ => return Err(body.malformed("0 or 1 for whether there is a parent")),
    };
    Ok(Lineage { id, epoch, parent })
}

fn encode_times(points: &[Point], out: &mut Vec<u8>) {
    put_varint(out, points.len() as u64);
    let mut before = Point { version: 0, time_ms: 0 };
    for point in points {
        put_varint(out, point.version - before.version);
        put_varint(out, point.time_ms - before.time_ms);
        before = *point;
    }
}

fn decode_times(body: &mut Decoder<'_>) -> Result<Vec<Point>, Malformed> {
    let count = body.varint("number of times")?;
    body.ensure(count <= body.remaining() as u64, "as many times as there are bytes for")?;
    let mut points = Vec::new();
    let mut before = Point { version: 0, time_ms: 0 };
    for at in 0..count {
        let version = before.version.checked_add(body.varint("version")?);
        let time_ms = before.time_ms.checked_add(body.varint("time_ms")?);
        let (Some(version), Some(time_ms)) = (version, time_ms) else {
            return Err(body.malformed("versions and times of 64 bits"));
        };
        let rises = version > before.version && (at == 0 || time_ms > before.time_ms);
        body.ensure(rises, "rising versions, from 1 on, and rising times")?;
        before = Point { version, time_ms };
        points.push(before);
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestResult;
    use bytes::Bytes;

    fn table() -> table::Meta {
        table::Meta {
            digest: table::TableDigest([0xab; 32]),
            bytes: 0x0102,
            entries: 3,
            first_key: Bytes::from_static(b"a"),
            last_key: Bytes::from_static(b"bc"),
            first_stamp: Versionstamp::new(4, 5),
            last_stamp: Versionstamp::new(6, 7),
        }
    }

    /// One edit of each kind, in the order of the tags, with its bytes.
    fn each() -> Vec<(Edit, Vec<u8>)> {
        let parent = Some((LineageId([3; 16]), Versionstamp::new(4, 5)));
        let applied = Applied {
            version: 1,
            term: 2,
            time_ms: 3,
            hash: ContentHash::from_bytes([4; 32]),
            stamp: Versionstamp::new(1, 6),
        };
        let stamp = |version: u8, order: u8| [0, 0, 0, 0, 0, 0, 0, version, 0, order];
        let mut meta = Vec::new();
        table().encode(&mut meta);
        let point = |version, time_ms| Point { version, time_ms };
        let number = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
        vec![
            (
                Edit::Lineage(Lineage { id: LineageId([1; 16]), epoch: 2, parent: None }),
                [&[1, 21][..], &[1; 16], &[2, 0, 0, 0, 0]].concat(),
            ),
            (
                Edit::Lineage(Lineage { id: LineageId([1; 16]), epoch: 2, parent }),
                [&[1, 47][..], &[1; 16], &[2, 0, 0, 0, 1], &[3; 16], &stamp(4, 5)].concat(),
            ),
            (Edit::AddTable { level: 6, meta: table() }, [&[2, 76, 6][..], &meta].concat()),
            (Edit::RemoveTable { digest: table::TableDigest([9; 32]) }, [&[3, 32][..], &[9; 32]].concat()),
            (
                Edit::Flushed(applied),
                [&[4, 66][..], &number(1), &number(2), &number(3), &[4; 32], &stamp(1, 6)].concat(),
            ),
            (
                Edit::Mark(Mark { name: b"n".to_vec(), value: b"vv".to_vec() }),
                b"\x05\x06\x01n\x02\0vv".to_vec(),
            ),
            (
                Edit::Times(vec![point(300, 7), point(301, 200)]),
                b"\x06\x07\x02\xac\x02\x07\x01\xc1\x01".to_vec(),
            ),
            (
                Edit::Horizon {
                    prefix: Bytes::new(),
                    horizon: Horizon { stamp: Versionstamp::new(1, 2), time_ms: 3 },
                },
                [&[7, 20][..], &stamp(1, 2), &number(3), &[0, 0]].concat(),
            ),
            (Edit::Boot { first_segment: 5 }, [&[8, 8][..], &number(5)].concat()),
        ]
    }

    #[test]
    fn the_format_is_frozen() {
        for (edit, expected) in each() {
            let mut bytes = Vec::new();
            encode(std::slice::from_ref(&edit), &mut bytes);
            assert_eq!(bytes, expected, "{edit:?}");
            assert_eq!(decode(&bytes), Ok(vec![edit]));
        }
    }

    #[test]
    fn a_group_survives_its_bytes_and_every_cut_of_an_edit_is_refused() {
        let (edits, bytes): (Vec<_>, Vec<_>) = each().into_iter().unzip();
        let mut group = Vec::new();
        encode(&edits, &mut group);
        assert_eq!(group, bytes.concat());
        assert_eq!(decode(&group), Ok(edits));
        for bytes in bytes {
            for cut in 1..bytes.len() {
                assert!(decode(&bytes[..cut]).is_err(), "{bytes:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_no_engine_writes_is_refused() {
        let cases: [(&[u8], &str); 5] = [
            (b"\x00\x00", "a tag that is known"),
            (b"\xff\x00", "a tag that is known"),
            (b"\x08\x09\0\0\0\0\0\0\0\0\0", "a body that ends with its edit"),
            (b"\x06\x05\x02\x01\x07\x00\x01", "versions that rise"),
            (b"\x06\x03\x01\x00\x07", "a first version above 0"),
        ];
        for (bytes, wanted) in cases {
            assert!(decode(bytes).is_err(), "wanted {wanted}");
        }
    }

    #[test]
    fn the_format_of_horizons_and_erasures_is_frozen() -> TestResult {
        let stamp = Versionstamp::new(0x0102, 3);
        let prefix = Bytes::from_static(b"pp");
        let erasure = Erasure { prefix: prefix.clone(), stamp };
        let edits = [
            Edit::Horizon { prefix: Bytes::new(), horizon: Horizon { stamp, time_ms: 4 } },
            Edit::Horizon { prefix: prefix.clone(), horizon: Horizon { stamp, time_ms: 4 } },
            Edit::NoHorizon { prefix },
            Edit::Erase(erasure.clone()),
            Edit::Forget(erasure),
        ];
        let mut bytes = Vec::new();
        encode(&edits, &mut bytes);
        let expected: &[u8] = b"\x07\x14\0\0\0\0\0\0\x01\x02\0\x03\x04\0\0\0\0\0\0\0\0\0\
            \x07\x16\0\0\0\0\0\0\x01\x02\0\x03\x04\0\0\0\0\0\0\0\x02\0pp\
            \x09\x04\x02\0pp\
            \x0a\x0e\0\0\0\0\0\0\x01\x02\0\x03\x02\0pp\
            \x0b\x0e\0\0\0\0\0\0\x01\x02\0\x03\x02\0pp";
        assert_eq!(bytes, expected);
        assert_eq!(decode(&bytes)?, edits);
        Ok(())
    }
}
