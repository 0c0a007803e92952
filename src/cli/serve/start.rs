//! Everything between the settings and the first request, in the order in which it can fail without leaving anything behind.

use super::Stop;
use super::upload_bar;
use super::welcome::{self, Token};
use crate::archive::{self, Shipping};
use crate::cluster::identity::Identity;
use crate::cluster::join::{Beginning, Known, beginning};
use crate::config::Settings;
use crate::connect::auth::Auth;
use crate::connect::{Connect, DEFAULT_DATABASE_ID};
use crate::data_dir::DataDir;
use crate::database::Database;
use crate::import;
use crate::metrics::Metrics;
use crate::server;
use anyhow::{Context, bail};
use engine::background::{self, Background};
use engine::{Budget, BudgetOptions, Env, Options, Recovery};
use replication::transport::tcp::{self, Tcp};
use replication::transport::{Alone, Service, Transport};
use replication::{GroupId, GroupOptions, Inbox, Node, NodeOptions, Peer, Timing};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A node that is ready to serve.
pub(super) struct Started {
    pub(super) listener: TcpListener,
    pub(super) connect: Arc<Connect>,
    pub(super) metrics: Metrics,
    pub(super) node: Node,
    pub(super) background: Background,
    pub(super) shipping: Option<Shipping>,
    pub(super) stop: Stop,
    pub(super) transport: Network,
    _dir: DataDir,
}

/// How this node reaches others, and what has to be closed of it.
pub(super) struct Network {
    tcp: Option<Tcp>,
    transport: Arc<dyn Transport>,
}

impl Network {
    /// Ends all connections to other nodes.
    pub(super) async fn close(&self) {
        if let Some(tcp) = &self.tcp {
            tcp.close().await;
        }
    }
}

/// Opens everything.
///
/// # Errors
///
/// As [`super::run`].
pub(super) async fn start(settings: &Settings) -> anyhow::Result<Started> {
    // Before the directory: an archive that cannot be must leave nothing behind.
    let store = archive::open(settings)?;
    let env = Env::real();
    let dir = DataDir::open(env.clone(), &settings.data)?;
    let identity = identity(&dir, &env, settings)?;
    // The ports come before the engines: a second server must not replay a log to learn that.
    let listener =
        server::bind(settings.addr).await.with_context(|| format!("cannot serve on {}", settings.addr))?;
    let inbox = Inbox::new();
    let transport = network(settings, &identity, &inbox).await?;
    dir.set_identity(&identity)?;
    let budget = Budget::new(budget_options(settings))?;
    let options = node_options(settings, &identity);
    let reached = Arc::clone(&transport.transport);
    let node = Node::open(env, &settings.data, options, &budget, reached, inbox).await?;
    node.recoveries().iter().for_each(|(group, recovery)| report(*group, recovery));
    let metrics = Metrics::new();
    let group = node.group(GroupId::FIRST).context("this node does not hold the default database")?;
    let database = Database::new(group, &metrics);
    if let Some(file) = import::unfinished(&database.engine()) {
        tracing::warn!(file, "an import into this database did not finish: run it again");
    }
    if let Some(store) = &store {
        archive::refuse_if_behind(&database.engine(), &**store).await?;
    }
    metrics.add_database(&database);
    let shipping = store.map(|store| Shipping::start(store, settings, &dir, database.clone()));
    if let Some(shipping) = &shipping {
        metrics.add_archive(shipping.lag());
        tokio::spawn(upload_bar::show(shipping.status()));
    }
    let background = background::start_pool(&budget);
    let token = Token::of(&dir, settings)?;
    print!("{}", welcome::text(settings, &dir, &token, listener.local_addr()?));
    let auth = Auth::new(token.text(), DEFAULT_DATABASE_ID);
    let (stop, stopping) = watch::channel(false);
    let connect = Arc::new(Connect::new(database, auth, metrics.clone(), stopping));
    Ok(Started { listener, connect, metrics, node, background, shipping, stop, transport, _dir: dir })
}

/// Who this node is, or becomes.
fn identity(dir: &DataDir, env: &Env, settings: &Settings) -> anyhow::Result<Identity> {
    let mut random = [[0; 16]; 2];
    random.iter_mut().for_each(|bytes| env.random.fill(bytes));
    let known = Known { identity: dir.identity()?, groups: dir.group_ids()?, random };
    match beginning(&settings.cluster, known)? {
        Beginning::Resume(identity) | Beginning::Bootstrap(identity) => Ok(identity),
        Beginning::Join(_) => bail!("joining is not there yet"),
    }
}

async fn network(settings: &Settings, identity: &Identity, inbox: &Arc<Inbox>) -> anyhow::Result<Network> {
    let Some(peer) = &settings.cluster.peer else {
        return Ok(Network { tcp: None, transport: Arc::new(Alone) });
    };
    let listener = server::bind(peer.listen)
        .await
        .with_context(|| format!("cannot be reached by other nodes on {}", peer.listen))?;
    let options = tcp::Options {
        identity: tcp::Identity {
            node: identity.node,
            cluster: identity.cluster,
            lineage: identity.lineage,
            format: replication::FEATURES,
        },
    };
    let tcp = Tcp::start(options, listener, Arc::clone(inbox) as Arc<dyn Service>);
    Ok(Network { transport: Arc::new(tcp.clone()), tcp: Some(tcp) })
}

fn node_options(settings: &Settings, identity: &Identity) -> NodeOptions {
    let cluster = &settings.cluster;
    // The first node of a cluster begins it; every other one is given what it has.
    let joins = identity.node.0 != 1;
    NodeOptions {
        peer: Peer { address: identity.address.clone(), region: identity.region.clone() },
        groups: (0..=identity.groups).map(GroupId).collect(),
        joins,
        timing: Timing {
            heartbeat_ms: cluster.heartbeat_ms,
            election_ms: (cluster.election_ms, cluster.election_ms + cluster.election_ms / 2),
        },
        group: GroupOptions { lease_reads: cluster.read_lease, ..GroupOptions::default() },
        engine: engine_options(settings),
        ..NodeOptions::alone(identity.node)
    }
}

fn engine_options(settings: &Settings) -> Options {
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

fn report(group: GroupId, recovery: &Recovery) {
    if let Some((path, offset, bytes)) = &recovery.torn {
        tracing::info!(
            %group, file = %path.display(), offset, bytes,
            "dropped the torn end of an engine's log: the Raft log has what was agreed on"
        );
    }
    tracing::info!(%group, created = recovery.created, records = recovery.records, "opened a replica");
}
