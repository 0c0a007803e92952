//! What the server counts and measures, in the text format of Prometheus.
//!
//! - Names are stable; units are in them.
//! - The engine's numbers are read at each scrape, nothing is kept twice.

mod archive_collector;
mod engine_collector;
mod job_collector;
mod raft_collector;

pub use archive_collector::ArchiveLag;
use engine_collector::EngineCollector;
use raft_collector::RaftCollector;

use crate::archive::Verified;
use crate::database::Database;
use archiver::job::Jobs;
use parking_lot::RwLock;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use replication::Node;
use std::sync::Arc;
use std::time::Duration;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Endpoint {
    /// The metadata exchange.
    Exchange,
    /// `snapshot_read`.
    SnapshotRead,
    /// `snapshot_read` of what this node has.
    EventualRead,
    /// `atomic_write`.
    AtomicWrite,
    /// The start of a `watch`.
    Watch,
    /// The admin API.
    Admin,
    /// Anything else.
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    endpoint: Endpoint,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    endpoint: Endpoint,
}

/// Everything that is measured. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<RwLock<Registry>>,
    requests: Family<Request, Counter>,
    seconds: Family<Timed, Histogram, fn() -> Histogram>,
    /// Connections open now.
    pub connections: Gauge,
    /// Writes that wait for their outcome.
    pub writes_waiting: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The metrics of a server.
    pub fn new() -> Self {
        let latencies: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            seconds: Family::new_with_constructor(latencies),
            connections: Gauge::default(),
            writes_waiting: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("cairn");
        registry.register("requests", "Requests answered, by status", metrics.requests.clone());
        registry.register(
            "request_seconds",
            "Time from the head of a request to the head of its answer",
            metrics.seconds.clone(),
        );
        registry.register("connections", "Connections open now", metrics.connections.clone());
        registry.register(
            "writes_waiting",
            "Writes that wait for an answer now",
            metrics.writes_waiting.clone(),
        );
        *metrics.registry.write() = registry;
        metrics
    }

    /// Also shows the numbers of a group's engine and of those who watch it.
    pub fn add_database(&self, database: &Database) {
        let collector = EngineCollector::new(database.group().clone());
        self.registry.write().register_collector(Box::new(collector));
    }

    /// Also shows how far a standby is behind what it follows.
    pub fn add_standby(&self, behind_ms: Gauge, failing: Gauge) {
        let mut registry = self.registry.write();
        let help = "Time since the standby had everything that was in the archive, in milliseconds";
        registry.register("standby_behind_ms", help, behind_ms);
        registry.register("standby_failing", "Groups that cannot follow the archive now", failing);
    }

    /// Also shows how a node stands in its groups.
    pub fn add_node(&self, node: Node) {
        self.registry.write().register_collector(Box::new(RaftCollector::new(node)));
    }

    /// Also shows long work.
    pub fn add_jobs(&self, jobs: Jobs) {
        self.registry.write().register_collector(Box::new(job_collector::JobCollector::new(jobs)));
    }

    /// Also shows how far each archive is behind. `lags` is asked at each scrape.
    pub fn add_archive(&self, lags: Arc<dyn Fn() -> Vec<ArchiveLag> + Send + Sync>) {
        self.registry.write().register_collector(Box::new(archive_collector::ArchiveCollector::new(lags)));
    }

    /// Also shows when each archive was last verified and found sound.
    pub fn add_verified(&self, verified: &Verified) {
        let mut registry = self.registry.write();
        let help = "When every byte of an archive was last verified and found sound, Unix seconds";
        registry.register("archive_verified_time_seconds", help, verified.at_s.clone());
        let help = "What the last verification of an archive found wrong";
        registry.register("archive_problems", help, verified.problems.clone());
    }

    /// Counts an answered request.
    pub fn request(&self, endpoint: Endpoint, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { endpoint, status }).inc();
        self.seconds.get_or_create(&Timed { endpoint }).observe(took.as_secs_f64());
    }

    /// All of it, as a scraper wants it.
    ///
    /// # Errors
    ///
    /// When a number cannot be written.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.read())?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() -> Result<(), std::fmt::Error> {
        let metrics = Metrics::new();
        metrics.request(Endpoint::AtomicWrite, 200, Duration::from_micros(70));
        metrics.request(Endpoint::AtomicWrite, 200, Duration::from_micros(70));
        metrics.writes_waiting.inc();
        let lag = ArchiveLag { backlog_bytes: 7, ..ArchiveLag::default() };
        metrics.add_archive(Arc::new(move || vec![lag.clone()]));
        let text = metrics.text()?;
        for line in [
            "cairn_requests_total{endpoint=\"AtomicWrite\",status=\"200\"} 2",
            "cairn_request_seconds_count{endpoint=\"AtomicWrite\"} 2",
            "cairn_request_seconds_bucket{le=\"0.0001\",endpoint=\"AtomicWrite\"} 2",
            "cairn_writes_waiting 1",
            "cairn_archive_backlog_bytes{group=\"0\",target=\"\"} 7",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
        }
        Ok(())
    }
}
