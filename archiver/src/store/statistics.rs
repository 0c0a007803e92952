//! What was asked of a store: calls, errors, bytes and time, by kind of call.
//!
//! Bytes are those of objects, without names and headers. Bytes of a call that failed are not counted, its time is.

use std::fmt;
use std::time::Duration;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A whole object was written.
    Put,
    /// A whole object was read.
    Get,
    /// A part of an object was read.
    GetRange,
    /// An object was written unless there was one.
    Create,
    /// A multipart upload was begun.
    Begin,
    /// A part of one was written.
    Part,
    /// One was completed.
    Complete,
    /// One was given up.
    Abort,
    /// A page of a listing was read.
    List,
    /// An object was removed.
    Delete,
}

impl Call {
    /// Every kind, in the order of [`Statistics::calls`].
    pub const ALL: [Self; 10] = [
        Self::Put,
        Self::Get,
        Self::GetRange,
        Self::Create,
        Self::Begin,
        Self::Part,
        Self::Complete,
        Self::Abort,
        Self::List,
        Self::Delete,
    ];

    /// Its name in tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::GetRange => "get_range",
            Self::Create => "create",
            Self::Begin => "begin",
            Self::Part => "part",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }
}

/// The calls of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// How many ended, well or not.
    pub count: u64,
    /// How many of them failed. An object that is not there counts as an error.
    pub errors: u64,
    /// The bytes of objects that the others carried.
    pub bytes: u64,
    /// The sum of the times that they took; calls at the same time add up.
    pub time: Duration,
}

impl Calls {
    /// The mean of the times; zero without calls.
    pub fn mean(&self) -> Duration {
        u32::try_from(self.count).ok().and_then(|count| self.time.checked_div(count)).unwrap_or_default()
    }

    /// Bytes per second of one call at a time; zero when no time passed.
    pub fn bytes_per_second(&self) -> u64 {
        let bytes = u128::from(self.bytes) * 1_000_000;
        u64::try_from(bytes.checked_div(self.time.as_micros()).unwrap_or(0)).unwrap_or(u64::MAX)
    }
}

/// What was asked of a store since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// By kind, in the order of [`Call::ALL`].
    calls: [Calls; Call::ALL.len()],
}

impl Statistics {
    /// Each kind with its calls.
    pub fn calls(&self) -> impl Iterator<Item = (Call, Calls)> + '_ {
        Call::ALL.into_iter().zip(self.calls)
    }

    /// The calls of one kind.
    pub const fn of(&self, call: Call) -> Calls {
        self.calls[call as usize]
    }

    /// Calls of every kind.
    pub fn requests(&self) -> u64 {
        self.calls.iter().map(|calls| calls.count).sum()
    }

    pub(super) const fn at(&mut self, call: Call) -> &mut Calls {
        &mut self.calls[call as usize]
    }
}

/// A table of the kinds that were called.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10}{:>10}{:>8}{:>16}{:>12}{:>12}",
            "call", "count", "errors", "bytes", "mean ms", "MB/s"
        )?;
        for (call, calls) in self.calls().filter(|(_, calls)| calls.count > 0) {
            let Calls { count, errors, bytes, .. } = calls;
            let mean_us = calls.mean().as_micros();
            let (ms, us) = (mean_us / 1_000, mean_us % 1_000);
            let tenths = calls.bytes_per_second() / 100_000;
            let speed = format!("{}.{}", tenths / 10, tenths % 10);
            writeln!(
                f,
                "{:<10}{count:>10}{errors:>8}{bytes:>16}{:>12}{speed:>12}",
                call.name(),
                format!("{ms}.{us:03}")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_was_called() {
        let mut statistics = Statistics::default();
        *statistics.at(Call::Put) =
            Calls { count: 4, errors: 1, bytes: 3_000_000, time: Duration::from_millis(2_000) };
        let text = statistics.to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[1], ["put", "4", "1", "3000000", "500.000", "1.5"]);
        assert_eq!(statistics.of(Call::Put).bytes_per_second(), 1_500_000);
        assert_eq!((statistics.requests(), statistics.of(Call::Get).bytes_per_second()), (4, 0));
    }

    #[test]
    fn every_kind_has_a_place_and_a_name_of_its_own() {
        for (place, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as usize, place);
            assert_eq!(Call::ALL.iter().filter(|other| other.name() == call.name()).count(), 1);
        }
    }
}
