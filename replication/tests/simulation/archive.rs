//! An archive beside the cluster: every node ships, prunes and merges as a server does, into one bucket that fails, and what is
//! in the bucket is restored and compared.
//!
//! - Shippers are the real ones, on the simulated disk and clock, and so is the choice of who ships; progress goes through the
//!   log of the group. Two ship at once now and then.
//! - Machines are killed and lose their power in the middle of all of it.
//! - In some seeds hours pass in a moment, on all clocks at once, so that pruning and merging find what is old.
//! - What is restored on the way is compared in the end, when it is known which writes happened.

mod bucket;
mod judge;
mod node;
mod restored;
mod runtime;
mod told;

use archiver::bugs::{self, Bug};
use archiver::merge::Rules;
use archiver::restore::{Point, Wanted};
use archiver::retention::{Kept, Policy};
use archiver::ship::{ProgressMark, target_of};
use archiver::store::ObjectStore;
use archiver::verify::Position;
use archiver::{Error, catalog};
use async_trait::async_trait;
use bucket::Bucket;
use engine::{ContentHash, Versionstamp};
use judge::{DATA, Expected, judge};
use node::Archiving;
use parking_lot::Mutex;
use replication::runtime::sim::{self, Machine, SplitMix, clock};
use replication::runtime::{now, sleep, timeout};
use replication::sim::cluster::{Cluster, NotInTime};
use replication::sim::server::Server;
use replication::sim::trial::{Beside, Report, Trial, Wrong};
use replication::sim::workload::Done;
use replication::{Group, GroupId};
use restored::{Branch, Found, archive, aside, branch, restored};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use told::{OfGroup, Told};

const HOUR_MS: u64 = 3_600_000;
/// Time between two changes of what the bucket does wrong, in milliseconds, at most.
const CHANGE_MS: u64 = 6_000;
/// How many hours pass at once, at most.
const HOURS: u64 = 20;
/// How long it is waited until nothing is on its way.
const QUIET_WITHIN: Duration = Duration::from_secs(10);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a trial with an archive beside it, with a mistake of the archiver that is made on purpose.
pub(crate) fn run(trial: &Trial, server: Server, mirrors: &Path, bug: Option<Bug>) -> Result<Report, Wrong> {
    bugs::seed(bug);
    let _simulated = runtime::simulated();
    let archive = Archived::of(trial.seed, bug);
    let program = archive.program(server);
    let done = trial.run_beside(program, mirrors, &archive);
    bugs::seed(None);
    done
}

/// The archive of a trial.
struct Archived {
    bucket: Bucket,
    told: Arc<Told>,
    policy: Policy,
    rules: Rules,
    /// Whether the bucket lies.
    lies: bool,
    /// Whether hours pass.
    days: bool,
    bug: Option<Bug>,
    /// What was restored on the way.
    found: Mutex<Vec<Found>>,
    /// A cluster that began with a restored point.
    branch: Mutex<Option<Branch>>,
}

impl Archived {
    /// What a seed draws, from a stream of its own.
    fn of(seed: u64, bug: Option<Bug>) -> Self {
        let mut random = SplitMix(!seed.rotate_left(32));
        let mut up_to = |max: u64| random.below(max + 1);
        let kept = Kept {
            last: u32::try_from(up_to(3)).unwrap_or_default(),
            hourly: u32::try_from(up_to(4)).unwrap_or_default(),
            ..Kept::default()
        };
        let policy = Policy { window_ms: (1 + up_to(11)) * HOUR_MS, kept, grace_ms: up_to(6) * HOUR_MS };
        let rules = Rules { segments_min: 3, grace_ms: (1 + up_to(5)) * HOUR_MS, ..Rules::default() };
        let (lies, days) = (up_to(7) == 0 && bug.is_none(), up_to(3) > 0);
        let (bucket, told) = (Bucket::default(), Arc::new(Told::default()));
        Self {
            bucket,
            told,
            policy,
            rules,
            lies,
            days,
            bug,
            found: Mutex::default(),
            branch: Mutex::default(),
        }
    }

    fn program(&self, server: Server) -> Archiving {
        Archiving {
            server,
            bucket: self.bucket.clone(),
            told: Arc::clone(&self.told),
            policy: self.policy,
            rules: self.rules,
            at_work: Arc::default(),
        }
    }

    /// Has hours pass on all clocks, when nothing is on its way.
    async fn pass(&self, machines: &[Machine]) {
        let until = now() + QUIET_WITHIN;
        while !self.bucket.is_quiet() {
            if now() > until {
                return;
            }
            sleep(LOOK).await;
        }
        let by_ms = sim::below(HOURS * HOUR_MS);
        sim::note("hours pass", 0, by_ms);
        self.bucket.pass(by_ms);
        for machine in machines {
            clock::jump(*machine, i64::try_from(by_ms).unwrap_or_default());
        }
    }

    /// Restores some point of what is in the bucket now. What it should be is known in the end.
    fn restore_now(&self) -> Result<(), String> {
        let (copy, random, bug) = (self.bucket.content().fork(), sim::random_u64(), self.bug);
        let found = aside(bug, || async {
            let archive = archive(&copy);
            let catalog = catalog::read(&archive, DATA).await?;
            let Some(history) = catalog.lineages.first() else { return Ok(None) };
            let windows = history.windows();
            let Some(place) = random.checked_rem(windows.len() as u64) else { return Ok(None) };
            let window = &windows[usize::try_from(place).unwrap_or_default()];
            let point = match random >> 32 & 3 {
                0 => Point::Latest,
                1 => Point::TimeMs(between(window.first.time_ms, window.last.time_ms, random)),
                2 => Point::Stamp(window.first.stamp),
                _ => Point::Stamp(window.last.stamp),
            };
            let wanted = Wanted { lineage: Some(history.folder.id), ..Wanted::at(point) };
            restored(&archive, DATA, &wanted, random).await.map(Some)
        });
        match found {
            Ok(found) => {
                self.found.lock().extend(found);
                Ok(())
            }
            Err(Error::Plan(_) | Error::Missing { .. } | Error::Damaged { .. }) if self.lies => Ok(()),
            Err(error) => Err(format!("a point is not restored: {error}")),
        }
    }

    /// Has a cluster begin with a restored point and ship beside its parent, if there is a point. Its own way to the bucket is
    /// a good one.
    fn branch_now(&self) -> Result<(), String> {
        self.bucket.heal();
        let (content, now_ms, random) = (self.bucket.content(), self.bucket.now_ms(), sim::random_u64());
        let branched = aside(self.bug, || async {
            let catalog = catalog::read(&archive(content), DATA).await?;
            let parent = catalog.lineages.first().filter(|history| !history.windows().is_empty());
            let Some(parent) = parent else { return Ok(None) };
            let wanted = Wanted { lineage: Some(parent.folder.id), ..Wanted::at(Point::Latest) };
            branch(content, &wanted, now_ms, random).await.map(Some)
        });
        match branched {
            Ok(branched) => {
                *self.branch.lock() = branched;
                Ok(())
            }
            Err(Error::Plan(_) | Error::Missing { .. } | Error::Damaged { .. }) if self.lies => Ok(()),
            Err(error) => Err(format!("a restored cluster cannot go on: {error}")),
        }
    }

    fn mark(&self, group: &Group) -> Option<ProgressMark> {
        ProgressMark::read(&group.engine(), group.id().0, target_of(&self.bucket.location()))
    }

    /// Whether the log of a group says that all of it is in the archive.
    fn is_shipped(&self, group: &Group) -> bool {
        let (mark, last) = (self.mark(group), group.engine().applied().stamp);
        // Nobody ships a group to which nothing was ever written.
        mark.map_or(last == Versionstamp::ZERO, |mark| mark.shipped() == last && mark.is_rooted())
    }

    /// What a group was told, how far its log says that the archive is, and where it stands.
    fn stands(&self, group: &Group) -> Option<(OfGroup, Position, ContentHash)> {
        let (mark, id) = (self.mark(group)?, group.id().0);
        let position = Position { group: id, stamp: mark.shipped(), checkpoint: mark.checkpoint() };
        Some((self.told.of(id), position, group.engine().applied().hash))
    }
}

fn between(first: u64, last: u64, random: u64) -> u64 {
    first + random % (last - first + 1)
}

fn groups(cluster: &Cluster<Archiving>) -> Vec<Group> {
    let node = cluster.hosts().iter().find_map(|host| host.process());
    node.map(|node| node.groups()).unwrap_or_default()
}

#[async_trait]
impl Beside<Archiving> for Archived {
    async fn torment(&self, cluster: &Cluster<Archiving>, during: Duration) {
        let (until, machines) = (now() + during, cluster.machines());
        while now() < until {
            sleep(Duration::from_millis(sim::below(CHANGE_MS))).await;
            let done = match sim::below(8) {
                0..=2 if self.days => {
                    self.pass(&machines).await;
                    Ok(())
                }
                3 => self.restore_now(),
                4 if self.branch.lock().is_none() => self.branch_now(),
                _ => Ok(()),
            };
            done.unwrap_or_else(|wrong| panic!("{wrong}"));
            self.bucket.change(&machines, self.lies);
        }
    }

    fn heal(&self) {
        self.bucket.heal();
    }

    async fn settle(&self, cluster: &Cluster<Archiving>, within: Duration) -> Result<(), NotInTime> {
        let shipped = async {
            while groups(cluster).is_empty() || !groups(cluster).iter().all(|group| self.is_shipped(group)) {
                sleep(LOOK).await;
            }
        };
        timeout(within, shipped).await.map_err(|_elapsed| {
            let stand = |group: &Group| {
                let shipped = self.mark(group).map(|mark| (mark.shipped(), mark.is_rooted()));
                format!("group {} to {shipped:?} of {}", group.id(), group.engine().applied().stamp)
            };
            let stands: Vec<String> = groups(cluster).iter().map(stand).collect();
            NotInTime { what: format!("all is shipped ({})", stands.join(", ")), within_s: within.as_secs() }
        })
    }

    fn check(&self, cluster: &Cluster<Archiving>, done: &Done) -> Result<(), String> {
        let model = done.model().map_err(|violation| violation.to_string())?;
        let node = cluster.hosts().iter().find_map(|host| host.process()).ok_or("no node is up")?;
        let lineage = node.group(GroupId::FIRST).ok_or("a group is missing")?.engine().lineage().id;
        let groups = node.groups().iter().filter_map(|group| self.stands(group)).collect();
        let branch = self.branch.lock();
        let expected = Expected {
            model: &model,
            lineage,
            groups,
            policy: self.policy,
            branch: branch.as_ref(),
            lies: self.lies,
        };
        let (copy, seed) = (self.bucket.content().fork(), sim::random_u64());
        let judged = aside(self.bug, || judge(&copy, &expected, seed))?;
        let found = self.found.lock();
        if let Some(difference) = found.iter().find_map(|found| found.difference(&model)) {
            return Err(format!("the archive, on the way: {difference}"));
        }
        if let Some(object) = self.told.all_disputed().first().filter(|_| !self.lies) {
            return Err(format!("the archive: {object} is disputed by another object"));
        }
        let restores = judged.restored + found.len() as u64;
        (0..restores).for_each(|_| sim::note("restore compared", 0, 0));
        (0..judged.refused).for_each(|_| sim::note("restore refused", 0, 0));
        (0..judged.gaps).for_each(|_| sim::note("gap", 0, 0));
        Ok(())
    }
}
