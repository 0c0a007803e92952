//! `cairn serve`: takes part in the groups of the data directory, and serves their databases until a signal, or until this
//! node cannot go on.
//!
//! Order at the end: hand leadership over, stop accepting, end watches, answer what runs, ship the last commits, end the
//! groups, close the engines. A signal ends with exit code 0, a failure with 1.

mod certificates;
mod join;
mod start;
mod upload_bar;
mod welcome;

use crate::config::{Flags, Settings};
use crate::server::{self, Drained};
use crate::telemetry;
use anyhow::{Context, bail};
use start::Started;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Flags of `cairn serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Serves until a signal.
///
/// # Errors
///
/// When a setting cannot be used, the directory cannot be opened, the port cannot be had, or the node failed while serving.
pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::resolve(args.flags)?;
    telemetry::start(settings.log_format)?;
    server::raise_file_limit();
    server::keep_memory_small();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(settings.threads).enable_all().build()?;
    let served = runtime.block_on(async {
        let started = start::start(&settings).await?;
        serve(started).await
    });
    runtime.shutdown_background();
    match served? {
        Served::Failed(reason) => bail!("this node cannot go on: {reason}"),
        Served::Signal(drained) => {
            if drained == Drained::Partly {
                tracing::warn!("some connections did not end in time and were dropped");
            }
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Why serving ended.
enum Served {
    Signal(Drained),
    Failed(String),
}

async fn serve(started: Started) -> anyhow::Result<Served> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let Started { listener, tls, connect, metrics, node, background, shipping, stop, transport, .. } =
        started;
    let server = tokio::spawn(server::serve(listener, tls, connect, metrics, stop.subscribe()));
    let failed = tokio::select! {
        _signal = terminate.recv() => None,
        _signal = interrupt.recv() => None,
        failed = node.failure() => Some(failed),
    };
    tracing::info!("stopping: requests that run are answered, new ones are not taken");
    if failed.is_none() {
        node.hand_over().await;
    }
    stop.send_replace(true);
    let drained = server.await?;
    if let Some(reason) = failed {
        return Ok(Served::Failed(reason));
    }
    shipping.finish().await;
    let closed = node.close().await;
    transport.close().await;
    // The last batches may have waited for a flush, so flushing ends after them.
    drop(background);
    closed.context("cannot close the data directory")?;
    Ok(Served::Signal(drained))
}

/// Tells everything that runs in the background to end.
type Stop = watch::Sender<bool>;
