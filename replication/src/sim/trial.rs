//! One simulation of a whole cluster, from its seed to its verdict.
//!
//! 1. Three nodes, or five, begin; clients write, read and watch all the time.
//! 2. Things go wrong ([`Nemesis::torment`]). Nothing that a client sees may be wrong.
//! 3. All is mended but what is lost. The cluster takes writes again, and its nodes come to agree, in bounded time.
//!    What stands beside the nodes ([`Beside`]), as an archive does, is to catch up with them.
//! 4. Everything is read, and [`crate::check`] decides; the replicas must have had the same content hash at every version
//!    at which they were seen.

use super::cluster::{Cluster, NotInTime};
use super::host::Program;
use super::nemesis::{Kind, Mix, Nemesis};
use super::workload::{Done, Groups, Stuck, Workload};
use crate::Node;
use crate::bugs::{Bug, Seeded};
use crate::check::{Verdict, Violation};
use crate::runtime::sim::{self, Machine, SplitMix, Trace};
use crate::runtime::sleep;
use async_trait::async_trait;
use engine::ContentHash;
use futures::future::{Either, join, select};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

/// See [`Trial::patience`].
const PATIENCE: Duration = Duration::from_secs(100);
/// How long things go wrong.
const TORMENT: Duration = Duration::from_secs(60);
/// How often the nodes' hashes are looked at.
const LOOK: Duration = Duration::from_millis(70);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What everything follows from.
    pub seed: u64,
    /// How many nodes there are.
    pub machines: u64,
    /// How long things go wrong.
    pub torment: Duration,
    /// What goes wrong.
    pub mix: Mix,
    /// What the clients do.
    pub workload: Workload,
    /// How long the cluster may take to begin, and to work again once all is mended.
    pub patience: Duration,
    /// A mistake that is made on purpose.
    pub bug: Option<Bug>,
}

/// Kinds of faults of which a trial leaves some out, so that others come in numbers.
const KINDS: [Kind; 17] = [
    Kind::Kill,
    Kind::PowerCut,
    Kind::Blackout,
    Kind::Restart,
    Kind::Pause,
    Kind::Cut,
    Kind::Part,
    Kind::Storm,
    Kind::Drift,
    Kind::Jump,
    Kind::FailedSync,
    Kind::FailedWrite,
    Kind::FailedRead,
    Kind::FullDisk,
    Kind::FlippedBit,
    Kind::HandOver,
    Kind::Replace,
];

impl Trial {
    /// What a seed draws: three nodes or five, and which things go wrong.
    pub fn of(seed: u64) -> Self {
        // A stream apart from that of the simulation.
        let mut random = SplitMix(!seed);
        let left_out: Vec<_> = KINDS.into_iter().filter(|_| random.chance(250_000)).collect();
        let mix = if random.chance(250_000) { Mix::all() } else { Mix::all().without(&left_out) };
        let machines = if random.chance(125_000) { 5 } else { 3 };
        let workload = Workload::default();
        Self { seed, machines, torment: TORMENT, mix, workload, patience: PATIENCE, bug: None }
    }
}

/// What was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// What clients saw contradicts itself.
    #[error(transparent)]
    Seen(#[from] Violation),
    /// Two replicas had different content at one version.
    #[error(
        "replicas differ: at version {version} of group {group} the content hash is {one} on one node and {other} on another"
    )]
    Differ {
        /// The place of the group among those of a node.
        group: usize,
        /// The version.
        version: u64,
        /// A hash.
        one: String,
        /// The other.
        other: String,
    },
    /// The cluster does not work although nothing is wrong any more.
    #[error(transparent)]
    NotInTime(#[from] NotInTime),
    /// The clients came to no end.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// What stands beside the nodes is not what it should be.
    #[error("{0}")]
    Beside(String),
    /// The program panicked.
    #[error("a panic: {0}")]
    Panicked(String),
}

/// What a trial was.
#[derive(Debug, Clone)]
pub struct Report {
    /// What its clients saw.
    pub verdict: Verdict,
    /// What happened, step by step, as one number.
    pub trace: Trace,
    /// How often each kind of thing happened.
    pub noted: BTreeMap<&'static str, u64>,
    /// How long it took in its own time.
    pub simulated: Duration,
}

/// What stands beside the nodes of a trial, with faults of its own.
#[async_trait]
pub trait Beside<P: Program>: Send + Sync {
    /// Has things go wrong for so long, while the same happens to the cluster.
    async fn torment(&self, cluster: &Cluster<P>, during: Duration);

    /// Ends everything that is wrong, as far as it is not lost.
    fn heal(&self);

    /// Waits until it has caught up. The cluster agrees, and nobody writes any more.
    ///
    /// # Errors
    ///
    /// What has not come about in time.
    async fn settle(&self, cluster: &Cluster<P>, within: Duration) -> Result<(), NotInTime>;

    /// Compares it with what the clients saw, which holds.
    ///
    /// # Errors
    ///
    /// What differs.
    fn check(&self, cluster: &Cluster<P>, done: &Done) -> Result<(), String>;
}

/// Nothing stands there.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

#[async_trait]
impl<P: Program> Beside<P> for Nothing {
    async fn torment(&self, _cluster: &Cluster<P>, _during: Duration) {}

    fn heal(&self) {}

    async fn settle(&self, _cluster: &Cluster<P>, _within: Duration) -> Result<(), NotInTime> {
        Ok(())
    }

    fn check(&self, _cluster: &Cluster<P>, _done: &Done) -> Result<(), String> {
        Ok(())
    }
}

impl Trial {
    /// Runs it. Real directories that it needs are made below `mirrors`.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn run<P: Program<Process = Node>>(&self, program: P, mirrors: &Path) -> Result<Report, Wrong> {
        self.run_beside(program, mirrors, &Nothing)
    }

    /// As [`run`](Self::run), with something beside the nodes.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn run_beside<P: Program<Process = Node>>(
        &self,
        program: P,
        mirrors: &Path,
        beside: &dyn Beside<P>,
    ) -> Result<Report, Wrong> {
        let _seeded = Seeded::with(self.bug);
        let simulated = || sim::run(self.seed, self.simulate(program, mirrors, beside));
        let done = catch_unwind(AssertUnwindSafe(simulated));
        done.unwrap_or_else(|panic| Err(Wrong::Panicked(words_of(&*panic))))
    }

    async fn simulate<P: Program<Process = Node>>(
        &self,
        program: P,
        mirrors: &Path,
        beside: &dyn Beside<P>,
    ) -> Result<Report, Wrong> {
        let cluster = Cluster::new(self.machines, program, mirrors);
        let (work, look) = (self.torment_and_check(&cluster, beside), Hashes::default().look(&cluster));
        let verdict = match select(pin!(work), pin!(look)).await {
            Either::Left((verdict, _)) => verdict?,
            Either::Right((differ, _)) => return Err(differ),
        };
        Ok(Report { verdict, trace: sim::trace(), noted: cluster.tally(), simulated: sim::elapsed() })
    }

    async fn torment_and_check<P: Program<Process = Node>>(
        &self,
        cluster: &Cluster<P>,
        beside: &dyn Beside<P>,
    ) -> Result<Verdict, Wrong> {
        cluster.begin(self.patience).await?;
        let mut running = self.workload.start(Groups::new(cluster.clone()));
        let mut nemesis = Nemesis::new(self.mix.clone());
        join(nemesis.torment(cluster, self.torment), beside.torment(cluster, self.torment)).await;
        cluster.heal();
        beside.heal();
        cluster.settle(self.patience).await?;
        running.stop().await?;
        // What the clients did last is not everywhere yet.
        cluster.settle(self.patience).await?;
        let done = running.drain(Machine(1).0).await?;
        let verdict = done.check()?;
        beside.settle(cluster, self.patience).await?;
        beside.check(cluster, &done).map_err(Wrong::Beside)?;
        Ok(verdict)
    }
}

/// The content hash of each group at each version at which a node was seen.
#[derive(Debug, Default)]
struct Hashes(BTreeMap<(usize, u64), ContentHash>);

impl Hashes {
    /// Looks at all nodes again and again; ends when two differ.
    async fn look<P: Program>(mut self, cluster: &Cluster<P>) -> Wrong {
        loop {
            for position in cluster.positions().into_iter().flatten() {
                for (group, (version, hash)) in position.into_iter().enumerate() {
                    if let Err(differ) = self.saw(group, version, hash) {
                        return differ;
                    }
                }
            }
            sleep(LOOK).await;
        }
    }

    fn saw(&mut self, group: usize, version: u64, hash: ContentHash) -> Result<(), Wrong> {
        let known = *self.0.entry((group, version)).or_insert(hash);
        if known == hash {
            return Ok(());
        }
        Err(Wrong::Differ { group, version, one: known.to_string(), other: hash.to_string() })
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_were_seen_at_one_version_must_agree() -> Result<(), Wrong> {
        let mut hashes = Hashes::default();
        hashes.saw(0, 7, ContentHash::from_bytes([1; 32]))?;
        hashes.saw(1, 7, ContentHash::from_bytes([2; 32]))?;
        hashes.saw(0, 8, ContentHash::from_bytes([3; 32]))?;
        hashes.saw(0, 7, ContentHash::from_bytes([1; 32]))?;
        let differ = hashes.saw(0, 8, ContentHash::from_bytes([4; 32]));
        assert!(matches!(differ, Err(Wrong::Differ { group: 0, version: 8, .. })));
        Ok(())
    }
}
