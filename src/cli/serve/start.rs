//! Everything between the settings and the first request, in the order in which it can fail without leaving anything behind.

use super::Stop;
use super::certificates::Certificates;
use super::join::{self, Joined};
use super::upload_bar;
use super::welcome::{self, Token};
use crate::admin::Admin;
use crate::archive::{self, Shipping};
use crate::cluster::identity::Identity;
use crate::cluster::join::{Beginning, Known, beginning};
use crate::cluster::node::RealCluster;
use crate::cluster::operator::Operator;
use crate::cluster::steward::Steward;
use crate::config::Settings;
use crate::connect::auth::Auth;
use crate::connect::catalog::CatalogKeyspaces;
use crate::connect::{Connect, DEFAULT_DATABASE_ID};
use crate::data_dir::DataDir;
use crate::database::Database;
use crate::import;
use crate::metrics::Metrics;
use crate::server;
use crate::tls::ClientTls;
use anyhow::Context;
use archiver::job::Jobs;
use archiver::store::ObjectStore;
use engine::background::{self, Background};
use engine::{Budget, BudgetOptions, Env, Options, Recovery};
use replication::transport::tcp::{self, PeerTls, Tcp};
use replication::transport::{Alone, Service, Transport};
use replication::{GroupId, GroupOptions, Inbox, Node, NodeId, NodeOptions, Peer, Timing};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A node that is ready to serve.
pub(super) struct Started {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<ClientTls>,
    pub(super) connect: Arc<Connect>,
    pub(super) metrics: Metrics,
    pub(super) node: Node,
    pub(super) background: Background,
    pub(super) shipping: Shipping,
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
    // Before the directory: an archive or a certificate that cannot be must leave nothing behind.
    let stores = archive::open(settings)?;
    let certificates = Certificates::open(settings)?;
    let env = Env::real();
    let dir = DataDir::open(env.clone(), &settings.data)?;
    // The ports come before the engines: a second server must not replay a log to learn that.
    let listener =
        server::bind(settings.addr).await.with_context(|| format!("cannot serve on {}", settings.addr))?;
    // Whoever lets this node in looks whether it can be reached.
    let peers = listen_for_peers(settings).await?;
    let Begun { identity, members, begins } = begin(&dir, &env, settings).await?;
    let inbox = Inbox::new();
    let transport = network(peers, &identity, &inbox, certificates.peers.clone());
    let tls = certificates.clients.clone();
    certificates.keep_fresh(settings, transport.tcp.as_ref())?;
    for (node, address) in members {
        transport.transport.set_address(node, address);
    }
    let budget = Budget::new(budget_options(settings))?;
    let options = node_options(settings, &identity);
    let reached = Arc::clone(&transport.transport);
    let random = Arc::clone(&env.random);
    let jobs = Jobs::new(Arc::clone(&env.clock), Arc::clone(&env.random));
    let node = Node::open(env, &settings.data, options, &budget, Arc::clone(&reached), inbox).await?;
    node.recoveries().iter().for_each(|(group, recovery)| report(*group, recovery));
    let metrics = Metrics::new();
    let group = node.group(GroupId::FIRST).context("this node does not hold the default database")?;
    let database = Database::new(group, &metrics);
    if let Some(file) = import::unfinished(&database.engine()) {
        tracing::warn!(file, "an import into this database did not finish: run it again");
    }
    let groups: Vec<Database> =
        node.groups().into_iter().map(|group| Database::new(group, &metrics)).collect();
    refuse_if_behind(&groups, &stores).await?;
    metrics.add_database(&database);
    metrics.add_node(node.clone());
    metrics.add_jobs(jobs.clone());
    let shipping = Shipping::start(&stores, settings, &dir, &groups, &jobs)
        .context("cannot start the archive's threads")?;
    metrics.add_archive(shipping.lag());
    metrics.add_verified(shipping.verified());
    let reports = shipping.reports(&groups);
    if let Some(status) = shipping.status() {
        tokio::spawn(upload_bar::show(status));
    }
    let background = background::start_pool(&budget);
    let token = Token::of(&dir, settings)?;
    print!("{}", welcome::text(settings, &dir, &token, listener.local_addr()?));
    let auth = Auth::new(token.text(), DEFAULT_DATABASE_ID);
    let (stop, stopping) = watch::channel(false);
    let real = RealCluster::new(node.clone(), reached).context("this node does not hold the catalog")?;
    let operator = Operator::new(Arc::new(real), identity, database.clock().clone(), random);
    if operator.begins(begins) {
        operator.begin().await.context("cannot begin the cluster")?;
    }
    let steward = Steward::new(operator.clone(), settings.cluster.primary_region.clone());
    tokio::spawn(steward.run(stopping.clone()));
    let others = keyspaces(&node, &auth, &metrics).context("this node does not hold the catalog")?;
    let connect = Connect::new(database, auth, metrics.clone(), stopping);
    let admin = Admin::new(operator, jobs).with_archives(reports);
    let connect = Arc::new(connect.with_databases(Arc::new(others)).with_admin(admin));
    Ok(Started { listener, tls, connect, metrics, node, background, shipping, stop, transport, _dir: dir })
}

/// Refuses groups of this node alone that are behind an archive. In any other group, and in one that is being joined, a replica
/// that is behind catches up.
async fn refuse_if_behind(
    groups: &[Database],
    stores: &[Arc<dyn ObjectStore>],
) -> Result<(), archive::Behind> {
    let alone = |database: &&Database| database.group().status().members.len() == 1;
    let asked =
        groups.iter().filter(alone).flat_map(|database| {
            let ask = |store: &Arc<dyn ObjectStore>| {
                let (database, store) = (database.clone(), Arc::clone(store));
                async move {
                    archive::refuse_if_behind(&database.engine(), database.group().id().0, &*store).await
                }
            };
            stores.iter().map(ask)
        });
    futures::future::try_join_all(asked).await.map(drop)
}

/// Who this node is.
struct Begun {
    identity: Identity,
    /// Where other nodes are, as this one was told when it joined.
    members: Vec<(NodeId, String)>,
    /// Whether it begins the cluster, alone.
    begins: bool,
}

/// Finds out who this node is, or becomes, and writes it down.
async fn begin(dir: &DataDir, env: &Env, settings: &Settings) -> anyhow::Result<Begun> {
    let mut random = [[0; 16]; 2];
    random.iter_mut().for_each(|bytes| env.random.fill(bytes));
    let was = dir.identity()?;
    if was.is_none() && !settings.cluster.join.is_empty() && dir.is_joining()? {
        dir.clear_unfinished_join()?;
    }
    let known = Known { identity: was.clone(), groups: dir.group_ids()?, random };
    let (identity, begins) = match beginning(&settings.cluster, known)? {
        Beginning::Join(urls) => {
            let Joined { identity, members } = join::join(settings, dir, &urls).await?;
            return Ok(Begun { identity, members, begins: false });
        }
        Beginning::Bootstrap(identity) => (identity, true),
        Beginning::Resume(identity) => {
            join::refuse_another_cluster(settings, dir, &identity).await?;
            if let Some(was) = &was {
                join::refuse_a_second_self(was, &identity).await?;
            }
            (identity, false)
        }
    };
    dir.set_identity(&identity)?;
    Ok(Begun { identity, members: Vec::new(), begins })
}

async fn listen_for_peers(settings: &Settings) -> anyhow::Result<Option<TcpListener>> {
    let Some(peer) = &settings.cluster.peer else { return Ok(None) };
    let bound = server::bind(peer.listen).await;
    Ok(Some(bound.with_context(|| format!("cannot be reached by other nodes on {}", peer.listen))?))
}

fn network(
    peers: Option<TcpListener>,
    identity: &Identity,
    inbox: &Arc<Inbox>,
    tls: Option<PeerTls>,
) -> Network {
    let Some(listener) = peers else { return Network { tcp: None, transport: Arc::new(Alone) } };
    let options = tcp::Options {
        identity: tcp::Identity {
            node: identity.node,
            cluster: identity.cluster,
            lineage: identity.lineage,
            format: replication::FEATURES,
        },
        tls,
    };
    let tcp = Tcp::start(options, listener, Arc::clone(inbox) as Arc<dyn Service>);
    Network { transport: Arc::new(tcp.clone()), tcp: Some(tcp) }
}

/// Every database but the default one.
fn keyspaces(node: &Node, auth: &Auth, metrics: &Metrics) -> Option<CatalogKeyspaces> {
    let catalog = Database::new(node.group(GroupId::CATALOG)?, metrics);
    let data = node.groups().into_iter().filter(|group| group.id() != GroupId::CATALOG);
    let groups = data.map(|group| (group.id(), Database::new(group, metrics))).collect();
    Some(CatalogKeyspaces::new(catalog, groups, auth.clone()))
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
        group: group_options(settings),
        engine: engine_options(settings),
        ..NodeOptions::alone(identity.node)
    }
}

fn group_options(settings: &Settings) -> GroupOptions {
    let defaults = GroupOptions::default();
    GroupOptions {
        lease_reads: settings.cluster.read_lease,
        scrub_bytes_per_s: settings.scrub_bytes_per_s.unwrap_or(defaults.scrub_bytes_per_s),
        ..defaults
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
