//! How far each archive is behind what is committed, as a scrape reads it: one line for each group and target.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// How far the archive of a group at a target is behind what is committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveLag {
    /// The group.
    pub group: u64,
    /// Where the archive is.
    pub target: String,
    /// Bytes of the log that wait to be shipped.
    pub backlog_bytes: u64,
    /// Log entries that were applied here after the last one that was shipped; progress and ticks count as well.
    pub behind_entries: u64,
    /// Since when the oldest commit that was not shipped has been waiting, Unix milliseconds; `None` when none is.
    pub behind_since_ms: Option<u64>,
    /// The clock of the last commit that was shipped, Unix milliseconds.
    pub shipped_time_ms: u64,
    /// When the last checkpoint was made, Unix milliseconds; 0 when it is not known here.
    pub checkpoint_time_ms: u64,
    /// Objects put since the start.
    pub objects: u64,
    /// Bytes put since the start.
    pub bytes: u64,
    /// Gaps in the archive since the start.
    pub gaps: u64,
    /// Whether the last attempt failed.
    pub failing: bool,
    /// Whether another cluster goes on from this lineage, so that nothing more is shipped of it.
    pub ended: bool,
}

impl ArchiveLag {
    fn behind_seconds(&self, now_ms: u64) -> f64 {
        let behind = self.behind_since_ms.map_or(0, |since| now_ms.saturating_sub(since));
        std::time::Duration::from_millis(behind).as_secs_f64()
    }
}

type Lags = Arc<dyn Fn() -> Vec<ArchiveLag> + Send + Sync>;

pub(super) struct ArchiveCollector {
    lags: Lags,
}

impl ArchiveCollector {
    pub(super) fn new(lags: Lags) -> Self {
        Self { lags }
    }
}

impl fmt::Debug for ArchiveCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ArchiveCollector")
    }
}

type Number = fn(&ArchiveLag) -> u64;

const GAUGES: [(&str, &str, Number); 6] = [
    ("archive_backlog_bytes", "Bytes of log to ship", |lag| lag.backlog_bytes),
    ("archive_behind_entries", "Log entries after the last one shipped", |lag| lag.behind_entries),
    ("archive_shipped_time_ms", "Clock of the last commit shipped, Unix milliseconds", |lag| {
        lag.shipped_time_ms
    }),
    ("archive_checkpoint_time_ms", "When the last checkpoint was made, Unix milliseconds", |lag| {
        lag.checkpoint_time_ms
    }),
    ("archive_failing", "1 while shipping stands still", |lag| lag.failing as u64),
    ("archive_ended", "1 when another cluster goes on from this one", |lag| lag.ended as u64),
];

const COUNTERS: [(&str, &str, Number); 3] = [
    ("archive_objects", "Objects put since the start", |lag| lag.objects),
    ("archive_put_bytes", "Bytes put since the start", |lag| lag.bytes),
    ("archive_gaps", "Gaps in the archive since the start", |lag| lag.gaps),
];

impl Collector for ArchiveCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let lags = (self.lags)();
        if lags.is_empty() {
            return Ok(());
        }
        let labels = |lag: &ArchiveLag| [("group", lag.group.to_string()), ("target", lag.target.clone())];
        for (name, help, number) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for lag in &lags {
                let value = i64::try_from(number(lag)).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(family.encode_family(&labels(lag))?)?;
            }
        }
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let help = "For how long the oldest commit that was not shipped has been waiting";
        let mut family =
            encoder.encode_descriptor("archive_behind_seconds", help, None, MetricType::Gauge)?;
        for lag in &lags {
            ConstGauge::new(lag.behind_seconds(now_ms)).encode(family.encode_family(&labels(lag))?)?;
        }
        for (name, help, number) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for lag in &lags {
                ConstCounter::new(number(lag)).encode(family.encode_family(&labels(lag))?)?;
            }
        }
        Ok(())
    }
}
