//! `cairn archive`: looks after an archive, in a role of its own: with the right to list, read and remove, and with the identity where
//! it is encrypted. The server needs none of that.

use super::UsageError;
use super::archive_args::ArchiveArgs;
use super::archive_status;
use super::columns::{cells, columns};
use super::operate::Node;
use super::restore::{job, runtime, watched};
use crate::archive::ArchiveStatus;
use crate::config::units::Millis;
use anyhow::Context;
use archiver::catalog::{self, rfc3339};
use archiver::job::JobKind;
use archiver::layout::{Kind, LINEAGES, Name};
use archiver::merge::{self, Merged};
use archiver::prune::{self, Planned, Pruned};
use archiver::retention::{Kept, Policy};
use archiver::seal::Recipients;
use archiver::store::list_all;
use archiver::{Archive, seal::KeyError};
use engine::Env;
use std::collections::{BTreeMap, BTreeSet};

/// What `cairn archive` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how far a cluster's archives are: what was shipped where, and what waits
    Status {
        #[command(flatten)]
        node: Node,
    },
    /// Show what an archive holds, by group and kind of object
    Stats(StatsArgs),
    /// Remove what is older than it is to be kept
    Prune(PruneArgs),
    /// Join small segments, so that there are fewer objects and restores are faster
    Merge(MergeArgs),
}

#[derive(Debug, clap::Args)]
struct StatsArgs {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// How long every point is kept, such as 7d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    retention: Millis,

    /// Older points that are kept beyond that, such as hourly=24,daily=7,weekly=4,monthly=12,last=3
    #[arg(long, value_name = "RULES", default_value = "", value_parser = parse_rules)]
    keep: Kept,

    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
struct MergeArgs {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Join encrypted segments, and encrypt what is made of them for this age public key; may be repeated
    #[arg(long, value_name = "AGE1...")]
    recipient: Vec<String>,
}

fn parse_duration(text: &str) -> Result<Millis, String> {
    text.parse::<Millis>().map_err(|error| error.to_string())
}

fn parse_rules(text: &str) -> Result<Kept, String> {
    text.parse::<Kept>().map_err(|error| error.to_string())
}

/// Looks after an archive.
///
/// # Errors
///
/// A [`UsageError`] when the URL or a key cannot work; otherwise what the archive or its store says.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Status { node } => {
            let all: Vec<ArchiveStatus> = node.ask(async |client| client.get("/archive").await)?;
            node.show(&all, |all| archive_status::text(all))
        }
        Command::Stats(args) => stats(&args),
        Command::Prune(args) => prune_all(&args),
        Command::Merge(args) => merge_all(&args),
    }
}

/// The groups of an archive.
async fn groups(archive: &Archive) -> anyhow::Result<BTreeSet<u64>> {
    let listed = list_all(&**archive.store(), LINEAGES).await.context("cannot list the archive")?;
    let names = listed.iter().filter_map(|object| Name::parse(&object.name));
    let groups: BTreeSet<u64> = names.filter_map(|name| group_of(&name.kind)).collect();
    if groups.is_empty() {
        anyhow::bail!("there is no archive in {}", archive.location());
    }
    Ok(groups)
}

const fn group_of(kind: &Kind) -> Option<u64> {
    match kind {
        Kind::Lineage(_) => None,
        Kind::Segment(group, _)
        | Kind::Checkpoint(group, _)
        | Kind::Table(group, _)
        | Kind::Pruned(group, _)
        | Kind::End(group, _) => Some(*group),
    }
}

fn stats(args: &StatsArgs) -> anyhow::Result<()> {
    let archive = args.archive.open()?;
    let listed =
        runtime()?.block_on(list_all(&**archive.store(), LINEAGES)).context("cannot list the archive")?;
    let mut held: BTreeMap<(Option<u64>, &str), (u64, u64)> = BTreeMap::new();
    for object in &listed {
        let name = Name::parse(&object.name);
        let key = name.map_or((None, "other"), |name| (group_of(&name.kind), kind_of(&name.kind)));
        let (objects, bytes) = held.entry(key).or_default();
        (*objects, *bytes) = (*objects + 1, *bytes + object.bytes);
    }
    if args.json {
        let rows: Vec<serde_json::Value> = held
            .iter()
            .map(|((group, kind), (objects, bytes))| {
                serde_json::json!({ "group": group, "kind": kind, "objects": objects, "bytes": bytes })
            })
            .collect();
        println!("{:#}", serde_json::json!({ "location": archive.location(), "held": rows }));
        return Ok(());
    }
    let mut rows = vec![cells(["group", "kind", "objects", "size"])];
    for ((group, kind), (objects, bytes)) in &held {
        let group = group.map_or_else(|| "-".to_owned(), |group| group.to_string());
        let size = indicatif::BinaryBytes(*bytes).to_string();
        rows.push(vec![group, (*kind).to_owned(), objects.to_string(), size]);
    }
    print!("{}", columns(&rows, ""));
    Ok(())
}

const fn kind_of(kind: &Kind) -> &'static str {
    match kind {
        Kind::Lineage(_) => "lineage",
        Kind::Segment(..) => "segment",
        Kind::Checkpoint(..) => "checkpoint",
        Kind::Table(..) => "table",
        Kind::Pruned(..) => "pruned",
        Kind::End(..) => "end",
    }
}

fn now_ms() -> u64 {
    Env::real().clock.now_ms()
}

fn prune_all(args: &PruneArgs) -> anyhow::Result<()> {
    let archive = args.archive.open()?;
    let policy = Policy::new(args.retention.0, args.keep);
    let job = job(JobKind::Prune, &archive.location());
    let work = async {
        for group in groups(&archive).await? {
            refuse_what_cannot_be_opened(&archive, group).await?;
            if args.dry_run {
                let planned = prune::plan(&archive, group, now_ms(), &policy).await?;
                print!("{}", planned_text(group, &planned));
            } else {
                let pruned = prune::prune(&archive, group, now_ms(), &policy, &job).await?;
                print!("{}", pruned_text(group, &pruned));
            }
        }
        Ok::<(), anyhow::Error>(())
    };
    runtime()?.block_on(work)
}

/// A checkpoint that cannot be opened may name any table: nothing could be removed, silently.
async fn refuse_what_cannot_be_opened(archive: &Archive, group: u64) -> anyhow::Result<()> {
    for history in catalog::read(archive, group).await?.lineages {
        for entry in &history.checkpoints {
            if let catalog::Content::Sealed(reason) = entry.content {
                let object = history.object(Kind::Checkpoint(group, entry.name));
                return Err(UsageError(format!("cannot open {object}: {reason}")).into());
            }
        }
    }
    Ok(())
}

fn planned_text(group: u64, planned: &[Planned]) -> String {
    let mut text = String::new();
    for Planned { history, removal } in planned {
        let kinds = removal.kinds(group);
        let folder = history.folder;
        text.push_str(&format!(
            "group {group} of lineage {folder}: {} objects would be removed\n",
            kinds.len()
        ));
        for kind in kinds {
            text.push_str(&format!("  {}\n", history.object(kind)));
        }
        let kept = history.checkpoints.iter().filter(|entry| !removal.checkpoints.contains(&entry.name));
        for entry in kept {
            let (stamp, time) = (entry.name.stamp, rfc3339(entry.name.time_ms));
            text.push_str(&format!("  kept: checkpoint {stamp} of {time}\n"));
        }
    }
    if planned.is_empty() {
        text.push_str(&format!("group {group}: nothing would be removed\n"));
    }
    text
}

fn pruned_text(group: u64, pruned: &Pruned) -> String {
    let mut text = format!("group {group}: {} objects removed\n", pruned.objects);
    if let Some(reason) = &pruned.reason {
        text.push_str(&format!("group {group}: {} objects were not let go: {reason}\n", pruned.refused));
    }
    text
}

fn merge_all(args: &MergeArgs) -> anyhow::Result<()> {
    let archive = args.archive.open()?;
    let wrong = |error: KeyError| UsageError(error.to_string());
    let recipients = Recipients::parse(args.recipient.iter().map(String::as_str)).map_err(wrong)?;
    let rules = merge::Rules { sealed: !recipients.is_nobody(), ..merge::Rules::default() };
    let job = job(JobKind::Merge, &archive.location());
    let work = async {
        for group in groups(&archive).await? {
            let work = merge::merge(&archive, group, now_ms(), &rules, &recipients, &job);
            print!("{}", merged_text(group, &watched("merging", &job, work).await?));
        }
        Ok::<(), anyhow::Error>(())
    };
    runtime()?.block_on(work)
}

fn merged_text(group: u64, merged: &Merged) -> String {
    let Merged { made, segments, removed, refused, disputed } = merged;
    let mut text = format!(
        "group {group}: {segments} segments joined to {made}, {removed} removed that were joined before\n"
    );
    if *refused > 0 {
        text.push_str(&format!("group {group}: {refused} segments were not let go by the store\n"));
    }
    for object in disputed {
        text.push_str(&format!("group {group}: {object} says another history: run cairn verify\n"));
    }
    text
}
