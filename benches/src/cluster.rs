//! Clusters of three processes each, etcd's and ours, started, killed and asked alike.
//!
//! - Every process is killed when its cluster is dropped; its files lie in a folder of the caller's.
//! - A node keeps its folder, its ports and its host when it is started again.

mod cairn;
mod etcd;

use anyhow::Context;
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use self::cairn::Cairn;
pub use self::etcd::Etcd;

/// Nodes of a cluster.
pub const NODES: usize = 3;
/// How long a cluster may take until it is whole.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// Between two looks at a cluster that is not whole yet.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where one node stands.
#[derive(Debug, Clone)]
pub struct Place {
    /// The address that it serves on.
    pub host: IpAddr,
    /// The network namespace that its process runs in; this one when there is none.
    pub namespace: Option<String>,
}

impl Place {
    /// On the loopback interface of this machine.
    pub const fn local() -> Place {
        Place { host: IpAddr::V4(Ipv4Addr::LOCALHOST), namespace: None }
    }
}

/// What is the same each time a node is started.
#[derive(Debug, Clone)]
pub struct Node {
    /// Counted from 1.
    pub number: usize,
    /// Host and port for clients.
    pub client: String,
    /// Host and port for the other nodes.
    pub peer: String,
    /// Where its data lies.
    pub folder: PathBuf,
    namespace: Option<String>,
}

/// One kind of server that forms clusters.
pub trait Kind: Sync {
    /// What clients reach it through.
    type Target: crate::cluster::Reachable;

    /// What the tables call it.
    fn name(&self) -> &'static str;

    /// How node `node` of `nodes` is started. The first one is started first.
    fn command(&self, node: &Node, nodes: &[Node]) -> Command;

    /// A way to a node for clients.
    fn target(&self, node: &Node) -> impl Future<Output = anyhow::Result<Self::Target>> + Send;

    /// The position of the leader, once every one of `nodes` has the same one and has caught up.
    fn leader(&self, nodes: &[Node]) -> impl Future<Output = anyhow::Result<Option<usize>>> + Send;
}

/// What a load and a probe can be sent to.
pub trait Reachable: ::cairn::bench::target::Target + Send + Sync + 'static {}

impl<T: ::cairn::bench::target::Target + Send + Sync + 'static> Reachable for T {}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster<K> {
    kind: K,
    nodes: Vec<Node>,
    children: Vec<Option<Child>>,
}

impl<K: Kind> Cluster<K> {
    /// Starts a node at each place, with fresh data below `folder`, and waits until they are one cluster.
    ///
    /// # Errors
    ///
    /// When one does not start, or they do not become a cluster in time.
    pub async fn start(kind: K, folder: &Path, places: &[Place]) -> anyhow::Result<Cluster<K>> {
        let ports = free_ports(places.len() * 2)?;
        let nodes: Vec<_> = (1..)
            .zip(places)
            .zip(ports.chunks_exact(2))
            .map(|((number, place), ports)| Node {
                number,
                client: format!("{}:{}", place.host, ports[0]),
                peer: format!("{}:{}", place.host, ports[1]),
                folder: folder.join(number.to_string()),
                namespace: place.namespace.clone(),
            })
            .collect();
        let children = nodes.iter().map(|_| None).collect();
        let mut cluster = Cluster { kind, nodes, children };
        for node in 0..places.len() {
            cluster.start_node(node)?;
        }
        cluster.whole().await?;
        Ok(cluster)
    }

    /// What kind it is of.
    pub const fn kind(&self) -> &K {
        &self.kind
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().flatten().map(Child::id).collect()
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    ///
    /// When its process cannot be started.
    pub fn start_node(&mut self, position: usize) -> anyhow::Result<()> {
        let node = &self.nodes[position];
        std::fs::create_dir_all(&node.folder)?;
        let mut command = within(node.namespace.as_deref(), &self.kind.command(node, &self.nodes));
        let log: File = OpenOptions::new().create(true).append(true).open(node.folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        self.children[position] = Some(child);
        Ok(())
    }

    /// Kills a node as `kill -9` does; returns the moment at which the signal had been sent.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill_node(&mut self, position: usize) -> anyhow::Result<Instant> {
        let mut child = self.children[position].take().context("the node runs")?;
        child.kill()?;
        let killed = Instant::now();
        child.wait()?;
        Ok(killed)
    }

    /// Waits until every node knows the same leader and has caught up; returns the leader's position.
    ///
    /// # Errors
    ///
    /// When a process has ended, or it takes longer than a minute.
    pub async fn whole(&mut self) -> anyhow::Result<usize> {
        let start = Instant::now();
        loop {
            for (node, child) in self.nodes.iter().zip(&mut self.children) {
                let ended = child.as_mut().map(Child::try_wait).transpose()?.flatten();
                anyhow::ensure!(ended.is_none(), "a node ended; see {}", node.folder.join("log").display());
            }
            let seen = self.kind.leader(&self.nodes).await;
            if let Ok(Some(leader)) = seen {
                return Ok(leader);
            }
            anyhow::ensure!(
                start.elapsed() < WHOLE_MAX,
                "no whole cluster of {}: {seen:?}",
                self.kind.name()
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A way to one node.
    ///
    /// # Errors
    ///
    /// When it cannot be reached.
    pub async fn target(&self, position: usize) -> anyhow::Result<K::Target> {
        self.kind.target(&self.nodes[position]).await
    }
}

impl<K> Drop for Cluster<K> {
    fn drop(&mut self) {
        for mut child in self.children.drain(..).flatten() {
            // It may have ended by itself; there is nothing to lose in its data.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The same command, run inside of a network namespace.
fn within(namespace: Option<&str>, command: &Command) -> Command {
    let mut inside = match namespace {
        None => Command::new(command.get_program()),
        Some(namespace) => {
            let mut ip = Command::new("ip");
            ip.args(["netns", "exec", namespace]).arg(command.get_program());
            ip
        }
    };
    inside.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    inside
}

/// Ports that were free a moment ago; held together, so that they differ.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let listeners: Vec<_> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    Ok(listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?)
}
