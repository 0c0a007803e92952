//! How clients were served: what was answered, and when nothing was.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Availability is the share of slots of this length in which some write was acknowledged.
const SLOT_MS: u128 = 100;

/// How clients were served.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// When writes were acknowledged, since the load began, in order.
    acknowledged: Vec<Duration>,
    /// Reads that were answered.
    pub(crate) reads: u64,
    /// Requests whose connection broke, or that were given up.
    pub(crate) broken: u64,
    /// Refusals: status and text, and how often.
    pub(crate) refused: BTreeMap<(u16, String), u64>,
    /// Answers that break the protocol.
    pub(crate) wrong: Vec<String>,
    /// How long the load lasted.
    pub(crate) elapsed: Duration,
}

impl Figures {
    pub(crate) fn acknowledge(&mut self, at: Duration) {
        self.acknowledged.push(at);
    }

    pub(crate) fn refuse(&mut self, status: u16, text: &str) {
        *self.refused.entry((status, text.to_owned())).or_default() += 1;
    }

    /// Writes that were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// The longest time without an acknowledged write, that before the first and after the last among them.
    pub(crate) fn worst_gap(&self) -> Duration {
        let (mut worst, mut last) = (Duration::ZERO, Duration::ZERO);
        for at in self.acknowledged.iter().chain([&self.elapsed]) {
            worst = worst.max(at.saturating_sub(last));
            last = *at;
        }
        worst
    }

    /// The share of slots of 100 ms in which some write was acknowledged, in percent.
    pub(crate) fn availability_percent(&self) -> f64 {
        let slots = (self.elapsed.as_millis() / SLOT_MS).max(1);
        let slot = |at: &Duration| at.as_millis() / SLOT_MS;
        let served: std::collections::BTreeSet<_> = self.acknowledged.iter().map(slot).collect();
        let (served, slots) = (u32::try_from(served.len()), u32::try_from(slots));
        f64::from(served.unwrap_or(u32::MAX)) / f64::from(slots.unwrap_or(u32::MAX)) * 100.0
    }

    /// Answers with a 5xx.
    pub(crate) fn server_errors(&self) -> u64 {
        self.refused.iter().filter(|((status, _), _)| *status >= 500).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes acknowledged and {} reads in {:.0} s, availability {:.2} %, worst gap {} ms, {} connections broke",
            self.acknowledged(),
            self.reads,
            self.elapsed.as_secs_f64(),
            self.availability_percent().min(100.0),
            self.worst_gap().as_millis(),
            self.broken,
        )?;
        for ((status, text), count) in &self.refused {
            write!(f, ", {count} times {status} {}", text.trim())?;
        }
        Ok(())
    }
}

#[test]
fn gaps_and_slots_are_those_without_an_acknowledged_write() {
    let mut figures = Figures { elapsed: Duration::from_millis(1000), ..Figures::default() };
    for ms in [10, 50, 150, 700, 990] {
        figures.acknowledge(Duration::from_millis(ms));
    }
    assert_eq!(figures.worst_gap(), Duration::from_millis(550));
    // The slots from 0, 100, 700 and 900 ms.
    assert!((figures.availability_percent() - 40.0).abs() < 1e-9);
    figures.elapsed = Duration::from_millis(2000);
    assert_eq!(figures.worst_gap(), Duration::from_millis(1010), "the end counts");
}
