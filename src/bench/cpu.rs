//! Processor time of a process, from `/proc/<pid>/stat` (Linux alone).

use std::time::Duration;

/// Linux counts processor time for programs in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// The processor time, user and system, that all threads of process `pid` have used so far; `None`
/// when there is no such process or no `/proc`.
pub fn used_by(pid: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads fields 14 and 15 (`utime`, `stime`); the name in field 2 may hold anything, so the count
/// starts behind its last closing parenthesis.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "17 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_is_no_stat_line_is_none() {
        for stat in ["", "17 (a", "17 (a) S 1 2", "17 (a) S 1 2 3 4 5 6 7 8 9 10 x y"] {
            assert_eq!(parse(stat), None, "{stat}");
        }
    }
}
