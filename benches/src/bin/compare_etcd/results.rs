//! What a run found, as it is kept.

use cairn::bench::report::Report;
use cairn_benches::table::{Summary, median};
use serde::{Deserialize, Serialize};

/// Clients at once.
pub(crate) const CLIENTS: [u32; 3] = [1, 64, 256];

/// Everything that one run found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// All measurements, in the order in which they were made.
    pub measurements: Vec<Measurement>,
    /// All kills of a leader.
    pub failovers: Vec<Failover>,
    /// Medians of an append with fdatasync, before the first round and after each, in microseconds.
    pub syncs_us: Vec<u128>,
    /// Why a part did not run.
    pub skipped: Vec<String>,
}

/// One measurement.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Where the clients and the nodes stood: `leader`, `follower` or `regions`.
    pub place: String,
    /// What the clients asked for: `put`, `get` or `mixed`.
    pub mode: String,
    /// How many clients.
    pub clients: u32,
    /// What was measured.
    pub system: String,
    /// What was found.
    pub report: Report,
}

/// How long a cluster took no write after its leader was killed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failover {
    /// What was measured.
    pub system: String,
    /// From the kill to the first acknowledged write, in milliseconds.
    pub ms: f64,
}

impl Results {
    /// The reports of all rounds of one measurement.
    pub(crate) fn reports(&self, place: &str, mode: &str, clients: u32, system: &str) -> Vec<Report> {
        let wanted = |one: &&Measurement| {
            (one.place.as_str(), one.mode.as_str(), one.clients, one.system.as_str())
                == (place, mode, clients, system)
        };
        self.measurements.iter().filter(wanted).map(|one| one.report.clone()).collect()
    }

    /// The medians of one measurement, if it was made.
    pub(crate) fn summary(&self, place: &str, mode: &str, clients: u32, system: &str) -> Option<Summary> {
        let reports = self.reports(place, mode, clients, system);
        (!reports.is_empty()).then(|| Summary::of(&reports))
    }

    /// Median and maximum of the failovers of a system, in milliseconds, and how many there were.
    pub(crate) fn failover(&self, system: &str) -> Option<(f64, f64, usize)> {
        let times: Vec<_> =
            self.failovers.iter().filter(|one| one.system == system).map(|one| one.ms).collect();
        let most = times.iter().copied().fold(0.0, f64::max);
        (!times.is_empty()).then(|| (median(times.clone()), most, times.len()))
    }
}
