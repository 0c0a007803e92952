//! A server in this process, on a socket of its own, with a clock that tests move; and clients for it.

pub mod client;
pub mod messages;
pub mod remote;

use anyhow::Context;
use cairn::connect::auth::Auth;
use cairn::connect::{Connect, DEFAULT_DATABASE_ID};
use cairn::data_dir::DataDir;
use cairn::database::Database;
use cairn::metrics::Metrics;
use cairn::server::{self, Drained};
use engine::background::{self, Background};
use engine::{Budget, BudgetOptions, Engine, Env, Options};
use replication::transport::Alone;
use replication::{GroupId, Inbox, Node, NodeId, NodeOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub type TestResult<T = ()> = anyhow::Result<T>;

/// The access token of every server here.
pub const TOKEN: &str = "the-token-of-the-tests";
/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that starts now and stands still until it is moved.
#[derive(Debug)]
pub struct FakeClock(AtomicU64);

impl FakeClock {
    /// Moves it ahead.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl engine::Clock for FakeClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A server; what it holds is deleted when it is dropped.
pub struct Server {
    pub addr: SocketAddr,
    pub clock: Arc<FakeClock>,
    pub engine: Engine,
    stop: watch::Sender<bool>,
    task: JoinHandle<Drained>,
    node: Node,
    background: Background,
    _dir: DataDir,
    _temp: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> TestResult<Server> {
        Server::with(Options::default()).await
    }

    pub async fn with(options: Options) -> TestResult<Server> {
        let temp = tempfile::tempdir()?;
        let real = Env::real();
        let clock = Arc::new(FakeClock(AtomicU64::new(real.clock.now_ms())));
        let env = Env { clock: clock.clone(), ..real };
        let dir = DataDir::open(env.clone(), temp.path())?;
        let budget = Budget::new(BudgetOptions::default())?;
        let options = NodeOptions { engine: options, ..NodeOptions::alone(NodeId(1)) };
        let node = Node::open(env, temp.path(), options, &budget, Arc::new(Alone), Inbox::new()).await?;
        let background = background::start_pool(&budget);
        let group = node.group(GroupId::FIRST).context("a node has a data group")?;
        let engine = group.engine();
        let metrics = Metrics::new();
        let database = Database::new(group, &metrics);
        metrics.add_database(&database);
        let (stop, stopping) = watch::channel(false);
        let auth = Auth::new(TOKEN, DEFAULT_DATABASE_ID);
        let connect = Arc::new(Connect::new(database, auth, metrics.clone(), stopping.clone()));
        let listener = server::bind(([127, 0, 0, 1], 0).into()).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(server::serve(listener, None, connect, metrics, stopping));
        Ok(Server { addr, clock, engine, stop, task, node, background, _dir: dir, _temp: temp })
    }

    /// Tells it to stop, and does not wait.
    pub fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops it and waits until it has drained.
    pub async fn stop(self) -> TestResult<Drained> {
        self.begin_stop();
        let drained = within(self.task).await??;
        self.node.close().await?;
        drop(self.background);
        Ok(drained)
    }
}

/// Waits for something, but not for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> TestResult<T> {
    tokio::time::timeout(PATIENCE, future).await.context("nothing happened for too long")
}
