//! `cairn standby promote`: a standby becomes a cluster of its own.
//!
//! - With `--cluster`, the cluster that it follows is sealed first and ships the rest: then nothing that it acknowledged is lost, and it
//!   acknowledges nothing more.
//! - Without, `--force` is needed, and what is missing here is missing from then on. It is said up to where the standby came.
//! - Either way it is written into the archive where the followed lineages end, so that whoever ships them stops, and what they shipped
//!   after that is told from what goes on.

use super::super::UsageError;
use super::super::archive_args::ArchiveArgs;
use super::super::operate::{Asked, usage};
use super::super::restore::runtime;
use super::open;
use crate::admin::client::Client;
use crate::archive::ArchiveStatus;
use crate::cluster::operator::SealedGroup;
use anyhow::Context;
use archiver::catalog::rfc3339;
use archiver::restore::{MARKER, STANDBY_MARKER};
use archiver::standby::{self, Follower};
use engine::{Env, LineageId, Versionstamp};
use hyper::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the sealed cluster may take to ship the rest.
const SHIPS_WITHIN: Duration = Duration::from_secs(120);
/// The pause between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub(super) struct Promote {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Directory of the standby, which no process serves
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    data: PathBuf,

    /// The cluster that it follows: it is sealed and ships the rest first, so that nothing is lost
    #[command(flatten)]
    cluster: Asked,

    /// Go on with what is here, although the cluster or the archive cannot be reached or holds more
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Promote) -> anyhow::Result<()> {
    let data = args.data.display();
    if args.data.join(MARKER).exists() {
        return Err(UsageError(format!("{data} was never filled: run cairn standby serve again")).into());
    }
    if !args.data.join(STANDBY_MARKER).exists() {
        return Err(UsageError(format!("{data} is not a standby")).into());
    }
    let client = args.cluster.client()?;
    if client.is_none() && !args.force {
        let text = "say --cluster and the URL of the cluster that it follows, so that it is sealed and nothing is lost; or --force \
                    when it cannot be reached";
        return Err(UsageError(text.to_owned()).into());
    }
    let archive = args.archive.open()?;
    let (env, runtime) = (Env::real(), runtime()?);
    let mut followers = open(&env, &args.data, &archive)?;
    let work = async {
        let ends = match &client {
            Some(client) => seal(client, &archive.location(), &followers).await?,
            None => BTreeMap::new(),
        };
        catch_up_all(&mut followers, &ends, args.force).await?;
        end_all(&followers, args.force).await
    };
    let children = runtime.block_on(work)?;
    for (follower, child) in followers.into_iter().zip(children) {
        let (group, applied) = (follower.group(), follower.engine().applied());
        let lineage = follower.promote(child)?;
        let (stamp, time) = (applied.stamp, rfc3339(applied.time_ms));
        println!(
            "group {group} goes on from {stamp}, committed at {time}, as lineage {}, epoch {}",
            lineage.id, lineage.epoch
        );
    }
    standby::end(&env, &args.data)?;
    match client {
        Some(_) => {
            println!("The cluster that it followed is sealed: everything that it acknowledged is here.")
        }
        None => println!(
            "The cluster that it followed was not sealed: what it wrote after that is not here. Stop it, or seal it with cairn cluster seal."
        ),
    }
    println!("Start this one with: cairn serve --data {data} --archive URL");
    Ok(())
}

/// Seals the cluster, and waits until the archive has all of it. Says where each group ends.
async fn seal(
    client: &Client,
    location: &str,
    followers: &[Follower],
) -> anyhow::Result<BTreeMap<u64, Versionstamp>> {
    let statuses = shipped_to(client, location).await?;
    let held: Vec<u64> = followers.iter().map(Follower::group).collect();
    // Before anything is changed there.
    if let Some(status) = statuses.iter().find(|status| !held.contains(&status.group)) {
        let group = status.group;
        let text = format!("group {group} of the cluster is not in this standby: make a new one");
        return Err(UsageError(text).into());
    }
    let reason = json!({ "reason": "a standby is promoted in its place" });
    let sealed: Vec<SealedGroup> =
        client.send(Method::POST, "/cluster/seal", &reason).await.map_err(usage)?;
    let mut ends = BTreeMap::new();
    for SealedGroup { group, versionstamp } in sealed {
        let stamp = versionstamp.parse().ok().context("the cluster said a versionstamp that is none")?;
        ends.insert(group, stamp);
    }
    println!("the cluster is sealed; waiting until it has shipped the rest");
    let begun = Instant::now();
    loop {
        match waits_for(&shipped_to(client, location).await?, &ends) {
            None => return Ok(ends),
            Some(status) if begun.elapsed() > SHIPS_WITHIN => {
                let why = status.error.unwrap_or_else(|| "it is slow".to_owned());
                anyhow::bail!(
                    "the cluster has not shipped the rest of group {} within {} s: {why}; it stays sealed: run this again, or let \
                     it go on with cairn cluster unseal",
                    status.group,
                    SHIPS_WITHIN.as_secs()
                );
            }
            Some(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// A group of which the archive lacks something.
fn waits_for(statuses: &[ArchiveStatus], ends: &BTreeMap<u64, Versionstamp>) -> Option<ArchiveStatus> {
    let shipped = |status: &ArchiveStatus| status.shipped.as_ref()?.parse::<Versionstamp>().ok();
    let lacks = |status: &&ArchiveStatus| {
        ends.get(&status.group).is_some_and(|end| shipped(status).is_none_or(|shipped| shipped < *end))
    };
    statuses.iter().find(lacks).cloned()
}

async fn shipped_to(client: &Client, location: &str) -> anyhow::Result<Vec<ArchiveStatus>> {
    let all: Vec<ArchiveStatus> = client.get("/archive").await.map_err(usage)?;
    super::super::archive_status::at(&all, location)
}

/// Applies what is in the archive, of each group up to its end at least.
async fn catch_up_all(
    followers: &mut [Follower],
    ends: &BTreeMap<u64, Versionstamp>,
    force: bool,
) -> anyhow::Result<()> {
    for follower in followers {
        let group = follower.group();
        let caught_up = catch_up(follower).await;
        let applied = follower.engine().applied().stamp;
        let lacks = ends.get(&group).is_some_and(|end| applied < *end);
        let reason = match caught_up {
            Err(error) => format!("{error:#}"),
            Ok(()) if lacks => format!("the archive ends at {applied}, and the cluster shipped more"),
            Ok(()) => continue,
        };
        if !force {
            let text = format!(
                "cannot be sure that group {group} has everything: {reason}; --force goes on without"
            );
            return Err(UsageError(text).into());
        }
        eprintln!("cairn: group {group} goes on from {applied}, and may lack what came after: {reason}");
    }
    Ok(())
}

/// Applies everything that is in the archive.
async fn catch_up(follower: &mut Follower) -> anyhow::Result<()> {
    loop {
        match follower.step().await? {
            standby::Followed::Applied(_) => {}
            standby::Followed::Nothing => return Ok(()),
            standby::Followed::Waits => {
                anyhow::bail!("the archive holds commits that do not continue what is here")
            }
        }
    }
}

/// Writes into the archive where what was followed ends. Returns the lineages that are to go on, in the order of the followers.
async fn end_all(followers: &[Follower], force: bool) -> anyhow::Result<Vec<LineageId>> {
    let mut children = Vec::new();
    for follower in followers {
        let child = follower.new_lineage();
        if let Err(error) = follower.end_what_it_follows(child).await {
            let group = follower.group();
            let error = format!("{:#}", anyhow::Error::new(error));
            let text = format!("cannot write into the archive that group {group} ends: {error}");
            if !force {
                return Err(UsageError(format!("{text}; --force goes on without")).into());
            }
            eprintln!("cairn: {text}: a cluster that still ships there will not hear of this one");
        }
        children.push(child);
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_waited_for_until_its_end_is_shipped() {
        let status = |group: u64, shipped: Option<u64>| ArchiveStatus {
            group,
            shipped: shipped.map(|version| Versionstamp::new(version, 0).to_string()),
            ..ArchiveStatus::default()
        };
        let ends = BTreeMap::from([(0, Versionstamp::new(3, 0)), (1, Versionstamp::new(9, 0))]);
        let waits = |statuses: &[ArchiveStatus]| waits_for(statuses, &ends).map(|status| status.group);
        assert_eq!(waits(&[status(0, Some(3)), status(1, Some(8))]), Some(1));
        assert_eq!(waits(&[status(0, None), status(1, Some(9))]), Some(0));
        assert_eq!(waits(&[status(0, Some(4)), status(1, Some(9))]), None);
    }
}
