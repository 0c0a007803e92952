//! Figures as Markdown.

use cairn::bench::report::{Latency, Report};

/// The middle of some figures; the lower of two.
///
/// # Panics
///
/// If there are none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    assert!(!figures.is_empty(), "a median needs a figure");
    figures.sort_by(f64::total_cmp);
    figures[(figures.len() - 1) / 2]
}

/// What several rounds of one measurement come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Median requests per second.
    pub operations_per_s: f64,
    /// Median of the rounds' median latencies, in milliseconds.
    pub p50_ms: f64,
    /// Median of the rounds' 99th percentiles, in milliseconds.
    pub p99_ms: f64,
    /// Median processor time of the server per request, in microseconds.
    pub cpu_us: f64,
}

impl Summary {
    /// Sums up the rounds of one measurement; of reads and writes together, the latencies are those of the slower.
    ///
    /// # Panics
    ///
    /// If there is no round, or one without figures that this table shows.
    pub fn of(rounds: &[Report]) -> Summary {
        let of = |figure: fn(&Report) -> Option<f64>| {
            median(rounds.iter().map(|round| figure(round).expect("a round has all figures")).collect())
        };
        Summary {
            operations_per_s: of(|round| Some(round.operations_per_s)),
            p50_ms: of(|round| slower(round, |latency| latency.p50_us)),
            p99_ms: of(|round| slower(round, |latency| latency.p99_us)),
            cpu_us: of(|round| round.server_cpu_us_per_operation),
        }
    }

    /// Four cells of a table.
    pub fn cells(&self) -> String {
        let Summary { operations_per_s, p50_ms, p99_ms, cpu_us } = self;
        format!("{operations_per_s:.0} | {p50_ms:.2} | {p99_ms:.2} | {cpu_us:.0}")
    }
}

/// The larger of a figure of reads and of writes.
fn slower(round: &Report, figure: fn(&Latency) -> u64) -> Option<f64> {
    [&round.reads, &round.writes].into_iter().flatten().map(figure).max().map(ms)
}

/// Microseconds as milliseconds. A latency is below a minute, far below where a float loses digits.
fn ms(us: u64) -> f64 {
    f64::from(u32::try_from(us).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).total_cmp(&2.0), std::cmp::Ordering::Equal);
        assert_eq!(median(vec![4.0, 1.0]).total_cmp(&1.0), std::cmp::Ordering::Equal);
    }

    #[test]
    fn a_summary_is_made_of_medians() {
        let round = |rate: f64, us: u64| Report {
            operations_per_s: rate,
            elapsed_s: 1.0,
            server_cpu_us_per_operation: Some(rate / 10.0),
            client_cpu_us_per_operation: None,
            reads: Some(Latency {
                count: 1,
                p50_us: us,
                p90_us: us,
                p99_us: us * 2,
                p999_us: us,
                max_us: us,
            }),
            writes: None,
        };
        let summary = Summary::of(&[round(300.0, 3000), round(100.0, 1000), round(200.0, 2000)]);
        assert_eq!(summary.cells(), "200 | 2.00 | 4.00 | 20");
    }
}
