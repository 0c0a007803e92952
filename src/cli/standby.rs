//! `cairn standby`: a server that follows an archive, and its promotion.
//!
//! - It needs to read the archive and nothing else; the cluster that it follows does not know of it.
//! - It is filled first, which can be interrupted and goes on; then it serves, and each group follows by itself.
//! - A promoted standby is a data directory in lineages of its own.

mod promote;

use super::UsageError;
use super::archive_args::ArchiveArgs;
use super::restore::{as_usage, destination, job, runtime, watched};
use crate::config::DEFAULT_ADDR;
use crate::connect::DEFAULT_DATABASE_ID;
use crate::connect::auth::{Auth, check_access_token};
use crate::connect::standby::{Caught, Followed, Standby};
use crate::metrics::Metrics;
use crate::{server, telemetry};
use anyhow::Context;
use archiver::Archive;
use archiver::job::JobKind;
use archiver::restore::STANDBY_MARKER;
use archiver::standby::{self, Follower, pause_after};
use engine::{Clock, Env, LineageId, Options};
use prometheus_client::metrics::gauge::Gauge;
use replication::GroupId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The pause after the first look.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The pause after a look that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(5);

/// What `cairn standby` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Follow an archive and serve reads of it
    Serve(Serve),
    /// Make a standby a cluster of its own, when the one that it follows is lost or stopped
    Promote(promote::Promote),
}

#[derive(Debug, clap::Args)]
struct Serve {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Directory of the standby; filled from the archive when it is empty
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR")]
    data: PathBuf,

    /// Address to serve on
    #[arg(long, env = "CAIRN_ADDR", value_name = "IP:PORT", default_value = DEFAULT_ADDR)]
    addr: SocketAddr,

    /// Access token of the cluster that it follows
    #[arg(long, env = "DENO_KV_ACCESS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    access_token: String,

    /// The lineage to follow, when the archive holds several (see: cairn pitr list); may be repeated, for each group
    #[arg(long, value_name = "ID", value_parser = super::restore::parse_lineage)]
    lineage: Vec<LineageId>,
}

/// Serves until a signal, or promotes.
///
/// # Errors
///
/// A [`UsageError`] when what was typed cannot work; when the archive or the disk fails.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Serve(args) => serve(&args),
        Command::Promote(args) => promote::run(&args),
    }
}

fn serve(args: &Serve) -> anyhow::Result<()> {
    let archive = args.archive.open()?;
    check_access_token(&args.access_token).map_err(|error| UsageError(error.to_string()))?;
    telemetry::start(crate::config::LogFormat::Text)?;
    server::raise_file_limit();
    let runtime = runtime()?;
    if !args.data.join(STANDBY_MARKER).exists() {
        let job = job(JobKind::Restore, &archive.location());
        let to = destination(&args.data);
        let work = standby::begin(&archive, args.lineage.clone(), &to, &job);
        runtime.block_on(watched("filling the standby", &job, work)).map_err(as_usage)?;
    }
    runtime.block_on(follow_and_serve(args, &archive))
}

async fn follow_and_serve(args: &Serve, archive: &Archive) -> anyhow::Result<()> {
    let env = Env::real();
    let listener = server::bind(args.addr).await.with_context(|| format!("cannot serve on {}", args.addr))?;
    let metrics = Metrics::new();
    let (behind, failing) = (Gauge::default(), Gauge::default());
    metrics.add_standby(behind.clone(), failing.clone());
    let (stop, stopping) = watch::channel(false);
    let mut groups = BTreeMap::new();
    let mut followers = tokio::task::JoinSet::new();
    for follower in open(&env, &args.data, archive)? {
        let caught = Arc::new(Caught::default());
        let followed = Followed { engine: follower.engine().clone(), caught: Arc::clone(&caught) };
        groups.insert(GroupId(follower.group()), followed);
        followers.spawn(follow(follower, caught, Arc::clone(&env.clock), failing.clone(), stopping.clone()));
    }
    let auth = Auth::new(&args.access_token, DEFAULT_DATABASE_ID);
    let standby = Arc::new(Standby::new(groups, auth, Arc::clone(&env.clock), metrics.clone()));
    println!("standby of {}\nserving on http://{}", archive.location(), listener.local_addr()?);
    tokio::spawn(measure(Arc::clone(&standby), behind, stopping.clone()));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let serving = tokio::spawn(server::serve(listener, None, standby, metrics, stopping));
    tokio::select! {
        _signal = terminate.recv() => {}
        _signal = interrupt.recv() => {}
    }
    stop.send_replace(true);
    serving.await?;
    while let Some(ended) = followers.join_next().await {
        ended?;
    }
    Ok(())
}

/// The groups of a standby.
fn open(env: &Env, data: &Path, archive: &Archive) -> anyhow::Result<Vec<Follower>> {
    let names =
        env.fs.read_dir(&data.join("groups")).with_context(|| format!("cannot read {}", data.display()))?;
    let mut groups: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    groups.sort_unstable();
    let open = |group| Follower::open(archive.clone(), env.clone(), data, group, Options::default());
    groups.into_iter().map(|group| Ok(open(group)?)).collect()
}

/// Keeps the lag where it is scraped.
async fn measure(standby: Arc<Standby>, behind: Gauge, mut stopping: watch::Receiver<bool>) {
    loop {
        behind.set(i64::try_from(standby.behind_ms()).unwrap_or(i64::MAX));
        tokio::select! {
            _stopped = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(FIRST_PAUSE) => {}
        }
    }
}

/// Follows a group until it is told to stop. A failure is said once, and tried again.
async fn follow(
    mut follower: Follower,
    caught: Arc<Caught>,
    clock: Arc<dyn Clock>,
    failing: Gauge,
    mut stopping: watch::Receiver<bool>,
) {
    let (mut pause, mut failed) = (FIRST_PAUSE, false);
    loop {
        let looked_ms = clock.now_ms();
        let looked = tokio::select! {
            _stopped = stopping.wait_for(|stopping| *stopping) => break,
            looked = follower.step() => looked,
        };
        match looked {
            Ok(followed) => {
                if followed != standby::Followed::Waits {
                    caught.up_at(looked_ms);
                }
                pause = pause_after(followed, pause);
                if std::mem::take(&mut failed) {
                    failing.dec();
                    tracing::info!(group = follower.group(), "the archive can be followed again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    failing.inc();
                    let (group, error) =
                        (follower.group(), crate::connect::errors::Chain(&error).to_string());
                    tracing::warn!(group, error, "cannot follow the archive; trying again");
                }
                pause = FAILED_PAUSE;
            }
        }
        tokio::select! {
            _stopped = stopping.wait_for(|stopping| *stopping) => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    if let Err(error) = follower.engine().close() {
        tracing::warn!(%error, "cannot close a group of the standby");
    }
}
