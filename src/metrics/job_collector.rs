//! How long work goes on this node, read at each scrape.

use archiver::job::{JobKind, JobStatus, Jobs, Tally};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;

/// How jobs ended: the word, and how many.
type Ended = (&'static str, fn(&Tally) -> u64);

const ENDED: [Ended; 3] =
    [("done", |tally| tally.done), ("cancelled", |tally| tally.cancelled), ("failed", |tally| tally.failed)];

#[derive(Debug)]
pub(super) struct JobCollector {
    jobs: Jobs,
}

impl JobCollector {
    pub(super) const fn new(jobs: Jobs) -> Self {
        Self { jobs }
    }
}

impl Collector for JobCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let tallies = JobKind::ALL.map(|kind| (kind.as_str(), self.jobs.tally(kind)));
        let help = "Jobs that have ended on this node since it started";
        let mut family = encoder.encode_descriptor("jobs_ended", help, None, MetricType::Counter)?;
        for (kind, tally) in &tallies {
            for (outcome, count) in ENDED {
                let labels = [("kind", *kind), ("outcome", outcome)];
                ConstCounter::new(count(tally)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "When a job of this kind last ended as it should, Unix seconds; absent while none has";
        let mut family = encoder.encode_descriptor("job_last_done_seconds", help, None, MetricType::Gauge)?;
        for (kind, at_ms) in tallies.iter().filter_map(|(kind, tally)| Some((*kind, tally.last_done_ms?))) {
            gauge(at_ms / 1_000).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        let jobs = self.jobs.list();
        let working: Vec<&JobStatus> = jobs.iter().filter(|job| job.outcome.is_none()).collect();
        numbers(&mut encoder, &working, "job_bytes", "Bytes that a job has done", |job| job.bytes)?;
        let help = "Bytes that a job has to do, once they are known";
        numbers(&mut encoder, &working, "job_total_bytes", help, |job| job.bytes_total.unwrap_or(0))
    }
}

fn numbers(
    encoder: &mut DescriptorEncoder<'_>,
    jobs: &[&JobStatus],
    name: &str,
    help: &str,
    read: fn(&JobStatus) -> u64,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for job in jobs {
        let labels = [("kind", job.kind.as_str().to_owned()), ("id", job.id.to_string())];
        gauge(read(job)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(value: u64) -> ConstGauge {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
