//! `cairn cluster force-new`: goes on with one survivor when a majority of the nodes is lost for good.
//!
//! - It works on the data directory, while no server has it open.
//! - What stands in the Raft log is applied first, agreed on or not: it may have been acknowledged.
//! - A new lineage begins in every group, so that no versionstamp of the lost history is given again, and so that nodes of the
//!   old one, should they come back, are refused.
//! - A directory in which this did not end is refused by everything else.

use crate::cli::UsageError;
use crate::cluster::identity::Identity;
use crate::config::DEFAULT_DATA;
use crate::data_dir::DataDir;
use engine::{Env, LineageId};
use replication::{GroupId, Salvaged};
use std::path::PathBuf;

/// What it is told.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Data directory of the survivor
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,

    /// Say that what this node lacks may be lost
    #[arg(long)]
    accept_loss: bool,
}

/// Why it needs to be said.
const LOSS: &str = "force-new makes this node a cluster of its own. Writes that were acknowledged and did not reach this \
                    node are lost, and every other node must be emptied before it joins again. First see whether \
                    another node or the archive holds more (cairn pitr list). Say --accept-loss to do it";

/// Begins the cluster anew.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    if !args.accept_loss {
        return Err(UsageError(LOSS.to_owned()).into());
    }
    if !args.data.is_dir() {
        return Err(UsageError(format!("{} is not a directory", args.data.display())).into());
    }
    let env = Env::real();
    let dir = DataDir::open_to_recover(env.clone(), &args.data)?;
    let (identity, salvaged) = begin(&dir, &env)?;
    println!(
        "node {} is a cluster of its own now: lineage {}, epoch {}",
        identity.node, identity.lineage, identity.epoch
    );
    for Salvaged { group, entries, stamp, .. } in salvaged {
        println!(
            "  group {group} goes on from {stamp}, after {entries} entries that were only in the Raft log"
        );
    }
    println!("Start it with: cairn serve --data {} ...", args.data.display());
    println!("Empty the data directories of all other nodes, and let them join again with --join.");
    Ok(())
}

/// Goes on with what the directory holds, in a new lineage. Returns who the node is then.
///
/// # Errors
///
/// When the directory is not that of a node, or cannot be read or written. Ask again.
pub(crate) fn begin(dir: &DataDir, env: &Env) -> anyhow::Result<(Identity, Vec<Salvaged>)> {
    let was = dir.identity()?.ok_or_else(|| {
        UsageError(format!("{} is not the data of a node of a cluster", dir.path().display()))
    })?;
    let mut lineage = LineageId([0; 16]);
    env.random.fill(&mut lineage.0);
    dir.begin_recovery()?;
    let groups: Vec<GroupId> = (0..=was.groups).map(GroupId).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let salvaged = runtime.block_on(replication::salvage(env, dir.path(), &groups, None))?;
    let identity = Identity { lineage, epoch: was.epoch + 1, ..was };
    dir.set_identity(&identity)?;
    dir.end_recovery()?;
    Ok((identity, salvaged))
}
