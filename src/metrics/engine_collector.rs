//! Numbers that the engine keeps and a scrape reads.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use replication::Group;
use std::fmt;

pub(super) struct EngineCollector {
    group: Group,
}

impl EngineCollector {
    pub(super) const fn new(group: Group) -> Self {
        Self { group }
    }
}

impl fmt::Debug for EngineCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineCollector")
    }
}

impl Collector for EngineCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let s = self.group.engine().statistics();
        let counters = [
            ("engine_records", "Log entries written", s.records),
            ("engine_commits", "Atomic writes committed", s.commits),
            ("engine_wal_bytes", "Bytes written to the log", s.wal_bytes),
            ("engine_syncs", "Syncs of the log", s.syncs),
            ("engine_flushes", "Memtables written to tables", s.flushes),
            ("engine_compactions", "Compactions", s.compactions),
            ("engine_flushed_bytes", "Bytes written by flushes", s.flushed_bytes),
            ("engine_compacted_bytes", "Bytes written by compactions", s.compacted_bytes),
            ("engine_commit_bytes", "Bytes of operations committed: what was asked for", s.commit_bytes),
            ("engine_sync_ns", "Time spent in syncs of the log, nanoseconds", s.sync_times.total_ns),
            ("engine_gets", "Keys read", s.gets),
            ("engine_ranges", "Ranges read", s.ranges),
            ("engine_filter_rejections", "Tables that filters left out", s.filter_rejections),
            ("engine_filter_false_positives", "Tables let through in vain", s.filter_false_positives),
            ("engine_cache_hits", "Blocks found in the cache", s.cache_hits),
            ("engine_cache_misses", "Blocks read from disk", s.cache_misses),
        ];
        for (name, help, value) in counters {
            counter(&mut encoder, name, help, value)?;
        }
        let gauges = [
            ("engine_memtable_bytes", "Memory of memtables", s.memtable_bytes),
            ("engine_pinned_bytes", "Memory of indexes and filters of open tables", s.memory.pinned),
            ("engine_memtables", "Memtables, the active one and those to be flushed", s.memtables),
            ("engine_sync_max_ns", "The longest sync of the log, nanoseconds", s.sync_times.max_ns),
            ("engine_held_views", "States out of date that snapshots hold on to", s.held_views),
            (
                "engine_oldest_view_ms",
                "For how long the oldest of them has been out of date",
                s.oldest_view_ms,
            ),
            ("engine_table_bytes", "Bytes of live tables", s.table_bytes),
            ("engine_history_bytes", "Bytes of old versions in tables", s.history_bytes),
            (
                "engine_history_age_ms",
                "How far back versions can be read, 0 while all can",
                s.history_age_ms.unwrap_or(0),
            ),
            ("engine_erasures", "Deleted prefixes that may still hide something", s.erasures),
            ("engine_tables", "Live tables", s.tables.iter().sum()),
            ("engine_segments", "Sealed log segments kept", s.segments),
            ("disk_available_bytes", "Free bytes on the disk", s.disk_available_bytes),
            ("watches", "Watches open now", self.group.hub().subscriptions() as u64),
        ];
        for (name, help, value) in gauges {
            gauge(&mut encoder, name, help, value)?;
        }
        Ok(())
    }
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}
