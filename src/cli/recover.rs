//! `cairn recover --accept-loss`: goes on with a directory that lacks commits which its archive holds.
//!
//! A new lineage is opened, so that no versionstamp of a lost commit is ever given again.

use super::UsageError;
use crate::config::DEFAULT_DATA;
use crate::data_dir::DataDir;
use anyhow::Context;
use engine::{Env, LineageId, Options};
use replication::GroupId;
use std::path::PathBuf;

/// Flags of `cairn recover`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the data
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,

    /// Say that the commits which this directory lacks may be lost
    #[arg(long)]
    accept_loss: bool,
}

/// Opens a new lineage in the directory.
///
/// # Errors
///
/// Without `--accept-loss`, or when the directory cannot be opened.
pub fn run(args: Args) -> anyhow::Result<()> {
    if !args.accept_loss {
        let reason = "recover gives up the commits that this directory lacks: say --accept-loss to do so";
        return Err(UsageError(reason.to_owned()).into());
    }
    if !args.data.is_dir() {
        return Err(UsageError(format!("{} is not a directory", args.data.display())).into());
    }
    let env = Env::real();
    let dir = DataDir::open_to_recover(env.clone(), &args.data)?;
    if dir.identity()?.is_some() {
        return recover_node(&dir, &env);
    }
    let mut id = LineageId([0; 16]);
    env.random.fill(&mut id.0);
    let (engine, _recovery) = dir.open_engine(Options::default())?;
    let before = engine.lineage();
    let stamp = engine.applied().stamp;
    let lineage = engine.begin_lineage(id).context("cannot open a new lineage")?;
    engine.close()?;
    println!(
        "{} goes on from {stamp} of lineage {} as lineage {}. Start it with: cairn serve --data {}",
        args.data.display(),
        before.id,
        lineage.id,
        args.data.display(),
    );
    Ok(())
}

/// A directory that has been served has other groups, and a Raft log, than those of the data.
fn recover_node(dir: &DataDir, env: &Env) -> anyhow::Result<()> {
    let (_identity, salvaged) = super::cluster::force_new::begin(dir, env)?;
    let data = dir.path().display();
    for salvaged in salvaged.iter().filter(|salvaged| salvaged.group == GroupId::FIRST) {
        let parent = salvaged.lineage.parent.map(|(id, _)| id.to_string()).unwrap_or_default();
        println!(
            "{data} goes on from {} of lineage {parent} as lineage {}. Start it with: cairn serve --data {data}",
            salvaged.stamp, salvaged.lineage.id,
        );
    }
    Ok(())
}
