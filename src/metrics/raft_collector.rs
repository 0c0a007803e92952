//! How this node stands in each of its groups, read at each scrape.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use replication::{Counters, Group, GroupStatus, Node, Role};
use std::fmt;

/// One number of a group, with its name and what it says.
type Number<T> = (&'static str, &'static str, fn(&T) -> u64);

/// One number of a member, with its name and what it says; not every one is known.
type MemberNumber = (&'static str, &'static str, fn(&replication::Member) -> Option<u64>);

const GAUGES: [Number<GroupStatus>; 8] = [
    ("raft_leads", "1 where this node leads the group", |status| u64::from(status.role == Role::Leader)),
    ("raft_votes", "1 where this node votes", |status| {
        u64::from(matches!(status.role, Role::Leader | Role::Follower | Role::Candidate))
    }),
    ("raft_has_leader", "1 while a leader is known", |status| u64::from(status.leader.is_some())),
    ("raft_term", "The term; it rises with each election", |status| status.term),
    ("raft_last_index", "Index of the last entry in the log here", |status| status.last_index),
    ("raft_committed_index", "Index up to which entries are agreed on", |status| status.committed_index),
    ("raft_applied_index", "Index up to which entries are applied here", |status| status.applied_index),
    ("raft_members", "Nodes in the group", |status| status.members.len() as u64),
];

const COUNTERS: [Number<Counters>; 4] = [
    ("raft_entries", "Entries proposed here as the leader", |counters| counters.entries),
    ("raft_entry_writes", "Atomic writes in them", |counters| counters.writes),
    ("raft_read_rounds", "Confirmations that strong reads here asked for", |counters| counters.read_rounds),
    ("raft_confirmed_reads", "Strong reads that shared them", |counters| counters.reads),
];

pub(super) struct RaftCollector {
    node: Node,
}

impl RaftCollector {
    pub(super) const fn new(node: Node) -> Self {
        Self { node }
    }
}

impl fmt::Debug for RaftCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RaftCollector")
    }
}

impl Collector for RaftCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let groups = self.node.groups();
        let statuses: Vec<GroupStatus> = groups.iter().map(Group::status).collect();
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for status in &statuses {
                let labels = [("group", status.group.to_string())];
                gauge(read(status)).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for group in &groups {
                let labels = [("group", group.id().to_string())];
                ConstCounter::new(read(&group.counters())).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "How old the data here may be, in milliseconds; absent while that is unknown";
        let mut family = encoder.encode_descriptor("raft_staleness_ms", help, None, MetricType::Gauge)?;
        for (id, staleness_ms) in groups.iter().filter_map(|group| Some((group.id(), group.staleness_ms()?)))
        {
            gauge(staleness_ms).encode(family.encode_family(&[("group", id.to_string())])?)?;
        }
        followers(&mut encoder, &statuses)
    }
}

/// What a leader knows of the others.
fn followers(encoder: &mut DescriptorEncoder<'_>, statuses: &[GroupStatus]) -> Result<(), fmt::Error> {
    let numbers: [MemberNumber; 2] = [
        ("raft_follower_lag", "Entries that a node lacks, as the leader sees it", |member| member.lag),
        ("raft_follower_silent_ms", "Since the leader last heard of a node", |member| member.silent_ms),
    ];
    for (name, help, read) in numbers {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for status in statuses.iter().filter(|status| status.role == Role::Leader) {
            for member in status.members.iter().filter(|member| Some(member.node) != status.leader) {
                let labels = [("group", status.group.to_string()), ("node", member.node.to_string())];
                if let Some(value) = read(member) {
                    gauge(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
    }
    Ok(())
}

fn gauge(value: u64) -> ConstGauge {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
