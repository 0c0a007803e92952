//! How many bytes of a table are there only for readers of the past, and from which horizon on they are not.
//!
//! A version is hidden in its table when a newer one of the same key is there too. Nobody needs it once the
//! horizon of the key has reached that newer version.
//!
//! Bytes, integers little-endian:
//!
//! | size | field | meaning |
//! |---|---|---|
//! | varint | parts | one for each prefix with hidden versions, prefixes rising |
//! | 2, n | prefix | length, bytes; empty for keys whose horizon is the default one |
//! | varint | points | 1 to [`POINTS_MAX`], stamps rising |
//! | 10, varint | point | stamp; bytes of keys and values, at least 1, that nobody needs once the horizon is there |
//!
//! - Points are rounded to later stamps, never to earlier ones: what they say can be dropped can be.

use super::meta::{put_stamp, stamp};
use crate::Versionstamp;
use crate::codec::{Decoder, Malformed, put_varint};
use crate::horizon::Horizons;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Points of a prefix in a footer, inclusive.
pub(crate) const POINTS_MAX: usize = 16;
/// Points of a prefix while a table is written; with this many they are halved.
const POINTS_KEPT: usize = 1_024;

/// Bytes that nobody needs once the horizon is at a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) stamp: Versionstamp,
    pub(crate) bytes: u64,
}

/// The hidden versions of the keys of one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hidden {
    /// The longest prefix of these keys that had a horizon of its own when the table was written.
    pub(crate) prefix: Bytes,
    /// At least one; stamps rise.
    pub(crate) points: Vec<Point>,
}

impl Hidden {
    /// All of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.points.iter().map(|point| point.bytes).sum()
    }

    /// At least how many nobody needs once the horizon is at `horizon`.
    pub(crate) fn bytes_below(&self, horizon: Versionstamp) -> u64 {
        let below = self.points.partition_point(|point| point.stamp <= horizon);
        self.points[..below].iter().map(|point| point.bytes).sum()
    }
}

/// Appends the parts of a table to `out`.
pub(super) fn encode(parts: &[Hidden], out: &mut Vec<u8>) {
    put_varint(out, parts.len() as u64);
    for Hidden { prefix, points } in parts {
        let len = u16::try_from(prefix.len()).expect("a prefix is at most as long as a key");
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(prefix);
        put_varint(out, points.len() as u64);
        for point in points {
            put_stamp(out, point.stamp);
            put_varint(out, point.bytes);
        }
    }
}

/// Reads the parts of a table whose keys and values have `content_bytes` bytes.
pub(super) fn decode(rest: &mut Decoder<'_>, content_bytes: u64) -> Result<Vec<Hidden>, Malformed> {
    let count = rest.varint("the number of prefixes with hidden versions")?;
    rest.ensure(count <= rest.remaining() as u64, "as many prefixes as there are bytes for")?;
    let mut parts: Vec<Hidden> = Vec::new();
    let mut left = content_bytes;
    for _ in 0..count {
        let len = usize::from(rest.u16("the length of a prefix")?);
        let prefix = Bytes::copy_from_slice(rest.take(len, "a prefix")?);
        rest.ensure(parts.last().is_none_or(|last| last.prefix < prefix), "rising prefixes")?;
        let points = decode_points(rest, &mut left)?;
        parts.push(Hidden { prefix, points });
    }
    Ok(parts)
}

fn decode_points(rest: &mut Decoder<'_>, left: &mut u64) -> Result<Vec<Point>, Malformed> {
    let count = rest.varint("the number of points")?;
    rest.ensure((1..=POINTS_MAX as u64).contains(&count), "1 to 16 points")?;
    let mut points: Vec<Point> = Vec::new();
    for _ in 0..count {
        let stamp = stamp(rest)?;
        rest.ensure(points.last().is_none_or(|last| last.stamp < stamp), "rising stamps")?;
        let bytes = rest.varint("hidden bytes")?;
        let fits = left.checked_sub(bytes).filter(|_| bytes > 0);
        *left =
            fits.ok_or_else(|| rest.malformed("hidden bytes, no more than the table's keys and values"))?;
        points.push(Point { stamp, bytes });
    }
    Ok(points)
}

/// Gathers the hidden versions of a table that is written.
#[derive(Debug, Default)]
pub(super) struct Gather {
    horizons: Arc<Horizons>,
    parts: BTreeMap<Bytes, Vec<Point>>,
    /// The last key with a hidden version, and its prefix.
    last: Option<(Bytes, Bytes)>,
}

impl Gather {
    /// Of a table that is written under `horizons`.
    pub(super) fn under(horizons: Arc<Horizons>) -> Self {
        Self { horizons, ..Self::default() }
    }

    /// Notes a version of `key` of so many bytes; the next newer one in the table has the stamp `hidden_by`.
    pub(super) fn add(&mut self, key: &Bytes, hidden_by: Versionstamp, bytes: u64) {
        let prefix = match &self.last {
            Some((last, prefix)) if last == key => prefix.clone(),
            _ => self.horizons.prefix_of(key),
        };
        self.last = Some((key.clone(), prefix.clone()));
        let points = self.parts.entry(prefix).or_default();
        points.push(Point { stamp: hidden_by, bytes });
        if points.len() >= POINTS_KEPT {
            reduce(points, POINTS_KEPT / 2);
        }
    }

    /// What the footer says.
    pub(super) fn finish(self) -> Vec<Hidden> {
        let part = |(prefix, mut points): (Bytes, Vec<Point>)| {
            reduce(&mut points, POINTS_MAX);
            Hidden { prefix, points }
        };
        self.parts.into_iter().map(part).collect()
    }
}

/// Leaves at most `max` points of about the same size, each at the latest of the stamps that it stands for.
fn reduce(points: &mut Vec<Point>, max: usize) {
    points.sort_by_key(|point| point.stamp);
    let total: u64 = points.iter().map(|point| point.bytes).sum();
    let share = total.div_ceil(max as u64);
    let mut reduced: Vec<Point> = Vec::with_capacity(max);
    for point in points.drain(..) {
        match reduced.last_mut() {
            Some(last) if last.bytes < share || last.stamp == point.stamp => {
                last.stamp = point.stamp;
                last.bytes += point.bytes;
            }
            _ => reduced.push(point),
        }
    }
    *points = reduced;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestResult, stamp};
    use proptest::prelude::*;

    fn sample() -> Vec<Hidden> {
        let points =
            |stamps: &[u64]| stamps.iter().map(|at| Point { stamp: stamp(*at), bytes: 200 }).collect();
        vec![
            Hidden { prefix: Bytes::new(), points: points(&[1, 2]) },
            Hidden { prefix: Bytes::from_static(b"p"), points: points(&[3]) },
        ]
    }

    #[test]
    fn the_format_is_frozen() -> TestResult {
        let mut bytes = Vec::new();
        encode(&sample(), &mut bytes);
        let expected: &[u8] = b"\x02\0\0\x02\0\0\0\0\0\0\0\x01\0\0\xc8\x01\0\0\0\0\0\0\0\x02\0\0\xc8\x01\
            \x01\0p\x01\0\0\0\0\0\0\0\x03\0\0\xc8\x01";
        assert_eq!(bytes, expected);
        assert_eq!(decode(&mut Decoder::new(&bytes), 600)?, sample());
        for cut in 0..bytes.len() {
            assert!(decode(&mut Decoder::new(&bytes[..cut]), 600).is_err(), "cut at {cut}");
        }
        Ok(())
    }

    #[test]
    fn contradictions_are_refused() {
        let wrong: [fn(&mut Vec<Hidden>); 6] = [
            |parts| parts.reverse(),
            |parts| parts[1].prefix = Bytes::new(),
            |parts| parts[0].points.reverse(),
            |parts| parts[0].points.clear(),
            |parts| parts[0].points[0].bytes = 0,
            |parts| parts[1].points[0].bytes = u64::MAX,
        ];
        for (index, spoil) in wrong.iter().enumerate() {
            let mut parts = sample();
            spoil(&mut parts);
            let mut bytes = Vec::new();
            encode(&parts, &mut bytes);
            assert!(decode(&mut Decoder::new(&bytes), 600).is_err(), "case {index}");
        }
    }

    proptest! {
        #[test]
        fn points_never_say_that_something_can_go_too_early(
            hidden in prop::collection::vec((0..50u64, 1..100u64), 1..3_000),
        ) {
            let mut gather = Gather::default();
            for (at, bytes) in &hidden {
                gather.add(&Bytes::from_static(b"k"), stamp(*at), *bytes);
            }
            let [Hidden { points, .. }] = &gather.finish()[..] else {
                return Err(TestCaseError::fail("one prefix"));
            };
            prop_assert!(points.len() <= POINTS_MAX);
            prop_assert!(points.is_sorted_by(|left, right| left.stamp < right.stamp));
            let total: u64 = hidden.iter().map(|(_, bytes)| bytes).sum();
            prop_assert_eq!(points.iter().map(|point| point.bytes).sum::<u64>(), total);
            for at in 0..50 {
                let said: u64 = points.iter().filter(|it| it.stamp <= stamp(at)).map(|it| it.bytes).sum();
                let free: u64 = hidden.iter().filter(|(by, _)| *by <= at).map(|(_, bytes)| bytes).sum();
                prop_assert!(said <= free, "at {}: {} said, {} free", at, said, free);
            }
        }
    }

    #[test]
    fn each_prefix_with_its_own_horizon_is_counted_alone() {
        let mut horizons = Horizons::default();
        horizons.set(Bytes::from_static(b"p"), crate::horizon::Horizon::START);
        let mut gather = Gather::under(Arc::new(horizons));
        for key in ["a", "pq", "pr", "q"] {
            gather.add(&Bytes::from_static(key.as_bytes()), stamp(3), 5);
        }
        let found: Vec<_> =
            gather.finish().into_iter().map(|part| (part.prefix, part.points[0].bytes)).collect();
        assert_eq!(found, [(Bytes::new(), 10), (Bytes::from_static(b"p"), 10)]);
    }

    #[test]
    fn points_are_of_about_the_same_size() {
        let mut gather = Gather::default();
        for at in (0..100_000u64).rev() {
            gather.add(&Bytes::from_static(b"k"), stamp(at), 10);
        }
        let points = gather.finish().remove(0).points;
        assert_eq!(points.len(), POINTS_MAX);
        for (index, point) in (1..).zip(&points) {
            let ideal = 100_000 * index / POINTS_MAX as u64;
            assert!(point.stamp.version().abs_diff(ideal) < 4_000, "{index}: {point:?}, {ideal}");
        }
    }
}
