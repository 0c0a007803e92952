//! What a measurement found, for people and for programs.

use super::load::Outcome;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Figures of one measurement. Field names end in their unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Finished requests per second, reads and writes together.
    pub operations_per_s: f64,
    /// The measured length of the window.
    pub elapsed_s: f64,
    /// Processor time of the server per request, when its process was named and could be read.
    pub server_cpu_us_per_operation: Option<f64>,
    /// Processor time of the load generator per request: near one core, it is the bottleneck.
    pub client_cpu_us_per_operation: Option<f64>,
    /// Reads, when there were any.
    pub reads: Option<Latency>,
    /// Writes, when there were any.
    pub writes: Option<Latency>,
}

/// How long requests of one kind took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// Half took at most this long.
    pub p50_us: u64,
    /// Nine of ten took at most this long.
    pub p90_us: u64,
    /// 99 of 100 took at most this long.
    pub p99_us: u64,
    /// 999 of 1000 took at most this long.
    pub p999_us: u64,
    /// None took longer.
    pub max_us: u64,
}

impl Report {
    /// Sums up an outcome.
    pub fn of(outcome: &Outcome) -> Report {
        let count = outcome.reads.len() + outcome.writes.len();
        let elapsed_s = outcome.elapsed.as_secs_f64();
        let per_operation = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count_f64(count.max(1));
        Report {
            operations_per_s: count_f64(count) / elapsed_s,
            elapsed_s,
            server_cpu_us_per_operation: outcome.server_cpu.map(per_operation),
            client_cpu_us_per_operation: outcome.client_cpu.map(per_operation),
            reads: Latency::of(&outcome.reads),
            writes: Latency::of(&outcome.writes),
        }
    }
}

/// The nearest float; a run would have to last for years to reach the first that is not exact.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 requests")]
fn count_f64(count: u64) -> f64 {
    count as f64
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        Some(Latency {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:.0} requests per second over {:.1} s", self.operations_per_s, self.elapsed_s)?;
        writeln!(f)?;
        writeln!(f, "  latency   requests     p50     p90     p99   p99.9     max   (ms)")?;
        for (name, latency) in [("reads", &self.reads), ("writes", &self.writes)] {
            if let Some(latency) = latency {
                writeln!(f, "  {name:<8} {latency}")?;
            }
        }
        let cpu = |cpu: Option<f64>| cpu.map_or_else(|| "not known".to_owned(), |us| format!("{us:.1} µs"));
        writeln!(f)?;
        write!(f, "processor time per request: server {}", cpu(self.server_cpu_us_per_operation))?;
        write!(f, ", load generator {}", cpu(self.client_cpu_us_per_operation))
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10}", self.count)?;
        for us in [self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us] {
            write!(f, " {:>7.3}", count_f64(us) / 1000.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Result<Outcome, Box<dyn std::error::Error>> {
        let mut reads = Histogram::new_with_max(60_000_000, 3)?;
        for us in 1..=1000 {
            reads.record(us)?;
        }
        let writes = Histogram::new_with_max(60_000_000, 3)?;
        Ok(Outcome {
            reads,
            writes,
            elapsed: Duration::from_secs(2),
            server_cpu: Some(Duration::from_millis(20)),
            client_cpu: None,
        })
    }

    #[test]
    fn the_figures_are_those_of_the_requests() -> Result<(), Box<dyn std::error::Error>> {
        let report = Report::of(&outcome()?);
        let reads =
            Latency { count: 1000, p50_us: 500, p90_us: 900, p99_us: 990, p999_us: 999, max_us: 1000 };
        let expected = Report {
            operations_per_s: 500.0,
            elapsed_s: 2.0,
            server_cpu_us_per_operation: Some(20.0),
            client_cpu_us_per_operation: None,
            reads: Some(reads),
            writes: None,
        };
        assert_eq!(report, expected);
        assert_eq!(serde_json::from_str::<Report>(&serde_json::to_string(&report)?)?, report);
        Ok(())
    }

    #[test]
    fn people_read_the_same_figures() -> Result<(), Box<dyn std::error::Error>> {
        let text = Report::of(&outcome()?).to_string();
        let expected = "500 requests per second over 2.0 s\n\n  \
             latency   requests     p50     p90     p99   p99.9     max   (ms)\n  \
             reads          1000   0.500   0.900   0.990   0.999   1.000\n\n\
             processor time per request: server 20.0 µs, load generator not known";
        assert_eq!(text, expected);
        Ok(())
    }
}
