//! Whether the archive is what was promised, once all is mended and everything is shipped.
//!
//! - It verifies, to the last byte.
//! - Every commit of the model can be reached; but those that retention let go, which it may, and those in a gap that shipping
//!   recorded. Nothing that was recorded as shipped is in a gap.
//! - What the policy promises is there, by rules of its own: the window, the newest points, those of the last hours.
//! - A sample of the points is restored, and each is exactly the state of the model; what cannot be reached is refused, and the
//!   refusal says what can.
//!
//! Where the bucket lied, what is missing must be said, and what comes back must still be right.

use super::restored::{Branch, Found, archive, restored};
use super::told::OfGroup;
use archiver::catalog::window::Window;
use archiver::catalog::{self, History};
use archiver::job::{Job, JobKind};
use archiver::layout::CheckpointName;
use archiver::restore::{PlanError, Point, Wanted};
use archiver::retention::Policy;
use archiver::store::sim::Sim;
use archiver::verify::{Depth, Position, Report, verify_all};
use archiver::{Archive, Error};
use engine::{ContentHash, LineageId, Versionstamp};
use replication::check::Model;
use replication::runtime::sim::SplitMix;
use std::collections::BTreeSet;

/// The group with the clients' data.
pub(super) const DATA: u64 = 1;
/// Points by stamp, and as many by time, that are restored in the end.
const SAMPLE: u64 = 3;
const HOUR_MS: u64 = 3_600_000;

/// What the archive is compared with.
pub(super) struct Expected<'a> {
    pub(super) model: &'a Model,
    pub(super) lineage: LineageId,
    /// Every group of which something was shipped: what it was told, how far its log says that the archive is, and the content
    /// hash where it stands.
    pub(super) groups: Vec<(OfGroup, Position, ContentHash)>,
    pub(super) policy: Policy,
    /// A cluster that began with a restored point and shipped into the same bucket.
    pub(super) branch: Option<&'a Branch>,
    /// Whether the bucket has lied.
    pub(super) lies: bool,
}

/// What a judgement took.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Points that were restored and compared.
    pub(super) restored: u64,
    /// Points that were refused, as they should be.
    pub(super) refused: u64,
    /// Gaps.
    pub(super) gaps: u64,
}

/// Judges a copy of the bucket.
pub(super) async fn judge(copy: &Sim, expected: &Expected<'_>, seed: u64) -> Result<Judged, String> {
    let archive = archive(copy);
    let positions: Vec<Position> = expected.groups.iter().map(|(_, position, _)| *position).collect();
    let job = Job::unwatched(JobKind::Verify);
    let report = verify_all(&archive, Depth::Deep, &positions, &job).await.map_err(text)?;
    if !expected.lies
        && let Some(problem) = report.problems.first()
    {
        return Err(format!("the archive does not verify: {}: {}", problem.object, problem.reason));
    }
    let mut judged = Judged { gaps: gaps(&report).count() as u64, ..Judged::default() };
    for (told, Position { group, .. }, hash) in &expected.groups {
        let catalog = catalog::read(&archive, *group).await.map_err(text)?;
        let ours = |history: &&History| history.folder.id == expected.lineage;
        let Some(history) = catalog.lineages.iter().find(ours) else {
            return Err(format!("the archive does not hold group {group}"));
        };
        let group = Group { archive: &archive, group: *group, history, told, expected, report: &report };
        group.judge(*hash, seed, &mut judged).await.map_err(|wrong| format!("the archive: {wrong}"))?;
    }
    if let Some(branch) = expected.branch.filter(|_| !expected.lies) {
        beside_its_parent(&archive, branch, seed).await.map_err(|wrong| format!("the archive: {wrong}"))?;
        judged.restored += 1;
        judged.refused += 1;
    }
    Ok(judged)
}

/// A branch comes back as what it was, and nobody gets it, or its parent, who does not say which.
async fn beside_its_parent(archive: &Archive, branch: &Branch, seed: u64) -> Result<(), String> {
    let latest = Wanted::at(Point::Latest);
    match restored(archive, DATA, &latest, seed).await {
        Err(Error::Plan(PlanError::Ambiguous { .. })) => {}
        Err(error) => {
            return Err(format!("the latest of two lineages is refused for another reason: {}", text(error)));
        }
        Ok(_) => return Err("the latest of two lineages is restored, and nobody said of which".to_owned()),
    }
    let named = Wanted { lineage: Some(branch.lineage), ..latest };
    let found = restored(archive, DATA, &named, seed).await;
    let found = found.map_err(|error| format!("the branch is not restored: {}", text(error)))?;
    branch.difference(&found).map_or(Ok(()), Err)
}

fn text(error: Error) -> String {
    let (mut text, mut cause) = (error.to_string(), std::error::Error::source(&error));
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// The holes that shipping recorded: the last stamp before and the first one after.
fn gaps(report: &Report) -> impl Iterator<Item = (u64, Versionstamp, Versionstamp)> {
    let recorded = report.holes.iter().filter(|hole| !hole.pruned);
    recorded.map(|hole| (hole.group, hole.after, hole.before))
}

struct Group<'a> {
    archive: &'a Archive,
    group: u64,
    history: &'a History,
    told: &'a OfGroup,
    expected: &'a Expected<'a>,
    report: &'a Report,
}

impl Group<'_> {
    async fn judge(&self, hash: ContentHash, seed: u64, judged: &mut Judged) -> Result<(), String> {
        let windows = self.history.windows();
        if self.group == DATA {
            let unreachable = self.reaches_what_it_should(&windows)?;
            self.keeps_its_points()?;
            self.sample(&windows, &unreachable, seed, judged).await?;
        }
        self.latest(hash, seed, judged).await
    }

    /// Every commit that has to be reached is; returns those that are not.
    fn reaches_what_it_should(&self, windows: &[Window]) -> Result<Vec<Versionstamp>, String> {
        let reached = |stamp: Versionstamp| windows.iter().any(|window| window.holds_stamp(stamp));
        let told_of_it = !self.report.problems.is_empty();
        let shipped = self.told.shipped.iter().filter(|stamp| **stamp > Versionstamp::ZERO);
        if let Some(stamp) = shipped.copied().find(|stamp| !reached(*stamp) && !self.may_be_pruned(*stamp))
            && !(self.expected.lies && told_of_it)
        {
            return Err(format!("{stamp} was recorded as shipped and cannot be reached"));
        }
        let commits = self.expected.model.commits().iter().map(|commit| commit.stamp);
        let unreachable: Vec<Versionstamp> = commits.filter(|stamp| !reached(*stamp)).collect();
        let first = windows.first().map_or(Versionstamp::MAX, |window| window.first.stamp);
        let in_a_gap = |stamp: Versionstamp| {
            let inside = |(group, after, before)| group == self.group && after < stamp && stamp < before;
            stamp < first || gaps(self.report).any(inside)
        };
        let lost = unreachable.iter().find(|stamp| !in_a_gap(**stamp) && !self.may_be_pruned(**stamp));
        match lost {
            Some(stamp) if !(self.expected.lies && told_of_it) => {
                Err(format!("{stamp} was committed and cannot be reached, and nothing says why"))
            }
            _ => Ok(unreachable),
        }
    }

    /// Whether retention says that it let this go, and was allowed to.
    fn may_be_pruned(&self, stamp: Versionstamp) -> bool {
        let said = self.history.pruned_below().is_some_and(|below| stamp < below);
        let model = self.expected.model;
        // The state at a stamp is that of the times until the next commit.
        let until = model.commits().get(model.place_at(stamp)).and_then(|next| next.time_ms);
        let promised_from =
            self.told.pruned_ms.map(|now_ms| now_ms.saturating_sub(self.expected.policy.window_ms));
        said && promised_from.zip(until).is_some_and(|(from, until)| until <= from)
    }

    /// The points that the rules ask for are there, of all checkpoints that ever were.
    fn keeps_its_points(&self) -> Result<(), String> {
        let there: BTreeSet<CheckpointName> =
            self.history.checkpoints.iter().filter(|entry| entry.whole().is_some()).map(|e| e.name).collect();
        let missing = self.kept().into_iter().find(|name| !there.contains(name));
        match missing {
            Some(name) if !self.expected.lies => {
                Err(format!("the checkpoint {name} is to be kept and is gone"))
            }
            _ => Ok(()),
        }
    }

    fn kept(&self) -> Vec<CheckpointName> {
        let rules = self.expected.policy.kept;
        let newest_first = || self.told.checkpoints.iter().rev().copied();
        let mut hours = BTreeSet::new();
        let hour = |name: &CheckpointName| name.time_ms / HOUR_MS;
        let hourly = newest_first().filter(|name| hours.insert(hour(name))).take(rules.hourly as usize);
        let hourly: Vec<CheckpointName> = hourly.collect();
        newest_first().take(rules.last as usize).chain(hourly).collect()
    }

    /// Restores some points and compares them.
    async fn sample(
        &self,
        windows: &[Window],
        unreachable: &[Versionstamp],
        seed: u64,
        judged: &mut Judged,
    ) -> Result<(), String> {
        let mut random = SplitMix(seed);
        let mut any = |from: &[Versionstamp]| {
            let place = random.next_u64().checked_rem(from.len() as u64)?;
            from.get(usize::try_from(place).ok()?).copied()
        };
        let model = self.expected.model;
        let all: Vec<Versionstamp> = model.commits().iter().map(|commit| commit.stamp).collect();
        let reached = |stamp: &Versionstamp| windows.iter().any(|window| window.holds_stamp(*stamp));
        let reachable: Vec<Versionstamp> = all.into_iter().filter(reached).collect();
        let kept: Vec<Versionstamp> = self.kept().iter().map(|name| name.stamp).collect();
        let mut points: Vec<Point> = any(&kept).map(Point::Stamp).into_iter().collect();
        for _ in 0..SAMPLE {
            points.extend(any(&reachable).map(Point::Stamp));
            let time = any(&reachable).and_then(|stamp| model.commits()[model.place_at(stamp) - 1].time_ms);
            points.extend(time.filter(|ms| windows.iter().any(|w| w.holds_time(*ms))).map(Point::TimeMs));
        }
        for (number, point) in (0..).zip(points) {
            let found = self.restore(point, seed.wrapping_add(number)).await?;
            judged.restored += u64::from(found.is_some());
        }
        let Some(stamp) = any(unreachable) else { return Ok(()) };
        judged.refused += 1;
        self.refuses(stamp, seed).await
    }

    /// Restores a point and compares it with the model; nothing where the bucket lied about what it needs.
    async fn restore(&self, point: Point, seed: u64) -> Result<Option<Found>, String> {
        let wanted = Wanted { lineage: Some(self.expected.lineage), ..Wanted::at(point) };
        let found = match restored(self.archive, self.group, &wanted, seed).await {
            Err(Error::Plan(_) | Error::Missing { .. } | Error::Damaged { .. }) if self.expected.lies => {
                return Ok(None);
            }
            found => found.map_err(|error| format!("{point} is not restored: {}", text(error)))?,
        };
        if self.group == DATA
            && let Some(difference) = found.difference(self.expected.model)
        {
            return Err(difference);
        }
        Ok(Some(found))
    }

    async fn refuses(&self, stamp: Versionstamp, seed: u64) -> Result<(), String> {
        let wanted = Wanted { lineage: Some(self.expected.lineage), ..Wanted::at(Point::Stamp(stamp)) };
        match restored(self.archive, self.group, &wanted, seed).await {
            Err(Error::Plan(PlanError::Unreachable { windows, .. })) if windows.contains("reaches") => Ok(()),
            Err(_) if self.expected.lies => Ok(()),
            Err(error) => Err(format!("{stamp} is refused for another reason: {}", text(error))),
            Ok(_) => Err(format!("{stamp} cannot be reached and is restored")),
        }
    }

    /// The end of the archive is that of the cluster.
    async fn latest(&self, hash: ContentHash, seed: u64, judged: &mut Judged) -> Result<(), String> {
        let Some(found) = self.restore(Point::Latest, seed).await? else { return Ok(()) };
        judged.restored += 1;
        let model = self.expected.model;
        let last = model.stamp_at(model.last_place());
        let ends = self.group != DATA || found.stamp == last;
        // The newest object may be one that the bucket lied about.
        if (found.hash != hash || !ends) && !self.expected.lies {
            let group = self.group;
            return Err(format!(
                "the latest of group {group} is {}, which is not where the cluster is",
                found.stamp
            ));
        }
        Ok(())
    }
}
