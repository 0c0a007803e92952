//! `cairn serve`: opens the data directory and serves it until a signal, or until the engine fails.
//!
//! Order at the end: stop accepting, end watches, answer what runs, ship the last commits, drain the write
//! pipeline, close the engine. A signal ends with exit code 0, a failed engine with 1.

mod upload_bar;
mod welcome;

use crate::archive::{self, Shipping};
use crate::config::{Flags, Settings};
use crate::connect::auth::Auth;
use crate::connect::{Connect, DEFAULT_DATABASE_ID};
use crate::data_dir::DataDir;
use crate::database::{Database, Opened};
use crate::import;
use crate::metrics::Metrics;
use crate::sequencer::State;
use crate::server::{self, Drained};
use crate::telemetry;
use crate::tls::{self, ClientTls, Watched};
use anyhow::{Context, bail};
use engine::{Budget, BudgetOptions, Env, Options, Recovery};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use welcome::Token;

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
/// When a setting cannot be used, the directory cannot be opened, the port cannot be had, or the engine
/// failed while serving.
pub fn run(args: Args) -> anyhow::Result<()> {
    let settings = Settings::resolve(args.flags)?;
    telemetry::start(settings.log_format)?;
    server::raise_file_limit();
    server::keep_memory_small();
    // Before the directory: an archive or a certificate that cannot be must leave nothing behind.
    let store = archive::open(&settings)?;
    let clients = settings.tls.clients.as_ref().map(ClientTls::open).transpose()?;
    let env = Env::real();
    let dir = DataDir::open(env.clone(), &settings.data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The port comes before the engine: a second server must not replay a log to learn that.
    let listener = runtime
        .block_on(server::bind(settings.addr))
        .with_context(|| format!("cannot serve on {}", settings.addr))?;
    let budget = Budget::new(budget_options(&settings))?;
    let (engine, recovery) = dir.open_engine_with_budget(options(&settings), &budget)?;
    report(&recovery);
    if let Some(file) = import::unfinished(&engine) {
        tracing::warn!(file, "an import into this database did not finish: run it again");
    }
    if let Some(store) = &store {
        runtime.block_on(archive::refuse_if_behind(&engine, &**store))?;
    }
    let metrics = Metrics::new();
    let mut boot = [0; 8];
    env.random.fill(&mut boot);
    let (database, mut opened) =
        Database::start(engine.clone(), env.clock.clone(), u64::from_le_bytes(boot), &metrics)?;
    let shipping = {
        let _inside = runtime.enter();
        let start = |store| Shipping::start(engine, store, &settings, &dir, database.clone());
        store.map(start).transpose()?
    };
    if let Some(shipping) = &shipping {
        metrics.add_archive(shipping.lag());
        runtime.spawn(upload_bar::show(shipping.status()));
    }
    opened.maintain();
    let token = Token::of(&dir, &settings)?;
    print!("{}", welcome::text(&settings, &dir, &token, listener.local_addr()?));
    let auth = Auth::new(token.text(), DEFAULT_DATABASE_ID);
    drop(token);
    let served = runtime.block_on(async {
        let served = serve((listener, clients), database, auth, metrics).await;
        if let Some(shipping) = shipping {
            shipping.finish().await;
        }
        served
    });
    runtime.shutdown_background();
    finish(opened, served)
}

fn options(settings: &Settings) -> Options {
    Options {
        history_ms: settings.history_ms,
        history_bytes_max: settings.history_bytes_max,
        disk_reserve_bytes: settings.disk_reserve_bytes,
        ..Options::default()
    }
}

fn budget_options(settings: &Settings) -> BudgetOptions {
    let defaults = BudgetOptions::default();
    BudgetOptions {
        memory_bytes_max: settings.memory_bytes_max.unwrap_or(defaults.memory_bytes_max),
        ..defaults
    }
}

fn report(recovery: &Recovery) {
    if let Some((path, offset, bytes)) = &recovery.torn {
        tracing::info!(
            file = %path.display(), offset, bytes,
            "dropped the torn end of the log: writes that nobody was told of"
        );
    }
    tracing::info!(created = recovery.created, records = recovery.records, "opened the data directory");
}

/// Why serving ended.
enum Served {
    Signal(Drained),
    Failed(String),
}

/// Where clients are awaited, with the certificate that they see.
type Port = (TcpListener, Option<(ClientTls, Watched)>);

async fn serve(
    (listener, clients): Port,
    database: Database,
    auth: Auth,
    metrics: Metrics,
) -> anyhow::Result<Served> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopping) = watch::channel(false);
    let mut state = database.state();
    let connect = Arc::new(Connect::new(database, auth, metrics.clone(), stopping.clone()));
    let (clients, watched) = clients.unzip();
    if let Some(watched) = watched {
        tokio::spawn(tls::keep_fresh(vec![watched]));
    }
    let server = tokio::spawn(server::serve(listener, clients, connect, metrics, stopping));
    let failed = tokio::select! {
        _signal = terminate.recv() => None,
        _signal = interrupt.recv() => None,
        failed = failure(&mut state) => Some(failed),
    };
    tracing::info!("stopping: requests that run are answered, new ones are not taken");
    stop.send_replace(true);
    let drained = server.await?;
    Ok(failed.map_or(Served::Signal(drained), Served::Failed))
}

async fn failure(state: &mut watch::Receiver<State>) -> String {
    match state.wait_for(|state| matches!(state, State::Failed(_))).await.as_deref() {
        Ok(State::Failed(reason)) => reason.clone(),
        _ => "the write pipeline ended".to_owned(),
    }
}

fn finish(opened: Opened, served: anyhow::Result<Served>) -> anyhow::Result<()> {
    let closed = opened.close();
    match served? {
        Served::Failed(reason) => bail!("the engine stopped: {reason}"),
        Served::Signal(drained) => {
            if drained == Drained::Partly {
                tracing::warn!("some connections did not end in time and were dropped");
            }
            closed.context("cannot close the data directory")?;
            tracing::info!("stopped");
            Ok(())
        }
    }
}
