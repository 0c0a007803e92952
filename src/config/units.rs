//! Durations and sizes as people write them: a number and a unit.

use std::fmt;
use std::str::FromStr;

/// A duration in milliseconds, written as `500ms`, `90s`, `30m`, `24h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

/// A size in bytes, written as `4096`, `512MiB` or `10GiB`; also `kB`, `MB`, `GB`, `TB` by thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const DAY_MS: u64 = 86_400_000;
const TIME_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", DAY_MS)];
const SIZE_UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// What could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct UnitError(&'static str);

impl FromStr for Millis {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        number_and_unit(text, TIME_UNITS)
            .map(Millis)
            .ok_or(UnitError("a duration such as 90s, 30m, 24h or 7d"))
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        number_and_unit(text, SIZE_UNITS).map(Bytes).ok_or(UnitError("a size such as 4096, 512MiB or 10GiB"))
    }
}

fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One day reads better as 24 h.
        let fits = |scale: u64| self.0.is_multiple_of(scale) && (scale < DAY_MS || self.0 > DAY_MS);
        let exact = TIME_UNITS.iter().rev().find(|(_, scale)| fits(*scale));
        let (unit, scale) = exact.copied().unwrap_or(("ms", 1));
        write!(f, "{} {unit}", self.0 / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit_are_read_and_anything_else_is_refused() {
        for (text, ms) in
            [("500ms", 500), ("90s", 90_000), ("24h", 86_400_000), ("7 d", 604_800_000), ("0s", 0)]
        {
            assert_eq!(text.parse(), Ok(Millis(ms)), "{text}");
        }
        for (text, bytes) in [("4096", 4096), ("10GiB", 10 << 30), ("1 MB", 1_000_000), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "h", "-1h", "1.5h", "1H", "24", "1h30m", "99999999999999999999h", "999999999999d999"]
        {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
        for text in ["", "GiB", "-1", "1g", "0x10", "18446744073709551615KiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_shown_in_its_largest_whole_unit() {
        for (ms, text) in [
            (1_500, "1500 ms"),
            (86_400_000, "24 h"),
            (604_800_000, "7 d"),
            (7_200_000, "2 h"),
            (90_000, "90 s"),
        ] {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }
}
